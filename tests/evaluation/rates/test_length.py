"""The win rate at equal length: `lc_simple`, and AlpacaEval's where the user names its gamed baselines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from eva_data.dataset.evaluations import Compared
from eva_data.errors import DataError
from eva_data.evaluation.rates.length import at_equal_length, read_gamed
from eva_data.statistics.length_control import length_controlled

COMPARED = Compared(
    key="k",
    set="alpaca_eval",
    rule="alpaca_eval",
    source="",
    solver="a",
    solver_name="a",
    judges=("j",),
    prompts=40,
    prompts_hash="",
    gamed="df_gamed.csv@1",
)


def made() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Prompts with their places in the file, their verdicts' texts, and a table of gamed baselines."""
    draw = np.random.Generator(np.random.PCG64(3))
    places = draw.permutation(40)
    names = [f"p{number:02}" for number in range(40)]
    longer = draw.integers(1, 60, 40)
    own = pl.DataFrame(
        {
            "prompt_id": names,
            "response": ["x" * int(number) for number in longer],
            "response_against": ["y" * 30] * 40,
            "score": (draw.random(40) < 1 / (1 + np.exp(-(longer - 30) / 10))).astype(float),
        }
    )
    hard = draw.normal(size=40)
    gamed = pl.DataFrame(
        {
            "index": [*range(40)] * 2,
            "model": ["verbose"] * 40 + ["concise"] * 40,
            "preference": [*draw.random(40), *draw.random(39), None],
            "std_delta_len": [*np.full(40, -1.0), *np.full(40, 1.0)],
            "instruction_difficulty": [*hard, *hard],
        }
    )
    return pl.DataFrame({"prompt_id": names, "place": places}), own, gamed


def test_with_the_gamed_baselines_the_figure_is_alpaca_evals(tmp_path: Path) -> None:
    prompts, own, gamed = made()
    gamed.write_csv(tmp_path / "df_gamed.csv")
    inputs = read_gamed(tmp_path / "df_gamed.csv", "alpaca_eval", prompts)
    interval, name = at_equal_length(COMPARED, own, own.select("prompt_id", "score"), inputs, 7)
    rows = own.join(prompts, on="prompt_id").sort("place")
    by_hand = length_controlled(
        rows["score"].to_numpy(),
        rows["response"].str.len_chars().to_numpy(),
        rows["response_against"].str.len_chars().to_numpy(),
        gamed["instruction_difficulty"][:40].to_numpy(),
        inputs.rows,
        seed=7,
    )
    assert name == by_hand.name == "length_controlled_win_rate" and interval == by_hand.rate


def test_without_them_it_is_lc_simple_and_a_record_that_had_them_keeps_its_figure() -> None:
    _, own, _ = made()
    scores = own.select("prompt_id", "score")
    simple, name = at_equal_length(COMPARED.model_copy(update={"gamed": None}), own, scores, None, 7)
    assert name == "lc_simple" and simple is not None
    figures = {"length_controlled": [0.5, 0.4, 0.6], "length_name": "length_controlled_win_rate", "judged": 40}
    kept, name = at_equal_length(COMPARED.model_copy(update={"figures": figures}), own, scores, None, 7)
    assert name == "length_controlled_win_rate" and kept is not None
    assert (kept.estimate, kept.low, kept.high, kept.n) == (0.5, 0.4, 0.6, 40)
    assert at_equal_length(COMPARED, own, scores, None, 7) == (None, None)


def test_a_set_that_is_not_alpaca_evals_has_no_difficulties(tmp_path: Path) -> None:
    prompts, own, gamed = made()
    gamed.filter(pl.col("index") > 0).write_csv(tmp_path / "df_gamed.csv")
    with pytest.raises(DataError, match=r"no difficulty for 1 of 40 .* the file must be AlpacaEval's"):
        read_gamed(tmp_path / "df_gamed.csv", "alpaca_eval", prompts)
    own.select("prompt_id").write_csv(tmp_path / "other.csv")
    with pytest.raises(DataError, match=r"expected to be `df_gamed\.csv`"):
        read_gamed(tmp_path / "other.csv", "alpaca_eval", prompts)
