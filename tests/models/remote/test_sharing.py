"""Two processes with one ledger: each call once, one budget. A killed process does not block the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import remote_asking
from misbehaving import Misbehaving
from remote_asking import ask, errors, remote, texts

from eva_data.errors import BudgetError
from eva_data.ledger import Ledger

PRICE = (1e6, 1e6)
"""A dollar a token: a prompt such as B00 and its answer are one and six, and can be 35 and 16."""

_JOB = """
import json, sys
from pathlib import Path
from remote_asking import ask, remote
from eva_data.errors import BudgetError
folder, url, first, last, n, budget = sys.argv[1:]
llm = remote(Path(folder), url, price=(1e6, 1e6), budget=float(budget) or None, max_in_flight=4)
try:
    answers = ask(llm, [f"B{number:02}" for number in range(int(first), int(last))], n=int(n))
except BudgetError as error:
    print(json.dumps({"budget": str(error)}))
else:
    print(json.dumps({"texts": [[completion.text for completion in one] for one in answers]}))
"""


def start(
    folder: Path, server: Misbehaving, first: int, last: int, n: int = 1, budget: float = 0
) -> subprocess.Popen[str]:
    arguments = [str(folder), server.url, str(first), str(last), str(n), str(budget)]
    command = [sys.executable, "-W", "ignore", "-c", _JOB, *arguments]
    return subprocess.Popen(command, cwd=Path(remote_asking.__file__).parent, stdout=subprocess.PIPE, text=True)


def result(job: subprocess.Popen[str]) -> dict[str, object]:
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 0
    found: dict[str, object] = json.loads(said)
    return found


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_two_processes_that_want_the_same_ask_each_call_once(tmp_path: Path) -> None:
    with Misbehaving(delay=0.1) as server:
        jobs = [start(tmp_path, server, 0, 60, n=2) for _ in range(2)]
        found = [result(job) for job in jobs]
    assert found[0] == found[1]
    assert Counter(seen.prompt for seen in server.seen) == {f"B{number:02}": 1 for number in range(60)}
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert (ledger.totals()["generations"], ledger.totals()["repeated"]) == (120, 0)
        assert ledger.rows("SELECT (SELECT count(*) FROM claims), (SELECT count(*) FROM owners)") == [(0, 0)]


@pytest.mark.slow
def test_two_processes_with_one_budget_never_exceed_it_together(tmp_path: Path) -> None:
    with Misbehaving(delay=0.05) as server:
        # Half of their prompts are the same. All of them would cost 7 x 60 dollars.
        jobs = [start(tmp_path, server, 0, 40, budget=200), start(tmp_path, server, 20, 60, budget=200)]
        found = [result(job) for job in jobs]
        answered = len(server.answered)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        spent, unknown = ledger.spent()
        assert ledger.totals()["repeated"] == 0
    assert [list(one) for one in found] == [["budget"], ["budget"]]
    assert (spent, unknown) == (7 * answered, 0)
    # One more call could cost 51 dollars, so at least 149 are spent, and not one above 200.
    assert 200 - 51 < spent <= 200
    assert max(Counter(seen.prompt for seen in server.seen).values()) == 1


@pytest.mark.slow
def test_what_a_killed_process_had_under_way_is_asked_by_the_other(tmp_path: Path) -> None:
    with Misbehaving(delay=0.3) as server:
        doomed = start(tmp_path, server, 0, 30)
        until(lambda: len(server.seen) >= 10)
        other = start(tmp_path, server, 0, 30)
        time.sleep(1.0)
        os.kill(doomed.pid, signal.SIGKILL)
        doomed.communicate()
        assert set(result(other)) == {"texts"}
    asked = Counter(seen.prompt for seen in server.seen)
    assert set(asked) == {f"B{number:02}" for number in range(30)}
    # Four were in flight when it was killed.
    assert asked.total() <= 30 + 4
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert (ledger.totals()["generations"], ledger.totals()["repeated"]) == (30, 0)
        assert ledger.rows("SELECT count(*) FROM claims") == [(0,)]


@pytest.mark.slow
def test_what_a_killed_process_may_have_spent_counts_as_spent(tmp_path: Path) -> None:
    with Misbehaving(delay=5) as server:
        doomed = start(tmp_path, server, 0, 30, budget=300)
        until(lambda: len(server.seen) == 4)
        os.kill(doomed.pid, signal.SIGKILL)
        doomed.communicate()
        server.delay = 0
        with pytest.raises(BudgetError, match=r"the budget of \$250.00 is used up: \$204.00 are spent"):
            ask(remote(tmp_path, server, price=PRICE, budget=250.0), ["B50", "B51"])
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent() == (4 * 51.0, 0)


def test_a_call_that_another_process_gave_up_is_asked_here(tmp_path: Path) -> None:
    with Misbehaving() as server:
        answers = ask(remote(tmp_path, server, further_rounds=()), ["[500 x4] A", "B"])
        assert errors(answers) == [["gave_up: HTTP 500: internal error"], [None]]
        assert texts(ask(remote(tmp_path, server), ["[500 x4] A"])) == [["v1: A, time 5, choice 0"]]


def test_an_owner_that_stopped_counting_is_dead_whatever_its_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eva_data.ledger.owners.DEAD_SECONDS", 1.0)
    with Misbehaving() as server, Ledger(tmp_path / "ledger.sqlite") as ledger:
        llm = remote(tmp_path, server)
        ask(llm, ["A"])
        [(key,)] = ledger.rows("SELECT key FROM generations")
        ledger.rows("DELETE FROM generations")
        # A process of another machine's numbers, or one that hangs.
        ledger.rows("INSERT INTO owners VALUES ('other', 'elsewhere', 1, 0, 7, 0, 'm', 'respond', 1)")
        ledger.rows("INSERT INTO claims VALUES (?, 'other')", (key,))
        started = time.monotonic()
        assert texts(ask(llm, ["A"])) == [["v1: A, time 2, choice 0"]]
        assert time.monotonic() - started > 1
        assert ledger.rows("SELECT count(*) FROM owners") == [(0,)]
