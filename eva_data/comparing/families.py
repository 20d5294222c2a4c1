"""Whether a judge is of the family of a model that it judges: models prefer what their own family writes.

A family is told by name alone (`gemma-2-9b-it` and `google/gemma-3-4b` are of `gemma`). Two names that share no family
may still be relatives, which no name can say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_RELATED = {
    "chatgpt": "gpt",
    "o1": "gpt",
    "o3": "gpt",
    "o4": "gpt",
    "opus": "claude",
    "sonnet": "claude",
    "haiku": "claude",
    "mixtral": "mistral",
    "ministral": "mistral",
    "magistral": "mistral",
    "codestral": "mistral",
    "codellama": "llama",
    "qwq": "qwen",
    "qvq": "qwen",
    "codegemma": "gemma",
    "skyworkreward": "skywork",
}
"""Names of relatives that do not begin alike."""

_MAKERS = frozenset({"meta", "google", "openai", "anthropic", "mistralai", "nvidia", "microsoft", "the", "open", "sfr"})
"""Words before a model's own name that are no family."""


def family(name: str) -> str:
    """The family of a model by its name, a Hub id, a path or a fingerprint `name@...`; empty where it has none."""
    bare = name.partition("@")[0].rstrip("/").rpartition("/")[2].lower()
    words = [re.sub(r"[0-9.]+.*\Z", "", word) or word for word in re.split(r"[-_ :]+", bare) if word]
    known = set(_RELATED.values())
    whole = {word for word in re.split(r"[-_ :]+", bare) if word in _RELATED}
    for word in (*sorted(whole), *words):
        word = _RELATED.get(word, word)
        if word in known:
            return word
    return next((_RELATED.get(word, word) for word in words if word not in _MAKERS), "")


def relatives(judge: str, others: Iterable[str]) -> list[str]:
    """Those of `others` that are of the judge's family, or are the judge itself."""
    own = family(judge)
    return [other for other in others if other == judge or (own and family(other) == own)]
