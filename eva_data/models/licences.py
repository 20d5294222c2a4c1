"""Reads the licences that models' own cards state. Nothing else is known about a licence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_FRONT = re.compile(r"\s*---\r?\n(.*?)\r?\n---", re.DOTALL)


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
