"""Rewards by a Python function, called once for each different response, with the reference answer if there is one."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from eva_data.config.rewards import Answers, Verifier
from eva_data.errors import ConfigError, DataError, JobError
from eva_data.jobs.job import Job
from eva_data.ledger import Ledger, Score, call_key
from eva_data.rewards import score_rows
from eva_data.rewards.backends.verifier import fingerprint

CODE = """
import pathlib
import time
import time

CALLS = pathlib.Path(__file__).with_name("calls.txt")


def length(prompt, response):
    with CALLS.open("a") as calls:
        calls.write(f"{prompt}|{response}\\n")
    return {"none": None, "nan": float("nan"), "bad": "no number"}.get(response, len(response))


def equal(prompt, response, answer):
    return float(response == str(answer))


def broken(prompt, response):
    raise ZeroDivisionError("no such verdict")


def slow(prompt, response):
    time.sleep(0.005)
    return length(prompt, response)


def slow(prompt, response):
    time.sleep(0.005)
    return length(prompt, response)


def slow_then_interrupted(prompt, response):
    if response == "interrupt":
        raise KeyboardInterrupt
    return 1
"""


@pytest.fixture(scope="module", autouse=True)
def _own_verifiers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("verifiers")
    (folder / "own_verifiers.py").write_text(CODE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder


def job_of(folder: Path, function: str, answers: Answers | None = None) -> Job:
    """The job as the reward stage makes it."""
    name = f"own_verifiers:{function}"
    block = Verifier(backend="verifier", function=name, answers=answers)
    folder.mkdir(exist_ok=True)
    scorer = fingerprint(name, "", answers)
    return Job(folder, "reward", block, ledger=folder / "ledger.sqlite", scorer=scorer)


def row(prompt: str, *responses: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
    return {
        "prompt_id": prompt,
        "prompt": messages,
        "response_idx": [*range(len(responses))],
        "responses": [*responses],
    }


def test_each_different_response_is_judged_once_with_the_last_turn(tmp_path: Path, _own_verifiers: Path) -> None:
    (_own_verifiers / "calls.txt").unlink(missing_ok=True)
    rows = [row("Why?", "four", "", "four", "none"), row("And?", "nan", "four")]
    job = job_of(tmp_path / "job", "length")
    expected = [
        [Score(4.0, None), Score(0.0, None), Score(4.0, None), Score(None, "unverifiable")],
        [Score(None, "not_finite"), Score(4.0, None)],
    ]
    assert score_rows(job, rows) == expected
    assert score_rows(job, rows) == expected
    calls = (_own_verifiers / "calls.txt").read_text().splitlines()
    assert calls == ["Why?|four", "Why?|", "Why?|none", "And?|nan", "And?|four"]
    assert json.loads((tmp_path / "job" / "progress.json").read_text()) == {"done": 6, "total": 6}


def test_the_key_of_a_reward_is_fingerprint_prompt_and_response(tmp_path: Path) -> None:
    job = job_of(tmp_path / "job", "length")
    score_rows(job, [row("Why?", "four")])
    parts = {"reward_model": job.scorer, "prompt": "Why?", "response": "four"}
    with Ledger(tmp_path / "job" / "ledger.sqlite") as ledger:
        assert ledger.scores([call_key(parts)]) == {call_key(parts): Score(4.0, None)}


def test_what_is_no_number_or_raises_is_asked_again_next_time(tmp_path: Path) -> None:
    job = job_of(tmp_path / "job", "length")
    ((bad, good),) = score_rows(job, [row("Why?", "bad", "good")])
    assert bad == Score(None, "verifier_raised: ValueError: could not convert string to float: 'no number'")
    assert good == Score(4.0, None)
    with Ledger(tmp_path / "job" / "ledger.sqlite") as ledger:
        assert ledger.totals()["rewards"] == 1


def test_a_function_that_only_raises_stops_the_job(tmp_path: Path) -> None:
    message = "`own_verifiers:broken` raised on every response, first ZeroDivisionError: no such verdict"
    with pytest.raises(JobError, match=message):
        score_rows(job_of(tmp_path / "job", "broken"), [row("Why?", "a", "b")])


def test_what_was_judged_before_an_interruption_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        score_rows(job_of(tmp_path / "job", "slow_then_interrupted"), [row("Why?", "a", "b", "interrupt")])
    with Ledger(tmp_path / "job" / "ledger.sqlite") as ledger:
        assert ledger.totals()["rewards"] == 2


def test_two_jobs_with_one_ledger_judge_each_response_once_and_ask_both_for_what_raises(
    tmp_path: Path, _own_verifiers: Path
) -> None:
    (_own_verifiers / "calls.txt").unlink(missing_ok=True)
    rows = [row("Why?", *(f"{number:03}" for number in range(60)), "bad")]
    jobs = [replace(job_of(tmp_path / name, "slow"), ledger=tmp_path / "ledger.sqlite") for name in ("a", "b")]
    Ledger(tmp_path / "ledger.sqlite").close()
    with ThreadPoolExecutor() as pool:
        found = [*pool.map(score_rows, jobs, [rows, rows])]
    assert found[0] == found[1] and found[0][0][:60] == [Score(3.0, None)] * 60
    calls = Counter((_own_verifiers / "calls.txt").read_text().split())
    assert calls == {f"Why?|{number:03}": 1 for number in range(60)} | {"Why?|bad": 2}
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert (ledger.totals()["rewards"], ledger.totals()["repeated"]) == (60, 0)
        assert ledger.rows("SELECT (SELECT count(*) FROM claims), (SELECT count(*) FROM owners)") == [(0, 0)]


# --- reference answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_the_answer_of_a_prompt_is_given_to_the_function(tmp_path: Path, suffix: str) -> None:
    # "é" is one character in the table and two in the prompt, which are one prompt.
    table = pl.DataFrame({"question": ["3 + 4?\r\n", "caf\u00e9?", "none?"], "result": [7, 8, None]})
    path = tmp_path / f"answers.{suffix}"
    writers: dict[str, Any] = {"parquet": table.write_parquet, "jsonl": table.write_ndjson, "csv": table.write_csv}
    writers[suffix](path)
    answers = Answers(path=path, prompt="question", answer="result")
    rows = [row("3 + 4?", "7", "8"), row("cafe\u0301?", "8"), row("none?", "1"), row("An evolved one?", "1")]
    assert score_rows(job_of(tmp_path / "job", "equal", answers), rows) == [
        [Score(1.0, None), Score(0.0, None)],
        [Score(1.0, None)],
        [Score(None, "unverifiable")],
        [Score(None, "unverifiable")],
    ]


def test_answers_are_known_by_content_not_by_name(tmp_path: Path) -> None:
    table = pl.DataFrame({"prompt": ["3 + 4?"], "answer": [7]})
    table.write_csv(tmp_path / "one.csv")
    table.write_csv(tmp_path / "other.csv")
    table.with_columns(answer=8).write_csv(tmp_path / "third.csv")
    one, other, third = (
        fingerprint("own_verifiers:equal", "2", Answers(path=tmp_path / f"{name}.csv"))
        for name in ("one", "other", "third")
    )
    assert one == other != third
    assert one.startswith("verifier:own_verifiers:equal@2+answers:")
    assert fingerprint("own_verifiers:equal", "2") == "verifier:own_verifiers:equal@2"


def test_two_answers_to_one_prompt_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    pl.DataFrame({"prompt": ["3 + 4?", " 3 + 4?"], "answer": [7, 8]}).write_csv(path)
    with pytest.raises(DataError, match=r"answers\.csv has two different answers to the prompt `3 \+ 4\?`"):
        score_rows(job_of(tmp_path / "job", "equal", Answers(path=path)), [row("3 + 4?", "7")])
    with pytest.raises(DataError, match=r"`reward\.answers\.answer` is `result`, .* has the columns prompt, answer"):
        score_rows(job_of(tmp_path / "job", "equal", Answers(path=path, answer="result")), [row("3 + 4?", "7")])
    with pytest.raises(DataError, match="there is no such file"):
        fingerprint("own_verifiers:equal", "", Answers(path=tmp_path / "nowhere.csv"))


def test_a_verifier_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="the module `no_such_module` cannot be found"):
        fingerprint("no_such_module:score", "")
    with pytest.raises(ConfigError, match="`own_verifiers` has no function `missing`"):
        fingerprint("own_verifiers:missing", "")
