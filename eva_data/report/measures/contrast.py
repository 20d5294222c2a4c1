"""How much better the solver's responses are than those of the weaker model, its contrast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from eva_data.dataset.store import Store
from eva_data.statistics.differences import t_interval
from eva_data.statistics.interval import Interval


def contrast_of(responses: pl.LazyFrame) -> Interval | None:
    """The mean over prompts of the solver's mean reward less the contrast's, with its 95 % interval.

    `responses` are RESPONSES of an iteration. None if fewer than two prompts have rewards of both.
    """
    reward = pl.col("reward")
    of_prompt = (
        responses.filter(pl.col("stage").is_in(["respond", "contrast"]), reward.is_finite())
        .group_by("prompt_id")
        .agg(
            own=reward.filter(pl.col("stage") == "respond").mean(),
            other=reward.filter(pl.col("stage") == "contrast").mean(),
        )
        .select("prompt_id", difference=pl.col("own") - pl.col("other"))
        .drop_nulls()
        .sort("prompt_id")
        .collect(engine="streaming")
    )
    return t_interval(of_prompt["difference"].to_numpy()) if of_prompt.height > 1 else None


def contrasts(store: Store, iterations: Sequence[int]) -> list[tuple[int, Interval]]:
    """(iteration, contrast) of the iterations that have one."""
    with_one = [each for each in iterations if store.manifest(each).models.contrast is not None]
    found = ((iteration, contrast_of(store.scan("responses", iteration))) for iteration in with_one)
    return [(iteration, contrast) for iteration, contrast in found if contrast is not None]


def contrast_notes(
    iteration: int, responses: pl.LazyFrame, contrast: pl.LazyFrame, before: pl.LazyFrame | None
) -> Iterator[str]:
    """What the user is told of an iteration's contrast. `before` are RESPONSES of the iteration before.

    A sentence warns if the contrast is not certainly above 0, and if it is certainly smaller than it was, which is when
    the two intervals are apart.
    """
    now = contrast_of(pl.concat([responses, contrast]))
    if now is None:
        return
    yield (
        f"the solver's responses have on average {now.estimate:z.3g} more reward than those of `contrast` (95 % "
        f"interval: {now.low:z.3g} to {now.high:z.3g})"
    )
    earlier = None if before is None else contrast_of(before)
    if now.low <= 0:
        yield f"`contrast` is not certainly weaker than the solver in iteration {iteration}: name a weaker model"
    elif earlier is not None and now.high < earlier.low:
        yield (
            f"the contrast shrinks: it was {earlier.estimate:z.3g} in iteration {iteration - 1}, so the pairs of "
            f"iteration {iteration} teach less"
        )
