"""The main job on the sandbox: real model, real verifier, real training, from nothing to two iterations."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import psutil
import pytest
from sandbox_runs import SMALL, command, eva, hashes, processes_of, tables, totals

from eva_data.dataset.store import Store
from eva_data.sandbox.verifier import score
from eva_data.tables.schemas import TABLES, check

pytestmark = pytest.mark.slow


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "sandbox"))


def test_every_table_has_its_schema_and_every_row_went_somewhere(built: Path) -> None:
    for iteration in (1, 2):
        for name, table in tables(built, iteration).items():
            check(table, TABLES[name], name)
        for flow in Store(built).manifest(iteration).flow:
            assert flow.rows_in == flow.rows_out + flow.rejected + flow.set_aside, flow
    second = tables(built, 2)
    assert set(second["prompts"]["mix_role"]) == {"evolved", "carried"}
    pair_rejects = second["rejects"].filter(pl.col("stage") == "pair")
    assert second["preferences"].height + pair_rejects.height == second["prompts"].height


def test_chosen_really_scores_above_rejected_as_loaded_by_datasets(built: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    pairs = load_dataset(str(built), "preferences", split="iter_2", cache_dir=str(tmp_path))
    assert len(pairs) > 0
    for row in pairs:
        prompt = row["prompt"][-1]["content"]
        chosen, rejected = (score(prompt, row[side][0]["content"]) for side in ("chosen", "rejected"))
        assert chosen is not None and rejected is not None
        assert chosen > rejected
        assert (chosen, rejected) == (row["score_chosen"], row["score_rejected"])
    both = load_dataset(str(built), split="iter_1+iter_2", cache_dir=str(tmp_path))
    assert set(both["iteration"]) == {1, 2}
    for name, table in tables(built, 2).items():
        if not table.is_empty():
            split = load_dataset(str(built), name, split="iter_2", cache_dir=str(tmp_path))
            assert len(split) == table.height


def test_lineage_never_dangles(built: Path) -> None:
    first, second = tables(built, 1), tables(built, 2)
    known = set(first["prompts"]["prompt_id"]) | set(second["prompts"]["prompt_id"])
    known |= set(second["evolutions"]["prompt_id"].drop_nulls())
    parents = pl.concat([second["prompts"]["parent_id"], second["evolutions"]["parent_id"]]).drop_nulls()
    assert set(parents) <= known
    assert set(second["prompts"]["root_id"]) <= set(first["prompts"]["prompt_id"])
    mixed = second["evolutions"].filter(pl.col("status") == "mixed")
    evolved = second["prompts"].filter(pl.col("mix_role") == "evolved")
    assert sorted(mixed["prompt_id"]) == sorted(evolved["prompt_id"])


def test_carried_prompts_keep_the_answers_that_the_same_solver_gave_in_estimate(built: Path) -> None:
    second = tables(built, 2)
    carried = second["prompts"].filter(pl.col("mix_role") == "carried").select("prompt_id")
    columns = ["prompt_id", "response_idx", "response", "reward"]
    by_stage = {
        stage: second["responses"].filter(pl.col("stage") == stage).join(carried, on="prompt_id").select(columns)
        for stage in ("estimate", "respond")
    }
    assert by_stage["respond"].equals(by_stage["estimate"])
    assert set(second["responses"].filter("reused")["prompt_id"]) == set(carried["prompt_id"])


def test_the_summary_says_what_happened_and_what_is_next(built: Path) -> None:
    out, progress = ((built.parent / name).read_text() for name in ("stdout", "stderr"))
    for words in ("where every row went", "Rejected, by reason", "Informativeness (a_min)", "theta_0", "theta_1"):
        assert words in out
    assert "Next: eva-data train --iter 2" in out
    assert "iteration 2: evolve" in progress


def test_building_again_does_nothing_and_pays_nothing(copied: Path) -> None:
    before, paid = hashes(copied), totals(copied)
    assert eva(copied, "build", "--iter", "2").returncode == 0
    assert hashes(copied) == before
    assert totals(copied) == paid
    assert paid["repeated"] == 0


def test_verify_passes_on_an_honest_build(built: Path) -> None:
    for iteration in ("1", "2"):
        done = eva(built, "verify", "--iter", iteration)
        assert (done.returncode, done.stderr.count("Error")) == (0, 0), done.stdout + done.stderr


FIRST = pl.int_range(pl.len()) == 0


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("responses", pl.when(FIRST).then(0.123).otherwise("reward").alias("reward"), "informativeness"),
        (
            "informativeness",
            pl.when(FIRST).then(~pl.col("selected")).otherwise("selected").alias("selected"),
            "selected",
        ),
        ("prompts", pl.when(FIRST).then(pl.lit("x")).otherwise("mutation").alias("mutation"), "mutation"),
        ("preferences", pl.col("chosen_idx") + 1, "chosen_idx"),
    ],
)
def test_verify_names_the_table_and_rows_that_were_edited(copied: Path, name: str, change: pl.Expr, named: str) -> None:
    path = Store(copied).table_files(name, 2)[0]
    pl.read_parquet(path).with_columns(change).write_parquet(path)
    done = eva(copied, "verify", "--iter", "2")
    assert done.returncode == 1
    assert f"{name}/iter_2.parquet: its SHA-256 is not the one in the manifest" in done.stdout
    assert named in done.stdout.split("\n", 1)[1]


def test_another_folder_gets_the_same_bytes_another_seed_other_ones(built: Path, tmp_path: Path) -> None:
    for name, settings in (("same", SMALL), ("other", (*SMALL, "--set", "seed=2"))):
        done = eva(tmp_path / name, "build", "--iter", "1", settings=settings)
        assert done.returncode == 0, done.stderr
    first = {name: found for name, found in hashes(built).items() if name in Store(built).manifest(1).files}
    assert hashes(tmp_path / "same") == first
    assert hashes(tmp_path / "other")["responses/iter_1.parquet"] != first["responses/iter_1.parquet"]


def test_a_changed_setting_is_named_by_build_and_status(copied: Path) -> None:
    settings = [*SMALL, "--set", "sample.fraction=0.5"]
    done = eva(copied, "build", "--iter", "2", settings=settings)
    assert done.returncode == 1
    assert "iteration 2 " in done.stderr
    assert "`sample.fraction` is 0.5, was 0.25" in done.stderr
    assert "Traceback" not in done.stderr
    shown = eva(copied, "status", settings=settings).stdout
    assert "stale: `sample.fraction` is 0.5, was 0.25" in shown


def test_only_refuses_to_make_what_is_missing(copied: Path) -> None:
    done = eva(copied, "build", "--iter", "3", "--only")
    assert (done.returncode, "theta_2 is not trained" in done.stderr) == (1, True)


def test_a_folder_of_a_newer_version_is_refused(copied: Path) -> None:
    path = Store(copied).manifest_path(2)
    path.write_text(path.read_text().replace('"format": 2', '"format": 99'))
    shown = eva(copied, "status")
    assert (shown.returncode, "UNREADABLE" in shown.stdout) == (0, True)
    done = eva(copied, "build", "--iter", "2")
    assert (done.returncode, "was written by a newer eva-data (format 99" in done.stderr) == (1, True)


def test_show_prints_a_seed_its_evolutions_and_the_pair(built: Path) -> None:
    shown = eva(built, "show", "--iter", "2", "--rows", "1").stdout
    for words in ("[seed] ", "chosen ", "rejected "):
        assert words in shown


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, *arguments),
        cwd=folder.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_workers(folder: Path) -> dict[str, int]:
    """The pids in the pipeline of a running respond job, after its model step has begun."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        ledger = folder / ".eva" / "ledger.sqlite"
        if list((folder / ".eva").glob("jobs/*/respond/workers.json")) and ledger.exists():
            (child,) = [p for p in processes_of(folder) if _is_job(p)]
            return {"child": child.pid, **{str(p.pid): p.pid for p in child.children()}}
        time.sleep(0.05)
    raise AssertionError("no respond job began")


