"""Rewards by the consensus of a prompt's responses, or by the known answer of an anchor.

Here the answers are read. The vote itself is on tables (`method.signals.votes`), so that it can be counted again from
published tables alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from inspect import getsourcefile
from pathlib import Path
from typing import Any

from eva_data.config import Consensus
from eva_data.jobs.job import Job, ProgressFile
from eva_data.method.signals.votes import CONSENSUS
from eva_data.rewards import equality, final_numbers
from eva_data.rewards.backends.verifier import answers_id, last_text, read_answers
from eva_data.rewards.scorers import Scorer, short_hash
from eva_data.secrets import redacted

WHILE_TRAINING = False
"""A batch of a training has too few responses to a prompt, and no ledger of known answers."""


def scorer_of(block: Consensus) -> Scorer:
    """The scorer: `name_of`, and a hash of the known answers."""
    name = name_of(block)
    return Scorer(block, name if block.answers is None else f"{name}+answers:{answers_id(block.answers)}")


def name_of(block: Consensus) -> str:
    """The reward's name but for known answers: by its settings and by the code that reads answers."""
    settings = {key: value for key, value in block.identity().items() if key not in ("answers", "anchors")}
    code = sha256()
    for module in (equality, final_numbers):
        code.update(Path(getsourcefile(module) or "").read_bytes())
    return f"{CONSENSUS}{block.equal}@{short_hash(settings | {'code': code.hexdigest()})}"


def read_rows(job: Job, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`answers`, one text or None per response of a row, and `known`, the known answer of its prompt or None.

    Equal answers of a row, the known one included, are the same text. Nothing is kept in the ledger, since nothing is
    asked of a model. Raise the errors of `read_answers`.
    """
    block = job.settings
    assert isinstance(block, Consensus)
    known = {} if block.answers is None else read_answers(block.answers, [last_text(row) for row in rows])
    read, progress = equality.READERS[block.equal], ProgressFile(job)
    found = []
    for done, row in enumerate(rows, 1):
        # An answer is normalised, so that a secret in it would not be recognised when the tables are written.
        answers, reference = read(*redacted((row["responses"], known.get(last_text(row)))))
        found.append({"answers": answers, "known": reference})
        progress(done, len(rows))
    return found
