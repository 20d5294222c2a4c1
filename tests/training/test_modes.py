"""No setting is dropped in silence: online, every key is taken or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from online_game import make_run
from scripts import RECIPES
from small_store import small_store

from eva_data.config import Config, Seeds, Settings
from eva_data.config.reading import CARELESS_CONFIG, load_config, parse_config
from eva_data.dataset.staleness import settled, what_counts
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, StaleError
from eva_data.game.online import ALGORITHMS, begun_with, online_config, sampled_otherwise
from eva_data.training.modes import TAKEN, refuse_unknown_online

OTHERS: dict[str, Any] = {
    "estimate.metric": "var",
    "estimate.source": "previous",
    "estimate.unequal": "refuse",
    "estimate.min_best": 0.5,
    "estimate.min_right": 3,
    "sample.fraction": 0.5,
    "sample.method": "greedy",
    "sample.weights": "minmax",
    "sample.strata": 5,
    "evolve.method": "one_constraint",
    "evolve.strategies": [{"name": "again", "template": "Again: {prompt}"}],
    "evolve.shape": "chain",
    "evolve.max_depth": 3,
    "evolve.reply": "delimited",
    "evolve.near_duplicate": 0.5,
    "evolve.benchmarks": [{"name": "b", "path": "b.jsonl"}],
    "evolve.top_p": 0.5,
    "mix.evolved": 0.5,
    "mix.source": "new_seeds",
    "mix.original": "seeds",
    "mix.shortfall": "error",
    "pair.margin": 0.5,
    "pair.min_chosen": 0.5,
    "pair.max_similarity": 0.5,
    "pair.rewrite_length": 0.5,
    "train.recipe": "sandbox_rloo",
    "train.mode": "scratch",
    "train.accelerate": "fsdp.yaml",
    "sample.band": [0.3, 0.8],
    "sample.agreement_band": [0.5, 0.9],
    "train.report_to": ["wandb"],
    "online.estimate": "fresh",
}
"""Key -> a value that is not its default, where no number, truth value or other word will do."""

WITH = {
    "sample.agreement_band": ["reward={backend: consensus, equal: number}"],
    "evolve.only_own": ["evolve.strategies=[{name: own, template: 'Own {prompt}'}]"],
    "pair.below": ["pair.rule=best_below"],
    "pair.per_prompt": ["pair.rule=ranked"],
    "estimate.adjust_length": ["reward={backend: classifier, model: m}"],
}
"""Key -> the settings without which it is refused in every mode."""


def keys() -> list[str]:
    """Every key of the blocks that stages and trainings share."""
    return [f"{block}.{key}" for block in TAKEN for key in type(getattr(load_config(), block)).model_fields]


def with_other_value(key: str) -> Config:
    """The sandbox's settings with one key changed, as for online training."""
    block, _, name = key.partition(".")
    settings = getattr(Config.model_construct(**dict(load_config())), block)
    field = type(settings).model_fields[name]
    usual = field.get_default(call_default_factory=True)
    if isinstance(usual, Settings):
        inner = next(iter(type(usual).model_fields))
        return load_config(None, [f"{key}.{inner}=0.5"], online=True)
    other = OTHERS.get(key, not usual if isinstance(usual, bool) else None)
    if other is None and isinstance(usual, str):
        other = next(choice for choice in get_args(field.annotation) if choice != usual)
    if other is None:
        other = (usual or 0) + 1
    return load_config(None, [*WITH.get(key, ()), f"{key}={other}"], online=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("key", keys())
def test_every_key_is_taken_or_refused_by_name(key: str, algorithm: str, tmp_path: Path) -> None:
    config = with_other_value(key).model_copy(update={"folder": tmp_path / "data"})
    block, _, name = key.partition(".")
    if name not in TAKEN[block]:
        named = "pair.rule" if key in ("pair.below", "pair.per_prompt") else key
        with pytest.raises(ConfigError, match=rf"`{named}` is .*: take it out of eva\.yaml"):
            online_config(config, algorithm, static=False)
        return
    if key == "train.recipe" and algorithm != "rloo":
        assert online_config(config, algorithm, static=False)[1] == f"sandbox_{algorithm}"
        return
    online, _ = online_config(config, algorithm, static=False)
    # It is in force, and no default of the mode is put in its place.
    assert getattr(getattr(online, block), name) == getattr(getattr(config, block), name)


def test_an_unfinished_run_compares_every_key_of_the_seeds_but_where_they_lie_on_this_machine() -> None:
    found = {key for key in what_counts(load_config(None, online=True), 1) if key.startswith("seeds.")}
    assert found == {f"seeds.{key}" for key in Seeds.model_fields} - {"seeds.path", "seeds.encoding"}


def test_offline_a_key_is_taken_by_the_stage_of_its_block_and_online_is_the_other_mode() -> None:
    # `what_counts` holds every key of a block that decides about an iteration, but for the block of the other mode.
    counting = set(what_counts(load_config(), 2))
    data = {
        f"{block}.{key}"
        for block in ("estimate", "sample", "evolve", "mix", "pair")
        for key in getattr(load_config(), block).data()
    }
    assert data <= counting
    assert not {key for key in counting if key.startswith("online")}


def test_the_defaults_of_online_training_are_the_papers(tmp_path: Path) -> None:
    seeds, reward = {"sandbox": 8}, {"function": "eva_data.sandbox.verifier:score"}
    values = {"name": "mine", "folder": str(tmp_path / "data"), "seeds": seeds, "reward": reward}
    config = parse_config(values | {"solver": {"model": "acme/base"}}, "eva.yaml", online=True)
    online, recipe = online_config(config, "rloo", static=False)
    assert (online.estimate.metric, online.evolve.method, online.evolve.shape) == ("a_avg", "eva", "siblings")
    assert (recipe, online.folder) == ("rloo", tmp_path / "data-rloo")
    assert (config.estimate.metric, config.evolve.method, config.evolve.shape) == ("a_min", "evol_instruct", None)


def test_online_evolutions_need_not_suffice_for_a_share_of_all_prompts() -> None:
    few = ["evolve.evolutions=1"]
    with pytest.raises(ConfigError, match=r"is below `mix\.evolved`"):
        load_config(None, few)
    with pytest.raises(ConfigError, match=r"`evolve\.evolutions` is 1, and online, the recipe's `n_new` says"):
        refuse_unknown_online(load_config(None, few, online=True))


def test_a_recipe_of_another_algorithm_is_refused_unless_it_is_the_default(tmp_path: Path) -> None:
    config = load_config(None, ["train.recipe=simpo"], online=True)
    with pytest.raises(ConfigError, match=r"`train\.recipe` is `simpo`, which does not train by rloo"):
        online_config(config, "rloo", static=False)
    own = tmp_path / "mine.yaml"
    own.write_text("algorithm: oaif\n", encoding="utf-8")
    config = load_config(None, [f"train.recipe={own}", f"folder={tmp_path / 'data'}"], online=True)
    assert online_config(config, "oaif", static=False)[1] == str(own)


def test_a_recipe_of_another_algorithm_than_is_named_is_refused(tmp_path: Path) -> None:
    config = load_config(None, [f"folder={tmp_path / 'data'}"], online=True)
    assert online_config(config, "grpo", static=False, recipe="dapo")[1] == "dapo"
    with pytest.raises(ConfigError, match=r"`--recipe` is `dapo`, which trains by grpo: give `--algorithm grpo`"):
        online_config(config, "rloo", static=False, recipe="dapo")


def test_what_the_recipe_says_in_the_place_of_the_solvers_block_is_told() -> None:
    solver = load_config(CARELESS_CONFIG, ["solver.temperature=0.5"]).model_solver
    assert solver is not None
    assert sampled_otherwise(solver, RECIPES / "sandbox_rloo.yaml") == [
        "`num_generations` is 4, not `solver.responses`, 6",
        "`temperature` is 1.0, not `solver.temperature`, 0.5",
        "`max_prompt_length` is 256, not `solver.max_prompt_tokens`, 512",
    ]
    told = sampled_otherwise(solver, RECIPES / "sandbox_oaif.yaml")
    assert told[0] == "`num_generations` is 2, not `solver.responses`, 6"


def test_a_run_that_older_rules_began_is_not_gone_on_with(tmp_path: Path) -> None:
    run = make_run(tmp_path / "data", seeds=8)
    job = run.store.job_folder(1, "online")
    job.mkdir(parents=True)
    (job / "begun_with.json").write_text('{"inputs": {}, "seeds": {}}', encoding="utf-8")
    with pytest.raises(StaleError, match=r"other rules began it \(up to 2, these are \d+\): other prompts would be"):
        begun_with(run)


def test_a_folder_from_before_unsolved_prompts_goes_on_with_evolving_them(tmp_path: Path) -> None:
    new = load_config()
    assert settled(new, Store(tmp_path / "none")).estimate.min_best == "auto"
    store = small_store(tmp_path / "old")
    assert settled(new, store) == new
    path = store.folder / "manifests" / "iter_2.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["config"]["estimate"]["min_best"], manifest["config"]["estimate"]["min_right"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert settled(new, store).estimate.min_best is None
    # What is set in eva.yaml is never put aside.
    own = load_config(None, ["estimate.min_best=0.5"])
    assert settled(own, store) == own


@pytest.mark.parametrize("key", ["evolve.method", "reward.answers"])
def test_what_needs_the_columns_of_an_environment_is_refused(key: str) -> None:
    reward = {"function": "eva_data.rewards.environment:score_answer", "answers": "carried"}
    settings: dict[str, Any] = {
        "name": "posed",
        "seeds": {"environment": "reasoning_gym/chain_sum", "size": 4},
        "solver": {"model": "acme/base"},
        "reward": reward if key == "reward.answers" else {"function": "mine:score"},
        "evolve": {"method": "environment"} if key == "evolve.method" else {"method": "mine:method"},
    }
    with pytest.raises(ConfigError, match="a trainer is given only the text of a prompt: use `eva-data run`"):
        refuse_unknown_online(parse_config(settings, "the test"))


def test_online_nobody_answers_beside_the_model_in_training() -> None:
    with pytest.raises(ConfigError, match=r"`contrast` is set, and online, the model is trained on its own responses"):
        refuse_unknown_online(load_config(None, ["contrast.model=sandbox-steps"], online=True))
