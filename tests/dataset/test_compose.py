"""What a manifest says of the tables of an iteration."""

from __future__ import annotations

import polars as pl
import pytest

from eva_data.dataset.compose import summary_of
from eva_data.dataset.manifest import Summary
from eva_data.errors import DataError

PROMPTS = pl.DataFrame({"prompt_id": ["a", "b", "c"], "mix_role": ["evolved", None, None]})


def informative(*values: float | None) -> pl.DataFrame:
    return pl.DataFrame(
        {"prompt_id": ["a", "b", "c"], "stage": "respond", "a_min": values}, schema_overrides={"a_min": pl.Float64}
    )


def test_a_prompt_without_a_value_is_not_counted() -> None:
    assert summary_of(informative(None, 1.0, 2.0), PROMPTS, "a_min") == (
        Summary(prompts="evolved", metric="a_min", count=0, mean=None, q25=None, median=None, q75=None),
        Summary(prompts="original", metric="a_min", count=2, mean=1.5, q25=1.25, median=1.5, q75=1.75),
    )


@pytest.mark.parametrize("values", [(0.0, float("inf"), 1.0), (0.0, 1.5e308, 1.5e308), (float("nan"), 1.0, 1.0)])
def test_rewards_too_large_for_a_mean_are_refused_in_a_sentence(values: tuple[float, float, float]) -> None:
    with pytest.raises(DataError, match="the mean or a quartile of `a_min` is not a finite number: divide the rewards"):
        summary_of(informative(*values), PROMPTS, "a_min")
