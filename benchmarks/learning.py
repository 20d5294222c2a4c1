"""Measures whether the game teaches: held-out accuracy by depth of theta_0 and every trained theta, over several seeds.

    python benchmarks/learning.py --seeds 5 --iters 3 --jobs 2

The script runs `eva-data run` in the sandbox once per seed, each in a folder of its own. It prints the mean accuracy
over the seeds with its standard error, and the gain of each theta over theta_0, paired by seed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import polars as pl


@click.command()
@click.option("--seeds", default=5, show_default=True, help="How many seeds, from 1.")
@click.option("--iters", default=3, show_default=True, help="Iterations of each run.")
@click.option("--jobs", default=1, show_default=True, help="Runs at the same time.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to keep the runs. Default: a temporary folder.")
@click.option("--set", "settings", multiple=True, help="As for eva-data.")
def main(seeds: int, iters: int, jobs: int, folder: Path | None, settings: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(jobs) as pool:
            results = list(pool.map(lambda seed: play(place, seed, iters, settings), range(1, seeds + 1)))
    accuracy = pl.concat(results).with_columns(accuracy=100 * pl.col("right") / pl.col("prompts"))
    with pl.Config(tbl_rows=-1, tbl_cols=-1, float_precision=2, tbl_hide_dataframe_shape=True):
        click.echo(summary(accuracy))
        hard = accuracy.filter(pl.col("depth") >= 3).group_by("seed", "theta").agg(pl.col("accuracy").mean())
        click.echo("\nDepth 3 and deeper:")
        click.echo(summary(hard.with_columns(depth=pl.lit(3))))


def play(place: Path, seed: int, iters: int, settings: tuple[str, ...]) -> pl.DataFrame:
    """Play with this seed: one row per (theta, depth)."""
    folder = place / f"seed_{seed}"
    chosen = [part for setting in (f"seed={seed}", f"folder={folder}", *settings) for part in ("--set", setting)]
    command = [sys.executable, "-m", "eva_data.cli", "run", "--iters", str(iters), *chosen]
    with (place / f"seed_{seed}.log").open("w") as log:
        subprocess.run(command, cwd=place, stdout=log, stderr=log, check=True)
    click.echo(f"seed {seed} done", err=True)
    return pl.read_csv(folder / ".eva" / "heldout.csv").with_columns(seed=pl.lit(seed))


def summary(accuracy: pl.DataFrame) -> pl.DataFrame:
    """One row per (depth, theta): mean accuracy in percent and its gain over theta_0, each with a standard error."""
    first = accuracy.filter(pl.col("theta") == 0).select("seed", "depth", start="accuracy")
    gain = pl.col("accuracy") - pl.col("start")
    return (
        accuracy.join(first, on=["seed", "depth"])
        .group_by("depth", "theta")
        .agg(
            accuracy=pl.col("accuracy").mean(),
            gain=gain.mean(),
            gain_error=gain.std() / pl.len().sqrt(),
            least_gain=gain.min(),
        )
        .sort("depth", "theta")
    )


if __name__ == "__main__":
    main()
