"""Answers as a consensus reads them, and how often the consensus is right for solvers whose mistakes are known."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from math import factorial, prod
from pathlib import Path

import polars as pl
import pytest

from eva_data.config import Answers, Consensus
from eva_data.jobs.job import Job
from eva_data.method.signals.votes import Vote, consensus_rewards, counted, with_votes
from eva_data.report.measures.consensus import drifted, imprecise, interval, voted_on
from eva_data.rewards.backends.consensus import read_rows, scorer_of
from eva_data.rewards.equality import LONGEST, READERS, final_text
from eva_data.tables.schemas import INFORMATIVENESS, RESPONSES, conform


def test_numbers_are_equal_by_value_and_a_text_without_a_number_has_none() -> None:
    texts = [
        "So it is 48/2.\n#### 24",
        "The answer is 24.00 dollars",
        "\\boxed{\\frac{48}{2}}",
        "I cannot say.",
        "",
        "25",
    ]
    assert READERS["number"](texts, "#### 24") == (["24", "24", "24", None, None, "25"], "24")
    assert READERS["number"](["<think>5</think> It is 1/3."], "no number here") == (["1/3"], None)
    assert READERS["number"](["9" * 900 + "e99"]) == (["9" * 900 + "0" * 99], None)
    assert READERS["number"](["<think>The answer is 5"]) == ([None], None)


def test_texts_are_equal_but_for_case_blanks_and_marks_at_their_ends() -> None:
    texts = [
        "Because it is far.\nAnswer:  **New   York**.",
        "new york",
        "\\boxed{New York}",
        "<answer>York</answer>",
        ".",
    ]
    assert READERS["text"](texts, "New York!") == (["new york", "new york", "new york", "york", None], "new york")
    assert final_text("The answer is: yes\nAnswer:") == "yes"
    assert final_text("a" * (LONGEST + 1)) is None


def test_expressions_are_equal_by_value_and_get_the_known_ones_name() -> None:
    pytest.importorskip("math_verify")
    texts = ["$\\frac{1}{2}$", "It is 0.5", "so x is $\\sqrt{2}$", "$2^{1/2}$", "nothing at all"]
    answers, known = READERS["math"](texts, "\\boxed{1/2}")
    assert known is not None
    assert answers[:2] == [known, known]
    assert answers[2] == answers[3] != known
    assert answers[4] is None
    assert READERS["math"]([*reversed(texts)], "\\boxed{1/2}")[0] == answers[::-1]


def test_a_job_reads_the_answers_of_its_rows_and_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "known.csv"
    pl.DataFrame({"question": ["2 + 2?", "1 + 1?"], "answer": ["4", "#### 2"]}).write_csv(path)
    block = Consensus(backend="consensus", answers=Answers(path=path, prompt="question", answer="answer"))
    job = Job(tmp_path, "reward", block)
    rows = [
        {"prompt": [{"role": "user", "content": text}], "responses": ["It is 4.", "five"]} for text in ("2 + 2?", "new")
    ]
    assert [*read_rows(job, rows)] == [{"answers": ["4", None], "known": "4"}, {"answers": ["4", None], "known": None}]


def test_the_rewards_name_changes_with_the_vote_and_the_known_answers_and_not_with_the_anchors(tmp_path: Path) -> None:
    path = tmp_path / "known.csv"
    path.write_text("prompt,answer\na,1\n")
    block = Consensus(backend="consensus", answers=Answers(path=path))
    name = scorer_of(block).fingerprint
    assert name.startswith("consensus:number@")
    assert scorer_of(block.model_copy(update={"anchors": 0.5})).fingerprint == name
    for change in ({"min_votes": 5}, {"min_agreement": 0.6}, {"equal": "text"}, {"answers": None}):
        assert scorer_of(block.model_copy(update=change)).fingerprint != name
    path.write_text("prompt,answer\na,2\n")
    assert scorer_of(block).fingerprint != name


def test_a_secret_that_a_response_quotes_is_masked_before_its_answer_is_normalised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "Sk-AbCdEf123456")
    job = Job(tmp_path, "reward", Consensus(backend="consensus", equal="text"))
    row = {"prompt": [{"role": "user", "content": "Which key?"}], "responses": ["Answer: use Sk-AbCdEf123456 now"]}
    assert [*read_rows(job, [row])] == [{"answers": ["use *** now"], "known": None}]


PROMPTS, ANCHORS, N = 2000, 400, 8
VOTE = Vote(min_votes=4, min_agreement=0.5)
Solver = Callable[[random.Random, int], int]
"""Gives an answer to the problem of a number, whose right answer is ten times that number."""


def independent(right: float, wrong: int) -> Solver:
    """Right with this probability, else one of so many wrong answers, all equally likely."""
    return lambda draw, number: 10 * number + (0 if draw.random() < right else draw.randint(1, wrong))


def sharing(solver: Solver, share: float) -> Solver:
    """Another solver, but for a share of the problems, to which it always gives the same wrong answer."""
    return lambda draw, number: 10 * number + 7 if number < share * PROMPTS else solver(draw, number)


def played(solver: Solver, *, anchors: int = PROMPTS, seed: int = 0, name: str = "theta_0") -> pl.DataFrame:
    """INFORMATIVENESS of the problems as a solver answers them; an even spread of them are anchors."""
    draw = random.Random(seed)
    every = PROMPTS // anchors
    rows = []
    for number in range(PROMPTS):
        texts = [f"#### {solver(draw, number)}" for _ in range(N)]
        answers, known = READERS["number"](texts, 10 * number if number % every == 0 else None)
        rows += [(f"{number:04}", index, answer, known) for index, answer in enumerate(answers)]
    columns = ["prompt_id", "response_idx", "answer", "known_answer"]
    table = conform(
        pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None).with_columns(
            finish_reason=pl.lit("stop"), reward_model=pl.lit("consensus:number@1"), stage=pl.lit("respond")
        ),
        RESPONSES,
    )
    rewards = consensus_rewards(table.lazy(), VOTE).group_by("prompt_id").agg(reward_mean=pl.col("reward").mean())
    informative = conform(
        rewards.sort("prompt_id").collect().with_columns(stage=pl.lit("respond"), solver=pl.lit(name)), INFORMATIVENESS
    )
    return with_votes(informative, table, VOTE)


def outcomes(total: int, kinds: int) -> Iterator[tuple[int, ...]]:
    if kinds == 1:
        yield (total,)
        return
    for first in range(total + 1):
        yield from ((first, *rest) for rest in outcomes(total - first, kinds - 1))


def expected(right: float, wrong: int) -> tuple[float, float]:
    """The share of prompts with a consensus, and the share of these whose consensus is right, by the multinomial."""
    chances = [right, *[(1 - right) / wrong] * wrong]
    agreed = rightly = 0.0
    for counts in outcomes(N, wrong + 1):
        ordered = sorted(counts, reverse=True)
        if ordered[0] - ordered[1] < 2 or ordered[0] < VOTE.min_agreement * N:
            continue
        ways = factorial(N) // prod(map(factorial, counts))
        chance = ways * prod(each**count for each, count in zip(chances, counts, strict=True))
        agreed += chance
        rightly += chance * (counts[0] == ordered[0])
    return agreed, rightly / agreed


@pytest.mark.parametrize(("right", "wrong"), [(0.7, 4), (0.4, 4), (0.3, 3)])
def test_the_precision_for_independent_mistakes_is_that_of_the_multinomial(right: float, wrong: int) -> None:
    row = voted_on(played(independent(right, wrong)).lazy(), 1).row(0, named=True)
    agreed, precision = expected(right, wrong)
    assert row["agreed"] / row["prompts"] == pytest.approx(agreed, abs=0.03)
    assert row["right"] / row["labelled"] == pytest.approx(precision, abs=0.02)
    assert row["accuracy"] == pytest.approx(right, abs=0.02)


@pytest.fixture(scope="module")
def honest() -> pl.DataFrame:
    return played(independent(0.6, 4), anchors=ANCHORS)


@pytest.fixture(scope="module")
def shared() -> pl.DataFrame:
    return played(sharing(independent(0.6, 4), 0.3), anchors=ANCHORS, seed=1, name="theta_1")


def test_a_solver_that_shares_a_mistake_agrees_and_is_wrong_and_the_alarms_go_off(
    honest: pl.DataFrame, shared: pl.DataFrame
) -> None:
    before, after = (voted_on(each.lazy(), place).row(0, named=True) for place, each in ((1, honest), (2, shared)))
    assert imprecise(before) == []
    assert after["right"] / after["labelled"] == pytest.approx(0.67, abs=0.03)
    (alarm,) = imprecise(after)
    assert alarm.startswith(
        f"in iteration 2 the consensus is right for {after['right']} of {after['labelled']} anchors"
    )
    (alarm,) = drifted(honest.lazy(), shared.lazy(), 2)
    assert alarm.startswith("from iteration 1 to 2, the mean agreement on 2000 prompts that both solvers answered rose")
    # 0.6 of the responses are right, and 0.7 x 0.6 where the solver shares no mistake.
    told = re.search(r"right responses to 400 anchors fell from (0\.\d+) to (0\.\d+)", alarm)
    assert told is not None
    assert [float(each) for each in told.groups()] == pytest.approx([0.6, 0.42], abs=0.03)
    assert drifted(shared.lazy(), honest.with_columns(solver=pl.lit("theta_2")).lazy(), 3) == []


def test_no_alarm_goes_off_where_nothing_changed_or_the_same_solver_answered(honest: pl.DataFrame) -> None:
    again = played(independent(0.6, 4), anchors=ANCHORS, seed=2, name="theta_1")
    better = played(independent(0.7, 4), anchors=ANCHORS, seed=3, name="theta_1")
    assert [drifted(honest.lazy(), each.lazy(), 2) for each in (again, better, honest)] == [[], [], []]


def test_fresh_answers_count_and_copies_of_earlier_ones_do_not(honest: pl.DataFrame, shared: pl.DataFrame) -> None:
    """With `estimate.source: previous`, only carried prompts are answered by the new solver."""
    carried = shared.filter(pl.col("prompt_id").str.ends_with("0"))
    copies = honest.with_columns(stage=pl.lit("estimate"))
    (alarm,) = drifted(honest.lazy(), pl.concat([copies, carried]).lazy(), 2)
    assert "on 200 prompts that both solvers answered" in alarm


def test_the_interval_is_wilsons_and_nothing_without_anchors() -> None:
    # Wilson (1927) for 81 of 263, as in Newcombe (1998): 0.2553 to 0.3662.
    assert interval(81, 263) == "30.8 % [25.5, 36.6]"
    assert interval(0, 0) == ""


def test_votes_are_counted_alike_in_every_part_of_a_table() -> None:
    rows = [("p", 0, "1"), ("p", 1, "1"), ("q", 0, "2")]
    table = conform(
        pl.DataFrame(rows, schema=["prompt_id", "response_idx", "answer"], orient="row").with_columns(
            reward_model=pl.lit("consensus:number@1")
        ),
        RESPONSES,
    )
    whole = counted(table.lazy(), VOTE).sort("prompt_id").collect()
    parts = [counted(table.filter(pl.col("prompt_id") == each).lazy(), VOTE).collect() for each in "pq"]
    assert whole.equals(pl.concat(parts))
