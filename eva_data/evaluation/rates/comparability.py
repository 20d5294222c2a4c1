"""What a comparison cannot be compared with: the published figures of its rule, or its own other side."""

from __future__ import annotations

from eva_data.dataset.evaluations import Compared
from eva_data.evaluation.rule import JudgingRule


def reasons(compared: Compared, rule: JudgingRule, probabilities: float | None) -> list[str]:
    """Sentences without a full stop, first on the two sides, then on the leaderboard; empty if there is no reason.

    `probabilities` is the share of verdicts that are probabilities; None if the rule wants none.
    """
    found = [] if (apart := sides_apart(compared)) is None else [apart]
    board = rule.leaderboard
    if board is None:
        return found
    judges = [named(judge) for judge in compared.judges]
    why = {
        f"the judge is {' and '.join(judges)}, and there {board.judge}": board.judge is not None
        and judges != [board.judge],
        f"the baseline is {compared.against_name}{_answers(compared)}, and there {board.baseline}": (
            board.baseline is not None and board.baseline not in (compared.against_name, compared.answers_of)
        ),
        f"{compared.prompts:,} prompts were asked, and there {board.prompts:,}": compared.prompts != board.prompts,
        "the question to the judge is in eva-data's words": not compared.own_template,
        "the question to the judge is from `judge_template`, which may differ from the published one": (
            compared.own_template
        ),
        "not every verdict is a probability": probabilities is not None and probabilities < 1,
    }
    listed = "; ".join(text for text, holds in why.items() if holds)
    return [*found, *([f"not comparable with the leaderboard of {board.name}: {listed}"] if listed else [])]


def sides_apart(compared: Compared) -> str | None:
    """Why the two sides cannot be compared with each other; None if they can, or if it is unknown how one samples."""
    ours, theirs = compared.decoding, compared.decoding_against
    if not ours or not theirs or ours == theirs:
        return None
    return f"the sides sample otherwise ({ours}; {theirs}), so what differs may be that"


def named(fingerprint: str) -> str:
    """The model's own name in a fingerprint such as `openai/gpt-4@unknown`."""
    return fingerprint.partition("@")[0].rstrip("/").rpartition("/")[2]


def _answers(compared: Compared) -> str:
    return f" (answers of {compared.answers_of})" if compared.answers_of else ""
