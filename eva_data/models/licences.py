"""Reads the licences that models' own cards state, and says where the terms of providers are written.

Nothing else is known about a licence. What the terms say is not judged here: they change, and a reader decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_FRONT = re.compile(r"\s*---\r?\n(.*?)\r?\n---", re.DOTALL)


_FUNCTIONS = ("verifier:", "code:", "consensus:", "table:")
"""Beginnings of the names of rewards that no model gives."""
_WITH_JUDGE = "consensus:judge@"
"""The beginning of the name of a consensus on answers that a model compares."""


def is_function(name: str) -> bool:
    """Whether a name among the models of a manifest is that of a function or a table, which no model is."""
    return name.startswith(_FUNCTIONS) and not name.startswith(_WITH_JUDGE)


def stated_licences(folders: Mapping[str, Path | None]) -> dict[str, str]:
    """Name -> the licence that the card in the folder states. A folder is None if the model runs elsewhere."""
    found = {name: stated_licence(folder) for name, folder in folders.items()}
    return {name: licence for name, licence in found.items() if licence is not None}


def stated_licence(folder: Path | None) -> str | None:
    """The licence, by the Hub's name, in the card of a model's folder; None if it states none."""
    values = _metadata(folder)
    stated = values.get("license")
    if stated == "other":
        stated = values.get("license_name") or stated
    names = [str(name) for name in (stated if isinstance(stated, list) else [stated]) if name and name != "unknown"]
    return ", ".join(names) or None


def _metadata(folder: Path | None) -> Mapping[str, Any]:
    """The metadata of the card in a model's folder; empty if it has none that can be read."""
    if folder is None or not (folder / "README.md").is_file():
        return {}
    found = _FRONT.match((folder / "README.md").read_text(encoding="utf-8", errors="replace"))
    try:
        values: Any = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}


def stated_terms(folder: Path | None, name: str) -> str | None:
    """Where the card in a model's folder says that its licence is written (`license_link`), as a URL.

    None if the card names no such place. A link to a file of the model's repo is one only if `name`, the model's
    fingerprint, has the form of a Hub id with its commit.
    """
    link = _metadata(folder).get("license_link")
    if not isinstance(link, str) or not link.strip() or any(mark.isspace() for mark in link.strip()):
        return None
    link = link.strip()
    if link.startswith(("https://", "http://")):
        return link
    model, _, commit = name.rpartition("@")
    if model.count("/") != 1 or len(commit) != _COMMIT:
        return None
    return f"https://huggingface.co/{model}/blob/{commit}/{link.removeprefix('./').lstrip('/')}"


_COMMIT = 40
"""Length of a commit's hash."""

PROVIDERS: Mapping[str, str] = {
    "anthropic": "https://www.anthropic.com/legal/commercial-terms",
    "bedrock": "https://aws.amazon.com/service-terms/",
    "cohere": "https://cohere.com/terms-of-use",
    "cohere_chat": "https://cohere.com/terms-of-use",
    "deepseek": "https://cdn.deepseek.com/policies/en-US/deepseek-open-platform-terms-of-service.html",
    "fireworks_ai": "https://fireworks.ai/terms-of-service",
    "gemini": "https://ai.google.dev/gemini-api/terms",
    "groq": "https://groq.com/terms-of-use",
    "mistral": "https://legal.mistral.ai/terms/commercial-terms-of-service",
    "openai": "https://openai.com/policies/services-agreement/",
    "openrouter": "https://openrouter.ai/terms",
    "together_ai": "https://www.together.ai/terms-of-service",
    "vertex_ai": "https://cloud.google.com/terms/service-terms",
    "xai": "https://x.ai/legal/terms-of-service-enterprise",
}
"""litellm's name of a provider -> the page of its terms, as public repositories linked it in November 2026."""


def provider_terms(provider: str) -> str:
    """Where the terms of a provider are written: a URL, else words that name the provider."""
    return PROVIDERS.get(provider, f"the terms of {provider}")


def models_in(reward: str) -> tuple[str, ...]:
    """The fingerprints of the models in the name of a reward, in order; empty if no model gives it.

    The name is that of one reward or of several: `verifier:...`, `judge:MODEL@REVISION:HASH`,
    `tournament:MODEL@REVISION, MODEL@REVISION:HASH`, `consensus:judge@HASH(MODEL@REVISION)`, `mean(..., ...)`.
    """
    if (several := _SEVERAL.fullmatch(reward)) is not None:
        found = [model for part in several[1].split(", ") for model in models_in(part)]
    elif is_function(reward):
        found = []
    elif (compared := _COMPARED.match(reward)) is not None:
        found = [compared[1]]
    elif (named := _BY_MODEL.fullmatch(reward)) is not None:
        found = named[1].split(", ")
    else:
        found = [reward]
    return tuple(dict.fromkeys(found))


_SEVERAL = re.compile(r"mean\((.*)\)", re.DOTALL)
_COMPARED = re.compile(r"consensus:judge@[^(]*\((.*?)\)(?:\+answers:[0-9a-f]+)?$", re.DOTALL)
_BY_MODEL = re.compile(r"(?:classifier|pairwise|server|judge|tournament):(.*?)(?::[0-9a-f]{8})?", re.DOTALL)


_CLASSES: tuple[tuple[str, str], ...] = (
    (r"(cc-by|cc)(-nc)?(-sa)?-nd.*|cc-by-nc-nd.*|.*-nd-.*", "no changes may be shared"),
    (r"cc-by-nc.*|.*-nc-.*|.*-nc|.*non-?commercial.*|.*research.*", "no commercial use"),
    (r".*openrail.*|.*rail.*|creativeml.*|llama.*|gemma|deepfloyd.*|apple-.*", "restricted uses"),
    (r"cc-by-sa.*|odbl|gpl.*|agpl.*|lgpl.*|mpl-.*|cdla-sharing.*|gfdl|osl-.*|eupl-.*|epl-.*|ms-pl", "the same licence"),
    (
        r"cc-by-\d.*|mit|apache-2\.0|bsd.*|isc|afl-3\.0|odc-by|cdla-permissive.*|bsl-1\.0|zlib|artistic-2\.0|ncsa|ecl-2\.0"
        r"|postgresql|w3c",
        "with the author's name",
    ),
    (r"cc0-1\.0|unlicense|pddl|wtfpl|0bsd", "without conditions"),
)
"""(pattern of the Hub's names of licences, what they allow), the strictest first."""


def strictness(licence: str) -> int | None:
    """How much a licence, or the strictest of several after commas, demands: 0 is nothing; None if it is not known.

    This is a coarse order of the Hub's names, and no legal advice.
    """
    found = [_demands(name) for name in (part.strip().lower() for part in licence.split(","))]
    return None if None in found else max(each for each in found if each is not None)


def _demands(name: str) -> int | None:
    place = next((place for place, (pattern, _) in enumerate(_CLASSES) if re.fullmatch(pattern, name)), None)
    return None if place is None else len(_CLASSES) - 1 - place
