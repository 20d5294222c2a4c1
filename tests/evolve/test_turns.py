"""Conversations that go on after the solver's best answer, and prompts with a text put before them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from eva_data.calls import Completion
from eva_data.errors import ConfigError
from eva_data.evolve.chain import evolve_chain
from eva_data.evolve.methods import build_method
from eva_data.evolve.methods.self_talk import self_talk
from eva_data.evolve.rules import Limits
from eva_data.evolve.strategy import Method
from eva_data.method.responses import best_replies
from eva_data.tables.schemas import RESPONSES, conform

ROW: dict[str, Any] = {
    "prompt_id": "p",
    "root_id": "p",
    "depth": 0,
    "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}],
}
REPLY = "Because air scatters blue light most."


def evolved(method: Method, row: dict[str, Any], *replies: str) -> tuple[list[str], list[dict[str, Any]]]:
    """What the creator is shown, and the rows."""
    chain = evolve_chain(row, method, evolutions=2, iteration=2, seed=1, creator="c", limits=Limits(5, 500))
    completions = [Completion(text, "stop", 1, 1) for text in replies]
    try:
        asked = next(chain)
        chain.send(completions)
    except StopIteration as finished:
        shown = [request.messages[-1]["content"] for request in asked] if replies else []
        return shown, finished.value
    raise AssertionError("the chain asks for more")


def test_a_new_user_turn_follows_the_answer_and_the_turns_before_stay() -> None:
    row = ROW | {"reply": REPLY}
    shown, rows = evolved(self_talk(), row, "And why is it red in the evening?", "Does air scatter violet light less?")
    turns = "[User]\nWhy is the sky blue?\n\n[Assistant]\nBecause air scatters blue light most."
    assert all(f"<conversation>\n{turns}\n</conversation>" in each for each in shown)
    assert [each["prompt"] for each in rows] == [
        [*ROW["prompt"], {"role": "assistant", "content": REPLY}, {"role": "user", "content": text}]
        for text in ("And why is it red in the evening?", "Does air scatter violet light less?")
    ]
    assert [(each["parent_id"], each["depth"], each["status"]) for each in rows] == [("p", 1, None)] * 2


def test_without_an_answer_nothing_is_asked() -> None:
    shown, rows = evolved(self_talk(), ROW)
    assert shown == []
    assert [(each["reason"], each["mutation"]) for each in rows] == [("no_strategy", None)] * 2


def test_a_text_is_put_before_the_prompt_whose_words_stay() -> None:
    _, rows = evolved(
        build_method("synthetic_context"), ROW, "Notes of Anna, 3 May: it was hazy.", "Table: 450 nm, 9.4"
    )
    assert [each["prompt"][-1]["content"] for each in rows] == [
        "Notes of Anna, 3 May: it was hazy.\n\nWhy is the sky blue?",
        "Table: 450 nm, 9.4\n\nWhy is the sky blue?",
    ]
    assert all(each["prompt"][0] == ROW["prompt"][0] for each in rows)


def test_a_sequential_method_cannot_add_turns() -> None:
    with pytest.raises(ConfigError, match="only the sampled prompt has"):
        Method("mine", self_talk().strategies)


def test_the_best_reply_is_complete_and_has_the_highest_reward() -> None:
    scored = conform(
        pl.DataFrame(
            {
                "prompt_id": ["a", "a", "a", "a", "b", "c", "d", "d"],
                "response_idx": [0, 1, 2, 3, 0, 0, 1, 0],
                "response": ["low", "cut", "best", " ", "unscored", "odd", "second", "first"],
                "reward": [0.1, 0.9, 0.5, 0.9, None, float("nan"), 1.0, 1.0],
                "finish_reason": ["stop", "length", None, "stop", "stop", "stop", "stop", "stop"],
            }
        ),
        RESPONSES,
    )
    assert_frame_equal(best_replies(scored), pl.DataFrame({"prompt_id": ["a", "d"], "reply": ["best", "first"]}))
