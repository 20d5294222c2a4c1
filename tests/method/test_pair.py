"""Preference pairs, and the prompts without a pair."""

from __future__ import annotations

import math
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.method.estimate import informativeness
from eva_data.method.pair import Paired, in_single_spaces, pair
from eva_data.tables.ids import pair_id
from eva_data.tables.ranges import id_ranges
from eva_data.tables.schemas import METRICS, PREFERENCES, PROMPTS, REJECTS, RESPONSES, check, conform

Answer = tuple[str, int, str | None, float | None, str | None]


def _prompts(ids: list[str]) -> pl.LazyFrame:
    """X_2, which consists of evolved prompts."""
    table = pl.DataFrame({"prompt_id": ids}, schema={"prompt_id": pl.String}).select(
        "prompt_id",
        prompt=pl.concat_list(pl.struct(role=pl.lit("user"), content=pl.concat_str(pl.lit("ask "), "prompt_id"))),
        origin=pl.lit("evolved"),
        mix_role=pl.lit("evolved"),
        created_iteration=2,
        iteration=2,
        parent_id=pl.lit("parent"),
        root_id=pl.lit("root"),
        depth=1,
        mutation=pl.lit("deepen"),
    )
    return conform(table, PROMPTS).lazy()


def _responses(rows: list[Answer]) -> pl.LazyFrame:
    columns = ["prompt_id", "response_idx", "response", "reward", "finish_reason"]
    types = {"prompt_id": pl.String, "response": pl.String, "reward": pl.Float64, "finish_reason": pl.String}
    table = pl.DataFrame(rows, schema=columns, orient="row", schema_overrides=types)
    return conform(table.with_columns(stage=pl.lit("respond"), solver=pl.lit("theta")), RESPONSES).lazy()


def _pair(ids: list[str], rows: list[Answer], **settings: object) -> Paired:
    responses = _responses(rows)
    informative = informativeness(responses, stage="respond", iteration=2, n=9, seed=1)
    given_settings = {"seed": 1, "iteration": 2, "on_policy": True} | settings
    return pair(_prompts(ids), responses, informative, **given_settings)  # type: ignore[arg-type]


def _single(number: float) -> float:
    """The number rounded to single precision."""
    return float(pl.Series([number], dtype=pl.Float32).cast(pl.Float64)[0])


WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2003\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"


@given(st.lists(st.text(alphabet=st.one_of(st.sampled_from(WHITE + "ab é水"), st.characters(codec="utf-8")))))
def test_a_text_in_single_spaces_is_that_of_plain_python(texts: list[str]) -> None:
    def plain(text: str) -> str:
        # Python's white space has four separators more, which are none to the regular expressions of polars.
        blank = "".join(" " if character in WHITE or _is_blank(character) else character for character in text)
        return re.sub(" +", " ", blank).strip(" ")

    found = pl.DataFrame({"text": texts}, schema={"text": pl.String}).select(in_single_spaces(pl.col("text")))
    assert found["text"].to_list() == [plain(text) for text in texts]


def _is_blank(character: str) -> bool:
    return character.isspace() and character not in "\x1c\x1d\x1e\x1f"


_ROWS = st.lists(
    st.tuples(st.sampled_from(["a. b", "b k v", "v. a", "水 b", "ab."]), st.text(" \n\t\u3000", max_size=3)),
    min_size=1,
    max_size=7,
)


