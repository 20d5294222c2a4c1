"""The version of the rules by which eva-data itself decides: parsing, elimination, pairing, metrics, strategies.

A manifest records the version that made its iteration, so that `verify` replays an iteration by its own rules.

1   as of 0.1.0; a manifest without a number means it
"""

from __future__ import annotations

RULES = 1
"""What iterations that are built now are made by."""

REPLAYED = frozenset({1})
"""Those whose decisions this eva-data can compute again."""
