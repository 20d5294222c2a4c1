"""Reward gaps of the pairs, and lengths of prompts and answers."""

from __future__ import annotations

from functools import partial

import polars as pl

from eva_data.dataset.store import Store
from eva_data.report.distributions import shift
from eva_data.report.numbers import lengths, overview
from eva_data.report.page.charts import chart
from eva_data.report.page.parts import Alarm, Chart, Charts, Figure, Part, Section, Table, Words
from eva_data.report.pictures import BLUE, GREEN, ORANGE, boxes

LONGER = 0.75
"""From this share of pairs with a longer chosen answer, the page warns that the reward may prefer length."""


def rewards(store: Store) -> Section | None:
    """Boxes of reward gaps and lengths over the iterations, and the relation of reward and length."""
    iterations = store.iterations()
    table = shift(store, iterations)
    if not table["count"].sum():
        return None
    counts = overview(store, iterations)
    rows = tuple(
        (
            *(f"{row['iteration']}", row["prompts"], row["pairs"], _share(row["pairs"], row["prompts"])),
            *(row["gap_mean"], row["gap_median"]),
        )
        for row in counts.to_dicts()
    )
    parts: list[Part] = [
        Charts(
            (
                _boxes(table, "gap", "reward gap of the pairs", {"reward_gap": BLUE}),
                _boxes(table, "prompt", "prompt length in characters", {"prompt_characters": BLUE}),
                _boxes(
                    table,
                    "answer",
                    "answer length in characters: chosen, and rejected (hatched)",
                    {"chosen_characters": GREEN, "rejected_characters": ORANGE},
                ),
            )
        ),
        Words("Box: middle half of the values; line: median; whiskers: 5 % to 95 %; dot: mean.", soft=True),
        Table(("iteration", "prompts", "pairs", "of the prompts", "mean gap", "median gap"), rows),
    ]
    with_pairs = counts.filter(pl.col("pairs") > 0)["iteration"].to_list()
    if with_pairs:
        parts += _length_of(store, with_pairs[-1])
    lead = "The gap of a pair is the reward of its chosen answer minus that of its rejected one."
    return Section("rewards", "Reward gap and length", lead, tuple(parts))


def _share(part: int, whole: int) -> Figure | None:
    return Figure(f"{100 * part / whole:z.0f} %") if whole else None


def _boxes(table: pl.DataFrame, name: str, caption: str, series: dict[str, str]) -> Chart:
    return chart(f"shift_{name}", caption, partial(boxes, table=table, series=series, title="", unit=""))


def _length_of(store: Store, iteration: int) -> list[Part]:
    """Sentences on a preference for long answers."""
    found = lengths(store, iteration)
    parts: list[Part] = []
    if found.correlation is not None:
        parts.append(
            Words(
                f"In iteration {iteration} the rank correlation of reward and length among answers to the same prompt "
                f"is {found.correlation:+z.2f} ({found.answers:,} answers); the chosen answer is the longer one in "
                f"{100 * (found.chosen_longer or 0):z.0f} % of the pairs and the shorter one in "
                f"{100 * (found.rejected_longer or 0):z.0f} %."
            )
        )
    if found.chosen_longer is not None and found.chosen_longer >= LONGER:
        parts.append(
            Alarm(
                f"The chosen answer is the longer one in {100 * found.chosen_longer:z.0f} % of the pairs of iteration "
                f"{iteration}: what is trained on them may learn length rather than quality. "
                "`estimate.adjust_length` takes off what the reward gives for length, and `pair.max_length_gap` takes "
                "pairs of similar length."
            )
        )
    return parts
