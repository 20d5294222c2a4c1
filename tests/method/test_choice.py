"""Pairs by other rules than best against worst, and pairs of similar length, with every reason that they add."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.method.choice import similarity
from eva_data.method.pair import Paired, pair
from eva_data.tables.schemas import INFORMATIVENESS, PROMPTS, RESPONSES, conform

Answer = tuple[str, float]
"""The text of a response and its reward; every response is complete, unless its text is cut, which ends in ..."""


def _pair(prompts: dict[str, list[Answer]], **rule: object) -> Paired:
    asked = pl.DataFrame({"prompt_id": list(prompts)}).select(
        "prompt_id",
        prompt=pl.concat_list(pl.struct(role=pl.lit("user"), content=pl.concat_str(pl.lit("ask "), "prompt_id"))),
        origin=pl.lit("seed"),
        mix_role=pl.lit("original"),
        created_iteration=0,
        iteration=1,
        root_id="prompt_id",
        depth=0,
    )
    rows = [
        (prompt, number, text, reward, "length" if text.endswith("...") else "stop", "respond", "theta")
        for prompt, answers in prompts.items()
        for number, (text, reward) in enumerate(answers)
    ]
    columns = ["prompt_id", "response_idx", "response", "reward", "finish_reason", "stage", "solver"]
    responses = pl.DataFrame(rows, columns, orient="row", schema_overrides={"reward": pl.Float64})
    return pair(
        conform(asked, PROMPTS).lazy(),
        conform(responses, RESPONSES).lazy(),
        pl.LazyFrame(schema=INFORMATIVENESS),
        **({"seed": 1, "iteration": 1, "on_policy": True} | rule),  # type: ignore[arg-type]
    )


def _scores(paired: Paired) -> dict[str, tuple[float, float] | str]:
    """The two scores of each prompt's pair, or the reason why it has none."""
    found: dict[str, tuple[float, float] | str] = {
        name: (high, low)
        for name, high, low in paired.preferences.select("prompt_id", "score_chosen", "score_rejected").iter_rows()
    }
    ids = [text.removeprefix("ask ") for text in paired.rejects["text"]]
    return found | dict(zip(ids, paired.rejects["reason"], strict=True))


FOUR = {"p": [("nine", 9.0), ("seven", 7.0), ("four", 4.0), ("half", 0.5)]}


@pytest.mark.parametrize(
    ("rule", "scores"),
    [
        ({}, (9.0, 0.5)),
        ({"rule": "best_below"}, (9.0, 7.0)),
        ({"rule": "best_below", "below": 2}, (9.0, 4.0)),
        ({"rule": "best_below", "below": 3}, (9.0, 0.5)),
        ({"rule": "best_below", "below": 4}, "fewer_below"),
        ({"rule": "margin", "margin": 1.0}, (9.0, 7.0)),
        ({"rule": "margin", "margin": 2.5}, (7.0, 4.0)),
        ({"rule": "margin", "margin": 5.5}, (7.0, 0.5)),
        ({"rule": "margin", "margin": 9.0}, "below_margin"),
        ({"rule": "margin", "margin": 1.0, "min_chosen": 9.5}, "best_below_min_chosen"),
        ({"rule": "margin", "margin": 2.5, "min_chosen": 8.0}, (9.0, 4.0)),
    ],
)
def test_each_rule_takes_its_pair(rule: dict[str, object], scores: object) -> None:
    assert _scores(_pair(FOUR, **rule)) == {"p": scores}


def test_the_best_pair_of_similar_length_is_taken_and_not_the_best_pair_left_out() -> None:
    # 20 characters against 10, 16 or 4: the lengths differ by 50, 20 and 80 % of the longer.
    answers = [("a" * 20, 9.0), ("b" * 10, 1.0), ("c" * 16, 5.0), ("d" * 4, 0.0)]
    found = {gap: _scores(_pair({"p": answers}, max_length_gap=gap))["p"] for gap in (1.0, 0.8, 0.5, 0.2, 0.1, 0.0)}
    assert found == {
        1.0: (9.0, 0.0),
        0.8: (9.0, 0.0),
        0.5: (9.0, 1.0),
        0.2: (9.0, 5.0),
        0.1: "length_gap",
        0.0: "length_gap",
    }


def test_the_chosen_response_need_not_be_the_best_one() -> None:
    answers = [("a" * 20, 9.0), ("b" * 10, 6.0), ("c" * 9, 1.0)]
    assert _scores(_pair({"p": answers}, max_length_gap=0.2)) == {"p": (6.0, 1.0)}
    assert _scores(_pair({"p": answers}, max_length_gap=0.2, min_chosen=7.0)) == {"p": "length_gap"}
    assert _scores(_pair({"p": answers}, max_length_gap=0.2, margin=5.5)) == {"p": "length_gap"}


