"""The sandbox reward: whether a response is the one right answer, and how near it comes."""

from rapidfuzz.distance import Levenshtein

from eva_data.sandbox.world import parse, solve

NEAR = 0.9
"""What a wrong response could at most be worth: every right answer is worth more than every wrong one."""


def score(prompt: str, response: str) -> float | None:
    """1 for the right answer, else 0.9 x its normalised Levenshtein similarity; None if there is no task.

    White space around the response is not counted.
    """
    task = parse(prompt)
    answer = solve(task) if task else None
    if answer is None:
        return None
    given = response.strip()
    return 1.0 if given == answer else NEAR * Levenshtein.normalized_similarity(answer, given)
