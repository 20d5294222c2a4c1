"""The page of results: what is not run says so, and a result in the folder gives its verdict and its place."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from eva_data.errors import DataError
from eva_data.experiments.arms import OUTCOMES_FILE
from eva_data.experiments.design import SWEEPS, Design, read_sweep
from eva_data.experiments.results import read_result, results_page, summary
from eva_data.experiments.written import MADE_FILE, SUMMARY_FILE

READY = sorted(path.stem for path in SWEEPS.glob("*.yaml"))


def played(results: Path, name: str, ends: dict[str, float], *, seeds: int = 10, design: Design | None = None) -> Path:
    """A result in which arms end at these values, a little higher with each seed; theta_0 is at 0.1."""
    design = design or read_sweep(name).design
    folder = results / name
    folder.mkdir(parents=True)
    command = ["eva-data", "sweep", name]
    (folder / SUMMARY_FILE).write_text(json.dumps(summary(design, command, failed=0)), encoding="utf-8")
    rows = [
        (arm, seed, end + 0.001 * seed if theta else 0.1, 2000, theta)
        for arm, end in ends.items()
        for seed in range(1, seeds + 1)
        for theta in (0, design.last_theta(arm))
    ]
    pl.DataFrame(rows, ["arm", "seed", "value", "prompts", "theta"], orient="row").write_csv(folder / OUTCOMES_FILE)
    made = [(arm, seed, 1, 600, 0, 150, 0.0) for arm in ends for seed in range(1, seeds + 1)]
    columns = ["arm", "seed", "iteration", "prompts", "evolved", "pairs", "mean_depth"]
    pl.DataFrame(made, columns, orient="row").write_csv(folder / MADE_FILE)
    return folder


def section(page: str, name: str) -> str:
    return page.split(f"\n## {name}\n")[1].split("\n## ")[0]


def test_every_ready_sweep_has_a_section_with_its_command_and_says_that_it_is_not_run(tmp_path: Path) -> None:
    page = results_page(tmp_path)
    assert sorted(line[3:] for line in page.splitlines() if line.startswith("## ")) == READY
    for name in READY:
        found = section(page, name)
        assert f"eva-data sweep {name} --jobs 2" in found
        assert "Verdict: not run. " in found
        assert read_sweep(name).design.question in found
    assert "table 5: eva 60.1, eva-greedy 59.5, no-evolve-greedy 56.1" in section(page, "table-5")


def test_what_right_answers_teach_stands_beside_the_sweeps(tmp_path: Path) -> None:
    rows = [(1, 2, 0.95, 0.9), (1, 3, 0.2, 0.25), (2, 2, 0.95, 0.8), (2, 3, 0.2, 0.3)]
    pl.DataFrame(rows, ["seed", "depth", "before", "after"], orient="row").write_csv(tmp_path / "gold.csv")
    found = section(results_page(tmp_path), "Right answers instead of a game")
    assert [line for line in found.splitlines() if line.startswith("|")] == [
        "| held-out puzzles of depth | theta_0, % | taught, % | seeds |",
        "|---|---|---|---|",
        "| 2 | 95.0 | 85.0 | 2 |",
        "| 3 | 20.0 | 27.5 | 2 |",
    ]


def test_a_result_that_agrees_one_that_is_opposite_and_one_that_is_equivalent(tmp_path: Path) -> None:
    played(tmp_path, "table-6", {"incremental": 0.2, "scratch": 0.3})
    ends = {"eva": 0.3, "eva-greedy": 0.3, "eva-uniform": 0.301, "no-evolve-sample": 0.2, "static": 0.15}
    played(tmp_path, "table-5", {**ends, "no-evolve-greedy": 0.2})
    page = results_page(tmp_path)
    order = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    # What does not reproduce comes first, what nobody ran last.
    assert order[:3] == ["table-6", "table-5", "band"]
    assert "| incremental - scratch | +0.3 | -10.0 | -10.0 to -10.0 | 0.0020 | 10 | opposite |" in section(
        page, "table-6"
    )
    found = [line.split(" | ") for line in section(page, "table-5").splitlines() if " - " in line.split(" | ")[0]]
    assert {line[0][2:]: (line[1], line[-1][:-2]) for line in found} == {
        "eva - eva-greedy": ("+0.6", "equivalent within a margin"),
        "eva - static": ("+8.5", "reproduced"),
        "eva - eva-uniform": ("-", "worse"),
        "eva - no-evolve-sample": ("+4.8", "reproduced"),
        "no-evolve-sample - static": ("+3.7", "reproduced"),
    }


def test_few_seeds_are_descriptive_and_an_older_design_says_so(tmp_path: Path) -> None:
    older = read_sweep("table-6").design.model_copy(update={"seeds": 3, "iterations": 2})
    played(tmp_path, "table-6", {"incremental": 0.3, "scratch": 0.2}, seeds=3, design=older)
    found = section(results_page(tmp_path), "table-6")
    assert "| incremental - scratch | +0.3 | +10.0 | - | 0.2500 | 3 | descriptive only |" in found
    assert "It was played by an earlier version of the file" in found


def test_a_sweep_of_ones_own_has_a_section_too(tmp_path: Path) -> None:
    own = read_sweep("table-6").design.model_copy(update={"name": "table-6-crowded"})
    played(tmp_path, "table-6-crowded", {"incremental": 0.3, "scratch": 0.2}, design=own)
    assert "| reproduced |" in section(results_page(tmp_path), "table-6-crowded")


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    folder = played(tmp_path, "table-6", {"incremental": 0.3, "scratch": 0.2})
    path = folder / SUMMARY_FILE
    said = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**said, "design": {**said["design"], "margin": 0.05}}), encoding="utf-8")
    with pytest.raises(DataError, match="the hash is not that of the design"):
        read_result(folder)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="is no summary of a sweep: copy the file that"):
        read_result(folder)
    path.write_text(json.dumps(said), encoding="utf-8")
    outcomes = folder / OUTCOMES_FILE
    text = outcomes.read_text(encoding="utf-8")
    outcomes.write_text(text.replace("scratch", "other"), encoding="utf-8")
    with pytest.raises(DataError, match="has the arm `other`, which the design does not name"):
        read_result(folder)
    outcomes.write_text(text.replace("value", "score"), encoding="utf-8")
    with pytest.raises(DataError, match="has the columns arm, seed, score, prompts, theta, expected arm"):
        read_result(folder)
    outcomes.unlink()
    with pytest.raises(DataError, match=r"outcomes\.csv is missing: copy all three files of a sweep"):
        read_result(folder)
