"""Reads the licences that models' own cards state. Nothing else is known about a licence."""

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
    if folder is None or not (folder / "README.md").is_file():
        return None
    found = _FRONT.match((folder / "README.md").read_text(encoding="utf-8", errors="replace"))
    try:
        values: Any = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return None
    if not isinstance(values, dict):
        return None
    stated = values.get("license")
    if stated == "other":
        stated = values.get("license_name") or stated
    names = [str(name) for name in (stated if isinstance(stated, list) else [stated]) if name and name != "unknown"]
    return ", ".join(names) or None


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
