"""Reads conversations: texts, messages with role and content, ShareGPT's from and value, contents in parts."""

from __future__ import annotations

import polars as pl

from eva_data.tables.reading.kinds import LIST, OBJECT, alternatives
from eva_data.tables.schemas import MESSAGES
from eva_data.tables.shapes.values import field, fields_of, items_of, may_be_text, text

_SHAREGPT = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
}
_TEXT_PARTS = ("text", "input_text", "output_text")
_PROMPT_TYPE = pl.Struct({"prompt": MESSAGES, "reason": pl.String})

_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


def is_conversation(dtype: pl.DataType) -> bool:
    """Whether a column holds turns, at least in some rows."""
    items = items_of(pl.lit(None), dtype)
    if items is not None and _is_turn(items[1]):
        return True
    return _is_turn(dtype)


def is_prompt(dtype: pl.DataType) -> bool:
    """Whether a column can hold prompts."""
    return may_be_text(dtype) or is_conversation(dtype) or dtype == pl.Null


def prompt(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A struct of `prompt` (MESSAGES) and `reason`, which says why a value cannot be a prompt; both null for null.

    A text is one user turn. The texts of a content in parts are joined. If a part is not text, the reason is
    `content_part: <its type>`.
    """
    conversations, reasons = [], []
    found = alternatives(value, dtype)
    items = items_of(value, dtype)
    if items is not None and _is_turn(items[1]):
        made, reason = _turns(*items)
        conversations.append(made)
        reasons.append(reason)
    if OBJECT in found and _is_turn(dtype):
        one, turn_type = found[OBJECT]
        made, reason = _turns(pl.when(one.is_not_null()).then(pl.concat_list(one)), turn_type)
        conversations.append(made)
        reasons.append(reason)
    # Values of any other kind, such as a list of numbers or an object that is not a turn.
    others = [part.is_not_null() for kind, (part, inner) in found.items() if not _is_taken(kind, inner)]
    if others:
        reasons.append(pl.when(pl.any_horizontal(others)).then(pl.lit("not_a_prompt")))
    words = text(value, dtype)
    turn = pl.concat_list(pl.struct(pl.lit("user").alias("role"), words.alias("content")))
    conversations.append(pl.when(words.is_not_null()).then(turn).cast(MESSAGES))
    return pl.struct(
        prompt=pl.coalesce(conversations), reason=pl.coalesce([*reasons, pl.lit(None, dtype=pl.String)])
    ).cast(_PROMPT_TYPE)


def answer(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The text of a response: the text itself, or a conversation's last turn if it is the assistant's, else null."""
    found = [text(value, dtype)]
    if is_conversation(dtype):
        turns = prompt(value, dtype).struct.field("prompt")
        last = turns.list.last()
        said = pl.when((turns.list.len() > 0) & (last.struct.field("role") == "assistant"))
        found.append(said.then(last.struct.field("content")))
    items = items_of(value, dtype)
    if items is not None and not is_conversation(dtype) and is_one_answer(dtype):
        found.append(_joined(*items)[0])
    return pl.coalesce(found)


def is_one_answer(dtype: pl.DataType) -> bool:
    """Whether a list is a single response: a conversation, or a content in parts."""
    items = items_of(pl.lit(None), dtype)
    return items is not None and (_is_turn(items[1]) or "text" in fields_of(items[1]))


def turns_after_the_user(turns: pl.Expr) -> pl.Expr:
    """How many turns follow the last user turn; null if there is no user turn."""
    is_user = turns.list.eval(pl.element().struct.field("role") == "user")
    return pl.when(is_user.list.any()).then(is_user.list.reverse().list.arg_max())


def to_the_user(turns: pl.Expr) -> pl.Expr:
    """A conversation up to its last user turn; unchanged if there is no user turn."""
    after = turns_after_the_user(turns).fill_null(0)
    return pl.when(after > 0).then(turns.list.head(turns.list.len() - after)).otherwise(turns)


def to_the_answer(turns: pl.Expr) -> pl.Expr:
    """A conversation without its last turn."""
    return turns.list.head((turns.list.len().cast(pl.Int64) - 1).clip(0))


def transcripts(turns: pl.Expr) -> pl.Expr:
    """Split a single text in which `Human:` and `Assistant:` alternate into turns; others are unchanged."""
    said = turns.list.first().struct.field("content")
    is_one = (turns.list.len() == 1) & is_transcript(said)
    pieces = (
        said.str.strip_suffix(" ")
        .str.strip_suffix(_ASSISTANT)
        .str.strip_prefix(_HUMAN)
        .str.replace_all(_HUMAN, f"{_ASSISTANT}\x1f", literal=True)
        .str.split(_ASSISTANT)
    )
    users = pl.element().str.starts_with("\x1f") | (pl.int_range(pl.len()) == 0)
    split = pieces.list.eval(
        pl.struct(
            role=pl.when(users).then(pl.lit("user")).otherwise(pl.lit("assistant")),
            content=pl.element().str.strip_prefix("\x1f").str.strip_chars(),
        )
    ).cast(MESSAGES)
    return pl.when(is_one).then(split).otherwise(turns)


def is_transcript(said: pl.Expr) -> pl.Expr:
    """Whether a text begins with a human's turn and ends where the assistant's begins."""
    return (said.str.starts_with(_HUMAN) & said.str.strip_chars_end().str.ends_with(_ASSISTANT)).fill_null(False)


def _is_taken(kind: str, dtype: pl.DataType) -> bool:
    """Whether values of a kind are texts or turns."""
    if kind not in (LIST, OBJECT):
        return True
    items = items_of(pl.lit(None), dtype)
    return _is_turn(dtype) if items is None else _is_turn(items[1])


def _is_turn(dtype: pl.DataType) -> bool:
    fields = fields_of(dtype)
    return {"role", "content"} <= fields.keys() or {"from", "value"} <= fields.keys()


def _turns(turns: pl.Expr, turn_type: pl.DataType) -> tuple[pl.Expr, pl.Expr]:
    """MESSAGES of a list of turns, and the reason of the first turn whose content is not text, else null."""
    fields = fields_of(turn_type)
    roles, contents, reasons = [], [], []
    element = pl.element()
    if "role" in fields:
        roles.append(text(field(element, turn_type, "role"), fields["role"]))
    if "from" in fields and "value" in fields:
        said_by = text(field(element, turn_type, "from"), fields["from"])
        roles.append(said_by.replace(_SHAREGPT))
    for name in ("content", "value"):
        if name in fields:
            said, reason = _content(field(element, turn_type, name), fields[name])
            contents.append(said)
            reasons.append(reason)
    role, content = pl.coalesce(roles), pl.coalesce(contents)
    reasons.append(pl.when(role.is_null() & content.is_null()).then(pl.lit("not_a_prompt")))
    turn = pl.struct(role=role, content=content)
    return turns.list.eval(turn).cast(MESSAGES), turns.list.eval(pl.coalesce(reasons)).list.drop_nulls().list.first()


def _content(value: pl.Expr, dtype: pl.DataType) -> tuple[pl.Expr, pl.Expr]:
    said = text(value, dtype)
    items = items_of(value, dtype)
    if items is None:
        return said, pl.lit(None, dtype=pl.String)
    joined, reason = _joined(*items)
    return pl.coalesce(said, joined), reason


def _joined(parts: pl.Expr, part_type: pl.DataType) -> tuple[pl.Expr, pl.Expr]:
    """The texts of a content in parts, joined, and the reason if a part is not text, else null."""
    fields = fields_of(part_type)
    element = pl.element()
    said = [text(element, part_type)]
    kind: pl.Expr = pl.lit(None, dtype=pl.String)
    if "text" in fields:
        said.append(text(field(element, part_type, "text"), fields["text"]))
    if "type" in fields:
        kind = text(field(element, part_type, "type"), fields["type"])
    words = pl.coalesce(said)
    is_other = kind.is_not_null() & ~kind.is_in(_TEXT_PARTS)
    other = pl.when(is_other | words.is_null()).then(
        pl.concat_str(pl.lit("content_part: "), pl.coalesce(kind, pl.lit("without text")))
    )
    return parts.list.eval(words).list.join("", ignore_nulls=True), parts.list.eval(
        other
    ).list.drop_nulls().list.first()