@settings(max_examples=40)
@given(_ROWS, st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=7, max_size=7))
def test_pairs_are_those_of_the_same_texts_in_single_spaces(texts: list[tuple[str, str]], rewards: list[float]) -> None:
    """Which rows are put in single spaces is a matter of time: it never changes who is chosen or rejected."""
    ends = ["stop", "length", None]
    given = [(text.replace(" ", f" {white}") + white, text) for text, white in texts]
    written, spaced = (
        [("a", place, row[side], rewards[place], ends[place % 3]) for place, row in enumerate(given)] for side in (0, 1)
    )
    one, other = _pair(["a"], [*written]), _pair(["a"], [*spaced])
    kept = ["chosen_idx", "rejected_idx", "score_chosen", "score_rejected"]
    assert_frame_equal(one.preferences.select(kept), other.preferences.select(kept), check_exact=True)
    assert one.rejects["reason"].to_list() == other.rejects["reason"].to_list()


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6), st.sampled_from([0.0, 6e-17, 1e-9]))
def test_rewards_that_are_equal_up_to_noise_have_a_gap_of_exactly_0_and_others_their_own(
    rewards: list[float], step: float
) -> None:
    nearly = [rewards[0] + step * number for number in range(len(rewards))]
    for given_rewards in (rewards, nearly):
        rows: list[Answer] = [("p", idx, f"text {idx}", reward, "stop") for idx, reward in enumerate(given_rewards)]
        measured = {
            rules: informativeness(_responses(rows), stage="respond", iteration=2, n=9, seed=1, rules=rules).collect()
            for rules in (1, 2)
        }
        low, high = min(given_rewards), max(given_rewards)
        single = all(_single(each) == each for each in (low, high))
        larger = max(abs(low), abs(high))
        equal = high - low <= max(1e-12 * max(larger, 1.0), 2.0**-23 * larger if single else 0.0)
        assert measured[1]["a_min"].to_list() == [high - low]
        assert measured[2]["a_min"].to_list() == [0.0 if equal else high - low]
        assert measured[2]["reward_max"].to_list() == [high]


def test_the_sum_of_a_tenth_and_two_tenths_is_no_better_than_three_tenths() -> None:
    rows: list[Answer] = [("p", 0, "one", 0.1 + 0.2, "stop"), ("p", 1, "two", 0.3, "stop")]
    found = informativeness(_responses(rows), stage="respond", iteration=2, n=2, seed=1).collect()
    assert found.select("a_min", "a_avg", "a_dis", "var").rows() == [(0.0, 0.0, 0.0, 0.0)]
    assert found["inv_a_min"].to_list() == [None]


def _texts(paired: Paired) -> list[tuple[str, str]]:
    pairs = paired.preferences.iter_rows(named=True)
    return [(pair["chosen"][0]["content"], pair["rejected"][0]["content"]) for pair in pairs]


def _reasons(paired: Paired) -> dict[str, str]:
    return dict(paired.rejects.select("prompt_id", "reason").iter_rows())


TEXTS = ["", "  ", "yes", "no", "perhaps"]
ANSWERS = st.builds(
    lambda rows: [(f"{p:x}0", index, *rest) for index, (p, *rest) in enumerate(rows)],
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.one_of(st.none(), st.sampled_from(TEXTS)),
            st.sampled_from([None, math.nan, math.inf, 0.1, 0.1, 0.7, -2.0]),
            st.sampled_from([None, "stop", "length", "error", "content_filter"]),
        ),
        max_size=20,
    ),
)
IDS = ["00", "10", "20", "30", "f0"]


def test_the_best_and_the_worst_response_are_a_pair() -> None:
    paired = _pair(["a"], [("a", 0, "so-so", 2.0, "stop"), ("a", 1, "bad", 1.0, "stop"), ("a", 2, "good", 4.0, None)])
    id_ = pl.select(pair_id(pl.lit("a"), pl.lit("bad"), pl.lit("good"))).item()
    expected = pl.DataFrame(
        {
            "prompt": [[{"role": "user", "content": "ask a"}]],
            "chosen": [[{"role": "assistant", "content": "good"}]],
            "rejected": [[{"role": "assistant", "content": "bad"}]],
            "score_chosen": [4.0],
            "score_rejected": [1.0],
            "pair_id": [id_],
            "prompt_id": ["a"],
            "parent_id": ["parent"],
            "root_id": ["root"],
            "depth": [1],
            "origin": ["evolved"],
            "mix_role": ["evolved"],
            "mutation": ["deepen"],
            "a_min": [3.0],
            "a_avg": [5 / 3],
            "a_dis": [2.0],
            "var": [14 / 9],
            "avg": [7 / 3],
            "inv_avg": [3 / 7],
            "inv_a_min": [1 / 3],
            "uniform": [1.0],
            "custom": [None],
            "custom_metric": [None],
            "chosen_idx": [2],
            "rejected_idx": [1],
            "chosen_model": [None],
            "rejected_model": [None],
            "on_policy": [True],
            "rewritten": [False],
            "verdict_by": ["reward"],
            "iteration": [2],
        },
        schema=PREFERENCES,
    )
    assert_frame_equal(paired.preferences, expected)
    assert paired.rejects.is_empty()


