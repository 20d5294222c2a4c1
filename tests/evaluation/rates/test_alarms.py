"""The reward of the training rises and a reward that trains nothing does not: said once, and only then."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from eva_data.dataset.evaluations import Compared
from eva_data.evaluation.rates.alarms import alarms_of


def scored(rule: str, theta: int, scores: Sequence[float | None], judge: str = "") -> tuple[Compared, pl.DataFrame]:
    key = f"{rule}-{theta}-{judge}"
    compared = Compared(
        key=key,
        set="heldout",
        rule=rule,
        source="",
        solver=f"s{theta}",
        solver_name=f"theta_{theta}",
        theta=theta,
        judges=(judge or rule,),
        prompts=len(scores),
        prompts_hash="h",
    )
    rows = pl.DataFrame(
        {
            "evaluation": [key] * len(scores),
            "prompt_id": [f"p{number}" for number in range(len(scores))],
            "category": pl.Series([None] * len(scores), dtype=pl.String),
            "score": pl.Series(scores, dtype=pl.Float64),
        }
    )
    return compared, rows


def alarms(*made: tuple[Compared, pl.DataFrame]) -> tuple[str, ...]:
    return alarms_of([compared for compared, _ in made], pl.concat(rows for _, rows in made))


LOW = [0.1, 0.2, 0.15, 0.3, 0.25, 0.2, 0.1, 0.3]
HIGH = [score + step for score, step in zip(LOW, [0.5, 0.6, 0.55, 0.5, 0.6, 0.5, 0.55, 0.6], strict=True)]
NOISY = [0.3, 0.0, 0.2, 0.2, 0.3, 0.1, 0.2, 0.2]


def test_a_reward_that_rises_alone_is_an_alarm_against_the_theta_before_and_the_first() -> None:
    found = alarms(
        *(scored("reward", theta, scores) for theta, scores in enumerate((LOW, LOW, HIGH))),
        *(scored("second_reward", theta, scores) for theta, scores in enumerate((LOW, LOW, NOISY))),
    )
    # Mean differences: (.5 + .6 + .55 + .5 + .6 + .5 + .55 + .6) / 8 = .55, and (1.5 - 1.6) / 8 = -.0125.
    assert [sentence.partition(" rose on heldout (+0.55 ")[0] for sentence in found] == [
        "from theta_1 to theta_2 the reward of the training",
        "from theta_0 to theta_2 the reward of the training",
    ]
    assert all("second reward, which trained nothing, did not (-0.0125 [" in sentence for sentence in found)


def test_both_rise_or_neither_does_and_nothing_is_said() -> None:
    def of(first: Sequence[float | None], second: Sequence[float | None]) -> tuple[str, ...]:
        before = [scored(rule, 0, LOW) for rule in ("reward", "second_reward")]
        return alarms(*before, scored("reward", 1, first), scored("second_reward", 1, second))

    assert of(HIGH, HIGH) == ()
    assert of(NOISY, NOISY) == ()
    assert of(NOISY, HIGH) == ()
    # One common prompt is no sample.
    assert of([HIGH[0], *[None] * 7], NOISY) == ()
    assert len(of(HIGH, NOISY)) == 1


def test_scores_of_different_rewards_are_not_compared() -> None:
    assert (
        alarms(
            scored("reward", 0, LOW, "one"),
            scored("reward", 1, HIGH, "another"),
            scored("second_reward", 0, LOW),
            scored("second_reward", 1, NOISY),
        )
        == ()
    )
    assert alarms(scored("reward", 0, LOW), scored("reward", 1, HIGH)) == ()
