"""Several candidates in each step of a chain: requests, ratings, the choice, and the rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from small_store import a_manifest

from eva_data.calls import Chain, Completion, Request, Row
from eva_data.dataset.store import Store
from eva_data.evolve import Limits, Method, evolve_chain, prompt_id_of, user_strategy
from eva_data.evolve.candidates import unrated, wrongly_judged
from eva_data.evolve.elimination.eliminate import eliminate
from eva_data.evolve.scorer import QUESTIONS, Scores, score_prompts
from eva_data.method.mix import mix
from eva_data.report import numbers
from eva_data.tables.schemas import EVOLUTIONS, PROMPTS, TABLES, conform, empty

NAMES = ("deepen", "constrain", "widen")
THREE = Method("three", tuple(user_strategy(name, f"{name}: {{prompt}}", "in_depth") for name in NAMES))
ALONE = Method("alone", tuple(user_strategy(name, f"{name}: {{prompt}}", "in_depth") for name in NAMES), False)
LIMITS = Limits(min_characters=1, max_characters=200)


def said(text: str | None, **changes: Any) -> Completion:
    fields = {"text": text, "finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 5}
    return Completion(**(fields | changes))


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def asked_of(request: Request) -> str:
    return request.messages[0]["content"]


def ratings(text: str) -> dict[str, str]:
    """The two questions about a prompt, by the rated quality."""
    return {aspect: question.replace("{prompt}", text) for aspect, question in QUESTIONS.items()}


def drive(chain: Chain[Any], answer: Callable[[Request], Completion]) -> tuple[list[list[Request]], Any]:
    """All lists of requests of a chain, and its result. Each request gets its own answer."""
    asked: list[list[Request]] = []
    replies: Any = None
    while True:
        try:
            asked.append(chain.send(replies))
        except StopIteration as finished:
            return asked, finished.value
        replies = [answer(request) for request in asked[-1]]


def run(
    answer: Callable[[Request], Completion], method: Method = THREE, **settings: Any
) -> tuple[list[list[Request]], list[Row]]:
    start = {"prompt_id": "chain", "prompt": user("Name a river."), "root_id": "root", "depth": 3}
    given_settings = {"evolutions": 2, "candidates": 3, "iteration": 2, "seed": 42} | settings
    return drive(evolve_chain(start, method, creator="creator", limits=LIMITS, **given_settings), answer)


def a_creator(scores: dict[str, tuple[int, int]]) -> Callable[[Request], Completion]:
    """A creator that appends the strategy's name to a prompt. It rates a prompt by its last word, as `scores` says."""

    def answer(request: Request) -> Completion:
        asked = asked_of(request)
        if "<prompt>" not in asked:
            name, _, prompt = asked.partition(": ")
            return said(f"{prompt} {name}")
        word = asked.split("\n</prompt>")[0].split()[-1]
        complexity, quality = scores[word]
        return said(f"Fine.\nRating: {quality if 'Rate the quality' in asked else complexity}")

    return answer


@pytest.mark.slow
def test_a_step_is_asked_for_by_different_strategies_and_the_best_rated_prompt_goes_on() -> None:
    scores = {"deepen": (3, 3), "constrain": (5, 2), "widen": (1, 5)}
    asked, rows = run(a_creator(scores))
    order = [row["mutation"] for row in rows if row["step"] == 1]
    assert sorted(order) == sorted(NAMES)
    assert asked[0] == [
        Request(({"role": "user", "content": f"{name}: Name a river."},), 0, salt)
        for name, salt in zip(order, ("evolve:2:1", "evolve:2:1:1", "evolve:2:1:2"), strict=True)
    ]
    questions = [text for name in order for text in ratings(f"Name a river. {name}").values()]
    assert asked[1] == [Request(({"role": "user", "content": text},), 0, "") for text in questions]
    # 5 + 2 is more than 3 + 3 and 1 + 5.
    best = prompt_id_of(user("Name a river. constrain"))
    assert {asked_of(request).partition(": ")[2] for request in asked[2]} == {"Name a river. constrain"}
    assert len(asked) == 4
    assert [
        (row["step"], row["candidate"], row["parent_id"], row["depth"], row["status"], row["reason"]) for row in rows
    ] == [
        (1, number, "chain", 4, *((None, None) if name == "constrain" else ("unused", "not_best")))
        for number, name in enumerate(order)
    ] + [
        (2, row["candidate"], best, 5, *((None, None) if row["mutation"] == "constrain" else ("unused", "not_best")))
        for row in rows[3:]
    ]
    assert [(row["complexity"], row["quality"], row["unscored"]) for row in rows] == [
        (*scores[row["mutation"]], None) for row in rows
    ]


