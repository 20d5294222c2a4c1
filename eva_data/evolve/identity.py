"""Ids and draws in plain Python, for the process that Distilabel forks: polars must not run there."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

from eva_data.calls import Message
from eva_data.identify import ID_LENGTH

_UNIT = "\x1f"
_RECORD = "\x1e"
# Unicode's White_Space, which polars strips; str.strip() would take the separators U+001C to U+001F as well.
_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def normalise_text(text: str) -> str:
    """What `identify.normalise` makes of the text."""
    unix = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", unix).strip(_WHITE_SPACE)


def prompt_id_of(messages: Sequence[Message]) -> str:
    """The id that `identify.prompt_id` gives the same conversation.

    They can differ only on characters younger than the interpreter's Unicode tables (14.0 in CPython 3.11),
    and only where such characters compose or reorder.
    """
    turns = (message["role"] + _UNIT + normalise_text(message["content"]) for message in messages)
    return hashlib.sha256(_RECORD.join(turns).encode()).hexdigest()[:ID_LENGTH]


def draw_of(*, seed: int, iteration: int, chain_id: str, step: int, candidate: int = 0) -> float:
    """A number in (0, 1) that belongs to one candidate of one step of one chain; uniform over them all, 53 bits."""
    own = (str(candidate),) if candidate else ()
    key = _UNIT.join((str(seed), "evolve", str(iteration), chain_id, str(step), *own))
    bits = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 11
    return (bits + 0.5) / 2.0**53
