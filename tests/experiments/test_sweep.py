"""A small sweep of the sandbox from the command line, killed in the middle and repeated."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import CliRunner

from eva_data.cli import main
from eva_data.ledger import Ledger

SWEEP = {
    "name": "small",
    "question": "Is it better to learn from right answers alone?",
    "config": "sandbox",
    "set": ["seeds.sandbox=40", "train.heldout=5", "evaluate.heldout=0", "evaluate.after_training=false"],
    "iterations": 1,
    "seeds": 1,
    "arms": {"right": [], "lucky": ["pair.min_chosen=0"]},
    "compare": [["right", "lucky"]],
    "primary": {"set": "sandbox", "category": "depth 2"},
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that was killed after its first play and repeated to the end."""
    place = tmp_path_factory.mktemp("sweep")
    (place / "small.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "eva_data.cli", "sweep", "small.yaml"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True, start_new_session=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline().startswith("1/2 right, seed 1: ")
        # The second arm is under way.
        log = place / "sweeps/small/logs/lucky_1.log"
        while not (log.exists() and log.stat().st_size > 0):
            time.sleep(0.1)
        os.killpg(first.pid, signal.SIGKILL)
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (place / "said").write_text(done.stdout, encoding="utf-8")
    return place


def measured(sweep: Path, name: str) -> None:
    """Give another sweep the figures of theta_0, which are measured once per folder."""
    (sweep / "sweeps" / name).mkdir()
    shutil.copy(sweep / "sweeps/small/theta_0.json", sweep / "sweeps" / name)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_asks_nothing_twice(sweep: Path) -> None:
    with Ledger(sweep / "sweeps/small/ledger.sqlite") as ledger:
        assert ledger.totals()["repeated"] == 0
        assert [name for name, _ in ledger.designs()] == ["sweep small"]
    said = (sweep / "said").read_text(encoding="utf-8").splitlines()
    assert [line.partition(":")[0] for line in said[:2]] == ["1/2 right, seed 1", "2/2 lucky, seed 1"]
    assert "descriptive only, since 1 seed cannot give a significant result in 1 comparison, 6 could." in "".join(said)


@pytest.mark.slow
def test_a_sweep_with_the_same_ledger_asks_only_for_what_is_new(sweep: Path) -> None:
    measured(sweep, "other")
    (sweep / "other.yaml").write_text(yaml.safe_dump(SWEEP | {"name": "other"}, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "eva_data.cli", "sweep", "other.yaml", "--arm", "right", "--json"]
    ledger = sweep / "sweeps/small/ledger.sqlite"
    with Ledger(ledger) as before:
        paid = before.totals()
    done = subprocess.run([*command, "--ledger", str(ledger)], cwd=sweep, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with Ledger(ledger) as after:
        assert after.totals() == paid
    assert not (sweep / "sweeps/other/ledger.sqlite").exists()
    assert done.stderr.startswith("1/1 right, seed 1: ")
    assert [(arm["arm"], arm["seeds"]) for arm in json.loads(done.stdout)["arms"]] == [("right", 1), ("lucky", 0)]
    small, other = (pl.read_csv(sweep / f"sweeps/{name}/outcomes.csv") for name in ("small", "other"))
    assert other.equals(small.filter(pl.col("arm") == "right"))


@pytest.mark.slow
def test_an_arm_that_another_sweep_has_played_is_taken_over(sweep: Path) -> None:
    measured(sweep, "again")
    # The same arm under another name, beside an arm that nobody has played.
    arms = {"strict": ["pair.min_chosen=1"], "new": ["solver.responses=2"]}
    values = SWEEP | {"name": "again", "arms": arms, "compare": [["strict", "new"]]}
    (sweep / "again.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "eva_data.cli", "sweep", "again.yaml", "--arm", "strict"]
    command += ["--take-over", "sweeps/small", "--ledger", "sweeps/small/ledger.sqlite"]
    done = subprocess.run(command, cwd=sweep, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.splitlines()[0] == "1 of 1 plays are taken over from sweeps/small."
    weights = ".eva/solvers/iter_1/model.safetensors"
    there, here = (sweep / "sweeps" / place / "seed_1" / weights for place in ("small/right", "again/strict"))
    assert here.stat().st_mtime_ns == there.stat().st_mtime_ns and here.read_bytes() == there.read_bytes()
    small, again = (pl.read_csv(sweep / f"sweeps/{name}/outcomes.csv") for name in ("small", "again"))
    assert again["value"].to_list() == small.filter(pl.col("arm") == "right")["value"].to_list()
    nothing = CliRunner().invoke(main, ["sweep", str(sweep / "again.yaml"), "--take-over", str(sweep), "--dry-run"])
    assert nothing.exit_code == 0
    refused = subprocess.run([*command[:-4], "--take-over", "sweeps"], cwd=sweep, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "`--take-over` is sweeps, which holds no finished sweep (FileNotFoundError)" in refused.stderr


@pytest.mark.slow
def test_its_tables_hold_every_evaluated_prompt_and_every_iteration(sweep: Path) -> None:
    scores = pl.read_parquet(sweep / "sweeps/small/scores.parquet")
    counts = scores.group_by("arm", "seed", "theta").len().sort("arm", "theta")
    assert counts.rows() == [("lucky", 1, 0, 25), ("lucky", 1, 1, 25), ("right", 1, 0, 25), ("right", 1, 1, 25)]
    # Both arms begin with the same solver on the same prompts.
    start = scores.filter(pl.col("theta") == 0).partition_by("arm")
    assert start[0].drop("arm").equals(start[1].drop("arm"))
    made = pl.read_csv(sweep / "sweeps/small/iterations.csv")
    assert made.select("arm", "seed", "iteration", "prompts").rows() == [("right", 1, 1, 40), ("lucky", 1, 1, 40)]
    depth_2 = scores.filter((pl.col("theta") == 1) & (pl.col("category") == "depth 2"))
    outcomes = pl.read_csv(sweep / "sweeps/small/outcomes.csv").filter(pl.col("theta") == 1)
    assert dict(outcomes.select("arm", "value").iter_rows()) == dict(
        depth_2.group_by("arm").agg(pl.col("score").mean()).iter_rows()
    )


@pytest.mark.slow
def test_its_reports_name_question_outcome_arms_and_verdict(sweep: Path) -> None:
    report = (sweep / "sweeps/small/report.md").read_text(encoding="utf-8")
    assert report.startswith("# small\n\nIs it better to learn from right answers alone?\n")
    assert "Outcome, named before the first arm ran: the mean score of theta_1 on the set sandbox, depth 2." in report
    assert "```bash\neva-data sweep small.yaml\n```" in report
    assert "\n| right | 1 | " in report
    assert "\n| right - lucky | 1 | " in report
    page = (sweep / "sweeps/small/report.html").read_text(encoding="utf-8")
    assert "Content-Security-Policy" in page
    assert "pair.min_chosen=0" in page


@pytest.mark.slow
def test_an_arm_that_fails_is_named_and_the_others_go_on(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sweep)
    measured(sweep, "failing")
    failing = {
        **SWEEP,
        "name": "failing",
        "seeds": 1,
        "arms": {"right": [], "dear": ["reward.function=none_such:score"]},
    }
    failing["compare"] = [["right", "dear"]]
    (sweep / "failing.yaml").write_text(yaml.safe_dump(failing, sort_keys=False), encoding="utf-8")
    # The folder of the arm that works is there already, by another name.
    done = CliRunner().invoke(main, ["sweep", "failing.yaml", "--dry-run"])
    assert done.output.splitlines()[1] == "2 arms x 1 seeds = 2 plays of 1 iterations, in sweeps/failing"
    ledger = "sweeps/small/ledger.sqlite"
    done = CliRunner().invoke(main, ["sweep", "failing.yaml", "--jobs", "2", "--ledger", ledger])
    assert done.exit_code == 1
    assert "dear, seed 1: failed after " in done.output
    assert "none_such" in done.output
    assert "No seed has both right and dear to the end, so nothing is said of them." in done.output
    assert "1 of the plays did not come to their end, and their seeds are left out" in done.output
