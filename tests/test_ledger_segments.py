"""A ledger that is exported as segments, merged into others, and made smaller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner

from eva_data.calls import Completion
from eva_data.cli import main
from eva_data.errors import DataError
from eva_data.ledger import Bill, Ledger, Score, segments
from eva_data.ledger.owners import Owners, living
from eva_data.ledger.segments import Transferred, export_ledger, import_ledger
from eva_data.ledger.shrinking import used_bytes, vacuum


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def bill(cost: float, completions: int = 1) -> Bill:
    return Bill("m@1", "respond", 1, completions, 3, 2, 0.5, cost)


def said(text: str) -> Completion:
    return Completion(text, "stop", 3, 2)


def filled(path: Path, numbers: Iterable[int], text: str = "answer", cost: float = 0.25) -> Ledger:
    """A ledger with a completion and a reward for every number, and one bill for all."""
    ledger = Ledger(path)
    completions = {key(number): said(f"{text} {number} é水\n") for number in numbers}
    ledger.keep_completions(completions, [bill(cost, len(completions))])
    ledger.keep_scores({key(number): Score(number / 2, None) for number in numbers})
    return ledger


def test_another_ledger_gets_every_call_its_score_and_what_it_cost(tmp_path: Path) -> None:
    first, second = filled(tmp_path / "a.sqlite", range(3)), Ledger(tmp_path / "b.sqlite")
    likely = Completion("A", "stop", 3, 1, None, {"A": -0.1, "B": -2.3})
    first.keep_completions({key(9): likely}, [bill(1.0)])
    first.keep_scores({key(8): Score(None, "unreadable")})
    first.keep_canary("m@1", {"probe": ["one", "two"]})
    assert export_ledger(first, tmp_path / "s") == Transferred(segments=4, completions=4, rewards=4, bills=2)
    assert import_ledger(second, tmp_path / "s") == Transferred(segments=4, completions=4, rewards=4, bills=2)
    keys = [*map(key, range(10))]
    assert second.completions(keys) == first.completions(keys)
    assert second.completions([key(9)]) == {key(9): likely}
    assert second.scores(keys) == first.scores(keys)
    assert second.scores([key(8)]) == {key(8): Score(None, "unreadable")}
    assert second.bills() == first.bills()
    assert second.spent() == (1.25, 0)
    assert second.canary("m@1") == {"probe": ["one", "two"]}


def test_only_what_is_new_is_written_and_nothing_is_added_twice(tmp_path: Path) -> None:
    first, second = filled(tmp_path / "a.sqlite", range(3)), Ledger(tmp_path / "b.sqlite")
    export_ledger(first, tmp_path / "s")
    before = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert export_ledger(first, tmp_path / "s") == Transferred()
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == before
    first.keep_completions({key(1): said("again"), key(7): said("new")}, [bill(0.5)])
    assert export_ledger(first, tmp_path / "s") == Transferred(segments=2, completions=1, bills=1)
    assert import_ledger(second, tmp_path / "s").completions == 4
    assert import_ledger(second, tmp_path / "s") == Transferred()
    assert second.totals()["generations"] == 4
    assert second.spent() == (0.75, 0)


def test_an_export_that_is_interrupted_has_its_segments_and_goes_on_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "ROWS", 2)
    ledger, told = filled(tmp_path / "a.sqlite", range(5)), list[tuple[int, int]]()

    def interrupt(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_ledger(ledger, tmp_path / "s", interrupt)
    assert told == [(2, 11), (4, 11)]
    assert export_ledger(ledger, tmp_path / "s") == Transferred(segments=5, completions=1, rewards=5, bills=1)
    second = Ledger(tmp_path / "b.sqlite")
    assert import_ledger(second, tmp_path / "s") == Transferred(segments=7, completions=5, rewards=5, bills=1)
    assert second.bills() == ledger.bills()


def test_a_segment_ends_before_its_texts_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_READ", 2)
    monkeypatch.setattr(segments, "TEXT_CHARACTERS", 60)
    ledger = filled(tmp_path / "a.sqlite", range(7))
    # A text has 12 characters, so a fifth one would still fit, but two are read together.
    assert export_ledger(ledger, tmp_path / "s") == Transferred(segments=4, completions=7, rewards=7, bills=1)
    assert import_ledger(Ledger(tmp_path / "b.sqlite"), tmp_path / "s").completions == 7


def test_shrinking_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    ledger = filled(tmp_path / "a.sqlite", range(500))
    size = used_bytes(ledger)
    vacuum(ledger, lambda done, total: told.append((done, total)))
    assert told[:2] == [(size, 3 * size), (size, 3 * size)]
    assert told[-1] == (3 * size, 3 * size)
    assert told == sorted(told)


def test_two_ledgers_meet_in_one_folder_and_each_bill_is_counted_once(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "a.sqlite", [1, 2], cost=1.0), filled(tmp_path / "b.sqlite", [2, 3], cost=10.0)
    for ledger in (one, two, one, two):
        import_ledger(ledger, tmp_path / "s") if (tmp_path / "s").exists() else None
        export_ledger(ledger, tmp_path / "s")
    for ledger in (one, two):
        import_ledger(ledger, tmp_path / "s")
        assert ledger.totals()["generations"] == 3
        assert ledger.spent() == (11.0, 0)
    # What was imported is not exported again as its own: only the completions are.
    assert export_ledger(two, tmp_path / "other").bills == 1


def test_the_own_answer_is_kept_and_another_one_is_counted(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "a.sqlite", [1, 2], "other"), filled(tmp_path / "b.sqlite", [2, 3], "own")
    export_ledger(one, tmp_path / "s")
    assert import_ledger(two, tmp_path / "s") == Transferred(
        segments=3, completions=2, rewards=2, bills=1, conflicting=1
    )
    found = two.completions([key(1), key(2)])
    assert [found[key(n)].text for n in (1, 2)] == ["other 1 é水\n", "own 2 é水\n"]


def test_a_damaged_segment_is_named_and_nothing_of_it_is_added(tmp_path: Path) -> None:
    export_ledger(filled(tmp_path / "a.sqlite", range(3)), tmp_path / "s")
    [segment] = (tmp_path / "s").glob("completions-*.parquet")
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-9])
    second = Ledger(tmp_path / "b.sqlite")
    with pytest.raises(DataError, match=rf"{segment.name} is not the file that was exported: bring it back, or export"):
        import_ledger(second, tmp_path / "s")
    assert second.totals()["generations"] == 0
    segment.unlink()
    with pytest.raises(DataError, match=rf"{segment.name} is missing: bring it back, or export that ledger"):
        import_ledger(second, tmp_path / "s")
    segment.write_bytes(whole)
    import_ledger(second, tmp_path / "s")
    assert second.totals()["generations"] == 3


def test_a_damaged_segment_is_named_by_an_export_too(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "a.sqlite", range(3))
    export_ledger(ledger, tmp_path / "s")
    [segment] = (tmp_path / "s").glob("completions-*.parquet")
    segment.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"a segment in .* is missing or damaged .*: bring it back, or export"):
        export_ledger(ledger, tmp_path / "s")


@pytest.mark.slow
def test_a_job_from_before_a_restart_does_not_live(tmp_path: Path) -> None:
    ledger = filled(tmp_path / "a.sqlite", [1])
    with ledger.transaction():
        Owners(ledger, bill(0.0)).join()
        assert living(ledger) == [("respond", os.getpid())]
        ledger.rows("UPDATE owners SET machine = 'before the restart'")
        assert living(ledger) == []


@pytest.mark.parametrize(
    "change",
    [
        {"segments": [{"file": "../../etc/passwd", "sha256": "0" * 64, "rows": 1}]},
        {"segments": [{"file": "completions-0123456789abcdef.parquet", "sha256": "0" * 64, "rows": True}]},
        {"ledger": "../x"},
        {"last_bill": -1},
        {"more": 1},
    ],
)
def test_a_list_of_another_shape_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    path = tmp_path / "s" / f"ledger-{'0' * 32}.json"
    path.write_text(json.dumps({"format": 1, "ledger": "0" * 32, "last_bill": 0, "segments": []} | change))
    with pytest.raises(DataError, match=r"ledger-0+\.json is no list of a ledger's segments, or damaged"):
        import_ledger(Ledger(tmp_path / "b.sqlite"), tmp_path / "s")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="or damaged: bring it back"):
        export_ledger(Ledger(tmp_path / "b.sqlite"), tmp_path / "s")


def test_a_folder_without_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no `ledger-\*\.json`: name a folder that `eva-data ledger export` has"):
        import_ledger(Ledger(tmp_path / "b.sqlite"), tmp_path)


MOVE = """
    import sys
    from pathlib import Path
    from eva_data.ledger import Ledger, segments
    segments.ROWS = 50
    move = getattr(segments, sys.argv[1])
    print("begun", flush=True)
    move(Ledger(Path(sys.argv[2])), Path(sys.argv[3]))