def test_every_failure_has_its_reason() -> None:
    rows: list[Answer] = [
        ("blank_best", 0, " \n", 9.0, "stop"),
        ("blank_best", 1, "low", 1.0, "stop"),
        ("cut_best", 0, "high but cut", 9.0, "length"),
        ("cut_best", 1, "low", 1.0, "stop"),
        ("equal", 0, "x", 0.1, "stop"),
        ("equal", 1, "y", 0.1, "stop"),
        ("equal", 2, "x", 0.1, "stop"),
        ("equal", 3, "x", 0.1, "stop"),
        ("failed", 0, None, 3.0, "error"),
        ("failed", 1, "half", 3.0, "error"),
        ("failed", 2, "unscored", None, "stop"),
        ("failed", 3, "not a number", math.nan, "stop"),
        ("near", 0, "x", 1.0, "stop"),
        ("near", 1, "y", 1.25, "stop"),
        ("none_complete", 0, "x", 1.0, "length"),
        ("none_complete", 1, "y", 2.0, "content_filter"),
        ("same", 0, "x", 1.0, "stop"),
        ("same", 1, "x", 2.0, "stop"),
    ]
    ids = ["blank_best", "cut_best", "equal", "failed", "near", "none_complete", "same", "silent"]
    reasons = [
        ("all_rewards_equal", "equal"),
        ("below_margin", "near"),
        ("best_is_truncated_or_empty", "blank_best"),
        ("best_is_truncated_or_empty", "cut_best"),
        ("best_is_truncated_or_empty", "none_complete"),
        ("no_scored_response", "failed"),
        ("no_scored_response", "silent"),
        ("one_distinct_response", "same"),
    ]
    paired = _pair(ids, rows, margin=0.5)
    expected = pl.DataFrame(
        [("pair", reason, id_, None, f"ask {id_}", 2) for reason, id_ in reasons], schema=REJECTS, orient="row"
    )
    assert_frame_equal(paired.rejects, expected)
    assert paired.preferences.is_empty()
    check(paired.preferences, PREFERENCES, "preferences")


def test_a_chosen_response_has_at_least_min_chosen() -> None:
    rows: list[Answer] = [
        ("a", 0, "x", 0.0, "stop"),
        ("a", 1, "y", 1.0, "stop"),
        ("b", 0, "x", 0.0, "stop"),
        ("b", 1, "y", 0.9, "stop"),
    ]
    paired = _pair(["a", "b"], rows, min_chosen=1.0)
    assert _texts(paired) == [("y", "x")]
    assert paired.rejects["reason"].to_list() == ["best_below_min_chosen"]


def test_the_margin_itself_is_enough() -> None:
    rows: list[Answer] = [("a", 0, "x", 1.0, "stop"), ("a", 1, "y", 1.5, "stop")]
    assert _texts(_pair(["a"], rows, margin=0.5)) == [("y", "x")]


def test_what_was_cut_or_is_blank_is_never_chosen_but_may_be_rejected() -> None:
    rows: list[Answer] = [
        ("a", 0, "cut", 9.0, "length"),
        ("a", 1, "complete", 5.0, "stop"),
        ("a", 2, "", 1.0, "stop"),
        ("b", 0, "complete", 5.0, None),
        ("b", 1, "cut", 1.0, "length"),
    ]
    assert _texts(_pair(["a", "b"], rows)) == [("complete", ""), ("complete", "cut")]


def test_equal_texts_are_one_candidate_with_their_mean_reward() -> None:
    rows: list[Answer] = [
        ("a", 0, "twice", 1.0, "stop"),
        ("a", 1, "once", 4.0, "stop"),
        ("a", 2, "twice", 5.0, "stop"),
    ]
    paired = _pair(["a"], rows)
    columns = ["score_chosen", "score_rejected", "chosen_idx", "rejected_idx"]
    assert paired.preferences.select(columns).row(0) == (4.0, 3.0, 1, 0)


