"""Whole evaluations with planted judges, many times: the figure that is planted lies in the interval.

The replies of the judge go as texts through the reader of the rule, the verdicts, and the figures. 500 runs of an
interval that covers 95 % give between 92.5 and 97.5 % in 99 of 100 settings, so the seeds are fixed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from math import erf, sqrt
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from odd_server import Answer, Asked, OddServer, said
from planted_judge import Planted, in_five_labels, in_words
from sandbox_runs import eva

from eva_data.calls import Completion
from eva_data.comparing.orders import FIRST, SECOND, in_both_orders
from eva_data.comparing.verdict import Judged, Read, judge_once
from eva_data.dataset.evaluations import Compared, read_record
from eva_data.dataset.store import Store
from eva_data.evaluation.figures import figures_of, judged_rate
from eva_data.evaluation.judging import with_verdicts
from eva_data.evaluation.rule import rule_called
from eva_data.statistics.interval import Interval

RUNS = 500
Z = 1.959963984540054
WIDEST = 1.15
"""Times the analytic width of a paired interval."""


def compared(rule: str, n: int) -> Compared:
    return Compared(
        key="k",
        set="simulated",
        rule=rule,
        source="",
        solver="s",
        solver_name="theta_1",
        against=None if rule == "mt_bench" else "b",
        against_name=None if rule == "mt_bench" else "theta_0",
        judges=("judge",),
        prompts=n,
        prompts_hash="",
    )


@cache
def judged(read: Read, text: str) -> Judged:
    """What becomes of a judge's reply. The planted judges have few ways to say a verdict, and each is read once."""
    chain = judge_once(({"role": "user", "content": "Which?"},), read)
    next(chain)
    try:
        chain.send([Completion(text, "stop", 1, 1)])
    except StopIteration as finished:
        found: Judged = finished.value
        return found
    raise AssertionError(f"no verdict was read in {text!r}")


def comparison(rule: str, first: Sequence[str], second: Sequence[str], lengths: Sequence[int]) -> pl.DataFrame:
    """EVALUATIONS rows, so far as figures read them, of a judge's replies in both orders."""
    n = len(first)
    faced = pl.DataFrame(
        {
            "evaluation": ["k"] * n,
            "prompt_id": [f"p{number:04}" for number in range(n)],
            "turn": [1] * n,
            "sample": [0] * n,
            "judge": ["judge"] * n,
            "category": pl.Series([None] * n, dtype=pl.String),
            "response": ["x" * length for length in lengths],
            "response_against": ["y" * 100] * n,
            "finish_reason": ["stop"] * n,
            "finish_reason_against": ["stop"] * n,
            "completion_tokens": list(lengths),
            "completion_tokens_against": [100] * n,
        }
    )
    found = rule_called(rule)
    assert found.read is not None
    verdicts = [judged(found.read, text) for text in (*first, *second)]
    rows = in_both_orders(faced)
    assert rows["order"].to_list() == [FIRST] * n + [SECOND] * n
    return with_verdicts(found, rows, verdicts)


def checked(intervals: Sequence[Interval], truth: float, deviation: float, n: int, what: str) -> None:
    """Coverage within 92.5 to 97.5 %, and a mean width of at most 1.15 times the analytic one."""
    covered = float(np.mean([interval.holds(truth) for interval in intervals]))
    width = float(np.mean([interval.width for interval in intervals])) / (2 * Z * deviation / sqrt(n))
    print(f"{what}: {100 * covered:.1f} % {width:.3f}")
    assert 0.925 <= covered <= 0.975 and width <= WIDEST


def simulated(
    rule: str,
    planted: Planted,
    say: Callable[[np.random.Generator, np.typing.NDArray[np.str_]], list[str]],
    n: int,
    seed: Sequence[int],
) -> tuple[list[Interval], list[pl.DataFrame]]:
    """The intervals of all runs, and the scores of their prompts. Of the first run the whole figures are the same."""
    draw = np.random.Generator(np.random.PCG64(seed))
    intervals, scores = [], []
    for run in range(RUNS):
        first, second, lengths = planted.verdicts(draw, n)
        rows = comparison(rule, say(draw, first), say(draw, second), lengths.tolist())
        made = judged_rate(compared(rule, n), rows, rule_called(rule))
        assert made.estimate is not None and made.scores.height == n
        if run == 0:
            whole = figures_of(compared(rule, n), rows)
            assert whole.estimate == made.estimate and whole.judged == n
        intervals.append(made.estimate)
        scores.append(made.scores)
    return intervals, scores


SETTINGS = pytest.mark.parametrize("n", [100, 805])


