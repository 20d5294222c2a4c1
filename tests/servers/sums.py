"""A solver of reasoning-gym's `chain_sum` that is right every second time, and the sums by which tests know that."""

from __future__ import annotations

import re
from typing import Any

from odd_server import Answer, Asked, OddServer, said

SUM = re.compile(r"arithmetic problem: (.*) =$")


def value(question: str) -> int:
    """The value of a question's sum, computed by hand."""
    asked = SUM.search(question)
    assert asked is not None, question
    terms = asked[1].replace(" - ", " + -").split(" + ")
    return sum(int(term.replace("--", "")) for term in terms)


def reply(question: str, choice: int) -> str:
    """Right with thoughts, wrong, right alone, right but without the tags."""
    right = value(question)
    return (
        f"<think>First I say <answer>1</answer>.</think>So it is <answer> {right} </answer>",
        "I cannot, so <answer>unknown</answer>",
        f"<answer>{right}</answer>",
        f"It is {right}.",
    )[choice % 4]


RIGHT = (1.0, 0.0, 1.0, 0.0)
"""The score of each of the four replies."""


def solver() -> OddServer:
    """Serves these replies."""

    def answer(asked: Asked) -> Answer:
        if SUM.search(asked.prompt) is None:
            # What every model is asked at its start.
            return said(asked, "Hello.")
        choices: list[dict[str, Any]] = [
            {"index": n, "finish_reason": "stop", "message": {"role": "assistant", "content": reply(asked.prompt, n)}}
            for n in range(asked.body.get("n", 1))
        ]
        usage = {"prompt_tokens": 3, "completion_tokens": 4 * len(choices)}
        return 200, {"object": "chat.completion", "choices": choices, "usage": usage}

    return OddServer(answer)
