"""Finds out if a judge belongs to the family of a model that it judges, since models prefer texts of their own family.

Only names are compared: `gemma-2-9b-it` and `google/gemma-3-4b` belong to `gemma`. Models with unrelated names may
still be relatives.
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
"""Families whose members have names with different beginnings."""

_MAKERS = frozenset({"meta", "google", "openai", "anthropic", "mistralai", "nvidia", "microsoft", "the", "open", "sfr"})
"""Words before a model's own name that do not name a family."""


def family(name: str) -> str:
    """The family of a model, by its name, Hub id, path or fingerprint `name@...`; empty if the name has none."""
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
    """The models in `others` that belong to the judge's family or are the judge itself."""
    own = family(judge)
    return [other for other in others if other == judge or (own and family(other) == own)]