def test_equal_texts_are_complete_only_together() -> None:
    rows: list[Answer] = [
        ("a", 0, "twice", 5.0, "stop"),
        ("a", 1, "twice", 5.0, "length"),
        ("a", 2, "once", 4.0, "stop"),
        ("a", 3, "low", 1.0, "stop"),
    ]
    assert _texts(_pair(["a"], rows)) == [("once", "low")]


def test_ties_are_broken_by_the_text_and_the_seed_and_not_by_place() -> None:
    texts = [f"best {n}" for n in range(6)]
    rows: list[Answer] = [("a", n, text, 1.0, "stop") for n, text in enumerate([*texts, "worst"])]
    rows[-1] = ("a", 6, "worst", 0.0, "stop")
    turned: list[Answer] = [("a", n, *row[2:]) for n, row in enumerate(reversed(rows))]
    chosen = [_texts(_pair(["a"], rows, seed=seed))[0] for seed in range(8)]
    assert chosen == [_texts(_pair(["a"], turned, seed=seed))[0] for seed in range(8)]
    assert len(set(chosen)) > 2


def test_only_the_respond_stage_is_read() -> None:
    rows: list[Answer] = [("a", 0, "x", 1.0, "stop"), ("a", 1, "y", 2.0, "stop")]
    responses = _responses(rows)
    estimated = _responses([("a", 0, "old", 9.0, "stop")]).with_columns(stage=pl.lit("estimate"))
    informative = informativeness(responses, stage="respond", iteration=2, n=2, seed=1)
    settings = {"seed": 1, "iteration": 2, "on_policy": True}
    both = pair(
        _prompts(["a"]),
        pl.concat([estimated, responses]),
        pl.concat([informative.with_columns(stage=pl.lit("estimate"), a_min=9.0), informative]),
        **settings,  # type: ignore[arg-type]
    )
    alone = pair(_prompts(["a"]), responses, informative, **settings)  # type: ignore[arg-type]
    assert_frame_equal(both.preferences, alone.preferences)


def test_a_reject_shows_the_last_user_turn_cut_short() -> None:
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "reply"},
        {"role": "user", "content": "last " * 1000},
    ]
    prompts = _prompts(["a"]).with_columns(prompt=pl.lit(pl.Series([turns], dtype=PROMPTS["prompt"])))
    nothing = _responses([])
    informative = informativeness(nothing, stage="respond", iteration=2, n=2, seed=1)
    paired = pair(prompts, nothing, informative, seed=1, iteration=2, on_policy=True)
    assert paired.rejects["text"].to_list() == ["last " * 400]


DECIMALS: list[tuple[float, float]] = [(0.3, 0.2), (7.1, 7.0), (0.2, 0.1), (-0.2, -0.3), (1000.4, 1000.3), (0.1, 0.0)]


@pytest.mark.parametrize(("high", "low"), [*DECIMALS, *(tuple(map(_single, pair)) for pair in DECIMALS)])
def test_a_margin_in_decimals_is_met_by_scores_that_differ_by_it(high: float, low: float) -> None:
    rows: list[Answer] = [("a", 0, "x", low, "stop"), ("a", 1, "y", high, "stop")]
    assert _texts(_pair(["a"], rows, margin=0.1)) == [("y", "x")]
    assert _reasons(_pair(["a"], rows, margin=0.101)) == {"a": "below_margin"}


def test_a_least_reward_in_decimals_is_met_by_scores_that_come_to_it() -> None:
    for high in (0.1 + 0.7, 0.8, _single(0.8)):
        rows: list[Answer] = [("a", 0, "x", 0.0, "stop"), ("a", 1, "y", high, "stop")]
        assert _texts(_pair(["a"], rows, min_chosen=0.8)) == [("y", "x")]
        assert _reasons(_pair(["a"], rows, min_chosen=0.81)) == {"a": "best_below_min_chosen"}
    assert _reasons(_pair(["a"], [("a", 0, "x", 0.0, None), ("a", 1, "y", 0.1 + 0.7, None)], min_chosen=0.8, rules=1))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.1 + 0.2, 0.3),
        (0.1 + 0.2 - 0.3, 0.0),
        (1e9 / 3 * 3 + 1e-7, 1e9),
        (-0.1 - 0.2, -0.3),
        (_single(0.3), _single(0.3) + 2.0**-25),
    ],
)
def test_noise_is_a_tie(one: float, other: float) -> None:
    rows: list[Answer] = [("a", 0, "x", one, "stop"), ("a", 1, "y", other, "stop")]
    assert one != other
    assert _reasons(_pair(["a"], rows)) == {"a": "all_rewards_equal"}
    assert len(_texts(_pair(["a"], rows, rules=1))) == 1


