"""People's verdicts on pairs, and their effect on the pairs, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from small_store import answers as responses_of
from small_store import frame, messages, prompt, small_store, write

from eva_data.config import Config
from eva_data.dataset.staleness import config_of
from eva_data.dataset.store import Store
from eva_data.method.outcome import outcome_of
from eva_data.method.verdicts import VERDICTS, bad_prompts, merge
from eva_data.review import display
from eva_data.review.agreement import alpha, figures
from eva_data.review.answers import ANSWERS, answers, as_reviews, pseudonym, pseudonym_of_0_1_0
from eva_data.review.blind import SLOT_ORDERS, blind_order, choose
from eva_data.review.record import Sheet, change_of, content_of
from eva_data.review.spare import spare_pairs
from eva_data.tables.schemas import EVOLUTIONS, PREFERENCES, PROMPTS, REJECTS, RESPONSES, REVIEWS, empty

KEY = bytes(32)


def pairs(*names: str, **columns: Any) -> pl.DataFrame:
    """PREFERENCES in which response 1 is chosen with 0.9 and response 0 rejected with 0.2."""
    rows = [
        {
            "prompt": messages("user", f"Ask {name}."),
            "chosen": messages("assistant", f"{name} better"),
            "rejected": messages("assistant", f"{name} worse"),
            "score_chosen": 0.9,
            "score_rejected": 0.2,
            "pair_id": name,
            "prompt_id": f"of {name}",
            "depth": 0,
            "origin": "seed",
            "chosen_idx": 1,
            "rejected_idx": 0,
            "verdict_by": "reward",
            "iteration": 1,
        }
        | columns
        for name in names
    ]
    return frame(rows, PREFERENCES)


def said(known: pl.DataFrame, *rows: tuple[str, str, str] | tuple[str, str, str, str]) -> pl.DataFrame:
    """REVIEWS from (pair, reviewer, verdict, verdict on the prompt). The chosen response is shown first."""
    names = ("pair_id", "reviewer", "verdict", "prompt_quality")
    given = [{"status": "submitted", "order": SLOT_ORDERS[0]} | dict(zip(names, row, strict=False)) for row in rows]
    return as_reviews(pl.DataFrame(given, schema=ANSWERS), known, 1)


def outcome(known: pl.DataFrame, reviews: pl.DataFrame) -> dict[str, str]:
    """The result for each pair: the chosen text and who chose it, or the reason of its rejection."""
    merged = merge(known, known.clear(), empty(REJECTS), reviews, iteration=1)
    kept = {
        row["pair_id"]: f"{row['chosen'][0]['content']}, by {row['verdict_by']}"
        for row in merged.preferences.to_dicts()
    }
    assert set(merged.rejects["stage"]) <= {"review"}
    return kept | {row["prompt_id"].removeprefix("of "): row["reason"] for row in merged.rejects.to_dicts()}


def test_the_chosen_response_is_first_in_half_of_the_pairs_whatever_the_seed() -> None:
    ids = pl.DataFrame({"pair_id": [f"{number:032x}" for number in range(1000)]})
    for seed in (0, 1, 42):
        orders = ids.select(order=blind_order(seed))["order"]
        assert 450 < (orders == "chosen_first").sum() < 550
        assert set(orders) == set(SLOT_ORDERS)
        backwards = ids.reverse().select(order=blind_order(seed))["order"]
        assert backwards.reverse().equals(orders)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(SLOT_ORDERS), st.sampled_from(("better", "worse"))), min_size=1, max_size=3),
        min_size=1,
        max_size=8,
    )
)
def test_a_verdict_arrives_at_the_text_that_the_reviewer_meant_in_whatever_order_it_was_shown(
    votes: list[list[tuple[str, str]]],
) -> None:
    known = pairs(*(f"p{number}" for number in range(len(votes))))
    given = [
        {"pair_id": f"p{number}", "reviewer": f"r{person}", "status": "submitted", "order": order}
        | {"verdict": "first" if (order == "chosen_first") == (meant == "better") else "second"}
        for number, voted in enumerate(votes)
        for person, (order, meant) in enumerate(voted)
    ]
    reviews = as_reviews(pl.DataFrame(given, schema=ANSWERS), known, 1)
    found = outcome(known, reviews)
    for number, voted in enumerate(votes):
        better, people = sum(meant == "better" for _, meant in voted), len(voted)
        if 2 * better == people:
            assert found[f"p{number}"].startswith("reviewers_disagree: 2 verdicts")
        else:
            wins = "better" if 2 * better > people else "worse"
            assert found[f"p{number}"] == f"p{number} {wins}, by human"


def test_the_verdict_with_the_most_votes_decides_and_no_single_one_is_told() -> None:
    known = pairs("agreed", "overruled", "tied", "bad", "split", "open", "few")
    reviews = said(
        known,
        *(("agreed", "a", "first"), ("agreed", "b", "first"), ("agreed", "c", "second")),
        *(("overruled", "a", "second"), ("overruled", "b", "second"), ("overruled", "c", "tie")),
        *(("tied", "a", "tie"), ("tied", "b", "tie"), ("tied", "c", "first")),
        *(("bad", "a", "both_bad"),),
        *(("split", "a", "first"), ("split", "b", "second")),
        *(("few", "a", "first"), ("few", "b", "tie"), ("few", "c", "both_bad")),
    )
    assert outcome(known, reviews) == {
        "agreed": "agreed better, by human",
        "overruled": "overruled worse, by human",
        "tied": "tie: 2 of 3 reviewers",
        "bad": "both_bad: 1 of 1 reviewers",
        "split": "reviewers_disagree: 2 verdicts have 1 of 2 votes each",
        "open": "open better, by reward",
        "few": "reviewers_disagree: 3 verdicts have 1 of 3 votes each",
    }


def test_an_overruled_pair_is_swapped_as_a_whole_and_keeps_its_scores() -> None:
    known = pairs("p")
    (row,) = merge(
        known, known.clear(), empty(REJECTS), said(known, ("p", "a", "second")), iteration=1
    ).preferences.to_dicts()
    before = known.to_dicts()[0]
    assert row == before | {
        "chosen": before["rejected"],
        "rejected": before["chosen"],
        "score_chosen": 0.2,
        "score_rejected": 0.9,
        "chosen_idx": 0,
        "rejected_idx": 1,
        "verdict_by": "human",
    }


def test_a_prompt_is_bad_where_more_than_half_say_so_and_that_counts_before_any_verdict() -> None:
    known = pairs("bad", "grave", "half", "good", "unasked")
    reviews = said(
        known,
        *(("bad", "a", "first", "unclear"), ("bad", "b", "first", "unclear"), ("bad", "c", "first", "good")),
        *(("grave", "a", "first", "unclear"), ("grave", "b", "first", "unsafe")),
        *(("half", "a", "first", "unanswerable"), ("half", "b", "first", "good")),
        *(("good", "a", "first", "good"), ("good", "b", "first", "good"), ("good", "c", "first", "unsafe")),
        *(("unasked", "a", "first"), ("unasked", "b", "first")),
    )
    assert outcome(known, reviews) == {
        "bad": "prompt_unclear: 2 of 3 reviewers",
        "grave": "prompt_unsafe: 2 of 2 reviewers",
        "half": "reviewers_disagree: 1 of 2 say that the prompt is unanswerable",
        "good": "good better, by human",
        "unasked": "unasked better, by human",
    }
    assert bad_prompts(reviews).to_list() == ["of bad", "of grave"]


def test_drafts_and_discarded_answers_are_kept_and_do_not_count() -> None:
    known = pairs("p")
    reviews = said(known, ("p", "a", "second"), ("p", "b", "second", "unsafe"), ("p", "c", "first"))
    reviews = reviews.with_columns(status=pl.Series(["draft", "discarded", "submitted"]))
    assert outcome(known, reviews) == {"p": "p better, by human"}
    assert bad_prompts(reviews).to_list() == []


@pytest.mark.slow
@given(st.permutations(range(6)))
def test_what_is_decided_does_not_depend_on_the_order_of_answers_or_pairs(order: Sequence[int]) -> None:
    known = pairs("p", "q", "r")
    reviews = said(
        known,
        *(("p", "a", "second"), ("p", "b", "tie"), ("q", "a", "both_bad", "unsafe")),
        *(("q", "b", "both_bad"), ("r", "a", "first"), ("r", "b", "first")),
    )
    one = merge(known, known.clear(), empty(REJECTS), reviews, iteration=1)
    other = merge(known.reverse(), known.clear(), empty(REJECTS), reviews[list(order)], iteration=1)
    assert_frame_equal(one.preferences, other.preferences)
    assert_frame_equal(one.rejects, other.rejects)


def test_agreement_is_what_it_is_by_hand() -> None:
    known = pairs("p", "q", "r", "s", "t").with_columns(a_min=pl.Series([0.5, 0.1, 0.2, 0.4, 0.3]))
    reviews = said(
        known,
        *(("p", "a", "first"), ("p", "b", "first"), ("q", "a", "first"), ("q", "b", "second")),
        *(("r", "a", "second"), ("r", "b", "second"), ("s", "a", "first"), ("s", "b", "first")),
        ("t", "a", "second"),
    )
    # Of the 8 verdicts on pairs with two, 5 are for the chosen one and 3 for the other; 2 of 8 differ from their pair's
    # other one: observed 2 / 8, expected 2 * 5 * 3 / (8 * 7).
    assert alpha(known, reviews) == pytest.approx(1 - (2 / 8) / (30 / 56), abs=1e-6)
    found = figures(known, known.clear(), reviews, "a_min")
    assert found == {
        "reviewers": 2,
        "answers": {"submitted": 9},
        "pairs": 5,
        "decided": 4,
        "overruled": 2,
        "added": 0,
        "rejected": {},
        "undecided": 1,
        "bad_prompts": 0,
        "alpha": 0.533333,
        "agreement": 0.5,
        "metric": "a_min",
        "quartiles": [
            {"quartile": 1, "pairs": 1, "least": 0.2, "most": 0.2, "agreement": 0.0},
            {"quartile": 2, "pairs": 1, "least": 0.3, "most": 0.3, "agreement": 0.0},
            {"quartile": 3, "pairs": 1, "least": 0.4, "most": 0.4, "agreement": 1.0},
            {"quartile": 4, "pairs": 1, "least": 0.5, "most": 0.5, "agreement": 1.0},
        ],
    }


def test_agreement_of_one_reviewer_of_nobody_or_of_all_alike_is_not_a_number() -> None:
    known = pairs("p", "q")
    for rows in ([], [("p", "a", "first")], [("p", "a", "first"), ("p", "b", "first")]):
        found = figures(known, known.clear(), said(known, *rows), "a_min")
        assert found["alpha"] is None
        assert found["quartiles"] == []


def test_pairs_are_chosen_by_what_was_asked_for() -> None:
    known = pairs("p", "q", "r", "s").with_columns(
        a_min=pl.Series([0.1, None, 0.3, float("inf")]), score_rejected=pl.Series([0.1, 0.8, 0.2, 0.3])
    )

    def chosen(order: Any, limit: int) -> list[str]:
        whole = choose([known], order, limit, metric="a_min", seed=1)
        for rows in (1, 3):
            assert choose(known.iter_slices(rows), order, limit, metric="a_min", seed=1).equals(whole)
        return whole["pair_id"].to_list()

    assert chosen("informativeness", 2) == ["r", "p"]
    assert set(chosen("informativeness", 9)[2:]) == {"q", "s"}
    assert chosen("gap", 3) == ["q", "s", "r"]
    assert chosen("random", 9)[:2] == chosen("random", 2)
    assert chosen("rejects", 9) == chosen("informativeness", 9)


@pytest.fixture
def near_misses(tmp_path: Path) -> tuple[Store, Config]:
    """Four prompts: a pair, a gap below the margin, equal rewards, and no second text."""
    store = small_store(tmp_path / "small", settings={"pair": {"margin": 0.5}})
    config = config_of(store.manifest(1))
    prompts = frame([prompt(name, f"Ask {name}.") for name in ("aa", "bb", "cc", "dd")], PROMPTS)
    rows = [
        *responses_of("aa", ("yes", 1.0), ("no", 0.0)),
        *responses_of("bb", ("a bit", 0.6), ("less", 0.4)),
        *responses_of("cc", ("one", 0.5), ("two", 0.5), ("", 0.5)),
        *responses_of("dd", ("same", 0.5), ("same", 0.5)),
    ]
    responses = frame(rows, RESPONSES)
    judged = outcome_of(config, 1, prompts, responses, n=3, on_policy=True)
    tables = {
        "preferences": judged.preferences,
        "prompts": prompts,
        "evolutions": empty(EVOLUTIONS),
        "informativeness": judged.informativeness,
        "responses": responses,
        "rejects": judged.rejects,
    }
    write(store, config, 1, tables, models={"solver": "s", "creator": None, "reward": "r"})
    return store, config


def test_pairs_that_the_build_rejected_can_be_rescued_by_people(
    near_misses: tuple[Store, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, config = near_misses
    spare = spare_pairs(store, config, 1)
    monkeypatch.setattr("eva_data.review.spare.PROMPTS_AT_ONCE", 1)
    assert spare_pairs(store, config, 1).equals(spare)
    assert spare["prompt_id"].to_list() == ["bb", "cc"]
    assert spare["chosen"].list.first().struct.field("content")[0] == "a bit"
    assert spare.select("score_chosen", "score_rejected").rows() == [(0.6, 0.4), (0.5, 0.5)]
    assert "" not in [text[0]["content"] for text in spare["chosen"]]
    rejects = store.scan("rejects", 1).collect()
    known = store.scan("preferences", 1).collect()
    ids = dict(spare.select("prompt_id", "pair_id").rows())
    reviews = said(pl.concat([known, spare]), (ids["bb"], "a", "second"), (ids["cc"], "a", "tie", "good"))
    merged = merge(known, spare, rejects, reviews, iteration=1)
    assert merged.preferences.select("prompt_id", "verdict_by", "score_chosen", "score_rejected").rows() == [
        ("aa", "reward", 1.0, 0.0),
        ("bb", "human", 0.4, 0.6),
    ]
    assert merged.rejects.select("prompt_id", "reason").rows() == [
        ("cc", "all_rewards_equal"),
        ("dd", "one_distinct_response"),
    ]


def record(row: dict[str, Any], order: str, *responses: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A record in the server's form."""
    metadata = {"order": order, "content": content_of(row)}
    common = {"id": f"server {row['pair_id']}", "external_id": row["pair_id"], "suggestions": [], "fields": {}}
    return common | {"metadata": metadata, "responses": list(responses)} | changes


