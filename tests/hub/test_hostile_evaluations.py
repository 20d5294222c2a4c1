"""Evaluations that a stranger wrote: nothing in them runs, leads elsewhere, or comes in beside good tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from evaluated_store import evaluated
from hub_server import Hub, sha256
from published import publish, small_dataset
from sandbox_runs import error_of
from small_store import SETTINGS, small_store

from eva_data.cli.text.evaluations import print_evaluations
from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import parse_config
from eva_data.dataset.evaluations import RECORD, parse_record, read_record, read_rows
from eva_data.dataset.manifest import parse_manifest
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.evaluation.figures import figures_of
from eva_data.hub.verify import verify_iteration
from eva_data.iteration.run import Run

REPO = "mallory/gift"
FILE = "evaluations/theta_1.parquet"

Record = dict[str, Any]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A dataset with an evaluation of theta_1."""
    made = small_store(tmp_path / "small")
    evaluated(made, 1, 1.0, 0.0, 0.5)
    return made


def edit(store: Store, change: Callable[[Record], object]) -> None:
    path = store.folder / RECORD
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def lie(store: Store, table: pl.DataFrame, rows: int | None = None) -> None:
    """Put a table in the place of the rows of theta_1, with its true hash and size in the record."""
    path = store.folder / FILE
    table.write_parquet(path)
    entry = {"sha256": sha256(path.read_bytes()), "rows": table.height if rows is None else rows}
    edit(store, lambda record: record["files"].update({FILE: entry | {"bytes": path.stat().st_size}}))


