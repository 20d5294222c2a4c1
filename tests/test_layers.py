"""Imports run down the layers, and no folder grows beyond what a reader can take in.

Every import counts. An import inside a function or under TYPE_CHECKING hides a circle, but does not remove it.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
LAYERS = (
    ("errors", "files", "calls", "secrets", "foreign", "supervise", "sandbox"),
    ("ledger", "project", "own_code", "thoughts", "tables"),
    ("config", "environments"),
    ("method", "models", "dataset", "statistics"),
    ("embedding",),
    ("jobs", "report", "export", "comparing"),
    ("evolve", "rewards"),
    ("iteration",),
    ("training", "review", "evaluation"),
    ("game", "hub", "experiments"),
    ("doctor",),
    ("cli", "api"),
    ("__main__",),
)
"""The parts of the package, lowest layer first; a part imports only from lower lines."""

PURE = {"method": {"tables", "config", "own_code", "thoughts", "calls", "errors"}}
"""Parts without input, output or clock, and the only other parts that they import."""

ONLY_CLI_PRINTS = "rich"
MOST_MODULES = 12


def modules(package: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of a package."""
    return {
        ".".join((package.name, *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in package.rglob("*.py")
        if "_bundled" not in path.parts
    }


def imports(source: str, known: dict[str, Path]) -> list[tuple[str, int]]:
    """(dotted name, line) of each import of a module. `from package import module` counts as the module."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole module"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.append((full if full in known else node.module or "", node.lineno))
    return found


def wrong_imports(package: Path) -> list[str]:
    """Imports that run up or sideways, out of PURE parts, and of rich outside `cli`, as `module:line -> module`."""
    known = modules(package)
    layer = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    wrong = []
    for name, path in known.items():
        for target, line in imports(path.read_text(encoding="utf-8"), known):
            if name == package.name:
                continue
            part = name.split(".")[1]
            if target.split(".")[0] == ONLY_CLI_PRINTS and part != "cli":
                wrong.append(f"{name}:{line} -> {target}")
            if not target.startswith(f"{package.name}."):
                continue
            of = target.split(".")[1]
            upward = of in layer and part != of and layer[of] >= layer[part]
            if upward or of not in PURE.get(part, {of}) | {part}:
                wrong.append(f"{name}:{line} -> {target}")
    return wrong


def circles(package: Path) -> list[tuple[str, ...]]:
    """Groups of modules that import one another in a circle."""
    known = modules(package)
    # The package itself has the names of `api`, whose modules it imports only when a name is used.
    known.pop(package.name, None)
    targets = {
        name: {target for target, _ in imports(path.read_text(encoding="utf-8"), known) if target in known} - {name}
        for name, path in known.items()
    }
    reached: dict[str, set[str]] = {}
    for start in targets:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for target in targets[waiting.pop()] - seen:
                seen.add(target)
                waiting.append(target)
        reached[start] = seen
    inside = [name for name in targets if name in reached[name]]
    groups = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in inside}
    return sorted(groups)


def test_imports_run_down_the_layers() -> None:
    assert wrong_imports(CHECKOUT / "eva_data") == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert circles(CHECKOUT / "eva_data") == []


def test_every_part_is_in_a_layer() -> None:
    parts = {name.split(".")[1] for name in modules(CHECKOUT / "eva_data") if "." in name}
    assert parts - {part for layer in LAYERS for part in layer} == set()


def test_no_folder_holds_more_modules_than_a_reader_can_take_in() -> None:
    files = [path for path in modules(CHECKOUT / "eva_data").values() if path.name != "__init__.py"]
    counted = Counter(str(path.parent.relative_to(CHECKOUT)) for path in files)
    assert {folder: number for folder, number in counted.items() if number > MOST_MODULES} == {}


@pytest.mark.parametrize(
    "planted",
    [
        "from eva_data.cli import main",
        "def late() -> None:\n    from eva_data.cli import main",
        "def late() -> None:\n    import eva_data.cli.play",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from eva_data.game.play import play",
        "from eva_data.dataset.store import Store",
        "from eva_data.files import write_text",
    ],
)
def test_an_upward_or_sideways_import_is_found_also_a_lazy_one(tmp_path: Path, planted: str) -> None:
    package = tmp_path / "eva_data"
    for name, text in {
        "method/metrics.py": planted,
        "cli/__init__.py": "",
        "cli/play.py": "",
        "game/play.py": "",
        "dataset/store.py": "",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    (found,) = wrong_imports(package)
    assert found.startswith("eva_data.method.metrics:")


def test_a_circle_is_found(tmp_path: Path) -> None:
    package = tmp_path / "eva_data"
    package.mkdir()
    (package / "files.py").write_text("from eva_data.calls import Call")
    (package / "calls.py").write_text("def late():\n    import eva_data.files")
    (package / "errors.py").write_text("")
    assert circles(package) == [("eva_data.calls", "eva_data.files")]
