"""Rewards by the consensus of a prompt's responses, or by the known answer of an anchor.

Here the answers are read. The vote itself is on tables (`method.signals.votes`), so that it can be counted again from
published tables alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from inspect import getsourcefile
from pathlib import Path
from typing import Any

import polars as pl

from eva_data.calls import Rows
from eva_data.config import Consensus
from eva_data.jobs.job import Job, ProgressFile
from eva_data.method.signals.votes import CONSENSUS
from eva_data.models.player import player_of
from eva_data.rewards import equality, final_numbers, same_answer
from eva_data.rewards.backends.code import code_of, listed_tests
from eva_data.rewards.backends.verifier import answers_id, last_text, read_answers
from eva_data.rewards.isolated import inside
from eva_data.rewards.isolated import outputs as isolated_outputs
from eva_data.rewards.isolated.runner import refuse_without_isolation
from eva_data.rewards.scorers import Scorer, short_hash
from eva_data.secrets import redacted

WHILE_TRAINING = False
"""A batch of a training has too few responses to a prompt, and no ledger of known answers."""


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


def with_known(block: Consensus, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the column `known`, the known answer to each prompt; null if there is none."""
    texts = rows.select(pl.col("prompt").list.last().struct.field("content")).to_series().to_list()
    known = {} if block.answers is None else read_answers(block.answers, texts)
    found = [None if known.get(text) is None else str(known[text]) for text in texts]
    return rows.with_columns(known=pl.Series(redacted(found), dtype=pl.String))


def judge_rows(job: Job, rows: Rows) -> list[dict[str, Any]]:
    """What `read_rows` gives, with the judge's equality, for rows of `with_known`. The ledger keeps every reply."""
    llm = job.llm()
    llm.load()
    chains = [same_answer.classes(row | {"responses": redacted(row["responses"])}) for row in rows]
    found = llm.drive(chains, sum(2 * same_answer.most_questions(len(row["responses"])) for row in rows))
    llm.unload()
    return found


def read_rows(job: Job, rows: Rows) -> list[dict[str, Any]]:
    """`answers`, one text or None per response of a row, and `known`, the known answer of its prompt or None.

    Equal answers of a row, the known one included, are the same text. Nothing is kept in the ledger, since nothing is
    asked of a model. Raise the errors of `read_answers`.
    """
    block = job.settings
    assert isinstance(block, Consensus)
    known = {} if block.answers is None else read_answers(block.answers, [last_text(row) for row in rows])
    read, progress = _reader(block, rows), ProgressFile(job)
    found = []
    for done, row in enumerate(rows, 1):
        # An answer is normalised, so that a secret in it would not be recognised when the tables are written.
        answers, reference = read(row, *redacted((row["responses"], known.get(last_text(row)))))
        found.append({"answers": answers, "known": reference})
        progress(done, len(rows))
    return found


def _reader(block: Consensus, rows: Rows) -> Callable[..., equality.Read]:
    """What reads the answers of a row, as (row, responses, known answer).

    Raise ConfigError if programs cannot be isolated here, as `refuse_without_isolation` does.
    """
    programs = block.programs
    if programs is None:
        return lambda row, responses, known: equality.READERS[block.equal](responses, known)
    refuse_without_isolation(programs)
    texts = [last_text(row) for row in rows]
    given = {} if programs.inputs is None else read_answers(programs.inputs, texts, "reward.programs.inputs")
    calls = {text: listed_tests(given[text]) if text in given else list(programs.calls) for text in texts}

    def read(row: dict[str, Any], responses: Sequence[str], known: object) -> equality.Read:
        reference = None if known is None else str(known)
        return isolated_outputs.read_programs(programs, calls[last_text(row)], responses, reference, code_of)

    return read