def _is_job(process: psutil.Process) -> bool:
    """Whether the process is the fork of a nursery: two of its line are nurseries, and three are not."""
    line = [process, *process.parents()[:2]]
    return ["eva_data.jobs.nursery" in each.cmdline() for each in line] == [True, True, False]


def test_a_worker_that_is_killed_alone_ends_the_build_with_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    build = started(folder, "build", "--iter", "1")
    workers = wait_for_workers(folder)
    victim = [pid for name, pid in workers.items() if name != "child"][-1]
    os.kill(victim, signal.SIGKILL)
    _, errors = build.communicate(timeout=300)
    assert build.returncode == 1
    assert f"a worker process of the respond stage died (pid {victim})" in errors
    assert "Traceback" not in errors
    assert processes_of(folder) == []


def test_after_sigkill_of_the_parent_the_lock_is_free_and_nothing_runs(tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    build = started(folder, "build", "--iter", "1")
    wait_for_workers(folder)
    second = eva(folder, "build", "--iter", "1")
    assert (second.returncode, "another eva-data is at work in" in second.stderr) == (1, True)
    os.kill(build.pid, signal.SIGKILL)
    build.communicate()
    with Store(folder).locked():
        pass
    deadline = time.monotonic() + 120
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(folder) == []


KILLS = int(os.environ.get("EVA_DATA_KILLS", "2"))
"""Points of a build at which it is killed; more of them take their time."""


@pytest.mark.parametrize("point", range(1, KILLS + 1))
def test_a_build_killed_at_any_point_ends_with_the_same_bytes_and_repeats_no_call(
    built: Path, tmp_path: Path, point: int
) -> None:
    folder, paid = tmp_path / "sandbox", totals(built)
    needed = paid["generations"] + paid["rewards"]
    build = started(folder, "build", "--iter", "2")
    wanted = needed * point // (KILLS + 1)
    # By what is in the ledger, not by the clock: a point of the work, on any machine.
    while build.poll() is None and _finished_calls(folder) < wanted:
        time.sleep(0.01)
    assert build.poll() is None, "the build ended before it could be killed"
    os.killpg(build.pid, signal.SIGKILL)
    build.communicate()
    done = eva(folder, "build", "--iter", "2")
    assert done.returncode == 0, done.stderr
    assert hashes(folder) == hashes(built)
    assert totals(folder) == paid


def _finished_calls(folder: Path) -> int:
    if not (folder / ".eva" / "ledger.sqlite").exists():
        return 0
    counted = totals(folder)
    return counted["generations"] + counted["rewards"]


def test_the_working_state_of_a_build_is_its_owners_alone(built: Path) -> None:
    paths = [built / ".eva", *(built / ".eva").rglob("*")]
    assert len(paths) > 10
    assert [path for path in paths if path.lstat().st_mode & 0o077] == []