def test_the_other_reasons_come_first_and_no_prompt_is_lost() -> None:
    prompts = {
        "cut": [("aaaa...", 9.0), ("bbbb", 1.0)],
        "equal": [("aaaa", 2.0), ("bbbb", 2.0)],
        "far": [("a" * 30, 9.0), ("b", 1.0)],
        "one": [("aaaa", 2.0)],
        "pair": [("aaaa", 9.0), ("bbbb", 1.0)],
    }
    assert _scores(_pair(prompts, max_length_gap=0.1)) == {
        "cut": "best_is_truncated_or_empty",
        "equal": "all_rewards_equal",
        "far": "length_gap",
        "one": "one_distinct_response",
        "pair": (9.0, 1.0),
    }


def test_a_random_rejected_response_is_each_of_the_worse_ones_equally_often() -> None:
    prompts = {f"p{n:04}": [(f"{n} {reward}", reward) for reward in (9.0, 7.0, 4.0, 1.0)] for n in range(1200)}
    found = _pair(prompts, rule="best_random").preferences
    assert found["score_chosen"].unique().to_list() == [9.0]
    counts = Counter(found["score_rejected"].to_list())
    assert set(counts) == {7.0, 4.0, 1.0}
    # 400 each, with a standard deviation of 16.
    assert all(abs(count - 400) < 65 for count in counts.values())


_PROMPTS = st.dictionaries(
    st.sampled_from("pqr"),
    st.lists(
        st.tuples(
            st.sampled_from(["a", "ab", "ab ", "a b", "水", "abcd...", "", "abcdefgh"]),
            st.sampled_from([0.0, 0.1 + 0.2, 0.3, 1.0, 2.0]),
        ),
        min_size=1,
        max_size=6,
    ),
    min_size=1,
)


@settings(max_examples=40)
@given(_PROMPTS, st.sampled_from([None, 0.5, 1.0]), st.sampled_from([None, 0.3]))
def test_a_bound_that_every_pair_keeps_changes_nothing(
    prompts: dict[str, list[Answer]], margin: float | None, least: float | None
) -> None:
    plain, bounded = (_pair(prompts, margin=margin, min_chosen=least, max_length_gap=bound) for bound in (None, 1.0))
    assert_frame_equal(plain.preferences, bounded.preferences)
    assert_frame_equal(plain.rejects, bounded.rejects)


@settings(max_examples=40)
@given(_PROMPTS)
def test_a_wider_bound_never_gives_a_smaller_difference_or_fewer_pairs(prompts: dict[str, list[Answer]]) -> None:
    bounds = [_scores(_pair(prompts, max_length_gap=gap)) for gap in (0.0, 0.3, 0.6, 1.0)]
    for narrow, wide in pairwise(bounds):
        for prompt, pair_of in narrow.items():
            if isinstance(pair_of, tuple):
                other = wide[prompt]
                assert isinstance(other, tuple)
                assert other[0] - other[1] >= pair_of[0] - pair_of[1] - 1e-9


def test_ranked_pairs_share_no_response_and_the_widest_goes_first() -> None:
    five = [("nine", 9.0), ("seven", 7.0), ("six...", 6.0), ("four", 4.0), ("half", 0.5)]

    def pairs(**rule: object) -> list[tuple[float, float]]:
        found = _pair({"p": five}, rule="ranked", **rule).preferences
        assert found["pair_id"].is_unique().all() and found["pair_id"].is_sorted()
        return sorted(found.select("score_chosen", "score_rejected").rows(), reverse=True)

    assert pairs(per_prompt=1) == [(9.0, 0.5)]
    assert pairs(per_prompt=2) == [(9.0, 0.5), (7.0, 4.0)]
    # Of six and nothing, no pair is left.
    assert pairs() == [(9.0, 0.5), (7.0, 4.0)]
    assert pairs(margin=4.0) == [(9.0, 0.5)]


LONG = "A river flows from the hills to the sea, and on its way it passes three towns and a mill."


def test_two_texts_that_barely_differ_are_no_pair() -> None:
    # 89 characters each, of which 88 are in both: similarity 2 * 88 / 178 = .989.
    answers = [(LONG, 9.0), (LONG.replace("three", "thre\n e"), 5.0), (LONG.replace("sea", "set"), 1.0), ("None.", 3.0)]
    assert _scores(_pair({"p": answers})) == {"p": (9.0, 1.0)}
    assert _scores(_pair({"p": answers}, max_similarity=0.99)) == {"p": (9.0, 1.0)}
    assert _scores(_pair({"p": answers}, max_similarity=0.98)) == {"p": (9.0, 3.0)}
    assert _scores(_pair({"p": answers[:3]}, max_similarity=0.98)) == {"p": "near_identical"}
    assert _scores(_pair({"p": answers[:3]}, max_similarity=0.98, max_length_gap=0.0)) == {"p": "near_identical"}