def test_the_first_candidate_is_the_attempt_of_a_chain_without_others() -> None:
    asked, rows = run(a_creator(dict.fromkeys(NAMES, (2, 2))), evolutions=1)
    asked_alone, alone = run(a_creator({}), evolutions=1, candidates=1)
    assert asked_alone == [asked[0][:1]]
    kept = [name for name in rows[0] if name not in ("complexity", "quality", "status", "reason")]
    assert [alone[0][name] for name in kept] == [rows[0][name] for name in kept]
    assert (alone[0]["complexity"], alone[0]["quality"], alone[0]["status"]) == (None, None, None)


def test_one_candidate_is_rated_where_that_is_asked_for() -> None:
    asked, rows = run(a_creator(dict.fromkeys(NAMES, (2, 4))), candidates=1, score=True)
    assert [len(requests) for requests in asked] == [1, 2, 1, 2]
    assert [(row["status"], row["complexity"], row["quality"]) for row in rows] == [(None, 2, 4)] * 2


def test_an_independent_method_asks_and_rates_all_steps_at_once_and_keeps_the_best_of_each() -> None:
    scores = {"deepen": (3, 3), "constrain": (2, 2), "widen": (5, 5)}
    asked, rows = run(a_creator(scores), ALONE)
    # Nine requests; the two steps draw the same three prompts, so six questions are enough.
    assert [len(requests) for requests in asked] == [6, 6]
    assert {row["parent_id"] for row in rows} == {"chain"}
    assert [(row["step"], row["mutation"]) for row in rows if row["status"] is None] == [(1, "widen"), (2, "widen")]


def test_what_a_rule_ends_is_not_rated_and_the_only_survivor_goes_on() -> None:
    def answer(request: Request) -> Completion:
        asked = asked_of(request)
        if asked.startswith("deepen"):
            return said("Name a river.")
        if asked.startswith("widen"):
            return said(None, finish_reason="error", error="HTTP 503")
        return said("Rating: 1") if "<prompt>" in asked else said(f"{asked.partition(': ')[2]} Now.")

    asked, rows = run(answer, evolutions=1)
    assert [len(requests) for requests in asked] == [3, 2]
    assert {row["mutation"]: (row["status"], row["reason"], row["complexity"]) for row in rows} == {
        "deepen": ("eliminated", "unchanged", None),
        "widen": ("eliminated", "call_failed:HTTP 503", None),
        "constrain": (None, None, 1.0),
    }


def test_where_no_candidate_survives_nothing_is_rated_and_the_parent_is_tried_again() -> None:
    asked, rows = run(lambda request: said("Name a river."))
    assert [len(requests) for requests in asked] == [3, 3]
    assert {(row["status"], row["reason"], row["parent_id"]) for row in rows} == {("eliminated", "unchanged", "chain")}


def test_with_fewer_strategies_than_candidates_all_are_used_before_one_is_used_again() -> None:
    _, rows = run(lambda request: said(f"{len(asked_of(request))}"), evolutions=1, candidates=7)
    names = [row["mutation"] for row in rows]
    assert sorted(names[:3]) == sorted(names[3:6]) == sorted(NAMES)
    assert [row["candidate"] for row in rows] == list(range(7))


