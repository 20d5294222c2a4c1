"""Ids of prompts and pairs, and the uniform draw that belongs to a row.

All ids are content hashes, and all draws are keyed hashes. Both are polars expressions, so nothing depends on row
order, batch size or a global random state.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import polars as pl
import polars_hash as plh

from eva_data.calls import Message

ID_LENGTH = 32
"""Hex digits kept of a SHA-256: 128 bits."""

_UNIT = "\x1f"
_RECORD = "\x1e"


def normalise(text: pl.Expr) -> pl.Expr:
    """Text in NFC, with LF as line end and stripped ends. Two spellings of one prompt may differ in nothing else."""
    return (
        text.str.replace_all("\r\n", "\n", literal=True)
        .str.replace_all("\r", "\n", literal=True)
        .str.normalize("NFC")
        .str.strip_chars()
    )


def _digest(text: pl.Expr) -> pl.Expr:
    return plh.CryptographicHashingNameSpace(text).sha2_256().str.slice(0, ID_LENGTH)


def prompt_id(prompt: pl.Expr) -> pl.Expr:
    """Hash of the roles and normalised contents of a conversation (a MESSAGES column); null for a null conversation."""
    turn = pl.concat_str(
        pl.element().struct.field("role"), pl.lit(_UNIT), normalise(pl.element().struct.field("content"))
    )
    return _digest(prompt.list.eval(turn).list.join(_RECORD))


def pair_id(prompt_id: pl.Expr, response_a: pl.Expr, response_b: pl.Expr) -> pl.Expr:
    """Hash of the prompt and its two responses; swapping the responses gives the same id."""
    # In a struct, each response is hashed once, and not once for the smaller and once for the larger hash.
    hashes = pl.field("a"), pl.field("b")
    first, second = pl.min_horizontal(hashes), pl.max_horizontal(hashes)
    whole = _digest(pl.concat_str(pl.field("prompt"), pl.lit(_UNIT), first, pl.lit(_UNIT), second))
    parts = pl.struct(prompt=prompt_id, a=_digest(response_a), b=_digest(response_b))
    return parts.struct.with_fields(whole=whole).struct.field("whole")


def uniform_draw(key: pl.Expr, *, seed: int, stage: str, iteration: int) -> pl.Expr:
    """A number in (0, 1] that depends on (seed, stage, iteration, key) alone; uniform over keys, 53 bits."""
    text = pl.concat_str(pl.lit(f"{seed}{_UNIT}{stage}{_UNIT}{iteration}{_UNIT}"), key)
    bits = plh.NonCryptographicHashingNameSpace(text).xxhash64()
    return ((bits // 2048).cast(pl.Float64) + 0.5) / 2.0**53


_UNIT = "\x1f"


_RECORD = "\x1e"


# Unicode's White_Space, which polars strips; str.strip() would take the separators U+001C to U+001F as well.
_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def normalise_text(text: str) -> str:
    """What `normalise` makes of a single text."""
    unix = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", unix).strip(_WHITE_SPACE)


def prompt_id_of(messages: Sequence[Message]) -> str:
    """The id that `prompt_id` gives the same conversation.

    The two can differ only on characters that are newer than the interpreter's Unicode tables (14.0 in CPython 3.11),
    and only if such characters compose or reorder.
    """
    turns = (message["role"] + _UNIT + normalise_text(message["content"]) for message in messages)
    return hashlib.sha256(_RECORD.join(turns).encode()).hexdigest()[:ID_LENGTH]


def draw_of(*, seed: int, iteration: int, chain_id: str, step: int, candidate: int = 0) -> float:
    """A number in (0, 1) that belongs to a candidate of a step of a chain; uniform over all candidates, 53 bits."""
    own = (str(candidate),) if candidate else ()
    key = _UNIT.join((str(seed), "evolve", str(iteration), chain_id, str(step), *own))
    bits = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 11
    return (bits + 0.5) / 2.0**53


def last_turn(prompt: pl.Expr) -> pl.Expr:
    """The text of a conversation's last turn, cut at 2000 characters, for a person to read."""
    return prompt.list.last().struct.field("content").str.slice(0, 2000)
