"""Reads the answers of programs, for votes: programs with the same outputs on the same inputs have one answer.

Programs that agree on a few inputs can differ on others. So the inputs decide how much a consensus says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from eva_data.config.rewards import Programs
from eva_data.rewards.equality import LONGEST, Read
from eva_data.rewards.isolated.runner import outputs

NOTHING = "nothing"
"""What stands for an output that is no plain value, or that did not come in time."""


def read_programs(
    block: Programs,
    calls: Sequence[str],
    responses: Sequence[str],
    known: str | None,
    code_of: Callable[[str], str],
) -> Read:
    """The outputs of each response's program as one text, and those of the known program.

    A text longer than LONGEST characters becomes its SHA-256. It is None, and the response does not vote, if the
    program fails on every input: it raises, gives nothing in time, no plain value, or `None`. `code_of` finds the
    program in a response.
    """
    programs = [code_of(response) for response in responses]
    wanted = list(dict.fromkeys([*programs, *([] if known is None else [known])])) if calls else []
    with ThreadPoolExecutor(block.workers) as pool:
        given = dict(zip(wanted, pool.map(lambda code: _answer(outputs(block, code, calls)), wanted), strict=True))
    return [given.get(code) for code in programs], None if known is None else given.get(known)


def _answer(found: Sequence[str | None]) -> str | None:
    if all(each is None or each == "None" or each.startswith("raises ") for each in found):
        return None
    text = "; ".join(NOTHING if each is None else each for each in found)
    return text if len(text) <= LONGEST else f"sha256:{sha256(text.encode()).hexdigest()}"