def test_an_unreadable_rating_is_asked_for_once_more_and_its_words_are_kept() -> None:
    prompts = [user("Name a river."), user("Name a sea.")]
    answers = {
        ("complexity", "a river", ""): said("It is hard."),
        ("complexity", "a river", "judge:retry"): said("Rating: 6"),
        ("quality", "a river", ""): said("Rating: 4/5"),
        ("complexity", "a sea", ""): said("Rating: 2", finish_reason="length"),
        ("complexity", "a sea", "judge:retry"): said("**Rating:** 2"),
        ("quality", "a sea", ""): said(None, finish_reason="error", error="gave_up: HTTP 503"),
    }

    def answer(request: Request) -> Completion:
        asked = asked_of(request)
        aspect = "quality" if "Rate the quality" in asked else "complexity"
        return answers[aspect, "a river" if "a river" in asked else "a sea", request.salt]

    asked, scores = drive(score_prompts(prompts), answer)
    assert [len(requests) for requests in asked] == [4, 2]
    assert scores == [
        Scores(None, 4.0, "complexity: unparsable: the rating 6 is not from 1 to 5\nRating: 6"),
        Scores(2.0, None, "quality: gave_up: HTTP 503"),
    ]
    assert [score.total for score in scores] == [None, None]


def test_a_prompt_that_was_rated_in_both_goes_before_what_was_not() -> None:
    def answer(request: Request) -> Completion:
        asked = asked_of(request)
        if "<prompt>" not in asked:
            return said(" ".join(reversed(asked.split(": "))))
        if "constrain" in asked:
            return said("Rating: 1")
        return said("Rating: 5" if "Rate the quality" in asked else "Who knows?")

    _, rows = run(answer, evolutions=1)
    assert [row["mutation"] for row in rows if row["status"] is None] == ["constrain"]
    assert unrated(pl.DataFrame(rows, schema=EVOLUTIONS)) == (
        "the creator gave no whole rating of 2 of 3 evolved prompts: `unscored` says why, and among candidates without "
        "one a hash decided"
    )
    assert unrated(pl.DataFrame(rows, schema=EVOLUTIONS).filter(mutation="constrain")) is None


def test_a_conversation_is_shown_with_what_precedes_its_last_turn() -> None:
    before = [
        {"role": "system", "content": "Be brief."},
        *user("Name a river."),
        {"role": "assistant", "content": "Po"},
    ]
    asked, _ = drive(score_prompts([[*before, *user("And {prompt}?")]]), lambda request: said("Rating: 3"))
    shown = (
        "<prompt>\n[System]\nBe brief.\n\n[User]\nName a river.\n\n[Assistant]\nPo\n\n[User]\nAnd {prompt}?\n</prompt>"
    )
    assert [shown in asked_of(request) for request in asked[0]] == [True, True]


@given(st.permutations(["Name a lake.", "Name a sea.", "Name a bay."]), st.lists(st.integers(1, 2), min_size=3))
def test_equal_ratings_are_decided_by_the_prompts_alone(texts: list[str], stars: list[int]) -> None:
    score = dict(zip(["Name a lake.", "Name a sea.", "Name a bay."], stars, strict=False))
    said_by = dict(zip(NAMES, texts, strict=True))

    def answer(request: Request) -> Completion:
        asked = asked_of(request)
        if "<prompt>" not in asked:
            return said(said_by[asked.partition(":")[0]])
        return said(f"Rating: {next(stars for text, stars in score.items() if text in asked)}")

    _, rows = run(answer, evolutions=1)
    [best] = [row for row in rows if row["status"] is None]
    most = max(score.values())
    assert best["prompt_id"] == min(prompt_id_of(user(text)) for text, stars in score.items() if stars == most)


