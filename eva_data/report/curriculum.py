"""The report page of all iterations of a dataset, section by section."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from eva_data.dataset.store import Store
from eva_data.errors import MissingExtraError, StaleError
from eva_data.files import write_text
from eva_data.report.numbers import overview
from eva_data.report.page.parts import Section
from eva_data.report.page.render import page
from eva_data.report.sections.consensus import consensus
from eva_data.report.sections.costs import costs
from eva_data.report.sections.evaluations import evaluations
from eva_data.report.sections.evolving import by_depth, by_strategy, rejected
from eva_data.report.sections.funnel import funnel
from eva_data.report.sections.informativeness import informativeness
from eva_data.report.sections.movement import movement
from eva_data.report.sections.ratings import ratings
from eva_data.report.sections.rewards import rewards
from eva_data.report.sections.topics import topics

SECTIONS: tuple[Callable[[Store], Section | None], ...] = (
    funnel,
    evaluations,
    movement,
    informativeness,
    rewards,
    consensus,
    topics,
    ratings,
    by_strategy,
    by_depth,
    rejected,
    costs,
)
"""The sections of the page, in order. A section without content is None."""

NEEDED = {"matplotlib": "matplotlib", "sklearn": "scikit-learn"}
"""Modules that the extra `report` needs -> their packages."""


def write_report(store: Store, path: Path, embeddings: str | None = None) -> None:
    """Write the report page of all finished iterations. Raises the errors of `report_page`."""
    write_text(path, report_page(store, embeddings))


def report_page(store: Store, embeddings: str | None = None) -> str:
    """The report as HTML. `embeddings` is the embedding model of the topics: e5, minilm, a folder or a Hub id. None
    takes words.

    Raises StaleError without an iteration, and MissingExtraError without the extra `report`.
    """
    for module, package in NEEDED.items():
        if find_spec(module) is None:
            raise MissingExtraError.of(package, "report")
    iterations = store.iterations()
    if not iterations:
        raise StaleError(f"{store.folder} has no iteration yet: make one with `eva-data build --iter 1`")
    name = store.manifest(iterations[-1]).config["name"]
    listed: Sequence[Callable[[Store], Section | None]] = SECTIONS
    if embeddings is not None:
        listed = [partial(topics, embeddings=embeddings) if each is topics else each for each in SECTIONS]
    sections = [found for section in listed if (found := section(store)) is not None]
    return page("report.html.jinja", title=f"{name}: the curriculum", lead=_summary(store), sections=sections)


def _summary(store: Store) -> str:
    """The result of all iterations, in a sentence."""
    iterations = store.iterations()
    counts = overview(store, iterations)
    pairs, prompts, evolved = (counts[name].sum() for name in ("pairs", "prompts", "evolved"))
    of = f"{len(iterations)} iterations" if len(iterations) > 1 else "1 iteration"
    return f"{of}: {pairs:,} pairs of {prompts:,} prompts, {evolved:,} of them evolved."
