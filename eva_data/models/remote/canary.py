"""Notices that a server answers differently under the same name.

At every start the same three questions are asked greedily, and the answers are compared with the answers of the first
start. Even so, a hosted model may give different answers to the same question. So a question counts as changed only if
none of three answers is among the first three. A model that refuses temperature 0 cannot be recognised like this, so
it is not asked.
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
"""Length of each answer. Three such answers cost less than any request of a build."""
TIMES = 3

AskGreedily = Callable[[Sequence[Message]], Awaitable[str | None]]
"""Gives an answer, or None if the model cannot answer greedily."""


async def check(ledger: Ledger, model: str, ask: AskGreedily) -> None:
    """Compare a server's model with its first answers. Raise ModelError if it changed. `model` is its fingerprint."""
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
    """Up to three answers, fewer once an answer is in `until`; empty if the model cannot answer greedily."""
    answers: list[str] = []
    while len(answers) < TIMES and not set(answers) & set(until):
        answer = await ask([{"role": "user", "content": probe}])
        if answer is None:
            return []
        answers.append(answer)
    return answers
