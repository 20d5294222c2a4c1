"""Tables that are made from scored responses range by range are those that are made at once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from eva_data.config import Config, TableModel
from eva_data.config.reading import parse_config
from eva_data.dataset.scored_table import read_table, spool_table
from eva_data.errors import DataError
from eva_data.iteration.stages import Outcomes, outcome_parts, outcomes_of
from eva_data.tables.schemas import ORDER, TABLES


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Responses of which some are null, repeated, without a reward or to an unusable prompt, in no order."""
    draw = random.Random(4)
    prompts = [*(f"question {number}" for number in range(16)), None, " "]
    rows = [
        {
            "prompt": prompt,
            "response": draw.choice([None, "the same", f"answer {number}", f"a longer answer {number}", " "]),
            "reward": draw.choice([None, float("nan"), 0.0, 0.5, 1.0, draw.random(), draw.random()]),
        }
        for prompt in prompts
        for number in range(draw.choice([1, 4, 5]))
    ]
    draw.shuffle(rows)
    path = tmp_path_factory.mktemp("scored") / "scored.parquet"
    pl.DataFrame(rows, schema={"prompt": pl.String, "response": pl.String, "reward": pl.Float64}).write_parquet(path)
    return path


def in_order(table: pl.LazyFrame | pl.DataFrame, name: str) -> pl.DataFrame:
    return table.lazy().sort(ORDER[name], nulls_last=True).collect()


@pytest.mark.parametrize("at_once", [10])
def test_a_table_of_responses_is_the_same_in_any_number_of_ranges(path: Path, tmp_path: Path, at_once: int) -> None:
    table = TableModel(backend="table", path=path)
    whole, parts = read_table(table), spool_table(table, tmp_path, at_once=at_once)
    assert parts.flow == whole.flow
    assert {"null_response", "null_reward", "not_finite", "null", "empty"} <= set(whole.rejects["reason"])
    for name in ("prompts", "responses", "rejects"):
        assert_frame_equal(in_order(getattr(parts, name), name), in_order(getattr(whole, name), name))


def config(path: Path, **settings: Any) -> Config:
    solver = {"backend": "table", "path": str(path)}
    return parse_config({"name": "test", "folder": "data", "solver": solver} | settings, "the test")


def outcomes(config: Config, path: Path, at_once: int) -> Outcomes:
    prompts, responses, *_ = read_table(TableModel(backend="table", path=path))
    parts = outcome_parts(config, 1, prompts.lazy(), responses.lazy(), n=None, on_policy=False, at_once=at_once)
    return outcomes_of(parts, None)


@pytest.mark.parametrize("at_once", [10])
def test_metrics_and_pairs_are_the_same_in_any_number_of_ranges(path: Path, at_once: int) -> None:
    settings = config(path)
    whole, parts = outcomes(settings, path, 1000), outcomes(settings, path, at_once)
    assert (parts.flow, parts.lengths) == (whole.flow, None)
    assert 0 < whole.flow.rejected < whole.flow.rows_in
    for name in ("informativeness", "preferences", "rejects"):
        assert_frame_equal(in_order(getattr(parts, name), name), in_order(getattr(whole, name), name))
    assert parts.preferences.collect_schema() == TABLES["preferences"]


def test_unequal_numbers_are_refused_wherever_the_ranges_end(path: Path) -> None:
    settings = config(path, estimate={"unequal": "refuse"})
    for at_once in (10, 1000):
        with pytest.raises(DataError, match="unequal numbers of responses that count"):
            outcomes(settings, path, at_once)