@given(
    st.lists(st.sampled_from(["Name a lake.", "Name a sea.", "name a RIVER.", "", "Name a bay."]), min_size=12),
    st.integers(1, 4),
)
def test_of_every_step_at_most_one_goes_on_and_lineage_never_dangles(texts: list[str], candidates: int) -> None:
    replies = iter([*texts, *texts])

    def answer(request: Request) -> Completion:
        return (
            said(f"Rating: {1 + len(asked_of(request)) % 5}")
            if "<prompt>" in asked_of(request)
            else said(next(replies))
        )

    _, rows = run(answer, evolutions=3, candidates=candidates)
    assert [(row["step"], row["candidate"]) for row in rows] == [(s, c) for s in (1, 2, 3) for c in range(candidates)]
    parent, depth = "chain", 3
    for step in (1, 2, 3):
        of_step = [row for row in rows if row["step"] == step]
        assert {(row["parent_id"], row["depth"]) for row in of_step} == {(parent, depth + 1)}
        best = [row for row in of_step if row["status"] is None]
        alive = [row for row in of_step if row["reason"] in (None, "not_best")]
        assert len(best) == min(1, len(alive))
        assert all(row["status"] == "unused" for row in alive if row not in best)
        assert all((row["complexity"] is not None) == (row in alive and candidates > 1) for row in of_step)
        if best:
            parent, depth = best[0]["prompt_id"], best[0]["depth"]
    assert wrongly_judged(pl.DataFrame(rows, schema=EVOLUTIONS)).is_empty()


def test_scores_that_were_changed_later_do_not_fit_what_became_of_the_candidates() -> None:
    scores = {"deepen": (3, 3), "constrain": (5, 2), "widen": (1, 5)}
    _, rows = run(a_creator(scores))
    attempts = pl.DataFrame(rows, schema=EVOLUTIONS)
    assert wrongly_judged(attempts).is_empty()
    # Found to be a duplicate afterwards, it is still the one that went on.
    best, first = pl.col("mutation") == "constrain", pl.col("step") == 1
    late = attempts.with_columns(reason=pl.when(best).then(pl.lit("duplicate")).otherwise("reason"))
    assert wrongly_judged(late).is_empty()
    forged = attempts.with_columns(quality=pl.when(best & first).then(0.5).otherwise("quality"))
    assert wrongly_judged(forged).select("step", "mutation", "reason").rows() == [
        # By the smaller hash, `deepen` goes before `widen` or the other way round.
        (1, min(("deepen", "widen"), key=lambda name: prompt_id_of(user(f"Name a river. {name}"))), "not_best"),
        (1, "constrain", None),
    ]


def test_lost_candidates_stay_unused_through_elimination_and_mix() -> None:
    scores = {"deepen": (3, 3), "constrain": (5, 2), "widen": (1, 5)}
    _, rows = run(a_creator(scores), evolutions=1)
    attempts = pl.DataFrame(rows, schema=EVOLUTIONS)
    # The table knows one of the lost prompts already, which does not matter.
    known = pl.LazyFrame(
        [{"prompt_id": row["prompt_id"], "prompt": row["prompt"], "root_id": "root", "depth": 0} for row in rows[:2]],
        schema={name: PROMPTS[name] for name in ("prompt_id", "prompt", "root_id", "depth")},
    ).filter(pl.col("prompt_id") != prompt_id_of(user("Name a river. constrain")))
    judged = eliminate(attempts, known=known, near_duplicate=0.3)
    assert_frame_equal(judged, attempts)
    seeds = [{"prompt_id": name, "prompt": user(name), "root_id": name, "depth": 0} for name in ("chain", "other")]
    previous = conform(pl.DataFrame(seeds, schema={name: PROMPTS[name] for name in seeds[0]}), PROMPTS)
    mixed = mix(previous.lazy(), judged.lazy(), evolved=0.5, seed=1, iteration=2)
    assert {row["mutation"]: (row["status"], row["reason"]) for row in mixed.evolutions.collect().to_dicts()} == {
        "deepen": ("unused", "not_best"),
        "constrain": ("mixed", None),
        "widen": ("unused", "not_best"),
    }
    evolved = mixed.prompts.filter(pl.col("mix_role") == "evolved").collect()
    assert evolved["mutation"].to_list() == ["constrain"]
    # Replayed from what it wrote, as `verify` does it, it says the same.
    again = mix(previous.lazy(), mixed.evolutions, evolved=0.5, seed=1, iteration=2)
    assert_frame_equal(again.evolutions.collect(), mixed.evolutions.collect())


