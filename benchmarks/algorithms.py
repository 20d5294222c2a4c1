"""Compares what the offline algorithms learn from pairs of static prompts and from as many pairs of evolved prompts.

    python benchmarks/algorithms.py --seeds 3 --prompts 1000 --folder runs

For each seed, the sandbox's theta_0 plays two iterations without a training in between. Iteration 1 holds pairs of
human-like prompts, iteration 2 holds pairs of prompts that were evolved from them, and the same model answered both.
Then each algorithm trains theta_0 on either iteration by its sandbox recipe, on as many pairs as the smaller iteration
has. The script prints the exact greedy accuracy on held-out prompts by depth, as the mean over the seeds with its
standard error, and the gain by evolving, paired by seed. Pairs are made once and kept in `--folder`. All training runs
in this process.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click
import polars as pl

from eva_data.project import train_dir
from eva_data.training.recipes import OFFLINE

SOURCES = {"static": 1, "eva": 2}
"""Source of pairs -> the iteration that holds them."""

THETA_0 = Path(__file__).parents[1] / "eva_data" / "sandbox" / "model"


@click.command()
@click.option("--seeds", default=3, show_default=True, help="How many seeds, from 1.")
@click.option("--prompts", default=1000, show_default=True, help="Prompts of iteration 1.")
@click.option("--heldout", default=200, show_default=True, help="Held-out prompts per depth.")
@click.option("--algorithm", "algorithms", multiple=True, default=OFFLINE, help="Which; all when not given.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to keep the runs. Default: a temporary folder.")
@click.option("--set", "settings", nargs=2, multiple=True, metavar="KEY VALUE", help="For the recipes, to try others.")
def main(
    seeds: int,
    prompts: int,
    heldout: int,
    algorithms: tuple[str, ...],
    folder: Path | None,
    settings: tuple[tuple[str, str], ...],
) -> None:
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    sys.path.insert(0, str(train_dir()))
    script = import_module("preference")
    more = [part for key, value in settings for part in (f"--{key}", value)]
    rows = [accuracy(THETA_0, heldout).with_columns(seed=0, algorithm=pl.lit("theta_0"), source=pl.lit("-"), pairs=0)]
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary)).resolve()
        for seed in range(1, seeds + 1):
            data, pairs = play(place, seed, prompts)
            for algorithm in algorithms:
                for source in SOURCES:
                    theta = train(script, data / source, algorithm, seed, more)
                    names = {"algorithm": pl.lit(algorithm), "source": pl.lit(source)}
                    rows.append(accuracy(theta, heldout).with_columns(**names, seed=seed, pairs=pairs))
                    click.echo(f"seed {seed}, {algorithm}, {source}: done", err=True)
    table = pl.concat(rows, how="diagonal_relaxed")
    with pl.Config(tbl_rows=-1, tbl_cols=-1, float_precision=1, tbl_hide_dataframe_shape=True, tbl_width_chars=160):
        click.echo(table.group_by("seed", maintain_order=True).agg(pl.col("pairs").max()).filter(pl.col("seed") > 0))
        click.echo(summary(table))
        click.echo("\nWhat evolving gains, in points, paired by seed:")
        click.echo(gains(table))


def play(place: Path, seed: int, prompts: int) -> tuple[Path, int]:
    """Make a folder with a dataset of each source, with equally many pairs; return it and the number of pairs."""
    folder, data = place / f"seed_{seed}", place / f"pairs_{seed}"
    place.mkdir(parents=True, exist_ok=True)
    chosen = [f"seed={seed}", f"folder={folder}", f"seeds.sandbox={prompts}", "train.heldout=0"]
    command = [sys.executable, "-m", "eva_data.cli", "build", "--iter", "2", "--solver", str(THETA_0)]
    with (place / f"seed_{seed}.log").open("w") as log:
        subprocess.run(
            [*command, *(part for setting in chosen for part in ("--set", setting))],
            cwd=place,
            stdout=log,
            stderr=log,
            check=True,
        )
    tables = {name: pl.read_parquet(folder / "preferences" / f"iter_{t}.parquet") for name, t in SOURCES.items()}
    pairs = min(table.height for table in tables.values())
    for name, table in tables.items():
        file = data / name / "preferences" / "iter_1.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        table.sort("pair_id").sample(pairs, seed=seed, shuffle=True).write_parquet(file)
        where = "  data_files: [{split: iter_1, path: preferences/iter_1.parquet}]"
        (data / name / "README.md").write_text(f"---\nconfigs:\n- config_name: preferences\n{where}\n---\n")
    return data, pairs


def train(script: ModuleType, dataset: Path, algorithm: str, seed: int, more: list[str]) -> Path:
    """Train theta_0 on a dataset by an algorithm's sandbox recipe."""
    recipe = train_dir() / "recipes" / ("sandbox.yaml" if algorithm == "dpo" else f"sandbox_{algorithm}.yaml")
    theta = dataset / algorithm
    arguments = [
        *("--config", str(recipe), "--dataset", str(dataset), "--split", "iter_1", "--seed", str(seed)),
        *("--model_name_or_path", str(THETA_0), "--output_dir", str(theta), "--save_strategy", "no"),
        *("--disable_tqdm", "true", *more),
    ]
    log = dataset / f"{algorithm}.log"
    with log.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        script.main(arguments)
    return theta


