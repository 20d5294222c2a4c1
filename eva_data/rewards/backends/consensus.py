"""Rewards by the consensus of a prompt's responses, or by the known answer of an anchor.

Here the answers are read. The vote itself is on tables (`method.signals.votes`), so that it can be counted again from
published tables alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from inspect import getsourcefile
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from eva_data.calls import Row, Rows
from eva_data.config import Consensus
from eva_data.jobs.job import Job, ProgressFile
from eva_data.jobs.results import Parted
from eva_data.jobs.shards import by_shards
from eva_data.method.signals.votes import CONSENSUS
from eva_data.models.player import player_of
from eva_data.rewards import equality, final_numbers, same_answer
from eva_data.rewards.backends.code import code_of, listed_tests
from eva_data.rewards.backends.verifier import last_text
from eva_data.rewards.isolated import inside
from eva_data.rewards.isolated import outputs as isolated_outputs
from eva_data.rewards.isolated.runner import refuse_without_isolation
from eva_data.rewards.known import KnownAnswers, answers_id
from eva_data.rewards.scorers import Scorer, short_hash
from eva_data.secrets import redacted

WHILE_TRAINING = False
"""A batch of a training has too few responses to a prompt, and no ledger of known answers."""

CHUNK_ROWS = 200
"""Number of prompts whose known answers are looked up together."""


def scorer_of(block: Consensus) -> Scorer:
    """The scorer: `name_of`, and a hash of the known answers."""
    judge = None if block.judge is None else player_of(block.judge)
    name = name_of(block) if judge is None else f"{name_of(block)}({judge.fingerprint})"
    if block.programs is not None and block.programs.inputs is not None:
        name = f"{name}+inputs:{answers_id(block.programs.inputs, 'reward.programs.inputs')}"
    name = name if block.answers is None else f"{name}+answers:{answers_id(block.answers)}"
    return Scorer(block, name, judge=judge)


def name_of(block: Consensus) -> str:
    """The reward's name but for known answers: by its settings and by the code that reads answers."""
    settings = {key: value for key, value in block.identity().items() if key not in ("answers", "anchors", "judge")}
    code = sha256()
    modules = [equality, final_numbers]
    if block.judge is not None:
        settings["judge"] = block.judge.identity()
        modules.append(same_answer)
    if block.programs is not None:
        settings["programs"] = {key: value for key, value in block.programs.identity().items() if key != "inputs"}
        modules += [inside, isolated_outputs]
    for module in modules:
        code.update(Path(getsourcefile(module) or "").read_bytes())
    return f"{CONSENSUS}{block.equal}@{short_hash(settings | {'code': code.hexdigest()})}"


def with_known(block: Consensus, rows: Parted) -> Parted:
    """The rows with the column `known`, the known answer to each prompt; null if there is none."""

    def texts_of(part: pl.DataFrame) -> list[str]:
        return part.select(pl.col("prompt").list.last().struct.field("content")).to_series().to_list()

    def texts() -> Iterator[str]:
        return (text for part in rows.parts() for text in texts_of(part))

    answers = None if block.answers is None else KnownAnswers(block.answers, texts)

    def parts() -> Iterator[pl.DataFrame]:
        for part in rows.parts():
            asked = texts_of(part)
            known = {} if answers is None else answers.of(asked)
            found = [None if known.get(text) is None else str(known[text]) for text in asked]
            yield part.with_columns(known=pl.Series(redacted(found), dtype=pl.String))

    return Parted(rows.height, parts)


def judge_rows(job: Job, rows: Rows) -> Iterator[dict[str, Any]]:
    """What `read_rows` gives, with the judge's equality, for rows of `with_known`. The ledger keeps every reply."""
    return by_shards(
        job,
        rows,
        lambda row: same_answer.classes(row | {"responses": redacted(row["responses"])}),
        lambda row: 2 * same_answer.most_questions(len(row["responses"])),
    )


def read_rows(job: Job, rows: Rows) -> Iterator[dict[str, Any]]:
    """`answers`, one text or None per response of a row, and `known`, the known answer of its prompt or None.

    Equal answers of a row, the known one included, are the same text. Nothing is kept in the ledger, since nothing is
    asked of a model. Raise the errors of `read_answers`.
    """
    block = job.settings
    assert isinstance(block, Consensus)

    def texts() -> Iterator[str]:
        return map(last_text, rows)

    known = None if block.answers is None else KnownAnswers(block.answers, texts)
    read, progress, remaining = _reader(block, texts), ProgressFile(job), iter(rows)
    done = 0
    while chunk := [*islice(remaining, CHUNK_ROWS)]:
        asked = [last_text(row) for row in chunk]
        answer_to = {} if known is None else known.of(asked)
        for text, (row, read_one) in zip(asked, read(chunk), strict=True):
            # An answer is normalised, so that a secret in it would not be recognised when the tables are written.
            answers, reference = read_one(*redacted((row["responses"], answer_to.get(text))))
            done += 1
            progress(done, len(rows))
            yield {"answers": answers, "known": reference}


ReadOne: TypeAlias = Callable[[Sequence[str], object], equality.Read]
"""Reads the answers of a row, as (responses, known answer)."""


def _reader(
    block: Consensus, texts: Callable[[], Iterator[str]]
) -> Callable[[Sequence[Row]], Iterator[tuple[Row, ReadOne]]]:
    """What gives each of some rows with what reads its answers. `texts` gives the texts of all rows.

    Raise ConfigError if programs cannot be isolated here, as `refuse_without_isolation` does.
    """
    programs = block.programs
    if programs is None:
        return lambda rows: ((row, equality.READERS[block.equal]) for row in rows)
    refuse_without_isolation(programs)
    inputs = None if programs.inputs is None else KnownAnswers(programs.inputs, texts, "reward.programs.inputs")

    def read(calls: list[str], responses: Sequence[str], known: object) -> equality.Read:
        reference = None if known is None else str(known)
        return isolated_outputs.read_programs(programs, calls, responses, reference, code_of)

    def each(rows: Sequence[Row]) -> Iterator[tuple[Row, ReadOne]]:
        given = {} if inputs is None else inputs.of([last_text(row) for row in rows])
        for row in rows:
            text = last_text(row)
            yield row, partial(read, listed_tests(given[text]) if text in given else list(programs.calls))

    return each
