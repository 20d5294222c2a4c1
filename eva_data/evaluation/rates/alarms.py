"""Alarms over several comparisons: the reward of the training rises, and a reward that trains nothing does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from eva_data.dataset.evaluations import Compared
from eva_data.evaluation.rates.weighing import single_scores
from eva_data.statistics.bootstrap import mean_difference
from eva_data.statistics.interval import Interval

SEED = 20411
"""Of the draws; the same rows give the same alarms."""

FIRST, SECOND = "reward", "second_reward"
"""The rules whose comparisons are looked at."""


def alarms_of(compared: Sequence[Compared], rows: pl.DataFrame) -> tuple[str, ...]:
    """One sentence per set and pair of thetas where the reward rose and the second one did not.

    A reward rose if the 95 % interval of its mean difference, prompt by prompt, lies above 0 (`mean_difference`).
    """
    found = []
    for name, prompts in dict.fromkeys((each.set, each.prompts_hash) for each in compared):
        of_set = [each for each in compared if (each.set, each.prompts_hash) == (name, prompts)]
        first, second = (_by_theta(of_set, rule) for rule in (FIRST, SECOND))
        for theta in sorted(first.keys() & second.keys()):
            for before in dict.fromkeys((theta - 1, 0)):
                if not before < theta or before not in first or before not in second:
                    continue
                rose = _difference(first[theta], first[before], rows)
                other = _difference(second[theta], second[before], rows)
                if rose is not None and other is not None and rose.low > 0 and other.low <= 0:
                    found.append(_sentence(name, theta, before, rose, other))
    return tuple(found)


def _by_theta(compared: Sequence[Compared], rule: str) -> Mapping[int, Compared]:
    """The comparisons by a rule and one reward: the one that scored the newest theta."""
    of_rule = [each for each in compared if each.rule == rule and each.theta is not None]
    if not of_rule:
        return {}
    newest = max(of_rule, key=lambda each: each.theta or 0)
    return {each.theta or 0: each for each in of_rule if each.judges == newest.judges}


def _difference(ours: Compared, theirs: Compared, rows: pl.DataFrame) -> Interval | None:
    """The mean difference over the prompts of which both answers were scored; None with fewer than two."""
    one, other = (single_scores(rows.filter(pl.col("evaluation") == each.key), None) for each in (ours, theirs))
    both = one.join(other, on="prompt_id", suffix="_before").sort("prompt_id")
    if both.height < 2:
        return None
    return mean_difference(both["score"].to_numpy(), both["score_before"].to_numpy(), seed=SEED)


def _sentence(name: str, theta: int, before: int, rose: Interval, other: Interval) -> str:
    return (
        f"from theta_{before} to theta_{theta} the reward of the training rose on {name} ({_signed(rose)}), and the "
        f"second reward, which trained nothing, did not ({_signed(other)}): it may be learning the reward's mistakes"
    )


def _signed(interval: Interval) -> str:
    return f"{interval.estimate:+.3g} [{interval.low:+.3g}, {interval.high:+.3g}]"
