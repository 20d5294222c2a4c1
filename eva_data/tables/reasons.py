"""Reasons that several stages give."""

from __future__ import annotations

NOT_BEST = "not_best"
"""The reason of a candidate that nothing speaks against but a better one of the same step."""


RESPONSE_FAILED = "response_failed: "