def response(user: str, status: str, at: str, **values: str) -> dict[str, Any]:
    given = {name: {"value": value} for name, value in values.items()}
    return {"user_id": user, "status": status, "updated_at": f"2026-11-21T{at}", "values": given or None}


def test_answers_are_read_from_whatever_the_server_holds(tmp_path: Path) -> None:
    store, known = small_store(tmp_path / "small"), pairs("p", "q")
    p, q = known.to_dicts()
    records = [
        record(
            p,
            "rejected_first",
            response("user-ann", "submitted", "10:00", verdict="first", prompt_quality="good", comment="clearer\n"),
            response("user-bob", "draft", "10:00", verdict="tie"),
        ),
        record(q, "chosen_first", response("user-ann", "discarded", "10:00")),
        # Of another text, of no order that is known, and of a pair that is not there.
        record(q | {"chosen": []}, "chosen_first", response("user-bob", "submitted", "10:00", verdict="first")),
        record(q, "sideways", response("user-bob", "submitted", "10:00", verdict="first")),
        record(q | {"pair_id": "gone"}, "chosen_first", response("user-bob", "submitted", "10:00", verdict="first")),
    ]
    found = answers(store, 1, known, records, name="small", key=KEY)
    ann, bob = pseudonym(KEY, "user-ann"), pseudonym(KEY, "user-bob")
    assert len({ann, bob, pseudonym(b"another" * 5, "user-ann"), pseudonym_of_0_1_0("small", "user-ann")}) == 4
    common = {"first_idx": 0, "second_idx": 1, "iteration": 1}
    expected = frame(
        [
            common
            | {"pair_id": "p", "prompt_id": "of p", "reviewer": ann, "status": "submitted", "verdict": "first"}
            | {"preferred_idx": 0, "prompt_quality": "good", "comment": "clearer"},
            common | {"pair_id": "p", "prompt_id": "of p", "reviewer": bob, "status": "draft", "verdict": "tie"},
            {"pair_id": "q", "prompt_id": "of q", "reviewer": ann, "status": "discarded", "first_idx": 1}
            | {"second_idx": 0, "iteration": 1},
        ],
        REVIEWS,
    )
    assert_frame_equal(found.reviews, expected.sort("pair_id", "reviewer"))
    assert found.outdated == 3


