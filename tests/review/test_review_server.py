"""`eva-data review` on a real Argilla server with faults: nothing is lost, doubled or attributed to another text."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from argilla_server import ArgillaServer
from reviewing import NAMED, answer, dataset, environment, records, review, store_of_pairs
from sandbox_runs import command
from small_store import small_store

from eva_data.dataset.store import Store
from eva_data.hub.verify import verify_iteration
from eva_data.review.answers import kept_answers, reviewers_key

pytestmark = pytest.mark.argilla


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset of six pairs."""
    store_of_pairs(tmp_path / "small", 6)
    return tmp_path / "small"


def run(server: ArgillaServer, folder: Path, verb: str, workspace: str, *options: str, iteration: int = 1) -> str:
    """Standard output of a command that is expected to succeed."""
    done = review(server, folder, verb, "--iter", str(iteration), "--workspace", workspace, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def error(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a command that failed."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    return last


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_a_wrong_key_a_missing_workspace_and_a_missing_dataset_are_told(
    argilla: ArgillaServer, folder: Path, verb: str
) -> None:
    one = ("--iter", "1")
    told = error(review(argilla, folder, verb, *one, key="argilla.nokey"))
    assert "ARGILLA_API_KEY" in told and "argilla.nokey" not in told
    assert "nowhere" in error(review(argilla, folder, verb, *one, "--workspace", "nowhere"))
    if verb == "pull":
        told = error(review(argilla, folder, verb, *one, "--workspace", argilla.workspace("empty")))
        assert "small-iter-1" in told and "review push" in told


def test_a_server_that_is_down_is_told_and_what_was_answered_is_still_there_when_it_is_back(
    argilla: ArgillaServer, folder: Path
) -> None:
    workspace = argilla.workspace("down")
    run(argilla, folder, "push", workspace)
    record = records(argilla, workspace)[0]
    answer(argilla, "ann", record["id"], verdict="tie", prompt_quality="good")
    with argilla.down():
        for verb in ("push", "pull", "status"):
            told = error(review(argilla, folder, verb, "--iter", "1", "--workspace", workspace))
            assert argilla.url in told
        assert Store(folder).revisions(1) == [0]
    run(argilla, folder, "pull", workspace)
    (kept,) = Store(folder).scan("reviews", 1).collect().to_dicts()
    assert (kept["pair_id"], kept["status"], kept["verdict"]) == (record["external_id"], "submitted", "tie")


def test_without_an_answer_nothing_is_pulled(argilla: ArgillaServer, folder: Path) -> None:
    workspace = argilla.workspace("early")
    run(argilla, folder, "push", workspace)
    run(argilla, folder, "pull", workspace)
    assert Store(folder).revisions(1) == [0]


def test_a_push_repeats_nothing_and_limits_itself(argilla: ArgillaServer, folder: Path) -> None:
    workspace = argilla.workspace("again")
    for limit, there in (("2", 2), ("2", 2), ("200", 6), ("200", 6)):
        run(argilla, folder, "push", workspace, "--limit", limit)
        assert len({record["external_id"] for record in records(argilla, workspace)}) == there
    assert len(records(argilla, workspace)) == 6


def test_a_discard_without_values_poisons_no_pull(argilla: ArgillaServer, folder: Path) -> None:
    workspace = argilla.workspace("poison")
    run(argilla, folder, "push", workspace)
    first, second = records(argilla, workspace)[:2]
    # The server answers 500 and stores it all the same.
    assert argilla.request("POST", f"records/{first['id']}/responses", "ann", status="discarded").status_code == 500
    answer(argilla, "ann", second["id"], verdict="both_bad", prompt_quality="good")
    run(argilla, folder, "pull", workspace)
    kept = kept_answers(Store(folder), 1, reviewers_key(Store(folder), make=False))
    reviews = {row["pair_id"]: row for row in kept.answers.to_dicts()}
    assert kept.complete and reviews[first["external_id"]]["status"] == "discarded"
    assert reviews[first["external_id"]]["verdict"] is None
    assert reviews[second["external_id"]]["verdict"] == "both_bad"


def test_a_pair_whose_text_changed_does_not_inherit_the_answers_to_the_old_one(
    argilla: ArgillaServer, tmp_path: Path
) -> None:
    workspace = argilla.workspace("changed")
    small_store(tmp_path / "small")
    run(argilla, tmp_path / "small", "push", workspace, iteration=2)
    (old,) = records(argilla, workspace)
    answer(argilla, "ann", old["id"], verdict="both_bad", prompt_quality="good")
    # The same ids as before, with another prompt.
    changed = small_store(tmp_path / "other" / "small", evolved="Say ab and ba, three times.")
    pair = changed.scan("preferences", 2).collect()["pair_id"].item()
    for _ in range(2):
        run(argilla, changed.folder, "push", workspace, iteration=2)
        now = {record["external_id"]: record for record in records(argilla, workspace)}
        new = now.pop(next(name for name in now if name != old["external_id"]))
        assert "three times" in new["fields"]["prompt"] and new["responses"] == []
        assert re.fullmatch(rf"{pair}\.\w+", new["external_id"])
        assert [record["fields"] for record in now.values()] in ([], [old["fields"]])
    run(argilla, changed.folder, "pull", workspace, iteration=2)
    assert changed.revisions(2) == [0]
    answer(argilla, "ann", new["id"], verdict="tie", prompt_quality="good")
    run(argilla, changed.folder, "pull", workspace, iteration=2)
    assert changed.scan("reviews", 2).collect()["verdict"].to_list() == ["tie"]


def test_a_dataset_deleted_in_between_takes_nothing_with_it_that_was_pulled(
    argilla: ArgillaServer, folder: Path
) -> None:
    workspace = argilla.workspace("deleted")
    run(argilla, folder, "push", workspace)
    answer(argilla, "ann", records(argilla, workspace)[0]["id"], verdict="tie", prompt_quality="good")
    run(argilla, folder, "pull", workspace)
    argilla.call("DELETE", f"datasets/{dataset(argilla, workspace)}")
    assert "small-iter-1" in error(review(argilla, folder, "pull", "--iter", "1", "--workspace", workspace))
    assert Store(folder).scan("preferences", 1).collect().height == 5
    run(argilla, folder, "push", workspace)
    answer(argilla, "bob", records(argilla, workspace)[0]["id"], verdict="tie", prompt_quality="good")
    run(argilla, folder, "pull", workspace)
    assert Store(folder).scan("reviews", 1).collect()["votes"].sum() == 2


def test_a_push_that_was_killed_half_way_is_completed_by_the_next_without_a_duplicate(
    argilla: ArgillaServer, tmp_path: Path
) -> None:
    workspace = argilla.workspace("killed")
    folder = store_of_pairs(tmp_path / "small", 2000).folder
    others = set(argilla.elastic.indices)
    wanted = command(
        folder, "review", "push", "--iter", "1", "--workspace", workspace, "--limit", "2000", settings=NAMED
    )
    with subprocess.Popen(wanted, cwd=folder.parent, env=environment(argilla)) as push:
        while pushed(argilla, others) < 300:
            assert push.poll() is None
            time.sleep(0.02)
        push.send_signal(signal.SIGKILL)
    # The server goes on with what it was at work on when its client went away.
    before = -1
    while before != (before := pushed(argilla, others)):
        time.sleep(0.5)
    assert 300 <= before < 2000
    run(argilla, folder, "push", workspace, "--limit", "2000")
    pairs = Store(folder).scan("preferences", 1).collect()["pair_id"].to_list()
    assert sorted(record["external_id"] for record in records(argilla, workspace)) == sorted(pairs)


def pushed(server: ArgillaServer, others: set[str]) -> int:
    """The number of records in all other datasets."""
    return sum(len(found) for name, found in list(server.elastic.indices.items()) if name not in others)


KILLED_AT = """
import os, signal, sys
left = int(sys.argv.pop(1))
def counted(rename):
    def call(*arguments, **more):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return rename(*arguments, **more)
    return call
os.replace, os.rename = counted(os.replace), counted(os.rename)
from eva_data.cli import main
main(sys.argv[1:])
"""
"""The command, killed before the file that it is told, by number, gets its name."""


def test_a_pull_that_was_killed_at_any_file_is_completed_by_the_next_to_the_same_revision(
    argilla: ArgillaServer, tmp_path: Path
) -> None:
    workspace = argilla.workspace("pulled")
    base = store_of_pairs(tmp_path / "base" / "small", 6).folder
    run(argilla, base, "push", workspace)
    for place, record in enumerate(records(argilla, workspace)[:3]):
        for user in ("ann", "bob"):
            answer(argilla, user, record["id"], verdict=("first", "tie", "second")[place], prompt_quality="good")
    before = contents(base)
    whole = Path(shutil.copytree(base, tmp_path / "whole" / "small"))
    run(argilla, whole, "pull", workspace)
    assert contents(whole) != before
    for kill in range(20):
        folder = Path(shutil.copytree(base, tmp_path / str(kill) / "small"))
        line = command(folder, "review", "pull", "--iter", "1", "--workspace", workspace, settings=NAMED)
        line[1:3] = ["-c", KILLED_AT, str(kill)]
        done = subprocess.run(line, cwd=folder.parent, env=environment(argilla), capture_output=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        # What is there is whole or not there, and nothing that was there is another.
        assert contents(folder).items() >= {name: old for name, old in before.items() if name != "README.md"}.items()
        assert Store(folder).changed_files(1) == []
        run(argilla, folder, "pull", workspace)
        assert contents(folder) == contents(whole)
        assert Store(folder).revisions(1) == [0, 1] and verify_iteration(Store(folder), 1).problems == []
        kept = kept_answers(Store(folder), 1, reviewers_key(Store(folder), make=False))
        assert kept.complete and kept.answers.height == 6 and kept.answers["reviewer"].n_unique() == 2
    # The key, the answers, three tables, the manifest and the card.
    assert kill >= 7


def contents(folder: Path) -> dict[str, object]:
    """The published files of a folder, without the key of the pseudonyms."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".eva" not in path.parts and not path.name.endswith(".tmp")
    }
    manifests = {name: json.loads(content) for name, content in found.items() if name.startswith("manifests/")}
    for manifest in manifests.values():
        (manifest.get("review") or {}).pop("reviewers_key", None)
    return found | manifests
