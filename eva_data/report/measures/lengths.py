"""How often the longer response is chosen, before and after the rewards were adjusted for length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eva_data.dataset.manifest import LengthRecord, Manifest, PairSides
from eva_data.statistics.interval import Interval
from eva_data.statistics.shares import share

EVEN = (0.4, 0.6)
"""Shares of longer chosen responses outside of which a build warns."""


@dataclass(frozen=True)
class LengthRow:
    """An iteration whose rewards were adjusted."""

    iteration: int
    before: Interval
    """Share of the pairs whose chosen response is longer, by the given rewards; of pairs of different lengths."""
    after: Interval
    """The same of the pairs of the adjusted rewards, which are published."""
    difference_before: float
    """Mean difference of the given rewards of chosen and rejected, in the pairs by the given rewards."""
    difference_after: float
    """The same, still of the given rewards, in the pairs that are published."""


def length_rows(manifests: list[Manifest]) -> list[LengthRow]:
    """One row per iteration whose rewards were adjusted and that has pairs of different lengths both ways."""
    return [row for manifest in manifests if (row := _row(manifest.iteration, manifest.lengths.get("respond")))]


def length_notes(iteration: int, adjusted: Mapping[str, LengthRecord]) -> Iterator[str]:
    """What the user is told of the adjustments of an iteration, one sentence each."""
    for stage, record in adjusted.items():
        if lost := sum(each is None for each in record.coefficients):
            yield (
                f"the rewards of {lost} of {len(record.coefficients)} groups of prompts are not adjusted for length in "
                f"the {stage} stage: too few prompts have responses of different lengths and rewards"
            )
    row = _row(iteration, adjusted.get("respond"))
    if row is None:
        return
    before, after = (f"{100 * each.estimate:.0f} %" for each in (row.before, row.after))
    yield (
        f"the chosen response is the longer one in {after} of the pairs of iteration {iteration}, and would be in "
        f"{before} by rewards that are not adjusted for length"
    )
    if row.after.high < EVEN[0] or row.after.low > EVEN[1]:
        yield (
            f"`estimate.adjust_length` leaves the share of longer chosen responses at {after}, outside of 40 to 60 %: "
            "set `pair.max_length_gap` too"
        )


def _row(iteration: int, record: LengthRecord | None) -> LengthRow | None:
    if record is None or record.before is None or record.after is None:
        return None
    sides = record.before, record.after
    if any(side.longer + side.shorter == 0 or side.difference is None for side in sides):
        return None
    before, after = map(_share, sides)
    assert sides[0].difference is not None and sides[1].difference is not None
    return LengthRow(iteration, before, after, sides[0].difference, sides[1].difference)


def _share(side: PairSides) -> Interval:
    return share(side.longer, side.longer + side.shorter)