# --- a rule is a name of a stranger ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["stolen_by_mallory:rule", "stolen_by_mallory.py:rule"])
def test_the_rule_of_a_pulled_evaluation_is_not_called(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rule: str
) -> None:
    stolen = tmp_path / "stolen"
    (tmp_path / "stolen_by_mallory.py").write_text(f"def rule():\n    open({str(stolen)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("EVA_DATA_OWN_CODE", str(tmp_path))
    edit(store, lambda record: record["evaluations"][0].update(rule=rule))
    run = Run(parse_config(SETTINGS | {"folder": str(store.folder)}, "the test"), ConsoleReporter())
    print_evaluations(run)
    assert "puzzles" not in capsys.readouterr().out
    record = read_record(store)
    assert record is not None
    with pytest.raises(DataError, match="is none of eva-data and none of"):
        figures_of(record.evaluations[0], read_rows(store, record))
    assert any("somebody's own code" in said for said in verify_iteration(store, 1).unknown)
    assert not stolen.exists()


def test_a_rule_that_is_not_there_is_a_finding(store: Store) -> None:
    edit(store, lambda record: record["evaluations"][0].update(rule="..models.local"))
    (problem,) = [said for said in verify_iteration(store, 1).problems if "evaluations" in said]
    assert "the rule `..models.local` of an evaluation is none of eva-data" in problem


def test_texts_of_a_pulled_evaluation_do_not_steer_the_terminal(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    nasty = "\x1b[2J\x1b]0;x\x07\u202e[red]evil[/red]\r\nWarning: all is well\x00\x9b31m"
    for rule in ("verifier", "own"):
        texts = {"set": nasty, "solver_name": nasty, "against": "b", "against_name": nasty, "partial": nasty}
        edit(store, lambda record, of=texts | {"rule": rule}: record["evaluations"][0].update(of))  # type: ignore[misc]
        print_evaluations(Run(parse_config(SETTINGS | {"folder": str(store.folder)}, "the test"), ConsoleReporter()))
        out = capsys.readouterr().out
        assert "evil" in out
        assert all(line.isprintable() for line in out.split("\n"))
        assert "Warning: all is well" not in [line.strip() for line in out.splitlines()]


# --- a record that says what cannot be ---------------------------------------------------------------------------


LIES: dict[str, Callable[[Record], object]] = {
    "absolute": lambda record: record["files"].update({"/etc/passwd": record["files"].pop(FILE)}),
    "above": lambda record: record["files"].update({"../../secret.parquet": record["files"].pop(FILE)}),
    "inside and out": lambda record: record["files"].update({"evaluations/../../x.parquet": {}}),
    "another table": lambda record: record["files"].update({"prompts/iter_1.parquet": record["files"].pop(FILE)}),
    "fewer than no rows": lambda record: record["files"][FILE].update(rows=-1),
    "infinite": lambda record: record["evaluations"][0].update(right=float("inf")),
    "no number": lambda record: record["evaluations"][0]["figures"].update(estimate=[float("nan"), 0, 1]),
    "of a newer version": lambda record: record.update(format=99, evaluations=3),
    "unknown key": lambda record: record.update(run="rm -rf"),
    "samples": lambda record: record["evaluations"][0].update(samples=0),
}


@pytest.mark.parametrize("name", LIES)
def test_a_record_that_cannot_be_true_is_one_sentence(store: Store, name: str) -> None:
    edit(store, LIES[name])
    said = "was written by a newer eva-data" if "newer" in name else "is no record of evaluations"
    with pytest.raises(DataError, match=said):
        read_record(store)
    assert [problem for problem in verify_iteration(store, 1).problems if said in problem]


@pytest.mark.parametrize("read", [parse_record, lambda content, name: parse_manifest(content, name, "restore it")])
@pytest.mark.parametrize(
    "content", [b"[" * 200_000, b'{"a":' * 200_000, b'{"evaluations": "\xff"}', b"", b'{"format": 1e999}', b"NaN"]
)
def test_no_content_of_a_record_is_a_traceback(read: Callable[[bytes, str], object], content: bytes) -> None:
    with pytest.raises(DataError):
        read(content, "the record")


def test_a_key_that_stands_twice_is_refused(store: Store) -> None:
    path = store.folder / RECORD
    path.write_text('{"files": {}, ' + path.read_text().lstrip()[1:])
    with pytest.raises(DataError, match="it names 'files' twice"):
        read_record(store)


# --- rows --------------------------------------------------------------------------------------------------------


def test_rows_that_cannot_be_are_one_sentence_each(store: Store) -> None:
    good = read_rows(store)
    lie(store, good, rows=10**9)
    with pytest.raises(DataError, match="has 3 rows, and its record claims 1000000000"):
        read_rows(store)
    for value in (float("inf"), float("nan")):
        lie(store, good.with_columns(score=pl.lit(value)))
        with pytest.raises(DataError, match="hold 3 scores that are no finite numbers"):
            read_rows(store)
    lie(store, good.drop("score"))
    with pytest.raises(DataError):
        read_rows(store)
    lie(store, good)
    path = store.folder / FILE
    for content in (b"", b"PAR1", path.read_bytes()[:100], bytes(path.stat().st_size)):
        path.write_bytes(content)
        entry = {"sha256": sha256(content), "rows": 3, "bytes": len(content)}
        edit(store, lambda record, entry=entry: record["files"].update({FILE: entry}))  # type: ignore[misc]
        with pytest.raises(DataError, match="cannot be read as a table"):
            read_rows(store)
        assert [problem for problem in verify_iteration(store, 1).problems if "evaluations" in problem]


def test_swapped_rows_and_a_flipped_byte_are_findings(store: Store) -> None:
    good = read_rows(store)
    lie(store, good.with_columns(score=pl.lit(1.0)))
    assert [said for said in verify_iteration(store, 1).problems if "follows from the rows" in said]
    path = store.folder / FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert [said for said in verify_iteration(store, 1).problems if "by its SHA-256" in said]


# --- pull --------------------------------------------------------------------------------------------------------


PULLS: dict[str, tuple[Callable[[Record], object], str]] = {
    "names a file elsewhere": (LIES["above"], "is no record of evaluations"),
    "claims too much": (lambda record: record["files"][FILE].update(rows=10**12), "larger than `--max-gb` allows"),
    "claims other rows": (lambda record: record["files"][FILE].update(rows=4), "has 3 rows, and its record claims 4"),
}

SEEN_IN_THE_RECORD = {"names a file elsewhere", "claims too much"}
"""What a dry run sees, which downloads no table."""


@pytest.mark.slow
@pytest.mark.parametrize("name", PULLS)
def test_a_pull_with_false_evaluations_puts_nothing_into_the_folder(
    hub: Hub, store: Store, tmp_path: Path, name: str
) -> None:
    change, said = PULLS[name]
    edit(store, change)
    files = small_dataset(tmp_path / "made", iterations=1)
    files |= {file: (store.folder / file).read_bytes() for file in (RECORD, FILE)}
    publish(hub, REPO, files)
    home = tmp_path / "home"
    home.mkdir()
    if name in SEEN_IN_THE_RECORD:
        assert said in error_of(hub.run(home, "pull", REPO, "--dry-run"))
    error = error_of(hub.run(home, "pull", REPO))
    assert said in error
    assert not (home / "eva.yaml").exists()
    there = [path for path in home.rglob("*.parquet") if ".eva" not in path.parts]
    assert there == []
    assert not (home / "data" / "gift" / "manifests").exists()
