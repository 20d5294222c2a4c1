"""No setting is dropped in silence: online, every key is taken or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eva_data.config import Config, Settings
from eva_data.config.reading import load_config
from eva_data.errors import ConfigError
from eva_data.game.online import ALGORITHMS, online_config
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
    "evolve.method": "eva",
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
    "pair.rewrite_length": 0.5,
    "train.recipe": "sandbox_rloo",
    "train.mode": "scratch",
    "train.accelerate": "fsdp.yaml",
    "train.report_to": ["wandb"],
    "online.estimate": "fresh",
}
"""Key -> a value that is not its default, where a number or a truth value will not do."""


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
    if other is None:
        other = (usual or 0) + 1
    more = ["evolve.strategies=[{name: own, template: 'Own {prompt}'}]"] if name == "only_own" else []
    return load_config(None, [*more, f"{key}={other}"], online=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("key", keys())
def test_every_key_is_taken_or_refused_by_name(key: str, algorithm: str, tmp_path: Path) -> None:
    config = with_other_value(key).model_copy(update={"folder": tmp_path / "data"})
    block, _, name = key.partition(".")
    if name not in TAKEN[block]:
        with pytest.raises(ConfigError, match=rf"`{key}` is .*: take it out of eva\.yaml"):
            online_config(config, algorithm, static=False)
        return
    if key == "train.recipe" and algorithm != "rloo":
        assert online_config(config, algorithm, static=False)[1] == f"sandbox_{algorithm}"
        return
    online, _ = online_config(config, algorithm, static=False)
    # It is in force, and no default of the mode is put in its place.
    assert getattr(getattr(online, block), name) == getattr(getattr(config, block), name)


def test_offline_a_key_is_taken_by_the_stage_of_its_block_and_online_is_the_other_mode() -> None:
    # `what_counts` holds every key of a block that decides about an iteration, but for the block of the other mode.
    from eva_data.dataset.staleness import what_counts

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
    from eva_data.config.reading import parse_config

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