def test_similarity_counts_the_characters_that_one_text_has_to_itself() -> None:
    one = pl.Series(["abcd", "a  b\nc", "", "abc", "abcdefgh"])
    other = pl.Series(["abxd", "a b c", "", "xyz", "abcdefgz"])
    # Two of eight characters; white space alone; no characters; nothing in common; two of sixteen.
    assert similarity(one, other).to_list() == [0.75, 1.0, 1.0, 0.0, 0.875]
    assert similarity(one, other, least=0.8).to_list() == [0.0, 1.0, 1.0, 0.0, 0.875]


@given(
    rewards=st.lists(st.integers(0, 5), min_size=2, max_size=9),
    per_prompt=st.sampled_from([None, 1, 2]),
    seed=st.integers(0, 9),
)
@settings(max_examples=30, deadline=None)
def test_ranked_uses_every_response_at_most_once_and_begins_with_the_plain_pair(
    rewards: list[int], per_prompt: int | None, seed: int
) -> None:
    prompts = {"p": [(f"text {number}", float(reward)) for number, reward in enumerate(rewards)]}
    ranked = _pair(prompts, rule="ranked", per_prompt=per_prompt, seed=seed).preferences
    plain = _pair(prompts, seed=seed).preferences
    used = [*ranked["chosen_idx"], *ranked["rejected_idx"]]
    assert len(used) == len(set(used)) and (ranked["score_chosen"] > ranked["score_rejected"]).all()
    assert plain.join(ranked, on="pair_id", how="anti").is_empty()
    assert ranked.height <= (per_prompt or len(rewards) // 2)


def _of_two(own: list[Answer], other: list[Answer], **rule: object) -> Paired:
    """The pairs of one prompt, of which a weaker model gave the `other` responses."""
    rows = [
        ("p", number, text, reward, "length" if text.endswith("...") else "stop", stage, f"the {stage} model")
        for number, (stage, (text, reward)) in enumerate(
            [*(("respond", answer) for answer in own), *(("contrast", answer) for answer in other)]
        )
    ]
    columns = ["prompt_id", "response_idx", "response", "reward", "finish_reason", "stage", "solver"]
    responses = conform(pl.DataFrame(rows, columns, orient="row"), RESPONSES)
    asked = pl.DataFrame({"prompt_id": ["p"], "prompt": [[{"role": "user", "content": "ask p"}]]})
    return pair(
        conform(asked, PROMPTS).lazy(),
        responses.lazy(),
        pl.LazyFrame(schema=INFORMATIVENESS),
        **({"seed": 1, "iteration": 1, "on_policy": True, "contrast": True} | rule),  # type: ignore[arg-type]
    )


def test_with_a_contrast_only_the_solver_is_chosen_and_only_the_weaker_model_rejected() -> None:
    own, other = [("nine", 9.0), ("two", 2.0)], [("ten", 10.0), ("five", 5.0), ("four", 4.0)]
    found = _of_two(own, other).preferences
    shown = [
        "chosen_idx",
        "rejected_idx",
        "score_chosen",
        "score_rejected",
        "chosen_model",
        "rejected_model",
        "on_policy",
    ]
    assert found.select(shown).rows() == [(0, 4, 9.0, 4.0, "the respond model", "the contrast model", False)]
    assert _scores(_of_two(own, other, rule="best_below")) == {"p": (9.0, 5.0)}
    assert _scores(_of_two([*own, ("six", 6.0)], other, rule="ranked")).keys() == {"p"}
    # Without it, the weaker model's responses are not there.
    alone = _of_two(own, other, contrast=False).preferences
    assert alone.select(shown).rows() == [(0, 1, 9.0, 2.0, None, None, True)]


@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        ([("one", 1.0)], [("two", 2.0), ("three", 3.0)], "contrast_not_worse"),
        ([("one", 1.0)], [("also one", 1.0)], "contrast_not_worse"),
        ([("one", 1.0), ("two", 2.0)], [], "no_contrast_response"),
        ([], [("one", 1.0), ("two", 2.0)], "no_scored_response"),
        ([("same", 2.0)], [("same", 1.0)], "one_distinct_response"),
        # What both say is neither's.
        ([("same", 2.0), ("one", 1.0)], [("same", 2.0)], "no_contrast_response"),
        ([("cut...", 9.0)], [("one", 1.0)], "best_is_truncated_or_empty"),
    ],
)
def test_why_a_prompt_has_no_pair_with_a_contrast(own: list[Answer], other: list[Answer], reason: str) -> None:
    assert _scores(_of_two(own, other)) == {"p": reason}