def test_the_newer_answer_of_a_reviewer_stands_and_answers_pulled_before_are_not_lost(tmp_path: Path) -> None:
    store, known = small_store(tmp_path / "small"), pairs("p", "q")
    before = said(known, ("p", "gone from the server", "tie"), ("q", pseudonym_of_0_1_0("small", "ann"), "tie"))
    store.write_revision(1, {"reviews": before})
    q = known.to_dicts()[1]
    again = q | {"external_id": "q.1234abcd"}
    records = [
        record(again, "chosen_first", response("ann", "submitted", "11:00", verdict="second")),
        record(q, "chosen_first", response("ann", "submitted", "10:00", verdict="first")),
    ]
    found = answers(store, 1, known, records, name="small", key=KEY).reviews
    assert found.select("pair_id", "verdict").rows() == [("p", "tie"), ("q", "second")]


def test_a_record_with_answers_is_given_no_other_texts_and_no_other_order() -> None:
    (row,) = pairs("p").to_dicts()
    sheet = Sheet(parents={}, markdown=True, question_id="q", agent=None)
    kind, new = change_of(row | {"order": "chosen_first"}, [], sheet)
    assert (kind, new["external_id"], new["fields"]["first"]) == ("added", "p", "p better")
    there = {**new, "id": "1", "responses": []}
    # Another seed would show it the other way round.
    assert change_of(row | {"order": "rejected_first"}, [there], sheet) == ("kept", new)
    changed = row | {"prompt": messages("user", "Ask again."), "order": "chosen_first"}
    assert change_of(changed, [there], sheet)[0] == "changed"
    answered = {**there, "responses": [response("ann", "submitted", "10:00", verdict="tie")]}
    kind, renewed = change_of(changed, [answered], sheet)
    assert (kind, renewed["external_id"]) == ("renewed", f"p.{content_of(changed)}")
    kind, same = change_of(changed, [answered, {**renewed, "id": "2", "responses": []}], sheet)
    assert (kind, same["external_id"]) == ("kept", renewed["external_id"])


