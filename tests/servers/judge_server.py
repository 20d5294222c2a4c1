"""A judge whose preferences are planted: which of two replies it prefers is a function of what it is shown.

`JudgeServer(prefer)` answers the question of the own rule; `prefer(first, second)` gives `first`, `second`, `tie`, or
any other text, which it then says word for word.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from odd_server import Answer, Asked, OddServer, said

Prefer = Callable[[str, str], str]

_TAGS = (
    *("first_reply", "second_reply", "answer_of_A", "answer_of_B", "answer_of_m", "answer_of_M"),
    *("answer", "conversation", "prompt"),
)
_SHOWN = {name: re.compile(rf"<{name}>\n(.*?)\n</{name}>", re.DOTALL) for name in _TAGS}


def shown(question: str, *names: str) -> tuple[str, ...]:
    """The texts that a question shows between tags of these names."""
    return tuple(found[1] for name in names if (found := _SHOWN[name].search(question)))


class JudgeServer(OddServer):
    """Compares two replies by `prefer`."""

    def __init__(self, prefer: Prefer) -> None:
        def answer(asked: Asked) -> Answer:
            replies = shown(asked.prompt, "first_reply", "second_reply")
            if len(replies) != 2:
                # What every model is asked at its start.
                return said(asked, "Hello.")
            first, second = replies
            verdict = prefer(first, second)
            text = f"So it is.\nVerdict: {verdict}" if verdict in ("first", "second", "tie") else verdict
            return said(asked, text)

        super().__init__(answer)