@pytest.mark.parametrize(
    ("one", "other"), [(2.0**33, 2.0**33 + 1), (1e-9, 2e-9), (0.30001, 0.3), (3_000_000.0, 3_000_001.0)]
)
def test_small_differences_are_no_noise(one: float, other: float) -> None:
    rows: list[Answer] = [("a", 0, "x", one, "stop"), ("a", 1, "y", other, "stop")]
    assert len(_texts(_pair(["a"], rows))) == 1


def test_the_noise_does_not_decide_who_is_chosen() -> None:
    names = [f"text {n}" for n in range(6)]
    for seed in range(4):
        exact: list[Answer] = [("a", n, name, 0.3, "stop") for n, name in enumerate(names)]
        noisy: list[Answer] = [("a", n, name, 0.3 - n * 5e-17, "stop") for n, name in enumerate(names)]
        worst: Answer = ("a", 6, "worst", 0.0, "stop")
        assert _texts(_pair(["a"], [*noisy, worst], seed=seed)) == _texts(_pair(["a"], [*exact, worst], seed=seed))


def test_texts_that_differ_in_white_space_alone_are_one_candidate() -> None:
    spellings = [
        "Paris is it.",
        "Paris is it.\n",
        "  Paris\tis  it.",
        "Paris\u00a0is\r\n\r\nit. \u200b",
        "\ufeffParis is it.",
    ]
    rows: list[Answer] = [("a", n, text, 1.0 - n / 10, "stop") for n, text in enumerate(spellings)]
    assert _reasons(_pair(["a"], rows)) == {"a": "one_distinct_response"}
    assert len(_texts(_pair(["a"], rows, rules=1))) == 1
    other = _pair(["a"], [*rows, ("a", 5, "Parisis it.", 0.9, "stop")])
    assert _texts(other) == [("Parisis it.", "Paris is it.")]
    assert other.preferences.select("score_chosen", "score_rejected").row(0) == pytest.approx((0.9, 0.8))


def test_a_cut_spelling_makes_its_candidate_incomplete() -> None:
    rows: list[Answer] = [("a", 0, "yes", 2.0, "stop"), ("a", 1, "yes ", 2.0, "length"), ("a", 2, "no", 1.0, "stop")]
    assert _reasons(_pair(["a"], rows)) == {"a": "best_is_truncated_or_empty"}
    assert _texts(_pair(["a"], rows, rules=1)) == [("yes", "no")]


@pytest.mark.slow
@given(ANSWERS, st.sampled_from([None, 0.5]), st.sampled_from([1, 2]))
def test_every_prompt_is_in_exactly_one_table_and_every_pair_is_a_preference(
    rows: list[Answer], margin: float | None, rules: int
) -> None:
    paired = _pair(IDS, rows, margin=margin, rules=rules)
    assert sorted([*paired.preferences["prompt_id"], *paired.rejects["prompt_id"]]) == IDS
    finite = {(id_, index): (text, reward, finish) for id_, index, text, reward, finish in rows if reward is not None}
    for row in paired.preferences.iter_rows(named=True):
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        assert chosen != rejected
        assert row["score_chosen"] > row["score_rejected"]
        assert row["score_chosen"] - row["score_rejected"] >= (margin or 0)
        assert chosen.strip()
        text, _, finish = finite[row["prompt_id"], row["chosen_idx"]]
        assert text == chosen
        assert finish in (None, "stop")
        assert finite[row["prompt_id"], row["rejected_idx"]][0] == rejected


