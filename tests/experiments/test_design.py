"""Sweep files: what they say is fixed before the first arm runs, and what is wrong with one is said in a sentence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from eva_data.cli.text.sweeps import outlook
from eva_data.errors import ConfigError, DataError, StaleError
from eva_data.experiments.arms import Play, begin, plays_of
from eva_data.experiments.design import SWEEPS, read_sweep
from eva_data.experiments.verdicts import is_descriptive
from eva_data.ledger import Ledger

FILE = {
    "name": "fraction",
    "question": "Does it matter how many prompts are drawn?",
    "config": "sandbox",
    "iterations": 2,
    "seeds": 2,
    "arms": {"quarter": ["sample.fraction=0.25"], "half": ["sample.fraction=0.5"]},
    "compare": [["quarter", "half"]],
}


def written(folder: Path, **changes: object) -> str:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({**FILE, **changes}, sort_keys=False), encoding="utf-8")
    return str(path)


def test_every_arm_is_played_with_every_seed_seed_by_seed(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path))
    assert plays_of(sweep) == (Play("quarter", 1), Play("half", 1), Play("quarter", 2), Play("half", 2))
    assert sweep.settings("half", 2, Path("/s/half/seed_2"), Path("/s/ledger.sqlite")) == (
        "sample.fraction=0.5",
        "name=fraction-half-2",
        "seed=2",
        "folder=/s/half/seed_2",
        "ledger=/s/ledger.sqlite",
    )
    assert sweep.load("half").sample.fraction == 0.5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {"quarter": []}}, "is no sweep: `arms` holds 1, at least 2 were expected"),
        ({"compare": [["quarter", "third"]]}, "is no sweep: `third` is no arm: known are quarter, half"),
        ({"compare": []}, "is no sweep: `compare` needs at least one pair of different arms"),
        (
            {"compare": [["quarter", "half"], ["half", "quarter"]]},
            "is no sweep: `compare` names a pair of arms twice, which would count one comparison as two",
        ),
        (
            {"arms": {"quarter": ["seed=3"], "half": []}},
            "is no sweep: `seed=3` sets `seed`, which the sweep itself sets for each arm and seed",
        ),
        ({"seed": 3}, "is no sweep: `seed`: Extra inputs are not permitted"),
        ({"margin": 0}, "is no sweep: `margin`: Input should be greater than 0"),
        ({"arm_iterations": {"third": 1}}, "is no sweep: `third` is no arm: known are quarter, half"),
        (
            {"arm_iterations": {"half": 1}, "online": {"half": {}}},
            "is no sweep: `half` is `online` and has `arm_iterations`: online there is one iteration",
        ),
        (
            {"primary": {"measure": "regret"}, "online": {"half": {}}},
            "is no sweep: `primary.measure` is regret, which is about the last prompt set, and `online` has no prompt "
            "sets: measure the `score`",
        ),
        (
            {"primary": {"measure": "regret", "category": "depth 3"}},
            "is no sweep: `primary` names the category `depth 3`, but `regret` is measured on the last prompt set",
        ),
        (
            {"arms": {"quarter": [], "half": ["sample.fraction=0.5"]}, "online": {"half": {}}},
            "the arm `half` of the sweep fraction: `sample.fraction` is 0.5, and online, the most informative share",
        ),
        (
            {"primary": {"set": "heldout"}},
            "the arm `quarter` of the sweep fraction: `primary` measures the score of theta_2 on the set `heldout`, "
            "and the settings have the sets sandbox: name one of `evaluate.sets`, or a file, in `primary.set`, or set "
            "`evaluate.heldout` for the set `heldout`",
        ),
        (
            {"set": ["solver={backend: api, model: m, base_url: 'http://127.0.0.1:9/v1'}"]},
            "the arm `quarter` of the sweep fraction: `primary` measures the score of theta_2, and a solver of the "
            "backend api cannot be trained here: name a solver of the backend transformers or vllm, or another "
            "`primary.measure`",
        ),
        ({"config": "nothing.yaml"}, "there is no such file beside it, and no such ready recipe"),
        (
            {"arms": {"quarter": ["sample.fractoin=0.25"], "half": []}},
            "the arm `quarter` of the sweep fraction: ",
        ),
        (
            {"arms": {"quarter": ["sample.fractoin=0.25"], "half": []}},
            "unknown key `sample.fractoin`; did you mean `sample.fraction`?",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_a_sentence(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_sweep(written(tmp_path, **changes))
    assert said in str(error.value)


def test_an_arm_may_have_its_own_iterations_or_train_online(tmp_path: Path) -> None:
    arms: dict[str, list[str]] = {"two": [], "one": [], "rloo": [], "static": []}
    online = {"rloo": {"epochs": 2}, "static": {"algorithm": "oaif", "static": True}}
    sweep = read_sweep(
        written(
            tmp_path, arms=arms, compare=[["two", "one"]], arm_iterations={"one": 1}, online=online, config="careless"
        )
    )
    design = sweep.design
    assert [design.last_theta(arm) for arm in arms] == [2, 1, 1, 1]
    assert [" ".join(design.played_by(arm)) for arm in arms] == [
        "run --iters 2",
        "run --iters 1",
        "online --algorithm rloo --epochs 2",
        "online --algorithm oaif --epochs 1 --static",
    ]
    assert (
        " ".join(design.evaluated_by("one"))
        == "evaluate --solver theta_0 --solver theta_1 --against theta_0 --set-name sandbox"
    )
    assert Play("static", 3).dataset(design, Path("/s")) == Path("/s/static/seed_3-oaif-static")
    assert sweep.settings("static", 3, Path("/s/static/seed_3"), Path("/s/l"), design.suffix("static"))[:3] == (
        "name=fraction-static-3-oaif-static",
        "seed=3",
        "folder=/s/static/seed_3-oaif-static",
    )
    words = outlook(sweep, Path("sweeps/fraction"), plays_of(sweep)).splitlines()
    assert words[2] == "Outcome, named before the first arm ran: the mean score of the last theta on the set sandbox."
    assert words[3:7] == [
        "- two: the shared settings",
        "- one: run --iters 1; the shared settings",
        "- rloo: online --algorithm rloo --epochs 2; the shared settings",
        "- static: online --algorithm oaif --epochs 1 --static; the shared settings",
    ]
    # Two seeds and one comparison: 2 / 2^2.
    assert words[7].startswith("Descriptive only: with 2 seeds and 1 comparisons no p value can be below 0.5; 6 seeds")


def test_another_measure_than_the_score_needs_no_evaluation(tmp_path: Path) -> None:
    design = read_sweep(written(tmp_path, primary={"measure": "diversity"})).design
    assert design.evaluated_by("half") == []


def test_keys_that_came_later_do_not_change_the_hash_of_an_older_design(tmp_path: Path) -> None:
    design = read_sweep(written(tmp_path)).design
    values = {
        **FILE,
        "source": None,
        "set": [],
        "primary": {"set": "sandbox", "category": None},
        "margin": None,
        "published": {},
        "published_as": None,
    }
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    assert design.digest == hashlib.sha256(text.encode()).hexdigest()
    other = read_sweep(written(tmp_path, arm_iterations={"half": 1})).design
    assert other.digest != design.digest


def test_a_missing_file_and_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no sweep file .*none\.yaml"):
        read_sweep(str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="there is no sweep `tabel-5`: ready are "):
        read_sweep("tabel-5")


def test_the_design_is_in_the_ledger_before_any_arm_and_cannot_change(tmp_path: Path) -> None:
    sweep, folder = read_sweep(written(tmp_path)), tmp_path / "out"
    begin(sweep, folder, folder / "ledger.sqlite")
    begin(sweep, folder, folder / "ledger.sqlite")
    with Ledger(folder / "ledger.sqlite") as ledger:
        assert ledger.designs() == [("sweep fraction", sweep.design.digest)]
    with pytest.raises(StaleError, match="was begun with another design: arms, seeds, comparisons and outcome are"):
        begin(read_sweep(written(tmp_path, seeds=3)), folder, folder / "ledger.sqlite")
    (folder / "design.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"design\.json is damaged: restore it, or begin the sweep in another"):
        begin(sweep, folder, folder / "ledger.sqlite")


@pytest.mark.parametrize("name", sorted(file.stem for file in SWEEPS.glob("*.yaml")))
def test_a_ready_sweep_loads_with_all_its_arms(name: str) -> None:
    design = read_sweep(name).design
    assert design.name == name
    # The control in the world `careless` has five seeds, and says that it is descriptive.
    assert is_descriptive(design.seeds, len(design.compare)) == (name == "table-5-careless")
