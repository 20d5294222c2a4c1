"""Rewards with planted noise: right or wrong, and a known share of the verdicts turned around."""

from __future__ import annotations

import pytest

from eva_data.sandbox.noisy import exact, flipped, flips_10, flips_20, flips_40

PROMPT = "Write the word tiger backwards, then put it in capital letters."


def test_the_last_step_of_an_answer_is_right_or_wrong() -> None:
    answers = ("REGIT", "regit>REGIT", " REGIT ", "regit", "REGIT>regit", "")
    assert [exact(PROMPT, answer) for answer in answers] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert exact("Tell me a story.", "REGIT") is None
    assert flipped("Tell me a story.", "REGIT", 1.0) is None


@pytest.mark.parametrize(("reward", "share"), [(flips_10, 0.1), (flips_20, 0.2), (flips_40, 0.4)])
def test_about_as_many_verdicts_are_wrong_as_planted(reward: object, share: float) -> None:
    wrong = [f"no{number}" for number in range(5_000)]
    assert callable(reward)
    rate = sum(reward(PROMPT, answer) for answer in wrong) / len(wrong)
    # Four standard errors of 5,000 draws.
    assert rate == pytest.approx(share, abs=4 * (share * (1 - share) / 5_000) ** 0.5)


def test_what_is_wrong_at_a_smaller_share_is_wrong_at_a_larger_one_and_every_time() -> None:
    answers = [f"no{number}" for number in range(500)]
    few, many = ({answer for answer in answers if flipped(PROMPT, answer, share)} for share in (0.1, 0.3))
    assert few < many
    assert flipped(PROMPT, "REGIT", 1.0) == 0.0
    assert [flipped(PROMPT, f" {answer} ", 0.3) for answer in answers] == [
        flipped(PROMPT, answer, 0.3) for answer in answers
    ]
