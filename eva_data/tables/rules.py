"""The version of the rules by which eva-data itself decides: parsing, elimination, pairing, metrics, strategies.

A manifest records the version that made its iteration, so that `verify` replays an iteration by its own rules.

1   as of 0.1.0; a manifest without a number means it. Pairs are made of texts that are equal character for character
    and of rewards that are compared bit for bit.
2   Texts that differ in white space alone are one candidate, and rewards are compared up to a stated noise, in pairs,
    in rewritten responses and where all rewards of a prompt are equal, so that its metrics are those of equal ones.
    Short benchmark questions inside a longer prompt are contamination, and letters of scripts without spaces count as
    the part of a word that they are. A creator's replies are read by their structure, and refusals, answers, broken
    replies and other languages are told by more than fixed phrases.
"""

from __future__ import annotations

RULES = 2
"""What iterations that are built now are made by."""

REPLAYED = frozenset({1, 2})
"""Those whose decisions this eva-data can compute again."""
