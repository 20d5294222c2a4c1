"""The consensus of responses: who votes, what has a consensus, what it is worth, and who keeps anchors in the mix."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.config.reading import load_config
from eva_data.errors import ConfigError
from eva_data.iteration.stages import estimate_and_sample
from eva_data.method.signals import votes
from eva_data.method.signals.votes import CONSENSUS, Vote, anchored, consensus_rewards, counted, with_votes
from eva_data.tables.schemas import INFORMATIVENESS, PROMPTS, RESPONSES, conform

VOTE = Vote(min_votes=4, min_agreement=0.5)


def answered(answers: dict[str, str], known: dict[str, str] | None = None) -> pl.DataFrame:
    """RESPONSES with one letter per response: a dot cannot be read, and a capital letter is a response that was cut."""
    rows = [
        {
            "prompt_id": prompt,
            "response_idx": number,
            "answer": None if letter == "." else letter.lower(),
            "known_answer": (known or {}).get(prompt),
            "finish_reason": "length" if letter.isupper() else "stop",
            "reward_model": f"{CONSENSUS}text@1",
            "stage": "estimate",
        }
        for prompt, letters in answers.items()
        for number, letter in enumerate(letters)
    ]
    return conform(pl.DataFrame(rows), RESPONSES)


def rewards(answers: dict[str, str], known: dict[str, str] | None = None) -> dict[str, list[float | None]]:
    found = consensus_rewards(answered(answers, known).lazy(), VOTE).collect().sort("prompt_id", "response_idx")
    return dict(found.group_by("prompt_id", maintain_order=True).agg("reward").iter_rows())


def test_a_consensus_needs_votes_a_lead_and_agreement_and_says_what_is_missing() -> None:
    found = counted(
        answered(
            {
                "agreed": "aaab",
                "unreadable": "aaa.",
                "cut": "aaaA",
                "tie": "aabb",
                "one vote": "aaabb",
                "scattered": "aaabcde",
                "nobody": "....",
            }
        ).lazy(),
        VOTE,
    ).collect()
    assert_frame_equal(
        found.drop("known_answer").sort("prompt_id"),
        pl.DataFrame(
            [
                ("agreed", 4, 3 / 4, "a", None),
                ("cut", 3, 1.0, None, "no_consensus: 3 of 4 votes"),
                ("nobody", 0, None, None, "no_consensus: 0 of 4 votes"),
                ("one vote", 5, 3 / 5, None, "no_consensus: one vote decides"),
                ("scattered", 7, 3 / 7, None, "no_consensus: an agreement of 0.43"),
                ("tie", 4, 1 / 2, None, "no_consensus: a tie"),
                ("unreadable", 3, 1.0, None, "no_consensus: 3 of 4 votes"),
            ],
            schema={
                "prompt_id": pl.String,
                "votes": pl.Int32,
                "agreement": pl.Float64,
                "consensus": pl.String,
                "missing": pl.String,
            },
            orient="row",
        ),
    )


def test_responses_get_1_for_the_consensus_and_0_for_any_other_answer_or_none() -> None:
    assert rewards({"p": "aaaab.A", "q": "aabb"}) == {"p": [1, 1, 1, 1, 0, 0, 1], "q": [None] * 4}


def test_an_anchor_is_scored_by_its_known_answer_whatever_the_others_say() -> None:
    assert rewards({"p": "aaab", "q": "abcd"}, {"p": "b", "q": "d"}) == {"p": [0, 0, 0, 1], "q": [0, 0, 0, 1]}


@given(st.text("abc.", min_size=1, max_size=9))
def test_no_response_has_its_reward_from_its_own_vote(letters: str) -> None:
    for place, reward in enumerate(rewards({"p": letters})["p"]):
        if reward is None:
            continue
        others = [letter for number, letter in enumerate(letters) if number != place and letter != "."]
        top = max(set(others), key=others.count)
        assert all(others.count(letter) < others.count(top) for letter in set(others) - {top})
        assert reward == float(letters[place] == top)


@given(st.dictionaries(st.sampled_from("pqr"), st.text("ab.", min_size=1, max_size=6), min_size=1), st.integers())
def test_the_order_of_rows_changes_no_vote(answers: dict[str, str], seed: int) -> None:
    table = answered(answers)
    shuffled = table.sample(fraction=1, shuffle=True, seed=seed % 1000)
    one, other = (counted(each.lazy(), VOTE).sort("prompt_id").collect() for each in (table, shuffled))
    assert_frame_equal(one, other)


def test_votes_counted_in_parts_are_those_of_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {f"{number:x}{number:07x}": "aaabc"[: 2 + number % 4] for number in range(16)}
    table = answered(answers)
    whole = counted(table.lazy(), VOTE).sort("prompt_id").collect()
    monkeypatch.setattr(votes, "AT_ONCE", 5)
    parts = votes.in_parts(lambda part: counted(part, VOTE), table, prompts=16)
    assert_frame_equal(parts.sort("prompt_id"), whole)
    assert whole.height == 16


def test_other_rewards_are_no_votes() -> None:
    table = answered({"p": "aaaa"}).with_columns(reward_model=pl.lit("verifier:mine:score@1"))
    assert counted(table.lazy(), VOTE).collect().is_empty()


def informative(ids: str) -> pl.DataFrame:
    rows = [{"prompt_id": each, "reason": "fewer_than_two_finite_rewards"} for each in ids]
    return conform(pl.DataFrame(rows), INFORMATIVENESS)


def test_a_prompt_without_a_consensus_says_so_unless_its_answer_is_known() -> None:
    table = with_votes(informative("pqr"), answered({"p": "aabb", "q": "aabb"}, {"q": "b"}), VOTE)
    assert table.select("prompt_id", "votes", "agreement", "consensus", "known_answer", "reason").rows() == [
        ("p", 4, 0.5, None, None, "no_consensus"),
        ("q", 4, 0.5, None, "b", "fewer_than_two_finite_rewards"),
        ("r", None, None, None, None, "fewer_than_two_finite_rewards"),
    ]
    assert with_votes(informative("p"), answered({"p": "aabb"}), None).equals(informative("p"))


LETTERS = {"a": "aaaaaaaa", "b": "aaaaaaab", "c": "aaaaaabc", "d": "aaaaabbc", "e": "aaaabbcd", "f": "aaaabbbb"}


def sampled(*settings: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    config = load_config(
        None,
        (
            "reward={backend: consensus, equal: text}",
            *("solver.responses=8", "sample.fraction=1", "sample.method=uniform", "estimate.min_best=null"),
            *settings,
        ),
    )
    before = conform(pl.DataFrame({"prompt_id": [*LETTERS], "depth": [0] * len(LETTERS)}), PROMPTS)
    table = answered(LETTERS)
    scores = consensus_rewards(table.lazy(), VOTE).collect().select("prompt_id", "response_idx", "reward")
    responses = conform(table.drop("reward").join(scores, on=["prompt_id", "response_idx"]), RESPONSES)
    found = estimate_and_sample(config, 2, before, responses, 8, pl.Series([1.0]))
    return found.informativeness.select("prompt_id", "agreement", "reason", "selected").collect(), found.notes


def test_the_band_draws_by_agreement_and_names_what_is_outside() -> None:
    table, notes = sampled("sample.agreement_band=[0.55,0.9]")
    assert table.rows() == [
        ("a", 1.0, "too_easy", False),
        ("b", 0.875, None, True),
        ("c", 0.75, None, True),
        ("d", 0.625, None, True),
        ("e", 0.5, "too_hard", False),
        ("f", 0.5, "no_consensus", False),
    ]
    assert (
        "3 of 6 prompts are inside `sample.agreement_band` 0.55 to 0.9; 1 are too easy, 1 too hard, and 1 have no "
        "consensus"
    ) in notes
    assert "1 of 6 prompts are too easy and 1 too hard for `sample.agreement_band` and cannot be drawn" in notes
    assert "the responses to 1 of 6 prompts have no consensus: they cannot be drawn" in notes


def test_without_a_band_only_prompts_without_a_consensus_are_not_drawn() -> None:
    table, _ = sampled()
    assert table.filter(~pl.col("selected")).rows() == [("f", 0.5, "no_consensus", False)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("reward={backend: consensus}", "solver.responses=3"), "`solver.responses` is 3 and `reward.min_votes` 4"),
        (("sample.agreement_band=[0.5,0.9]",), "only `reward.backend: consensus` counts"),
        (
            ("reward={backend: consensus}", "sample.agreement_band=[0.5,0.9]", "sample.band=[0.3,0.8]"),
            "`sample.band` and `sample.agreement_band` exclude each other",
        ),
        (("reward={backend: consensus}", "sample.agreement_band=[0.9,0.5]"), "expected two rising numbers from 0 to 1"),
        (("reward={backend: consensus}", "pair.rewrite=true"), "which has no other responses to agree with"),
        (
            ("reward={backend: consensus, answers: {path: a.csv}}", "mix.evolved=0.95"),
            "`reward.anchors` is 0.1, and with `mix.evolved` 0.95 only 0.05 of X_t are prompts with a known answer",
        ),
        (
            ("reward={backend: consensus, answers: {path: a.csv}}", "mix.topic_cap=0.2"),
            "which can contradict each other",
        ),
        (
            ("reward={backend: several, rewards: [{backend: consensus}, {backend: verifier, function: 'a:b'}]}",),
            "are not averaged with other rewards",
        ),
        (
            ("reward={backend: consensus}", "evaluate={second_reward: {backend: consensus}}"),
            "`evaluate.second_reward` is consensus, which gives one answer no score",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused_by_name(settings: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, settings)
    assert said in str(refused.value)


def prompts(count: int) -> pl.LazyFrame:
    return pl.LazyFrame({"prompt_id": [f"{number:02}" for number in range(count)], "key": range(count)})


@pytest.mark.parametrize(
    ("known", "count", "least", "taken"),
    [
        ([0, 5, 9], 4, 1, [0, 1, 2, 3]),
        ([7, 9, 5], 4, 2, [0, 1, 5, 7]),
        ([7], 4, 2, [0, 1, 2, 7]),
        ([6, 7, 8], 2, 3, [6, 7]),
        ([], 3, 1, [0, 1, 2]),
    ],
)
def test_anchors_take_the_last_places_if_the_draw_has_too_few(
    known: list[int], count: int, least: int, taken: list[int]
) -> None:
    anchors = pl.LazyFrame({"prompt_id": [f"{number:02}" for number in known]}, schema={"prompt_id": pl.String})
    table = prompts(10)
    found: Any = table.filter(anchored(table, pl.col("key").cast(pl.Float64), count, anchors, least)).collect()
    assert found["key"].to_list() == taken