def test_the_report_has_the_mean_scores_of_every_iteration_that_was_rated(tmp_path: Path) -> None:
    store = Store(tmp_path)
    columns = ("status", "reason", "complexity", "quality")
    rated = [
        ("mixed", None, 4.0, 3.0),
        ("mixed", None, 5.0, 4.0),
        ("mixed", None, None, 5.0),
        ("unused", None, 1.0, 1.0),
        ("unused", "not_best", 2.0, 2.5),
        ("eliminated", "duplicate", 1.0, 1.0),
    ]
    for iteration, rows in ((1, []), (2, rated), (3, [("mixed", None, None, None)]), (4, rated[:1])):
        table = pl.DataFrame(rows, schema={name: EVOLUTIONS[name] for name in columns}, orient="row")
        tables = {name: empty(schema) for name, schema in TABLES.items()} | {"evolutions": conform(table, EVOLUTIONS)}
        store.write_iteration(a_manifest(iteration), tables)
    expected = pl.DataFrame(
        [(2, 2, 4.5, 3.5, 1, 2.0, 2.5), (4, 1, 4.0, 3.0, 0, None, None)], schema=numbers.PROMPT_SCORES, orient="row"
    )
    assert_frame_equal(numbers.prompt_scores(store, [1, 2, 3, 4]), expected)
    assert numbers.prompt_scores(store, [1, 3]).is_empty()


@pytest.mark.parametrize("aspect", QUESTIONS)
def test_both_questions_name_their_scale_and_have_one_place_for_the_prompt(aspect: str) -> None:
    question = QUESTIONS[aspect]  # type: ignore[index]
    assert question.count("{prompt}") == 1
    assert [f"\n{stars}: " in question for stars in range(7)] == [False, *[True] * 5, False]
    assert question.startswith("You judge prompts")
    assert f"Rate the {aspect} of" in question


def test_siblings_all_start_from_the_prompt_by_different_strategies_as_far_as_there_are() -> None:
    asked, rows = run(lambda request: said(f"{asked_of(request)}!"), evolutions=4, candidates=1, siblings=True)
    assert [len(requests) for requests in asked] == [4]
    names = [row["mutation"] for row in rows]
    assert sorted(names[:3]) == sorted(NAMES)
    assert names[3] in NAMES
    assert {(row["parent_id"], row["depth"]) for row in rows} == {("chain", 4)}
    assert [row["step"] for row in rows] == [1, 2, 3, 4]


def test_of_the_candidates_of_each_sibling_the_best_is_kept() -> None:
    scores = {"deepen": (3, 3), "constrain": (5, 2), "widen": (1, 5)}
    asked, rows = run(a_creator(scores), evolutions=2, candidates=2, siblings=True)
    assert [len(requests) for requests in asked] == [4, 2 * len({row["prompt_id"] for row in rows})]
    # Three strategies for four attempts: all of them before one comes again.
    assert sorted({row["mutation"] for row in rows}) == sorted(NAMES)
    for step in (1, 2):
        pair = [row for row in rows if row["step"] == step]
        best = max(pair, key=lambda row: sum(scores[row["mutation"]]))
        assert [row["status"] for row in pair] == [None if row is best else "unused" for row in pair]


def test_a_chain_ends_at_the_deepest_prompt() -> None:
    _, rows = run(lambda request: said(f"{asked_of(request)}!"), evolutions=4, candidates=1, max_depth=5)
    assert [row["depth"] for row in rows] == [4, 5]
    for siblings in (False, True):
        assert run(lambda request: said("Never."), candidates=1, max_depth=3, siblings=siblings) == ([], [])
