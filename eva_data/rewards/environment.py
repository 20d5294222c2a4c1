"""A ready verifier for prompts of an environment: the environment's own score of a response."""

from __future__ import annotations

from eva_data.calls import Unparsable
from eva_data.environments import posing
from eva_data.thoughts import without_thoughts

__all__ = ["score_answer"]


def score_answer(prompt: str, response: str, answer: str | None, info: str | None) -> float | None:
    """The environment's score of a response, from 0 to 1; None if no environment made the prompt.

    reasoning-gym reads the last text between <answer> and </answer> after the thoughts. A response without it, and a
    response that the scorer cannot read, gets the score of no answer, which is 0. Some data sets give part of the score
    to answers that are nearly right.
    """
    if info is None:
        return None
    spoken = without_thoughts(response)
    return posing.score("" if isinstance(spoken, Unparsable) else spoken, answer, prompt, info)
