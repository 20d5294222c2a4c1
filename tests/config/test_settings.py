"""eva.yaml and --set: a fault is named in one sentence, with the nearest valid key."""

from __future__ import annotations

from pathlib import Path

import pytest

from eva_data.config import Config, TransformersModel
from eva_data.config.reading import TEMPLATE, dump_config, load_config, parse_config
from eva_data.errors import ConfigError

MINIMAL = """
name: acme/small
seeds: {path: prompts.parquet}
solver: {backend: transformers, model: some/model}
reward: {function: "my.module:score"}
"""


def written(tmp_path: Path, text: str = MINIMAL) -> Path:
    path = tmp_path / "eva.yaml"
    path.write_text(text)
    return path


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    config = load_config(written(tmp_path))
    assert (config.sample.fraction, config.evolve.evolutions, config.mix.evolved) == (0.25, 4, 0.8)
    assert config.solver.responses == 6
    assert (config.estimate.metric, config.sample.method) == ("a_min", "weighted")
    assert config.folder == Path("data/small")


@pytest.mark.parametrize("path", [None, TEMPLATE], ids=["sandbox", "template"])
def test_every_shipped_config_parses(path: Path | None) -> None:
    assert isinstance(load_config(path), Config)


def test_a_resolved_config_reads_back_the_same(tmp_path: Path) -> None:
    config = load_config(written(tmp_path))
    assert parse_config(dump_config(config), "again") == config


def test_an_override_sets_one_key_and_leaves_the_rest(tmp_path: Path) -> None:
    config = load_config(written(tmp_path), ["sample.fraction=0.5", "solver.temperature=1", "folder=elsewhere"])
    assert isinstance(config.solver, TransformersModel)
    assert (config.sample.fraction, config.solver.temperature, config.folder) == (0.5, 1.0, Path("elsewhere"))
    assert config.evolve.evolutions == 4


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("my project's é #1", "my project's é #1"),
        ("#1", "#1"),
        ("'quoted #1'", "quoted #1"),
        ('"tab\\t"', "tab\t"),
        ("  blanks around ", "blanks around"),
        ("a#b", "a#b"),
    ],
)
def test_a_text_of_an_override_is_taken_as_it_is_written(tmp_path: Path, text: str, value: str) -> None:
    assert load_config(written(tmp_path), [f"folder={text}"]).folder == Path(value)


