"""Whole chains, driven by hand with written replies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.calls import Chain, Completion, Request, Row
from eva_data.errors import DataError
from eva_data.evolve import (
    Limits,
    Method,
    Strategy,
    build_method,
    evolve_chain,
    prompt_id_of,
    start_chains,
    user_strategy,
)
from eva_data.evolve.parse import bare
from eva_data.tables import schemas
from eva_data.tables.ids import draw_of, prompt_id

HARDER = Method("harder", (user_strategy("harder", "Make this harder: {prompt}", "in_depth"),))
OTHER = Method("other", (user_strategy("other", "Like this: {prompt}", "in_breadth"),), sequential=False)
LIMITS = Limits(min_characters=10, max_characters=200)


def said(text: str | None, **changes: Any) -> Completion:
    fields = {"text": text, "finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 5}
    return Completion(**(fields | changes))


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def sampled(messages: list[dict[str, str]], depth: int = 0) -> Row:
    name = prompt_id_of(messages)
    return {"prompt_id": name, "prompt": messages, "root_id": name if depth == 0 else "root", "depth": depth}


def drive(chain: Chain[list[Row]], replies: Iterable[Completion]) -> tuple[list[Request], list[Row]]:
    """All requests of a chain, and its result."""
    replies = iter(replies)
    asked: list[Request] = []
    answer: Any = None
    while True:
        try:
            requests = chain.send(answer)
        except StopIteration as finished:
            return asked, finished.value
        asked += requests
        answer = [next(replies) for _ in requests]


def run(
    row: Row, replies: Sequence[Completion], method: Method = HARDER, limits: Limits = LIMITS
) -> tuple[list[Request], list[Row]]:
    chain = evolve_chain(row, method, evolutions=len(replies), iteration=2, seed=42, creator="creator", limits=limits)
    return drive(chain, replies)


def fates(rows: list[Row]) -> list[tuple[str | None, str | None]]:
    return [(row["status"], row["reason"]) for row in rows]


def test_a_method_that_appends_adds_one_constraint_a_step_and_keeps_the_prompt() -> None:
    whole = build_method("one_constraint")
    method = Method("length", tuple(each for each in whole.strategies if each.name == "length"))
    replies = [said("Use at most 9 words."), said("The Nile, the Rhine, the Po."), said("Use exactly one line.")]
    asked, rows = run(sampled(user("Name three rivers.")), replies, method)
    assert [request.messages[-1]["content"].splitlines()[0] for request in asked] == [
        "Task: Name three rivers.",
        "Task: Name three rivers. Use at most 9 words.",
        "Task: Name three rivers. Use at most 9 words.",
    ]
    assert [row["prompt"] for row in rows] == [
        user("Name three rivers. Use at most 9 words."),
        None,
        user("Name three rivers. Use at most 9 words. Use exactly one line."),
    ]
    assert fates(rows)[1] == ("eliminated", "unparsable:the reply does not begin as the examples do")


def test_each_step_rewrites_the_last_survivor() -> None:
    start, first, third = (
        user("Name three rivers."),
        "Name three long rivers.",
        "Name three long rivers of Asia.",
    )
    replies = [said(first), said("No.", completion_tokens=2), said(third, completion_tokens=None)]
    asked, rows = run(sampled(start, depth=3), replies)
    assert asked == [
        Request(({"role": "user", "content": "Make this harder: Name three rivers."},), 0, "evolve:2:1"),
        Request(({"role": "user", "content": "Make this harder: Name three long rivers."},), 0, "evolve:2:2"),
        Request(({"role": "user", "content": "Make this harder: Name three long rivers."},), 0, "evolve:2:3"),
    ]
    common = {
        "chain_id": prompt_id_of(start),
        "candidate": 0,
        "complexity": None,
        "quality": None,
        "unscored": None,
        "answer": None,
        "info": None,
        "root_id": "root",
        "mutation": "harder",
        "status": None,
        "reason": None,
        "duplicate_of": None,
        "creator": "creator",
        "iteration": 2,
    }
    assert rows == [
        common
        | {
            "step": 1,
            "prompt_id": prompt_id_of(user(first)),
            "prompt": user(first),
            "parent_id": prompt_id_of(start),
            "depth": 4,
            "raw": first,
            "completion_tokens": 5,
        },
        common
        | {
            "step": 2,
            "prompt_id": prompt_id_of(user("No.")),
            "prompt": user("No."),
            "parent_id": prompt_id_of(user(first)),
            "depth": 5,
            "raw": "No.",
            "completion_tokens": 2,
            "status": "eliminated",
            "reason": "too_short",
        },
        common
        | {
            "step": 3,
            "prompt_id": prompt_id_of(user(third)),
            "prompt": user(third),
            "parent_id": prompt_id_of(user(first)),
            "depth": 5,
            "raw": third,
            "completion_tokens": None,
        },
    ]


def test_an_independent_method_asks_all_at_once_and_always_from_the_sampled_prompt() -> None:
    start = user("Name three rivers.")
    chain = evolve_chain(sampled(start), OTHER, evolutions=3, iteration=5, seed=1, creator="creator", limits=LIMITS)
    message = {"role": "user", "content": "Like this: Name three rivers."}
    assert next(chain) == [Request((message,), 0, f"evolve:5:{step}") for step in (1, 2, 3)]
    with pytest.raises(StopIteration) as finished:
        chain.send([said("Name three lakes."), said("Name three rivers."), said("Name three lakes.")])
    rows = finished.value.value
    assert [(row["step"], row["parent_id"], row["depth"], row["reason"]) for row in rows] == [
        (1, prompt_id_of(start), 1, None),
        (2, prompt_id_of(start), 1, "unchanged"),
        (3, prompt_id_of(start), 1, None),
    ]


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (said(None, finish_reason="error", error="HTTP 503"), "call_failed:HTTP 503"),
        (said(None), "call_failed:the reply has no text"),
        (said("Name three lon", finish_reason="length"), "truncated"),
        (said("Name three", finish_reason="content_filter"), "content_filter"),
        (said(""), "empty"),
        (said(" \n "), "empty"),
        (said("?! ... 🙂"), "empty"),
        (said("<think>Rivers, then"), "unparsable:the reasoning has no end"),
        (said("Name three rivers \ud83d of Asia."), "unparsable:the reply is not valid Unicode"),
    ],
)
def test_a_reply_without_a_prompt_leaves_only_its_raw_text(completion: Completion, reason: str) -> None:
    start = user("Name three rivers.")
    _, [row, following] = run(sampled(start), [completion, said("Name three long rivers.")])
    assert (row["status"], row["reason"]) == ("eliminated", reason)
    assert (row["prompt_id"], row["prompt"], row["duplicate_of"]) == (None, None, None)
    assert row["raw"] == (completion.text and completion.text.replace("\ud83d", "?"))
    assert (row["mutation"], row["parent_id"], row["depth"]) == ("harder", prompt_id_of(start), 1)
    assert (following["parent_id"], following["status"]) == (prompt_id_of(start), None)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("I\u2019m unable to help with this request.", "refusal"),
        ("I cannot create a prompt about rivers.", "refusal"),
        ("As an AI language model, I have no favourite river.", "refusal"),
        ("I can't sleep. Name three rivers to count.", None),
        ("I'm sorry to ask again: name three rivers.", None),
        ("As an AIDS nurse, name three rivers.", None),
        ("Name 3 A.", "too_short"),
        ("Name 3 AB.", None),
        ("Name three rivers" + "!" * 183, None),
        ("Name three rivers" + "!" * 184, "too_long"),
        ("name  THREE\nrivers.", "unchanged"),
        ("Name three lakes.\n<new_prompt>", "template_words"),
        ("Say what <new_prompt> and </new_prompt> are for.", None),
    ],
)
def test_a_new_prompt_is_judged_by_its_text(reply: str, reason: str | None) -> None:
    start = user("Name three rivers.")
    _, [row] = run(sampled(start), [said(reply)])
    assert (row["reason"], row["prompt"]) == (reason, user(reply))
    assert row["status"] == (None if reason is None else "eliminated")
    assert row["duplicate_of"] == (prompt_id_of(start) if reason == "unchanged" else None)


def test_a_prompt_of_the_chain_does_not_come_back() -> None:
    start = user("Name three rivers.")
    texts = ["Name four rivers.", "Name five rivers.", "Name four  RIVERS.", "name three rivers."]
    _, rows = run(sampled(start), [said(text) for text in texts])
    assert [(row["reason"], row["duplicate_of"]) for row in rows] == [
        (None, None),
        (None, None),
        ("copy_of_ancestor", prompt_id_of(user("Name four rivers."))),
        ("copy_of_ancestor", prompt_id_of(start)),
    ]
    assert rows[3]["parent_id"] == prompt_id_of(user("Name five rivers."))


def test_words_of_the_template_are_no_prompt_unless_the_parent_has_them() -> None:
    method = build_method("evol_complexity")
    about_prompts = user("Explain what a Given Prompt is.")
    _, rows = run(
        sampled(about_prompts),
        [said("Explain what a given prompt is, with examples."), said("Make the Rewritten Prompt longer.")],
        method,
    )
    assert fates(rows) == [(None, None), ("eliminated", "template_words")]


def test_the_strategy_of_a_step_belongs_to_seed_iteration_chain_and_step() -> None:
    method = build_method("eva")
    start = sampled(user("Name three rivers."))
    replies = [said(f"<new_prompt>Name {number} rivers.</new_prompt>") for number in range(4, 12)]
    _, rows = run(start, replies, method)
    assert [row["mutation"] for row in rows] == [
        method.strategies[int(10 * draw_of(seed=42, iteration=2, chain_id=start["prompt_id"], step=step))].name
        for step in range(1, 9)
    ]
    assert len({row["mutation"] for row in rows}) > 3


def test_of_a_conversation_only_the_last_turn_changes() -> None:
    before = [
        {"role": "system", "content": " Be brief.\n"},
        {"role": "user", "content": "Name a river."},
        {"role": "assistant", "content": "The Nile."},
    ]
    start = [*before, {"role": "user", "content": "And a lake?"}]
    replies = [said("And a lake in Asia?"), said("And a lake in Asia, by depth?")]
    asked, rows = run(sampled(start), replies, build_method("eva", [HARDER.strategies[0]], keep_own=False))
    assert [row["prompt"] for row in rows] == [
        [*before, {"role": "user", "content": "And a lake in Asia?"}],
        [*before, {"role": "user", "content": "And a lake in Asia, by depth?"}],
    ]
    assert [request.messages[0]["content"] for request in asked] == [
        "The prompt to work on is the last user message of a conversation. These are the messages "
        "before it; the new "
        "prompt takes its place and must fit them.\n\n"
        "<conversation>\n[System]\n Be brief.\n\n\n[User]\nName a river.\n\n[Assistant]\nThe "
        "Nile.\n</conversation>\n\n"
        f"Make this harder: {text}"
        for text in ("And a lake?", "And a lake in Asia?")
    ]


def test_with_history_no_in_breadth_strategy_is_ever_drawn() -> None:
    start = [*user("Name a river."), {"role": "assistant", "content": "The Nile."}, *user("And a lake?")]
    replies = [said(f"<new_prompt>And a lake of {n} feet?</new_prompt>") for n in range(100, 140)]
    _, rows = run(sampled(start), replies, build_method("eva"))
    assert {row["mutation"] for row in rows} == {
        "constraints",
        "deepening",
        "concretizing",
        "reasoning",
        "expansion",
    }


def test_a_strategy_may_write_the_prompt_itself_and_ask_no_model() -> None:
    def doubled(prompt: str, draw: float) -> str | None:
        draws.append(draw)
        return None if prompt.count("please") == 2 else f"{prompt} please"

    draws: list[float] = []
    method = Method("polite", (Strategy("again", "in_depth", "{prompt}", "{prompt}", bare, compose=doubled),))
    start = sampled(user("Name three rivers"))
    chain = evolve_chain(start, method, evolutions=3, iteration=2, seed=42, creator="creator", limits=LIMITS)
    asked, rows = drive(chain, [])
    assert asked == []
    written = [user("Name three rivers please"), user("Name three rivers please please")]
    first, second = map(prompt_id_of, written)
    found = [
        [row[name] for name in ("prompt", "prompt_id", "parent_id", "depth", "mutation", "raw", "status", "reason")]
        for row in rows
    ]
    assert found == [
        [written[0], first, start["prompt_id"], 1, "again", None, None, None],
        [written[1], second, first, 2, "again", None, None, None],
        [None, None, second, 3, "again", None, "eliminated", "no_strategy"],
    ]
    assert len(set(draws)) == 3
    earlier = list(draws)
    drive(evolve_chain(start, method, evolutions=3, iteration=2, seed=42, creator="c", limits=LIMITS), [])
    assert draws == earlier * 2


def test_where_no_strategy_suits_nothing_is_asked() -> None:
    start = [*user("Name a river."), {"role": "assistant", "content": "The Nile."}, *user("And a lake?")]
    asked, rows = run(sampled(start), [said("unused")] * 2, OTHER)
    assert asked == []
    row = {
        "chain_id": prompt_id_of(start),
        "candidate": 0,
        "complexity": None,
        "quality": None,
        "unscored": None,
        "answer": None,
        "info": None,
        "prompt_id": None,
        "prompt": None,
        "parent_id": prompt_id_of(start),
        "root_id": prompt_id_of(start),
        "depth": 1,
        "mutation": None,
        "raw": None,
        "status": "eliminated",
        "reason": "no_strategy",
        "duplicate_of": None,
        "completion_tokens": None,
        "creator": "creator",
        "iteration": 2,
    }
    assert rows == [row | {"step": 1}, row | {"step": 2}]


def test_a_prompt_that_ends_otherwise_is_refused_before_anything_is_asked() -> None:
    row = sampled([{"role": "assistant", "content": "The Nile."}])
    with pytest.raises(DataError, match="it must end in a user turn"):
        start_chains([row], HARDER, evolutions=1, iteration=2, seed=1, creator="c", limits=LIMITS)


def test_the_rows_are_a_table_of_evolutions() -> None:
    # As they leave the generating process: as JSON.
    _, rows = run(sampled(user("Name three rivers.")), [said("Name four rivers."), said(None)])
    table = pl.DataFrame(json.loads(json.dumps(rows)), schema=schemas.EVOLUTIONS)
    schemas.check(table, schemas.EVOLUTIONS, "evolutions")
    assert table.columns == list(rows[0])
    assert table["prompt_id"].to_list() == table.select(prompt_id(pl.col("prompt"))).to_series().to_list()


@pytest.mark.slow
def test_a_prompt_of_a_hundred_thousand_characters_goes_through() -> None:
    text = "Summarise: " + "the river rose and 川 fell — " * 4000
    assert len(text) > 100_000
    asked, rows = run(
        sampled(user(text)),
        [said(text + " In verse."), said(text)],
        limits=Limits(min_characters=1, max_characters=200_000),
    )
    assert asked[1].messages[0]["content"] == f"Make this harder: {text} In verse."
    assert fates(rows) == [(None, None), ("eliminated", "copy_of_ancestor")]


replies = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["Name four rivers.", "name four rivers.", "Name three rivers.", "As an AI, no."]),
)


def an_answer(request: Request) -> Completion:
    """A reply that depends only on the request, like the reply of a deterministic model."""
    asked = request.messages[0]["content"] + request.salt
    return said(f"{sum(map(ord, asked)) % 97} rivers: {asked[-40:]}")


def in_turns(chains: Sequence[Chain[list[Row]]]) -> list[list[Row]]:
    """The results of chains that take turns, one step at a time, the last chain first."""
    answers: dict[int, Any] = dict.fromkeys(reversed(range(len(chains))))
    results: dict[int, list[Row]] = {}
    while answers:
        for place in list(answers):
            try:
                answers[place] = [an_answer(request) for request in chains[place].send(answers[place])]
            except StopIteration as finished:
                results[place] = finished.value
                del answers[place]
    return [results[place] for place in range(len(chains))]


@pytest.mark.slow
@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=5, unique_by=lambda t: t.strip()))
def test_chains_that_run_together_are_chains_that_run_alone(texts: list[str]) -> None:
    strategies = tuple(user_strategy(name, name + " {prompt}", "in_depth") for name in "abc")
    rows = [sampled(user(text)) for text in texts]

    def chains(of: list[Row]) -> list[Chain[list[Row]]]:
        method = Method("three", strategies)
        return start_chains(of, method, evolutions=3, iteration=2, seed=7, creator="c", limits=LIMITS)

    assert in_turns(chains(rows)) == [in_turns(chains([row]))[0] for row in rows]


@given(st.lists(replies, min_size=1, max_size=6))
def test_lineage_never_dangles_and_survivors_are_all_different(texts: list[str]) -> None:
    start = sampled(user("Name three rivers."))
    _, rows = run(start, [said(text) for text in texts])
    alive = {start["prompt_id"]: 0}
    for step, row in enumerate(rows, start=1):
        assert row["step"] == step
        # The parent is the deepest prompt alive.
        assert row["parent_id"] == list(alive)[-1]
        assert row["depth"] == alive[row["parent_id"]] + 1
        if row["status"] is None:
            assert row["prompt_id"] == prompt_id_of(row["prompt"])
            assert row["prompt_id"] not in alive
            alive[row["prompt_id"]] = row["depth"]
        else:
            assert row["reason"]
