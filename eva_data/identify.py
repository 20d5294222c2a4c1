"""Who is who: ids of prompts and pairs, and the uniform draw that belongs to a row.

All ids are content hashes, all draws are keyed hashes, both as polars expressions: nothing depends on row
order, batch size or a global random state.
"""

from __future__ import annotations

import polars as pl
import polars_hash as plh

ID_LENGTH = 32
"""Hex digits kept of a SHA-256: 128 bits."""

_UNIT = "\x1f"
_RECORD = "\x1e"


def normalise(text: pl.Expr) -> pl.Expr:
    """NFC, CRLF and CR to LF, ends stripped: what two spellings of one prompt may differ in, nothing else."""
    return (
        text.str.replace_all("\r\n", "\n", literal=True)
        .str.replace_all("\r", "\n", literal=True)
        .str.normalize("NFC")
        .str.strip_chars()
    )


def _digest(text: pl.Expr) -> pl.Expr:
    return plh.CryptographicHashingNameSpace(text).sha2_256().str.slice(0, ID_LENGTH)


def prompt_id(prompt: pl.Expr) -> pl.Expr:
    """Hash of the roles and normalised contents of a conversation (a MESSAGES column); null for null."""
    turn = pl.concat_str(
        pl.element().struct.field("role"), pl.lit(_UNIT), normalise(pl.element().struct.field("content"))
    )
    return _digest(prompt.list.eval(turn).list.join(_RECORD))


def pair_id(prompt_id: pl.Expr, response_a: pl.Expr, response_b: pl.Expr) -> pl.Expr:
    """Hash of the prompt and its two responses; swapping the responses gives the same id."""
    a, b = _digest(response_a), _digest(response_b)
    return _digest(
        pl.concat_str(prompt_id, pl.lit(_UNIT), pl.min_horizontal(a, b), pl.lit(_UNIT), pl.max_horizontal(a, b))
    )


def uniform_draw(key: pl.Expr, *, seed: int, stage: str, iteration: int) -> pl.Expr:
    """A number in (0, 1] that belongs to (seed, stage, iteration, key); uniform over keys, 53 bits."""
    text = pl.concat_str(pl.lit(f"{seed}{_UNIT}{stage}{_UNIT}{iteration}{_UNIT}"), key)
    bits = plh.NonCryptographicHashingNameSpace(text).xxhash64()
    return ((bits // 2048).cast(pl.Float64) + 0.5) / 2.0**53