def test_nothing_is_suggested_unless_asked_for_and_never_where_the_reward_does_not_know() -> None:
    (row,) = pairs("p").to_dicts()
    sheet = Sheet(parents={}, markdown=True, question_id="q", agent="judge")
    swapped = row | {"order": "rejected_first"}
    assert change_of(swapped, [], sheet)[1]["suggestions"] == [
        {"question_id": "q", "value": "second", "agent": "judge"}
    ]
    assert change_of(swapped | {"score_rejected": 0.9}, [], sheet)[1]["suggestions"] == []
    silent = Sheet(parents={}, markdown=True, question_id="q", agent=None)
    assert change_of(swapped, [], silent)[1]["suggestions"] == []


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "*(empty)*"),
        ("List<String> & &lt;", "List&lt;String> & &amp;lt;"),
        ("a < b, 1<2", "a < b, 1<2"),
        ("<think>hm</think>", "&lt;think>hm&lt;/think>"),
        (r"\<b> \\<b>", r"\<b> \\&lt;b>"),
        ("`List<String>` <b>", "`List<String>` &lt;b>"),
        ("```\n<b>\n```\n<b>", "```\n<b>\n```\n&lt;b>"),
        ("~~~\n<b>", "~~~\n<b>\n~~~"),
        ("![x](http://a/b) [x]: hidden", r"!\[x](http://a/b) \[x]: hidden"),
        (r"$x<y$ and \(p<q\)", r"$x\lt y$ and $p\lt q$"),
        ("$$\nx<y\n$$", "$$\nx\\lt y\n$$"),
        ("costs $5, <b>$6", "costs $5, &lt;b>$6"),
        ("a\r\nb\0\x1b[2J\u202e", "a\nb\\x00\\x1b[2J\\u202e"),
    ],
)
def test_a_text_is_shown_as_the_markdown_it_is_and_does_nothing_else(text: str, seen: str) -> None:
    assert display.shown(text) == seen


def test_a_text_that_is_no_markdown_is_shown_character_by_character() -> None:
    assert display.shown("  SL*PP*R\n# 1 <b>", markdown=False) == "&nbsp;&nbsp;SL\\*PP\\*R\n\\# 1 \\<b\\>"
    turns = [*messages("system", "Be brief."), *messages("user", "a*b*")]
    assert display.conversation(turns, markdown=False) == "**system**\n\nBe brief\\.\n\n**user**\n\na\\*b\\*"


@pytest.mark.parametrize("mark", ["\\(", "[", "$", "`a ``b ", "\\", "<a"])
def test_a_long_text_of_nothing_but_marks_is_shown_before_anybody_loses_patience(mark: str) -> None:
    assert display.shown(mark * (30_000 // len(mark))).startswith(("[", "\\", "$", "`", "&lt;a"))


@given(st.text(max_size=200))
def test_any_text_can_be_shown(text: str) -> None:
    assert display.shown(text).strip()
    assert display.shown(text, markdown=False).strip()


def test_every_verdict_is_one_that_is_asked_for() -> None:
    known = pairs("p")
    for verdict in VERDICTS:
        assert outcome(known, said(known, ("p", "a", verdict)))["p"]
