"""The topics of the prompts, their novelty and their diversity (the paper's figure 6)."""

from __future__ import annotations

from eva_data.dataset.store import Store
from eva_data.report.page.charts import lines
from eva_data.report.page.parts import Alarm, Chart, Charts, Figure, Part, Section, Stack, Table, Words
from eva_data.report.topics.diversity import Diversity
from eva_data.report.topics.subjects import subjects

WORDS_OF_THE_TEXTS = "the words in them (TF-IDF and latent semantic analysis)"

Z = 1.96
"""The half width of a 95 % interval, in standard errors."""


def topics(store: Store, embeddings: str | None = None) -> Section | None:
    """Shares of topics over the iterations, novelty, diversity, and an alarm if prompts collapse."""
    found = subjects(store, store.iterations(), embeddings)
    if found is None:
        return None
    by = f"the embedding model {embeddings}" if embeddings else WORDS_OF_THE_TEXTS
    lead = f"{found.prompts:,} prompts, clustered by {by}. A topic is named by the words that set it apart."
    bars = tuple((f"iteration {each}", shares) for each, shares in zip(found.iterations, found.shares, strict=True))
    parts: list[Part] = [*map(Alarm, found.alarms), Stack(found.topics.labels, bars)]
    charts = _charts(found.diversity)
    if charts:
        parts.append(Charts(charts))
    rows = tuple(
        (
            *(f"{each.iteration}", each.prompts, each.lineages, _with_error(each.novelty, each.novelty_error)),
            each.nearest,
            *(None if each.near_duplicates is None else Figure(f"{100 * each.near_duplicates:z.1f} %"), each.effective),
        )
        for each in found.diversity
    )
    names = ("iteration", "prompts", "seeds", "novelty", "nearest neighbour", "near-duplicates", "effective number")
    parts += [
        Table(names, rows),
        Words(
            "Novelty is the mean distance (1 minus the cosine) of prompts that earlier iterations do not have to the "
            "nearest earlier prompt, with a 95 % interval. The other figures compare prompts of different seeds, since "
            "those of one seed are alike by design: the mean distance to the nearest one, the share of those that are "
            "almost the same, and the Vendi score of one prompt of each of equally many seeds, which is how many "
            "different prompts they are worth. Seeds are those from which prompts of the iteration come.",
            soft=True,
        ),
    ]
    return Section("topics", "Topics and diversity", lead, tuple(parts))


def _charts(found: tuple[Diversity, ...]) -> tuple[Chart, ...]:
    novelty = [
        (each.iteration, each.novelty, *_ends(each.novelty, each.novelty_error))
        for each in found
        if each.novelty is not None
    ]
    effective = [(each.iteration, each.effective, None, None) for each in found if each.effective is not None]
    drawn = []
    if novelty:
        drawn.append(lines("novelty", "novelty: distance to the nearest earlier prompt", {"n": novelty}, y="", low=0))
    if effective:
        caption = "diversity: effective number of different prompts"
        drawn.append(lines("effective", caption, {"effective": effective}, y="", low=0))
    return tuple(drawn)


def _ends(value: float, error: float | None) -> tuple[float | None, float | None]:
    return (None, None) if error is None else (max(value - Z * error, 0), value + Z * error)


def _with_error(value: float | None, error: float | None) -> Figure | None:
    if value is None:
        return None
    return Figure(f"{value:z.3f}" if error is None else f"{value:z.3f} ± {Z * error:z.3f}")
