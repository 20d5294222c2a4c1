"""The user's own informativeness metric: `estimate.metric: my_module:function`."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eva_data.errors import ConfigError
from eva_data.own_code import identity, is_own, load_function
from eva_data.tables.metrics import Formula, defined

_KEY = "estimate.metric"
_PROBE = pl.DataFrame({"rewards": [[0.0, 1.0], [0.5, 0.5], [-2.0, 1.0, 7.0]]}, schema={"rewards": pl.List(pl.Float64)})


@dataclass(frozen=True)
class OwnMetric:
    """A metric that the user wrote. It works like a metric of `tables.metrics`."""

    name: str
    """The value of the column `custom_metric`: the function's name and the hash of its source file."""
    formula: Formula

    def value(self, rewards: pl.Expr) -> pl.Expr:
        """The metric of a list of rewards in ascending order; null if there are fewer than two rewards."""
        return defined(rewards, self.formula(rewards).cast(pl.Float64))


def own_metric(metric: str) -> OwnMetric | None:
    """The metric that a function's name means; None for a name of `tables.metrics`.

    Raise ConfigError if there is no such function, or if its result for a prompt does not depend on that prompt's
    rewards alone.
    """
    if not is_own(metric):
        return None
    formula = load_function(metric, _KEY)
    own = OwnMetric(identity(metric, formula), formula)
    value = formula(pl.col("rewards"))
    if not isinstance(value, pl.Expr):
        raise ConfigError(
            f"`{_KEY}` is `{metric}`, which returned {type(value).__name__}: it is given the sorted rewards of a "
            "prompt as a polars expression, and must return one, such as `rewards.list.max() - rewards.list.median()`"
        )
    try:
        together, *alone = (part.select(own.value(pl.col("rewards"))) for part in (_PROBE, *_PROBE.iter_slices(1)))
    except pl.exceptions.PolarsError as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(f"`{_KEY}` is `{metric}`, which cannot be computed of rewards: {first}") from None
    if not together.equals(pl.concat(alone)):
        raise ConfigError(
            f"`{_KEY}` is `{metric}`, which gives a prompt another value beside other prompts: compute it of each list "
            "alone, with the functions of `rewards.list`"
        )
    return own