def accuracy(theta: Path, heldout: int) -> pl.DataFrame:
    """One row per depth: the percentage of held-out prompts whose greedy answer is right."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from eva_data.sandbox.measure import reply
    from eva_data.sandbox.verifier import score
    from eva_data.sandbox.world import heldout_prompts

    model, tokenizer = AutoModelForCausalLM.from_pretrained(theta).eval(), AutoTokenizer.from_pretrained(theta)
    rows = []
    for depth in range(1, 6):
        asked = heldout_prompts(heldout, (depth,))
        answers = reply(model, tokenizer, asked, max_tokens=48)
        right = sum(score(prompt, answer) == 1 for prompt, answer in zip(asked, answers, strict=True))
        rows.append({"depth": depth, "right": 100 * right / heldout})
    return pl.DataFrame(rows)


def with_mean(table: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """One column per depth, and a column of their mean."""
    wide = table.pivot("depth", index=[*keys, "seed"], values="right", maintain_order=True)
    return wide.with_columns(mean=pl.mean_horizontal([str(depth) for depth in range(1, 6)]))


def summary(table: pl.DataFrame) -> pl.DataFrame:
    """One row per algorithm and source: percent right at each depth, as mean over the seeds with standard error."""
    wide = with_mean(table, "algorithm", "source")
    return wide.group_by("algorithm", "source", maintain_order=True).agg(*_told(wide))


def gains(table: pl.DataFrame) -> pl.DataFrame:
    """One row per algorithm: the accuracy by eva's pairs minus the accuracy by static pairs, with standard error."""
    wide = with_mean(table, "algorithm", "source").filter(pl.col("source") != "-")
    eva, static = (wide.filter(pl.col("source") == name).sort("algorithm", "seed") for name in ("eva", "static"))
    numbers = pl.exclude("algorithm", "source", "seed")
    difference = eva.select("algorithm", "seed").hstack(eva.select(numbers) - static.select(numbers))
    return difference.group_by("algorithm", maintain_order=True).agg(*_told(difference))


def _told(wide: pl.DataFrame) -> list[pl.Expr]:
    depths = [name for name in wide.columns if name not in ("algorithm", "source", "seed")]
    error = {name: pl.col(name).std() / pl.len().sqrt() for name in depths}
    return [
        pl.format("{} ± {}", pl.col(name).mean().round(1), error[name].round(1).fill_null(0.0)).alias(name)
        for name in depths
    ]


if __name__ == "__main__":
    main()
