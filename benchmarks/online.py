"""Measures what an online algorithm gains by evolving, at the same number of training prompts.

    python -m benchmarks.online --seeds 3 --steps 60 --algorithm rloo --folder runs

For each seed, theta_0 of the sandbox is trained by the sandbox recipe of the algorithm in several arms: on the seeds
alone (`static`), with the buffer (`eva`), and with `--arm chain` by chains from all prompts, solved or not. The script
prints the exact greedy accuracy on held-out prompts by depth, as the mean over the seeds with its standard error, the
gain by evolving, paired by seed, and of the training's prompts their number, the responses that were generated, the
mean a_avg, the depths, and how many parents no response solved. Work that is finished in `--folder` is not done again.
All training runs in this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import polars as pl

from benchmarks.algorithms import THETA_0, accuracy, gains, summary
from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import load_config
from eva_data.game.online import ALGORITHMS, online_config, prepare
from eva_data.iteration.players import solver_of
from eva_data.iteration.run import Run
from eva_data.project import train_dir

ARMS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "static": (True, ()),
    "eva": (False, ()),
    "chain": (False, ("evolve.shape=chain", "estimate.min_best=null")),
}
"""Arm -> whether nothing is evolved, and its settings."""


@click.command()
@click.option("--seeds", default=3, show_default=True, help="How many seeds, from 1.")
@click.option("--steps", default=60, show_default=True, help="Optimizer steps, of 16 prompts each.")
@click.option("--prompts", default=2000, show_default=True, help="Seed prompts.")
@click.option("--heldout", default=200, show_default=True, help="Held-out prompts per depth.")
@click.option("--algorithm", "algorithms", multiple=True, default=ALGORITHMS, help="Which; all when not given.")
@click.option("--arm", "arms", multiple=True, default=("static", "eva"), type=click.Choice([*ARMS]))
@click.option("--folder", type=click.Path(path_type=Path), help="Where to keep the runs. Default: a temporary folder.")
@click.option("--set", "settings", nargs=2, multiple=True, metavar="KEY VALUE", help="For the recipes, to try others.")
def main(
    seeds: int,
    steps: int,
    prompts: int,
    heldout: int,
    algorithms: tuple[str, ...],
    arms: tuple[str, ...],
    folder: Path | None,
    settings: tuple[tuple[str, str], ...],
) -> None:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    sys.path.insert(0, str(train_dir()))
    script = import_module("online")
    more = [part for key, value in (("max_steps", str(steps)), *settings) for part in (f"--{key}", value)]
    rows = [accuracy(THETA_0, heldout).with_columns(seed=0, algorithm=pl.lit("theta_0"), source=pl.lit("-"))]
    learnt = []
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary)).resolve()
        for seed in range(1, seeds + 1):
            for algorithm in algorithms:
                for arm in arms:
                    job = train(script, place / f"{algorithm}-{arm}-{seed}", algorithm, arm, seed, prompts, more)
                    names = {"algorithm": pl.lit(algorithm), "source": pl.lit(arm)}
                    rows.append(accuracy(job / "output", heldout).with_columns(**names, seed=seed))
                    learnt.append({"algorithm": algorithm, "source": arm} | to_learn(job))
                    click.echo(f"seed {seed}, {algorithm}, {arm}: done", err=True)
    table = pl.concat(rows, how="diagonal_relaxed")
    with pl.Config(tbl_rows=-1, tbl_cols=-1, float_precision=3, tbl_hide_dataframe_shape=True, tbl_width_chars=160):
        click.echo(summary(table))
        if {"static", "eva"} <= {*arms}:
            click.echo("\nWhat evolving gains, in points, paired by seed:")
            click.echo(gains(table))
        click.echo("\nPrompts trained on, and how much there was to learn from them:")
        click.echo(pl.DataFrame(learnt).group_by("algorithm", "source", maintain_order=True).mean())


def train(script: ModuleType, job: Path, algorithm: str, arm: str, seed: int, prompts: int, more: list[str]) -> Path:
    """Train, and return a job folder with the trained model in `output` and with `record.jsonl`."""
    if (job / "output" / "training.json").exists():
        return job
    static, own = ARMS[arm]
    overrides = [f"seed={seed}", f"seeds.sandbox={prompts}", f"solver.model={THETA_0}", f"folder={job / 'data'}", *own]
    config, _ = online_config(load_config(None, overrides, online=True), algorithm, static)
    run = Run(config, ConsoleReporter())
    prepare(run, solver_of(run, 1), job, {})
    arguments = [
        *("--config", str(train_dir() / "recipes" / f"sandbox_{algorithm}.yaml"), "--game", str(job / "game.json")),
        *("--dataset", str(job / "seeds"), "--split", "iter_1", "--static", str(static).lower(), "--seed", str(seed)),
        *("--model_name_or_path", str(THETA_0), "--output_dir", str(job / "output"), "--save_strategy", "no"),
        *("--use_cpu", "true", "--disable_tqdm", "true", *more),
    ]
    with (job / "log").open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        script.main(arguments)
    return job


def to_learn(job: Path) -> dict[str, float]:
    """The number of a run's prompts and responses, and means over its prompts and its parents.

    `informative` is the share of prompts whose responses differ in reward. `deep` is the depth that nine of ten prompts
    do not exceed, `deepest` that of the deepest. `hopeless` is the share of parents with no right response, `guessed`
    that of parents with a single one.
    """
    lines = [json.loads(line) for line in (job / "record.jsonl").read_text(encoding="utf-8").splitlines()]
    values = [value or 0.0 for line in lines for value in line["informativeness"].values()]
    depths = pl.Series([row["depth"] for line in lines for row in line["prompts"]])
    right = [hits for line in lines for hits in right_of_parents(line)]
    return {
        "prompts": len(values),
        "responses": lines[-1]["generated"],
        "depth": float(depths.mean() or 0.0),  # type: ignore[arg-type]
        "deep": float(depths.quantile(0.9) or 0.0),
        "deepest": float(depths.max() or 0),  # type: ignore[arg-type]
        "hopeless": sum(hits == 0 for hits in right) / max(len(right), 1),
        "guessed": sum(hits == 1 for hits in right) / max(len(right), 1),
        "a_avg": sum(values) / len(values),
        "informative": sum(value > 0 for value in values) / len(values),
    }


def right_of_parents(line: dict[str, Any]) -> list[int]:
    """How many right responses each prompt had that was evolved in a step."""
    parents = {row["chain_id"] for row in line["evolutions"]}
    return [sum(a["reward"] == 1.0 for a in line["answers"] if a["prompt_id"] == parent) for parent in parents]


if __name__ == "__main__":
    main()
