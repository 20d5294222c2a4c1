"""The win rate at equal length: AlpacaEval's where its gamed baselines are given, else `lc_simple`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eva_data.dataset.evaluations import Compared
from eva_data.errors import DataError
from eva_data.evaluation.rules.alpaca_eval import gamed_baselines
from eva_data.statistics.interval import Interval
from eva_data.statistics.length_control import FEWEST, SIMPLE, GamedBaselines, lc_simple, length_controlled
from eva_data.tables.reading import open_path


@dataclass(frozen=True)
class LengthInputs:
    """What AlpacaEval's length control needs beside the verdicts, out of `df_gamed.csv`."""

    rows: GamedBaselines
    difficulty: pl.DataFrame
    """`prompt_id`, `difficulty`, and `place`, the row of the prompt in the benchmark's file."""


def read_gamed(path: Path, name: str, prompts: pl.DataFrame) -> LengthInputs:
    """The inputs of a set called `name`, out of the user's copy of `df_gamed.csv`.

    A prompt's difficulty is that of its row in the benchmark's file. Raise DataError if the file cannot be read, lacks
    a column, or has no difficulty for a prompt of the set.
    """
    key = f"evaluate.sets.{name}.gamed_baselines"
    source = open_path(path, key)
    rows, difficulty = gamed_baselines(source.collect(source.map(lambda frame, _: frame)))
    found = prompts.select("prompt_id", "place").join(difficulty.rename({"index": "place"}), on="place")
    if lacking := prompts.height - found.drop_nulls().height:
        raise DataError(
            f"`{key}` is {path}, which has no difficulty for {lacking} of {prompts.height} prompts of the set "
            f"`{name}`: the file must be AlpacaEval's own, whole and in its order"
        )
    return LengthInputs(rows, found)


def at_equal_length(
    compared: Compared, own: pl.DataFrame, scores: pl.DataFrame, gamed: LengthInputs | None, seed: int
) -> tuple[Interval | None, str | None]:
    """The win rate at equal length with its name; None where lengths do not differ enough to fit it.

    `own` are the verdicts and `scores` the judged prompts with their `score`. A comparison that was made with gamed
    baselines keeps the figure of its record where these are not given.
    """
    if compared.gamed is not None and gamed is None:
        return _recorded(compared)
    lengths = own.group_by("prompt_id").agg(
        ours=pl.col("response").str.len_chars().mean(), theirs=pl.col("response_against").str.len_chars().mean()
    )
    rows = scores.join(lengths, on="prompt_id").drop_nulls(["ours", "theirs"]).sort("prompt_id")
    if gamed is None:
        simple = lc_simple(*(rows[name].to_numpy() for name in ("score", "ours", "theirs")), seed=seed)
        return simple, None if simple is None else SIMPLE
    if rows.height < FEWEST or (rows["ours"] - rows["theirs"]).n_unique() < 2:
        return None, None
    # The folds of the cross-validation go by the order of the rows, which is that of the benchmark's file.
    ordered = rows.join(gamed.difficulty, on="prompt_id").sort("place")
    score, ours, theirs, hard = (ordered[name].to_numpy() for name in ("score", "ours", "theirs", "difficulty"))
    full = length_controlled(score, ours, theirs, hard, gamed.rows, seed=seed)
    return full.rate, full.name


def _recorded(compared: Compared) -> tuple[Interval | None, str | None]:
    ends, name = compared.figures.get("length_controlled"), compared.figures.get("length_name")
    if not isinstance(ends, list) or len(ends) != 3 or not isinstance(name, str):
        return None, None
    estimate, low, high = map(float, ends)
    return Interval(estimate, low, high, int(compared.figures.get("judged") or 0)), name