@pytest.mark.long
@pytest.mark.parametrize("ties", [0.0, 0.2])
@pytest.mark.parametrize("bias", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("rate", [0.5, 0.8, 0.97])
@SETTINGS
def test_the_own_rule_covers_the_planted_win_rate(n: int, rate: float, bias: float, ties: float) -> None:
    planted = Planted(rate, bias, ties)
    intervals, scores = simulated(
        "own", planted, in_words, n, [1, n, *(round(100 * each) for each in (rate, bias, ties))]
    )
    # The planted deviation is that of the scores, so that the width is measured against the right one.
    found = pl.concat(scores)["score"].to_numpy()
    assert found.std() == pytest.approx(planted.deviation, rel=0.1)
    assert found.mean() == pytest.approx(planted.win_rate, abs=5 * planted.deviation / sqrt(found.size))
    checked(intervals, planted.win_rate, planted.deviation, n, f"own {n} {rate} {bias} {ties}")


@pytest.mark.long
@pytest.mark.parametrize("bias", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("rate", [0.5, 0.8, 0.97])
@SETTINGS
def test_arena_hard_covers_the_planted_rate_of_its_weighed_verdicts(n: int, rate: float, bias: float) -> None:
    planted = Planted(rate, bias, 0.2)
    intervals, scores = simulated(
        "arena_hard", planted, in_five_labels, n, [2, n, *(round(100 * each) for each in (rate, bias))]
    )
    # The analytic deviation of a ratio: that of weight x (score - truth), over the mean weight.
    weight, score = (pl.concat(scores)[name].to_numpy() for name in ("weight", "score"))
    off = weight * (score - planted.weighed_rate) / weight.mean()
    assert abs(off.mean()) < 5 * off.std() / sqrt(off.size)
    checked(intervals, planted.weighed_rate, float(off.std()), n, f"arena_hard {n} {rate} {bias}")


def mean_rating(centre: float) -> float:
    """The mean of a normal number around the centre, of deviation 2, rounded and cut to 1 ... 10."""

    def below(value: float) -> float:
        return (1 + erf((value - centre) / 2 / sqrt(2))) / 2

    return 1 + sum(1 - below(rating - 0.5) for rating in range(2, 11))


@pytest.mark.long
@pytest.mark.parametrize("centre", [3.0, 6.0, 9.0])
@SETTINGS
def test_mt_bench_covers_the_planted_mean_rating(n: int, centre: float) -> None:
    rule = rule_called("mt_bench")
    assert rule.read is not None
    draw = np.random.Generator(np.random.PCG64([3, n, round(centre)]))
    intervals, scores = [], []
    for _ in range(RUNS):
        # Prompts are easy or hard, which both turns share.
        eased = centre + draw.choice([-1.5, 0.0, 1.5], n)
        ratings = np.clip(np.rint(draw.normal(eased, 2, (2, n))), 1, 10).astype(int)
        labels = [
            judged(rule.read, f"It is fair.\nRating: [[{rating}]]")["label"] for rating in ratings.ravel().tolist()
        ]
        rows = pl.DataFrame(
            {
                "prompt_id": [f"p{number:04}" for number in range(n)] * 2,
                "turn": [1] * n + [2] * n,
                "category": pl.Series([None] * 2 * n, dtype=pl.String),
                "score": pl.Series(labels).cast(pl.Float64),
            }
        )
        made = judged_rate(compared("mt_bench", n), rows, rule_called("mt_bench"))
        assert made.estimate is not None
        intervals.append(made.estimate)
        scores.append(made.scores)
    truth = sum(mean_rating(centre + step) for step in (-1.5, 0.0, 1.5)) / 3
    found = pl.concat(scores)["score"].to_numpy()
    assert found.mean() == pytest.approx(truth, abs=5 * found.std() / sqrt(found.size))
    checked(intervals, truth, float(found.std()), n, f"mt_bench {n} {centre}")


@pytest.mark.long
@pytest.mark.parametrize(("rate", "bias"), [(0.8, 0.3), (0.97, 0.0)])
def test_the_same_replies_over_http_come_to_the_same_figures(tmp_path: Path, rate: float, bias: float) -> None:
    n = 100
    draw = np.random.Generator(np.random.PCG64([4, round(100 * rate)]))
    first, second, lengths = Planted(rate, bias, 0.2).verdicts(draw, n)
    replies = {FIRST: in_words(draw, first), SECOND: in_words(draw, second)}
    answers = ["x" * length for length in lengths.tolist()]

    def judge(asked: Asked) -> Answer:
        found = re.search(r"Prompt number (\d+)\.", asked.prompt)
        if found is None:
            return said(asked, "Hello.")
        shown_first = f"<first_reply>\n{'y' * 100}\n" not in asked.prompt
        return said(asked, replies[FIRST if shown_first else SECOND][int(found[1])])

    def solver(asked: Asked) -> Answer:
        found = re.search(r"Prompt number (\d+)\.", asked.prompt)
        return said(asked, "Hello." if found is None else answers[int(found[1])])

    prompts = [f"Prompt number {number}." for number in range(n)]
    pl.DataFrame({"prompt": prompts}).write_parquet(tmp_path / "set.parquet")
    pl.DataFrame({"prompt": prompts, "response": ["y" * 100] * n}).write_parquet(tmp_path / "baseline.parquet")
    with OddServer(solver) as solves, OddServer(judge) as judges:
        (tmp_path / "eva.yaml").write_text(
            "name: acme/planted\nseeds: {path: seeds.txt}\n"
            f"solver: {{backend: api, model: tiny, revision: solves, base_url: '{solves.url}'}}\n"
            "reward: {backend: verifier, function: 'eva_data.rewards.answers:math_equal'}\n"
            "evaluate:\n  heldout: 0\n  allow_same_judge: true\n"
            f"  judges: [{{backend: api, model: tiny, revision: judges, base_url: '{judges.url}'}}]\n"
            "  sets: [{name: set, path: set.parquet, baseline: baseline.parquet}]\n"
        )
        settings = ("--config", str(tmp_path / "eva.yaml"))
        done = eva(tmp_path / "planted", "evaluate", "--solver", "theta_0", "--against", "reference", settings=settings)
        assert done.returncode == 0, done.stderr
    record = read_record(Store(tmp_path / "planted"))
    assert record is not None
    direct = judged_rate(
        compared("own", n), comparison("own", replies[FIRST], replies[SECOND], lengths.tolist()), rule_called("own")
    )
    assert direct.estimate is not None
    assert record.evaluations[0].figures["estimate"] == pytest.approx(
        [direct.estimate.estimate, direct.estimate.low, direct.estimate.high]
    )
