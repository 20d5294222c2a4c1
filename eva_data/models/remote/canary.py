"""Notices that a server answers differently under the same name.

The same three questions are asked greedily at every start and compared with the answers of the first time. A
hosted model need not answer the same twice even then, so a question counts as changed only if none of three
answers is among the first three. A model that takes no temperature 0 cannot be recognised so, and is not asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from eva_data.calls import Message
from eva_data.errors import ModelError
from eva_data.ledger import Ledger

PROBES = (
    "Continue this sequence with five more numbers: 1, 1, 2, 3, 5, 8, 13,",
    "Name the capital of Australia and describe it in one sentence.",
    "Write one sentence about the sea.",
)
TOKENS = 24
"""Length of each answer: three of them cost less than any request of a build."""
TIMES = 3

AskGreedily = Callable[[Sequence[Message]], Awaitable[str | None]]
"""None: the model has no most likely answer to give."""


async def check(ledger: Ledger, model: str, ask: AskGreedily) -> None:
    """Compare a server's model, by its fingerprint, with what it was; raises ModelError where it changed."""
    first = ledger.canary(model)
    if not first:
        found = {probe: await _several(ask, probe, ()) for probe in PROBES}
        if all(found.values()):
            ledger.keep_canary(model, found)
        return
    for probe, answers in first.items():
        now = await _several(ask, probe, answers)
        if now and not set(now) & set(answers):
            raise ModelError(
                f"the server's model `{model}` answers differently than before: to {probe!r} it said {answers[0]!r}, "
                f"and now says {now[0]!r}; if another model is served under this name, give it another `revision` (for "
                "one iteration `--solver NAME@REVISION`), so that its answers are not mixed with the earlier ones; if "
                "not, set `canary: false`"
            )


async def _several(ask: AskGreedily, probe: str, until: Sequence[str]) -> list[str]:
    """Up to three answers; no more once one is among those looked for, and none if there is no greedy one."""
    answers: list[str] = []
    while len(answers) < TIMES and not set(answers) & set(until):
        answer = await ask([{"role": "user", "content": probe}])
        if answer is None:
            return []
        answers.append(answer)
    return answers
