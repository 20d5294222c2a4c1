"""Rewards by tests: the code in a response runs in a sandbox (`rewards.isolated`), and its functions are tested."""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from eva_data.calls import Rows, Unparsable
from eva_data.config import Code
from eva_data.jobs.job import Job, ProgressFile
from eva_data.ledger import Claims, Ledger, Score
from eva_data.ledger.claims import LOOK_SECONDS
from eva_data.rewards.backends.verifier import last_text, reward_key
from eva_data.rewards.isolated.runner import passed, refuse_without_isolation
from eva_data.rewards.known import KnownAnswers, answers_id
from eva_data.rewards.scorers import Scorer, short_hash
from eva_data.thoughts import without_thoughts

WHILE_TRAINING = False
"""Its sandboxes are started for a whole job."""

CHUNK_ROWS = 50
"""Number of prompts whose scores are committed together."""

_RULES = 3
"""Version of the rules by which code is found in a response and run. A score by other rules is another score."""

_BLOCK = re.compile(
    r"^[ \t]*```[ \t]*(?P<language>[\w+.-]*)[^\n]*\n(?P<code>.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE
)

_MARK = re.compile(r"^[ \t]*```[ \t]*(?P<language>[\w+.-]*)[^\n]*$", re.MULTILINE)
_DEFINES = re.compile(r"^\s*(?:async\s+def|def|class)\s+\w|^\w+\s*=\s*lambda\b", re.MULTILINE)
_PYTHON = ("", "py", "python", "python3")


def scorer_of(block: Code) -> Scorer:
    """The scorer: its settings with the version of the rules, and a hash of the tests."""
    settings = {key: value for key, value in block.identity().items() if key != "answers"} | {"rules": _RULES}
    return Scorer(block, f"code:{short_hash(settings)}+answers:{answers_id(block.answers)}")


def code_of(response: str) -> str:
    """The code of a response: of its blocks of Python, or of no language, between ``` marks, the last one that defines
    a function or a class, else the last one. Without such a block it is the whole text.

    Models show the output, or a call, in a block behind the function. A block that is not closed goes on to the end,
    and one that is not opened begins at the beginning. A reasoning model's thoughts are left out. Empty if nothing is
    left.
    """
    spoken = without_thoughts(response)
    if isinstance(spoken, Unparsable):
        return ""
    marks = list(_MARK.finditer(spoken))
    if len(marks) % 2:
        closes = len(marks) == 1 and not marks[0]["language"] and _DEFINES.search(spoken[: marks[0].start()])
        spoken = f"```\n{spoken}" if closes else f"{spoken}\n```"
    blocks = [found["code"] for found in _BLOCK.finditer(spoken) if found["language"].lower() in _PYTHON]
    defining = [code for code in blocks if _DEFINES.search(code)]
    return (defining or blocks or [spoken])[-1]


def listed_tests(given: object) -> list[str]:
    """The tests of a prompt: a list of texts, a list written as JSON or as Python, or one text."""
    if isinstance(given, str) and given.lstrip().startswith("["):
        given = _listed(given)
    listed = given if isinstance(given, list | tuple) else [given]
    return [str(each) for each in listed if each is not None and str(each).strip()]


def _listed(text: str) -> object:
    """The list that a text writes as JSON or as Python; the text itself if it writes none."""
    readers: tuple[Callable[[str], object], ...] = (json.loads, ast.literal_eval)
    for read in readers:
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError):
            continue
    return text


def score_rows(job: Job, rows: Rows) -> Iterator[list[Score]]:
    """One Score per response; without tests of its prompt, its reason is `unverifiable`.

    Raise ConfigError if the code cannot be isolated here, as `refuse_without_isolation` does.
    """
    block = job.settings
    assert isinstance(block, Code)
    assert job.ledger is not None
    refuse_without_isolation(block)
    known = KnownAnswers(block.answers, lambda: map(last_text, rows))
    tests_of: dict[str, list[str]] = {}
    progress, done, remaining = ProgressFile(job), 0, iter(rows)
    total = sum(len(row["responses"]) for row in rows)

    def score(asked: tuple[str, str]) -> Score:
        prompt, response = asked
        tests = tests_of.get(prompt)
        if not tests:
            return Score(None, "unverifiable")
        verdicts = passed(block, code_of(response), tests)
        return Score(float(all(verdicts)) if block.score == "all" else sum(verdicts) / len(verdicts), None)

    with (
        Ledger(job.ledger) as ledger,
        Claims(ledger, job.scorer, job.kind, job.iteration) as claims,
        ThreadPoolExecutor(block.workers) as pool,
    ):
        while chunk := [*islice(remaining, CHUNK_ROWS)]:
            tests_of = {
                text: listed_tests(given) for text, given in known.of([last_text(row) for row in chunk]).items()
            }
            keyed = [
                [(reward_key(job.scorer, last_text(row), text), (last_text(row), text)) for text in row["responses"]]
                for row in chunk
            ]
            wanted = {key: asked for keys in keyed for key, asked in keys}
            kept: dict[bytes, Score] = {}
            while missing := [key for key in wanted if key not in kept]:
                found, mine = claims.take_scores(missing)
                fresh = dict(zip(mine, pool.map(score, [wanted[key] for key in mine]), strict=True))
                if fresh:
                    claims.keep_scores(fresh)
                elif not found:
                    time.sleep(LOOK_SECONDS)
                kept |= found | fresh
            done += sum(map(len, keyed))
            progress(done, total)
            yield from ([kept[key] for key, _ in keys] for keys in keyed)
