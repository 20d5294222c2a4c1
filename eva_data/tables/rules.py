"""The version of the rules by which eva-data decides: parsing, elimination, pairing, metrics, strategies.

A manifest records the version that made its iteration, so that `verify` replays an iteration by the rules of its time.

1   as of 0.1.0; a manifest without a number means it. Pairs are made of texts that are equal character for character
    and of rewards that are compared bit for bit.
2   Texts that differ in white space alone are one candidate, and rewards are compared up to a stated noise, in pairs,
    in rewritten responses and where all rewards of a prompt are equal, so that its metrics are those of equal rewards.
    Short benchmark questions inside a longer prompt are contamination, and letters of scripts without spaces count as
    parts of words. A creator's replies are read by their structure, and refusals, answers, broken replies and other
    languages are recognised by more than fixed phrases. Thoughts are taken off every model's reply by the same reader,
    in whatever marks they stand.
3   Online, the rewrites of a prompt are siblings by the strategies of the paper's appendix F, unless the settings say
    otherwise; unsolved prompts and the deepest prompts have no children; `estimate.metric` decides which prompts have.
    A stratified draw gives what does not divide evenly to the strata by hash. By older rules the smaller prompt id got
    it. Nothing is estimated in an iteration that draws nothing.
"""

from __future__ import annotations

RULES = 3
"""The version that makes new iterations."""

REPLAYED = frozenset({1, 2, 3})
"""The versions whose decisions this eva-data can compute again."""
