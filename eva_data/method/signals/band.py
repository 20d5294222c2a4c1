"""The difficulty band of `sample.band`: prompts that the solver answers neither too often nor too seldom.

A prompt that is always answered rightly, or never, gives no pair and no advantage. Some methods therefore keep only
prompts whose pass rate lies between two bounds. Dynamic sampling has the widest band, all but 0 and 1 (DAPO,
Yu et al. 2025, arXiv 2503.14476).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eva_data.errors import ConfigError
from eva_data.tables.reasons import TOO_EASY, TOO_HARD

ENOUGH = 8
"""Responses from which a pass rate is fine enough for a band: six responses know it in steps of 1/6."""

_MEASURED = pl.col("n_scored") >= 2


@dataclass(frozen=True)
class Band:
    """Bounds on how easy a prompt is, both of which are inside."""

    low: float
    high: float
    relative: bool
    """False: bounds on the posterior mean of the pass rate. True: bounds on the mean reward, which were quantiles."""

    def reason(self) -> pl.Expr:
        """`too_easy`, `too_hard` or null for a row of INFORMATIVENESS; null too where fewer than two rewards count."""
        easiness = pl.col("reward_mean") if self.relative else posterior_mean(pl.col("reward_mean"), pl.col("n_scored"))
        return (
            pl.when(_MEASURED & (easiness > self.high))
            .then(pl.lit(TOO_EASY))
            .when(_MEASURED & (easiness < self.low))
            .then(pl.lit(TOO_HARD))
        )


def posterior_mean(share_right: pl.Expr, responses: pl.Expr) -> pl.Expr:
    """(k + 1) / (n + 2), the mean of the pass rate after k of n responses were right, in (0, 1).

    The prior is uniform on [0, 1], Laplace's rule of succession: before any response no pass rate is likelier than
    another. So 6 of 6 right responses are a pass rate of 0.875, not of 1, and the fewer responses there are, the nearer
    an estimate stays to 1/2. Jeffreys' prior, Beta(1/2, 1/2), would say beforehand that most prompts are answered
    always or never, which the draw is to find out.
    """
    right = (share_right * responses).round()
    return (right + 1.0) / (responses + 2.0)


def band_of(bounds: tuple[float, float] | None, informativeness: pl.LazyFrame, *, graded: bool) -> Band | None:
    """The band of these prompts; None without bounds.

    If rewards are 0 or 1, `bounds` are pass rates. If they are `graded`, they have no scale of their own, and the
    bounds are quantiles of the mean rewards of the prompts of INFORMATIVENESS: each is the mean reward of some prompt.
    """
    if bounds is None:
        return None
    if not graded:
        return Band(*bounds, relative=False)
    mean = pl.col("reward_mean").filter(_MEASURED)
    ends = informativeness.select(
        low=mean.quantile(bounds[0], "nearest"), high=mean.quantile(bounds[1], "nearest")
    ).collect(engine="streaming")
    low, high = ends.row(0)
    return None if low is None else Band(low, high, relative=True)


def notes_on(bounds: tuple[float, float], band: Band, responses: int) -> tuple[str, ...]:
    """What the user should know about a band, one sentence each."""
    if band.relative:
        return (
            f"rewards are not only 0 and 1, so `sample.band` {bounds[0]:g} to {bounds[1]:g} are quantiles of the mean "
            f"reward, here {band.low:z.4g} to {band.high:z.4g}: the band is relative to these prompts, and as many are "
            "outside it however good the solver is",
        )
    if responses < ENOUGH:
        return (
            f"`sample.band` takes pass rates of {responses} responses, which come in steps of 1/{responses}, so that "
            f"chance takes many prompts across its bounds: raise `solver.responses` to {ENOUGH} or more",
        )
    return ()


def refuse_graded(bounds: tuple[float, float] | None, *, graded: bool) -> None:
    """Raise ConfigError if an online run has a band and rewards other than 0 and 1: a batch has no quantiles."""
    if bounds is not None and graded:
        raise ConfigError(
            "`sample.band` is set, and a reward is neither 0 nor 1: online the band holds pass rates, since a batch is "
            "too small for quantiles; set `sample.band: null`, or use a reward that says right or wrong"
        )


@dataclass(frozen=True)
class StillInside:
    """How many drawn prompts lie in the band by other responses than those by which they were drawn."""

    inside: int
    answered_again: int

    @property
    def sentence(self) -> str:
        """The share in words."""
        return (
            f"{self.inside} of {self.answered_again} drawn prompts ({self.inside / self.answered_again:.0%}) are "
            "inside `sample.band` by fresh samples too"
        )


def still_inside(
    bounds: tuple[float, float] | None, informativeness: pl.LazyFrame, responses: pl.LazyFrame, *, graded: bool
) -> StillInside | None:
    """The drawn prompts that are in X_t and were answered anew there. None without a band, or if there are none.

    `informativeness` are both stages of an iteration, `responses` RESPONSES of it. A draw that looks at noisy pass
    rates takes prompts whose luck put them inside, so fewer are inside by fresh samples.
    """
    fresh = responses.filter((pl.col("stage") == "respond") & ~pl.col("reused")).select("prompt_id").unique()
    estimated = informativeness.filter(pl.col("stage") == "estimate")
    band = band_of(bounds, estimated, graded=graded)
    if band is None:
        return None
    drawn = estimated.filter("selected").select("prompt_id")
    again = (
        informativeness.filter((pl.col("stage") == "respond") & _MEASURED)
        .join(drawn, on="prompt_id", how="semi")
        .join(fresh, on="prompt_id", how="semi")
    )
    counted = again.select(inside=band.reason().is_null().sum(), of=pl.len()).collect(engine="streaming")
    inside, total = counted.row(0)
    return StillInside(inside, total) if total else None
