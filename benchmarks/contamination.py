"""Flags the prompts of a file that repeat prompts of other files, as `eva-data evaluate` does for training prompts.

python benchmarks/contamination.py evaluated.parquet trained.parquet more.parquet --model minilm --rows 500

The column `prompt` of each file holds texts or messages. Without --model, all packaged models that are installed are
used. Vectors are kept in `contamination-vectors.sqlite` in the current folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import polars as pl

from eva_data.config import Contamination, Embedding, EvaluationSet
from eva_data.embedding.embedder import embedders_of
from eva_data.evaluation.contamination.check import evaluated_texts, hits_of
from eva_data.evaluation.contamination.training_texts import TRAINING_TEXTS, user_turns
from eva_data.evaluation.sets import read_set


def prompts_of(path: Path, rows: int | None) -> pl.DataFrame:
    """The prompts of a file; the first `rows` by id, which is a hash, so that they are a uniform sample."""
    found = read_set(EvaluationSet(name="prompts", path=path), print)
    return found if rows is None else found.head(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluated", type=Path)
    parser.add_argument("trained", type=Path, nargs="+")
    parser.add_argument("--model", help="minilm, e5 or words; default: what is installed")
    parser.add_argument("--rows", type=int, help="prompts of each file; default: all")
    options = parser.parse_args()

    asked = prompts_of(options.evaluated, options.rows)
    trained = pl.concat([prompts_of(path, options.rows) for path in options.trained]).unique("prompt_id")
    trained = trained.join(asked, on="prompt_id", how="anti").sort("prompt_id")
    texts = trained.select(
        id="prompt_id", root="prompt_id", kind=pl.lit("seed"), text=user_turns(pl.col("prompt"))
    ).cast(dict(TRAINING_TEXTS))  # type: ignore[arg-type]
    embedders = embedders_of(Embedding(model=options.model), Path("contamination-vectors.sqlite"))
    started = time.monotonic()
    hits, count = hits_of(evaluated_texts(asked), lambda: texts.iter_slices(5_000), Contamination(), embedders)
    names = "+".join(each.name for each in embedders) or "words"
    flagged = hits["prompt_id"].n_unique()
    print(f"{flagged} of {asked.height} prompts repeat one of {count} ({names}, {time.monotonic() - started:.1f} s)")
    said = asked.select("prompt_id", asked=user_turns(pl.col("prompt")).str.slice(0, 200))
    near = texts.select(nearest_id="id", trained=pl.col("text").str.slice(0, 200))
    shown = hits.join(said, on="prompt_id").join(near, on="nearest_id").sort("score", descending=True)
    for row in shown.iter_rows(named=True):
        print(f"\n{row['reason']} {row['score']:.3f}\n  {row['asked']}\n  {row['trained']}")


if __name__ == "__main__":
    main()