def test_paths_and_devices_do_not_count_as_data(tmp_path: Path) -> None:
    here = load_config(written(tmp_path))
    there = load_config(
        written(tmp_path), ["folder=x", "ledger=y", "seeds.path=z.parquet", "solver.device=cuda", "stalled_minutes=1"]
    )
    other = load_config(written(tmp_path), ["solver.temperature=0.1"])
    assert here.data() == there.data() != other.data()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["sampel.fraction=0.5"], r"unknown key `sampel`; did you mean `sample`\?"),
        (["solver.tempreture=1"], r"unknown key `solver.tempreture`; did you mean `solver.temperature`\?"),
        (["sample.fraction=0"], "`sample.fraction` is `0`: input should be greater than 0"),
        (["sample.fraction=1.5"], "`sample.fraction` is `1.5`: input should be less than or equal to 1"),
        (["solver.responses=1"], "`solver.responses` is `1`: input should be greater than or equal to 2"),
        (["evolve.evolutions=3"], "`sample.fraction` x `evolve.evolutions` = 0.75 is below `mix.evolved` = 0.8"),
        (["sample.method=best"], "`sample.method` is `best`: input should be 'weighted', 'greedy', 'uniform'"),
        (
            ["seeds={}"],
            "`seeds` needs exactly one of `path`, `dataset`, `environment` and `sandbox`, found none of them",
        ),
        (["seeds.dataset=a/b"], r"`seeds` needs exactly one of .* found \['path', 'dataset'\]"),
        (["seeds=null"], "`seeds` is missing"),
        (["reward=null"], "`reward` is missing"),
        (
            ["reward.function=score"],
            "a verifier is named `package.module:function` or `file.py:function`, found `score`",
        ),
        (
            ["estimate.metric=a_max"],
            "`estimate.metric` is `a_max`: expected one of `a_min`, `a_avg`, `a_dis`, `var`, `avg`, `inv_avg`, "
            "`inv_a_min`, `uniform`, .*or a function of your own as `my_module:function`",
        ),
        (["estimate.metric=:mine"], "`estimate.metric` is `:mine`: expected one of `a_min`"),
        (
            ["evolve.method=evil_instruct"],
            "`evolve.method` is `evil_instruct`: expected one of `environment`, `eva`, `evol_complexity`, "
            "`evol_instruct`, `evol_quality`, `one_constraint`, `self_instruct`, .*or a function of your own as "
            "`my_module:function`",
        ),
        (["solver={backend: table, path: r.parquet}"], "`seeds` and `solver` with `backend: table` exclude each other"),
        (
            ["solver={backend: vlm, model: x}"],
            "`solver.backend` is `vlm`: expected one of 'transformers', 'api', 'vllm', .*'table'",
        ),
        (["servers={replicas: 2}"], "the key `servers.launch` is missing"),
        (["servers={launch: slrm}"], "`servers.launch` is `slrm`: expected one of 'local', 'slurm', 'ray'"),
        (
            ["servers={launch: ray, options: [-p]}"],
            "`servers.options` does not go with `launch: ray`, but with `launch: slurm`$",
        ),
        (
            ["servers={launch: local, address: auto}"],
            "`servers.address` does not go with `launch: local`, but with `launch: ray`$",
        ),
        (["execution={engine: local, actors: 2}"], "`execution.actors` does not go with `engine: local`, but with"),
        (["execution={actors: 2}"], "the key `execution.engine` is missing"),
        (["reward={backend: tournament, judges: [{temperature: 0}]}"], "the key `reward.judges.0.model` is missing$"),
        (
            ["reward={backend: code, allow: true, answers: {path: mbpp.jsonl}}"],
            "a prompt that is evolved has none: use `mix: {source: new_seeds}`",
        ),
        (
            ["reward={backend: tournament, judges: []}"],
            "`reward.judges` is `\\[]`: expected a list of at least 1, and it",
        ),
        (
            ["reward={backend: tournament, judges: {model: x}}"],
            "`reward.judges` is `{.*}`: expected a list, in brackets or as lines that begin with `-`$",
        ),
        (
            ["reward={backend: tournament, judges: [{model: x}], schedule: round_robin, rounds: 5}"],
            "`rounds` is 5, and with `schedule: round_robin` every two responses meet",
        ),
        (["sample.band=[0.1]"], "`sample.band` is a list that is too short: item 2 is missing"),
        (["sample.band=[0.1, 0.2, 0.3]"], "`sample.band` is `.*`: expected a list of at most 2, and it holds 3"),
        (["solver.contrsat={model: x}"], r"unknown key `solver.contrsat`; did you mean `solver.contrast`\?"),
        (["solver={modl: x}"], "unknown key `solver.modl`; did you mean `solver.model`?"),
        (["name.x=1"], "`name` is `acme/small`, which holds no keys"),
        (["seed"], "`--set seed` has no value"),
        (["evolve.only_own=true"], "`evolve.only_own` is set but `evolve.strategies` is empty"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, overrides: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config(written(tmp_path), overrides)


@pytest.mark.parametrize(
    "reward",
    [
        "{backend: tournament, judges: [{model: x}]}",
        "{backend: judge, judge: {model: x}}",
        "{backend: consensus, equal: judge, judge: {model: x}, min_votes: 2}",
        "{backend: several, rewards: [{backend: judge, judge: {model: x}}, {backend: judge, judge: {model: y}}]}",
    ],
)
def test_a_judge_runs_on_transformers_unless_it_says_otherwise(tmp_path: Path, reward: str) -> None:
    config = load_config(written(tmp_path), [f"reward={reward}"])
    assert config.reward is not None and "'backend': 'transformers'" in str(config.reward.model_dump())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: [", "is not valid YAML"),
        ("- a", "holds a list, expected keys and values"),
        ("", "is empty, expected keys and values"),
        ("name: x", "the key `solver` is missing"),
        ("name: !!python/object/apply:os.system ['true']", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_config_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_config(written(tmp_path, text))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no config file .*nowhere\.yaml: write one with `eva-data init`"):
        load_config(tmp_path / "nowhere.yaml")
