"""The page of `eva-data show --html`: trees of an iteration, with filters that need no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eva_data.dataset.store import Store
from eva_data.files import write_text
from eva_data.report.page.render import page
from eva_data.report.trees.growing import Node, Tree, trees


@dataclass(frozen=True)
class Filter:
    """A choice among the values of the nodes of a page. The class of a value is the filter's name and a number."""

    name: str
    title: str
    values: tuple[str, ...]

    def mark(self, value: str) -> str:
        """The class of the nodes with this value. It contains no foreign text."""
        return f"{self.name}{self.values.index(value)}"


_FILTERS: tuple[tuple[str, str, Callable[[Node], str]], ...] = (
    ("d", "Depth", lambda node: str(node.depth)),
    ("s", "Strategy", lambda node: node.strategy),
    ("r", "What became of it", lambda node: node.outcome),
)


def write_lineages(store: Store, iteration: int, count: int, path: Path) -> None:
    """Write the page of an iteration with up to `count` trees."""
    write_text(path, lineages_page(store, iteration, count))


def lineages_page(store: Store, iteration: int, count: int) -> str:
    """The page of an iteration as HTML, with up to `count` trees."""
    config = store.manifest(iteration).config
    shown, known = trees(store, iteration, count)
    filters = [Filter(name, title, _values(shown, of)) for name, title, of in _FILTERS]
    marks = {
        id(node): " ".join(each.mark(of(node)) for each, (_, _, of) in zip(filters, _FILTERS, strict=True))
        for tree in shown
        for node in tree.nodes
    }
    lead = f"{len(shown):,} of {known:,} seeds, each with what iteration {iteration} made of it"
    if len(shown) < known:
        lead += ": the most informative ones, and as many drawn by lot"
    return page(
        "lineages.html.jinja",
        title=f"{config['name']}: lineages of iteration {iteration}",
        lead=f"{lead}.",
        trees=shown,
        filters=filters,
        mark=lambda node: marks[id(node)],
        metric=config["estimate"]["metric"],
    )


def _values(shown: Sequence[Tree], of: Callable[[Node], str]) -> tuple[str, ...]:
    found = {of(node) for tree in shown for node in tree.nodes}
    return tuple(sorted(found, key=lambda value: (len(value), value) if value.isdigit() else (0, value)))