@pytest.mark.slow
@given(ANSWERS, st.sampled_from([1, 2]))
def test_a_slow_loop_gives_the_same_scores_and_reasons(rows: list[Answer], rules: int) -> None:
    paired = _pair(IDS, rows, rules=rules)
    scores = {
        row["prompt_id"]: (row["score_chosen"], row["score_rejected"])
        for row in paired.preferences.iter_rows(named=True)
    }
    for id_ in IDS:
        texts: dict[str, list[tuple[float, bool]]] = {}
        for prompt_id, _, text, reward, finish in rows:
            if reward is None or not math.isfinite(reward):
                continue
            if prompt_id == id_ and text is not None and finish != "error":
                complete = finish in (None, "stop") and text.strip() != ""
                texts.setdefault(text if rules == 1 else " ".join(text.split()), []).append((reward, complete))
        means = {text: sum(r for r, _ in found) / len(found) for text, found in texts.items()}
        eligible = [means[text] for text, found in texts.items() if all(complete for _, complete in found)]
        if not texts:
            assert _reasons(paired)[id_] == "no_scored_response"
        elif len(texts) == 1:
            assert _reasons(paired)[id_] == "one_distinct_response"
        elif max(means.values()) - min(means.values()) < 1e-9:
            assert _reasons(paired)[id_] == "all_rewards_equal"
        elif not eligible or max(eligible) - min(means.values()) < 1e-9:
            assert _reasons(paired)[id_] == "best_is_truncated_or_empty"
        else:
            assert scores[id_] == pytest.approx((max(eligible), min(means.values())))


@pytest.mark.slow
@given(ANSWERS, st.randoms(use_true_random=False), st.integers(1, 3))
def test_neither_the_order_of_rows_nor_ranges_matter(rows: list[Answer], random, parts: int) -> None:  # type: ignore[no-untyped-def]
    whole = _pair(IDS, rows)
    shuffled = _responses(random.sample(rows, len(rows)))
    ids = _prompts(random.sample(IDS, len(IDS)))
    informative = informativeness(shuffled, stage="respond", iteration=2, n=9, seed=1)
    pieces = [
        pair(r.of(ids), r.of(shuffled), r.of(informative), seed=1, iteration=2, on_policy=True)
        for r in id_ranges(parts)
    ]
    assert_frame_equal(pl.concat([piece.preferences for piece in pieces]), whole.preferences, check_exact=True)
    rejects = pl.concat([piece.rejects for piece in pieces]).sort("reason", "prompt_id")
    assert_frame_equal(rejects, whole.rejects, check_exact=True)


@pytest.mark.parametrize("rules", [1, 2])
def test_real_responses_give_the_best_and_the_worst_of_each_prompt(shared_data: Path, rules: int) -> None:
    real = pl.read_parquet(shared_data / "responses_alpaca_eval.parquet").with_columns(
        response_idx=pl.int_range(pl.len()).over("prompt_id"), stage=pl.lit("respond")
    )
    responses = conform(real.select(c for c in RESPONSES if c in real.columns), RESPONSES)
    ids = responses["prompt_id"].unique().sort().to_list()
    informative = informativeness(responses.lazy(), stage="respond", iteration=1, n=55, seed=1)
    paired = pair(_prompts(ids), responses.lazy(), informative, seed=1, iteration=1, on_policy=False, rules=rules)
    assert paired.preferences.height + paired.rejects.height == 805
    # One reward per text: the mean over equal texts, so that the loop below is the definition.
    text = pl.col("response")
    if rules == 2:
        text = text.str.replace_all(r"\s+", " ").str.strip_chars()
    means = responses.group_by("prompt_id", text.alias("response")).agg(pl.col("reward").mean())
    nonblank = means.filter(pl.col("response").str.strip_chars() != "")
    best = dict(nonblank.group_by("prompt_id").agg(pl.col("reward").max()).iter_rows())
    worst = dict(means.group_by("prompt_id").agg(pl.col("reward").min()).iter_rows())
    for row in paired.preferences.iter_rows(named=True):
        assert row["score_chosen"] == pytest.approx(best[row["prompt_id"]], abs=1e-12)
        assert row["score_rejected"] == pytest.approx(worst[row["prompt_id"]], abs=1e-12)
        assert all(row[metric] is not None for metric in METRICS)
