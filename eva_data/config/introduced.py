"""Keys that came after 0.1.0, and what a manifest without them means.

A manifest records the resolved settings of its time. If a key is added later, or its default changes, older manifests
count as if they held the value that describes the earlier behaviour. Otherwise every older dataset would be stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECORDED = "recorded"
"""Key of pydantic's validation context: true if the values stand in a manifest."""

INTRODUCED: Mapping[str, Mapping[str, Any]] = {
    "Config": {"evaluate": None, "contrast": None, "online": {"estimate": "parent"}},
    "Seeds": {"input": None, "world": "careless", "environment": None, "size": None, "seed": None},
    "ApiModel": {"options": {}, "fields": {}},
    "Estimate": {"min_best": None, "min_right": None, "adjust_length": False},
    "Sample": {"power": 1.0, "by_topic": False, "band": None, "agreement_band": None},
    "Mix": {"topic_cap": None},
    "Pair": {
        "rewrite_keep": "better",
        "rule": "best_worst",
        "below": None,
        "per_prompt": None,
        "max_length_gap": None,
        "max_similarity": None,
    },
    "Evolve": {"reply": "plain", "self_check": False, "shape": None, "max_depth": None},
    "Publish": {"licence_reason": None, "source_licences": {}},
    "Review": {"publish": "full"},
    "Train": {"reference": "previous", "replay": 0.0},
    "Consensus": {"judge": None, "programs": None},
    "TableModel": {"shape": None, "input": None, "lower_is_better": None},
}
"""Name of the settings class -> key -> its meaning before it existed, or before its default changed."""

RENAMED: Mapping[str, Mapping[str, str]] = {}
"""Name of the settings class -> old key -> new key. The old key works for two releases, with a warning."""