"""


@pytest.mark.slow
def test_killed_at_any_moment_and_repeated_both_ends_hold_the_same(tmp_path: Path) -> None:
    first = filled(tmp_path / "a.sqlite", range(4000))
    script = tmp_path / "move.py"
    script.write_text(dedent(MOVE), encoding="utf-8")

    def killed(function: str, ledger: str, seconds: float) -> None:
        command = [sys.executable, str(script), function, str(tmp_path / ledger), str(tmp_path / "s")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGKILL)

    for seconds in (0.05, 0.2, 0.4):
        killed("export_ledger", "a.sqlite", seconds)
    export_ledger(first, tmp_path / "s")
    for seconds in (0.05, 0.2, 0.4):
        killed("import_ledger", "b.sqlite", seconds)
    second = Ledger(tmp_path / "b.sqlite")
    import_ledger(second, tmp_path / "s")
    keys = [*map(key, range(4000))]
    assert second.completions(keys) == first.completions(keys)
    assert second.scores(keys) == first.scores(keys)
    assert second.bills() == first.bills()
    assert import_ledger(second, tmp_path / "s") == Transferred()


def eva(*arguments: str, ledger: Path) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["ledger", *arguments, "--set", f"ledger={ledger}"])
    return done.exit_code, done.output


def test_the_commands_say_what_they_found_and_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filled(tmp_path / "a.sqlite", range(3)).close()
    code, text = eva("stats", "--json", ledger=tmp_path / "a.sqlite")
    assert code == 0, text
    found = json.loads(text.splitlines()[-1])
    assert {name: found[name] for name in ("completions", "rewards", "repeated", "in_use")} == {
        "completions": 3,
        "rewards": 3,
        "repeated": 0,
        "in_use": [],
    }
    assert found["bytes"] > 4096
    assert [(row["model"], row["completions"], row["cost"]) for row in found["bills"]] == [("m@1", 3, 0.25)]
    assert (
        "3 completions, 3 rewards, 9 tokens in, 6 tokens out, 0 made twice"
        in eva("stats", ledger=tmp_path / "a.sqlite")[1]
    )
    assert (
        "s got 3 completions, 3 rewards and 1 bills in 3 segments."
        in eva("export", "s", ledger=tmp_path / "a.sqlite")[1]
    )
    assert "s has all." in eva("export", "s", ledger=tmp_path / "a.sqlite")[1]
    assert (
        "b.sqlite got 3 completions, 3 rewards and 1 bills from 3 segments."
        in eva("import", "s", ledger=tmp_path / "b.sqlite")[1]
    )
    code, text = eva("stats", ledger=tmp_path / "none.sqlite")
    assert (code, "there is no ledger" in text) == (1, True)


def test_space_is_given_back_and_not_while_a_job_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.sqlite"
    ledger = filled(path, range(500))
    owners = Owners(ledger, bill(0.0))
    with ledger.transaction():
        owners.join()
        ledger.many("INSERT INTO claims VALUES (?, ?)", [(key(10**6 + n), owners.me) for n in range(20_000)])
    code, text = eva("vacuum", ledger=path)
    assert code == 1
    assert f"the stage respond of process {os.getpid()} uses the ledger" in text
    owners.leave()
    code, text = eva("vacuum", "--json", ledger=path)
    found = json.loads(text.splitlines()[-1])
    assert (code, found["bytes"] < found["bytes_before"] / 2) == (0, True)
    assert ledger.completions([key(3)])[key(3)].text == "answer 3 é水\n"
    assert ledger.bills() == Ledger(path).bills()
