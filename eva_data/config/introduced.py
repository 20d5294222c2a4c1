"""Keys that came after 0.1.0, and what a manifest without them means.

A manifest records the resolved settings of its time. A key that is added later, or whose default changes, counts there
as the value that says how eva-data behaved before: otherwise every older dataset would be stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECORDED = "recorded"
"""Key of pydantic's validation context: true where the values stand in a manifest."""

INTRODUCED: Mapping[str, Mapping[str, Any]] = {
    "Seeds": {"input": None},
    "ApiModel": {"options": {}, "fields": {}},
    "Evolve": {"reply": "plain", "self_check": False},
    "Review": {"publish": "full"},
    "TableModel": {"shape": None, "input": None, "lower_is_better": None},
}
"""Name of the settings class -> key -> its meaning before it existed, or before its default changed."""

RENAMED: Mapping[str, Mapping[str, str]] = {}
"""Name of the settings class -> old key -> new key. The old one works for two releases, with a warning."""
