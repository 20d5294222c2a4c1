"""AlpacaEval 2's rule by hand, and its published raw win rates recomputed from its files, if they are there."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from importlib.util import find_spec
from math import log
from pathlib import Path
from zipfile import ZipFile

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from eva_data.calls import Unparsable
from eva_data.comparing.orders import for_solver
from eva_data.errors import ConfigError, DataError
from eva_data.evaluation.judging import in_orders
from eva_data.evaluation.rules.alpaca_eval import (
    RULE,
    gamed_baselines,
    leaderboard_row,
    preference,
    read_letter,
    switched,
)

LEADERBOARD = "alpaca_eval/leaderboards/data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"

RAW = ("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total", "discrete_win_rate")


def preferences(frame: pl.DataFrame) -> list[float | None]:
    columns = (pl.col(name) for name in ("log_m", "log_M", "label", "switched", "same"))
    return frame.select(preference=preference(*columns))["preference"].to_list()


def test_preferences_come_out_of_probabilities_then_letters() -> None:
    rows = pl.DataFrame(
        [
            (log(0.3), log(0.6), "m", False, False),  # .6 / .9 for M: probabilities before the letter
            (log(0.3), log(0.6), "m", True, False),  # the same, but M was shown the baseline's answer
            (None, log(0.9), "M", False, False),  # m is not among the likeliest tokens
            (log(0.9), None, "m", False, False),
            (None, None, "m", False, False),
            (None, None, "M", True, False),
            (None, None, "tie", True, False),
            (None, None, None, False, False),  # no verdict
            (None, None, "both", False, False),
            (float("-inf"), float("-inf"), None, False, False),
            (None, None, None, True, True),  # equal texts need no judge
        ],
        schema={
            "log_m": pl.Float64,
            "log_M": pl.Float64,
            "label": pl.String,
            "switched": pl.Boolean,
            "same": pl.Boolean,
        },
        orient="row",
    )
    thirds = pytest.approx(5 / 3), pytest.approx(4 / 3)
    assert preferences(rows) == [*thirds, 2.0, 1.0, 1.0, 1.0, 1.5, None, None, None, 1.5]


def test_the_order_is_that_of_pythons_generator_seeded_with_the_instruction() -> None:
    asked = ["What is 2 + 2?", "Write a poem.", "", "Schreibe ein Gedicht über Öl."]
    by_hand = [random.Random("is_switched_outputs" + text + "0").random() >= 0.5 for text in asked]
    assert switched(pl.Series(asked)).to_list() == by_hand
    many = pl.Series([f"prompt {number}" for number in range(1000)])
    assert 440 < switched(many).sum() < 560
    assert (switched(many) != switched(many, seed=1)).any() and (switched(many) == switched(many)).all()
    assert switched(many.reverse()).to_list() == switched(many).to_list()[::-1]


def test_a_judge_is_asked_once_in_the_drawn_order() -> None:
    asked = [f"prompt {number}" for number in range(20)]
    faced = pl.DataFrame({"prompt": [[{"role": "user", "content": text}] for text in asked]})
    orders = ["solver_first" if first else "solver_second" for first in switched(pl.Series(asked))]
    assert_frame_equal(in_orders(RULE, faced), faced.with_columns(order=pl.Series(orders)))
    assert {"solver_first", "solver_second"} == set(orders)
    # `m` is what is shown first: the solver's answer in the one order, the baseline's in the other.
    shown = pl.DataFrame({"order": ["solver_first", "solver_second"], "label": ["m", "m"]})
    assert RULE.scores is not None
    worth = pl.col("label").replace_strict(RULE.scores, return_dtype=pl.Float64)
    assert shown.select(for_solver(worth)).to_series().to_list() == [1.0, 0.0]
    with pytest.raises(ConfigError, match="has no `draw`"):
        in_orders(replace(RULE, draw=None), faced)


def test_the_leaderboards_row_by_hand() -> None:
    # Scores 1, .5, 0, .3, one missing: mean .45; deviations .55, .05, -.45, -.15: s^2 = .53 / 3, error sqrt(s^2 / 4).
    row = leaderboard_row(pl.DataFrame({"preference": [2.0, 1.5, 1.0, 1.3, None]}))
    assert row == pytest.approx(
        {
            "win_rate": 45.0,
            "standard_error": 100 * (0.53 / 3 / 4) ** 0.5,
            "n_wins": 1,
            "n_wins_base": 2,
            "n_draws": 1,
            "n_total": 4,
            "discrete_win_rate": 37.5,
        }
    )


@pytest.mark.parametrize("wrong", [[], [None], [0.5], [2.1], [float("nan")]])
def test_no_preference_or_another_scale_is_refused(wrong: list[float | None]) -> None:
    with pytest.raises(DataError, match="all from 1 to 2 were expected"):
        leaderboard_row(pl.DataFrame({"preference": wrong}, schema={"preference": pl.Float64}))


def test_the_file_of_gamed_baselines_is_read_by_its_columns() -> None:
    table = pl.DataFrame(
        {
            "index": [0, 1, 0, 1],
            "model": ["v", "v", "c", "c"],
            "preference": [0.7, None, 0.2, 0.4],
            "std_delta_len": [-1.0, -2.0, 1.0, 2.0],
            "instruction_difficulty": [0.5, -0.5, 0.5, -0.5],
        }
    )
    rows, difficulty = gamed_baselines(table)
    assert list(rows.length_difference) == [-1, -2, 1, 2] and list(rows.difficulty) == [0.5, -0.5, 0.5, -0.5]  # type: ignore[arg-type]
    assert_frame_equal(difficulty, pl.DataFrame({"index": [0, 1], "difficulty": [0.5, -0.5]}))
    # A text file has texts, and an empty field for a preference that is missing.
    written = table.with_columns(pl.all().cast(pl.String).fill_null(""))
    again, same = gamed_baselines(written)
    assert_frame_equal(same, difficulty)
    assert list(again.length_difference) == [-1, -2, 1, 2]  # type: ignore[arg-type]
    with pytest.raises(DataError, match="has no column std_delta_len"):
        gamed_baselines(table.drop("std_delta_len"))


def test_only_one_letter_is_a_verdict() -> None:
    assert RULE.read is read_letter and RULE.orders == "drawn"
    assert [read_letter(text) for text in ("m", " M\n", '"M".', "**m**")] == ["m", "M", "M", "m"]
    assert all(isinstance(read_letter(text), Unparsable) for text in ("", "model m", "mM", "A", "me"))


def leaderboard() -> pl.DataFrame:
    """The leaderboard from the installed alpaca_eval, or from the wheel that EVA_DATA_ALPACA_EVAL_WHEEL names."""
    wheel, installed = os.environ.get("EVA_DATA_ALPACA_EVAL_WHEEL"), find_spec("alpaca_eval")
    if wheel:
        text = ZipFile(wheel).read(LEADERBOARD)
    elif installed is not None and installed.origin is not None:
        text = (Path(installed.origin).parents[1] / LEADERBOARD).read_bytes()
    else:
        pytest.skip("alpaca_eval is not installed and EVA_DATA_ALPACA_EVAL_WHEEL names no wheel of it")
    table = pl.read_csv(text, infer_schema_length=None)
    return table.rename({table.columns[0]: "model"})


def test_raw_win_rates_equal_the_published_ones(shared_data: Path) -> None:
    published = leaderboard()
    path = shared_data / "responses_alpaca_eval.parquet"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    judged = pl.scan_parquet(path).select("model", preference="reward").collect()
    ours = pl.DataFrame(
        [{"model": model, **leaderboard_row(rows)} for (model,), rows in judged.group_by("model", maintain_order=True)]
    )
    both = ours.join(published.select("model", *RAW), on="model", suffix="_published")
    equal = both.select(
        pl.all_horizontal(
            (pl.col(name) - pl.col(f"{name}_published")).abs() <= 1e-9 * pl.col(f"{name}_published").abs() + 1e-12
            for name in RAW
        ).alias("equal"),
        "model",
    )
    assert equal.filter(~pl.col("equal")).is_empty() and equal.height >= 54
