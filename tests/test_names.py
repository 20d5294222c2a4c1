"""Each class has a unique name, so that a search finds one definition."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "eva_data"

SHARED = {
    "Strategy": "the block of the settings, and what the creator step makes of it",
    "Backend": "what a module of models/backends and one of rewards must have: the same idea, twice",
    "Endpoint": "the block of the settings, and the server that it names while requests run",
}
"""Names that two modules define, and why."""


def defined(package: Path) -> dict[str, list[str]]:
    """Public classes by name, with the modules that define them."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(package)))
    return dict(found)


def test_no_two_modules_define_a_class_of_one_name() -> None:
    twice = {name: places for name, places in defined(PACKAGE).items() if len(places) > 1}
    assert set(twice) == set(SHARED), twice


def test_a_second_class_of_a_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class Same: ...\nclass _Same: ...\n")
    (tmp_path / "other.py").write_text("class Same: ...\nclass _Same: ...\n")
    assert defined(tmp_path) == {"Same": ["one.py", "other.py"]}
