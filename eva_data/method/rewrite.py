"""Asks the solver to rewrite a chosen response, and reads its reply (paper: H.2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import polars as pl

from eva_data.calls import Message, Unparsable, conversation_text, valid_unicode
from eva_data.method.pair import noise, one_answer
from eva_data.tables.ids import pair_id
from eva_data.tables.rules import RULES
from eva_data.tables.schemas import PREFERENCES, REJECTS, RESPONSES
from eva_data.thoughts import without_thoughts

TEMPLATE = """\
Below are a conversation and an assistant's reply to its last message. Write a better reply in its place: correct what \
is wrong, add what matters most among the things that are missing, and put it more clearly.

Rules:
- It takes the place of the reply below and answers the same message, in the same language and form.
- It has the same length: {characters} characters, give or take {percent} %. Leave out what matters less to make room.
- Where the reply is right, keep what it says.
- Do not mention the reply below, or that anything was rewritten.

<conversation>
{prompt}
</conversation>

<reply>
{response}
</reply>

Write only the new reply, between <new_reply> and </new_reply>."""
"""The request to the solver."""


_OPEN, _CLOSE = "<new_reply>", "</new_reply>"


def with_rewritten(
    preferences: pl.DataFrame,
    rewritten: pl.DataFrame,
    *,
    keep: Literal["better", "all"] = "better",
    rules: int = RULES,
) -> pl.DataFrame:
    """The pairs, in which a rewritten response takes the place of the chosen one if its reward is not lower.

    With `keep="all"` its reward is not compared, as in the paper. A rewritten response without a reward, and one that
    is the rejected response, is never taken.

    `rewritten` (RESPONSES of stage rewrite) has at most one row per prompt. Its `response_idx` is the index of the
    response that was rewritten. The rejected response stays. The metrics stay too, because they are about the solver's
    answers to the prompt alone. Rewards are compared as `pair` compares them by the same `rules`.
    """
    better = preferences.join(
        rewritten.filter(pl.col("reward").is_finite()).select(
            "prompt_id", new_text="response", new_reward="reward", chosen_idx="response_idx"
        ),
        on=["prompt_id", "chosen_idx"],
        how="left",
        maintain_order="left",
    )
    before, after = pl.col("score_chosen"), pl.col("new_reward")
    taken = (before - after <= noise(before, after, rules)).fill_null(False)
    if keep == "all":
        taken = after.is_not_null() & (pl.col("new_text") != last_text(pl.col("rejected")).str.strip_chars())
    changed = better.with_columns(
        rewritten=taken,
        chosen=pl.when(taken).then(one_answer(pl.col("new_text"))).otherwise("chosen"),
        score_chosen=pl.when(taken).then("new_reward").otherwise("score_chosen"),
        pair_id=pl.when(taken)
        .then(pair_id(pl.col("prompt_id"), pl.col("new_text"), last_text(pl.col("rejected"))))
        .otherwise("pair_id"),
    )
    return changed.select(PREFERENCES.names())


def ask(prompt: Sequence[Message], chosen: str, bound: float) -> list[Message]:
    """The request for a better reply of the same length; `bound` is the share by which the length may differ."""
    before, behind = TEMPLATE.replace("{characters}", str(len(chosen))).split("{prompt}")
    between, end = behind.split("{response}")
    before = before.replace("{percent}", f"{100 * bound:g}")
    return [{"role": "user", "content": before + conversation_text(prompt) + between + chosen + end}]


def read_replies(completions: pl.DataFrame, chosen: pl.DataFrame, bound: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rewritten responses, and columns of REJECTS for replies that hold none.

    `completions` are COMPLETIONS, one per row of `chosen` (`prompt_id`, `chosen_idx`, `text`). The first frame has the
    columns of RESPONSES that are known of a reply. Its `response_idx` is the index of the response that was rewritten.
    """
    found: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for row in completions.join(chosen, on="prompt_id", maintain_order="left").iter_rows(named=True):
        text = read_rewriting(row, row["text"], bound)
        if isinstance(text, Unparsable):
            raw = row["text"] if row["response"] is None else row["response"]
            failed.append({"prompt_id": row["prompt_id"], "reason": text.why, "text": raw[:2000]})
        else:
            found.append({**row, "response": text, "response_idx": row["chosen_idx"]})
    known = {name: RESPONSES[name] for name in _KNOWN}
    reasons = {name: REJECTS[name] for name in ("prompt_id", "reason", "text")}
    return (
        pl.DataFrame([{name: row[name] for name in known} for row in found], schema=known),
        pl.DataFrame(failed, schema=reasons),
    )


_KNOWN = ("prompt_id", "response_idx", "response", "finish_reason", "prompt_tokens", "completion_tokens")


def read_rewriting(completion: dict[str, Any], chosen: str, bound: float) -> str | Unparsable:
    """The new reply in a row of COMPLETIONS, or why it holds none, which is the reason of the reject.

    `unchanged`: the reply is the chosen text again, apart from white space at the ends. `another_length`: the number
    of its characters differs from the chosen text's by more than the share `bound`.
    """
    if completion["response"] is None:
        return Unparsable(completion["error"] or "call_failed: the reply has no text")
    if completion["finish_reason"] == "length":
        return Unparsable("truncated")
    if completion["finish_reason"] == "content_filter":
        return Unparsable("content_filter")
    answer = without_thoughts(completion["response"])
    if isinstance(answer, Unparsable):
        return Unparsable(f"unparsable: {answer.why}")
    _, opening, rest = answer.rpartition(_OPEN)
    inside, closing, _ = rest.partition(_CLOSE)
    if not opening or not closing:
        return Unparsable(f"unparsable: no text between {_OPEN} and {_CLOSE}")
    text = valid_unicode(inside.strip())
    if not text:
        return Unparsable("empty")
    if text == chosen.strip():
        return Unparsable("unchanged")
    if abs(len(text) - len(chosen)) > bound * len(chosen):
        return Unparsable("another_length")
    return text


def last_text(turns: pl.Expr) -> pl.Expr:
    """The text of a conversation's only turn."""
    return turns.list.first().struct.field("content")
