"""Makes a table of scored responses of one solver, for benchmarks/pair_lengths.py.

    python benchmarks/one_policy.py responses_alpaca_eval.parquet MODEL --prompts 160 --folder one-policy
    python benchmarks/pair_lengths.py one-policy/scored.parquet

The file has a row per response of any model: `prompt`, `response` and `reward_logit`. A reward is learnt from it, by
ridge regression on MiniLM's vector and the log length of a response, within prompts. Its worth is the rank correlation
with `reward_logit` within prompts that it was not fitted on. Then `eva-data build --iter 1` lets MODEL, a folder of
transformers or a name on the Hub, answer `--prompts` other prompts six times each, and the learnt reward scores the
answers. `scored.parquet` has a row per answer: `prompt`, `response`, `reward_logit` as learnt, and `reward`, its
logistic function. Repeated with the same `--folder`, the build goes on where it was.

It needs `pip install 'eva-data[train,embedding]'`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import polars as pl
import yaml
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV

from eva_data.config import Embedding
from eva_data.embedding.embedder import embedders_of

PER_PROMPT = 8
"""Responses of each prompt that the reward is fitted on."""
FOLDS = 5
STRENGTHS = np.logspace(-2, 4, 13)


@click.command()
@click.argument("responses", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("model")
@click.option("--prompts", default=160, show_default=True, help="Prompts that the solver answers.")
@click.option("--max-tokens", default=256, show_default=True, help="Tokens of a response at most.")
@click.option("--folder", type=click.Path(path_type=Path), default="one-policy", show_default=True)
def main(responses: Path, model: str, prompts: int, max_tokens: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = pl.read_parquet(responses)
    distinct = table.select("prompt").unique().sort(pl.col("prompt").hash(seed=1), "prompt")
    asked, others = distinct.head(prompts), distinct.tail(-prompts)
    drawn = table.join(others, on="prompt").filter(pl.col("response") != "")
    drawn = drawn.filter(pl.int_range(pl.len()).shuffle(seed=1).over("prompt") < PER_PROMPT).sort("prompt", "response")
    features = features_of(drawn["response"], folder)
    click.echo(f"the reward's rank correlation within prompts: {correlation(drawn, features):.2f}")
    reward = fitted(drawn, features)

    answered = sampled(asked, model, max_tokens, folder)
    logits = pl.Series(reward.predict(features_of(answered["response"], folder)))
    scored = answered.with_columns(reward_logit=logits, reward=1 / (1 + (-logits).exp()))
    scored.write_parquet(folder / "scored.parquet")
    cut = (answered["finish_reason"] == "length").sum() / answered.height
    click.echo(f"{model}: {answered.height} responses, {cut:.0%} cut at {max_tokens} tokens")


def features_of(responses: pl.Series, folder: Path) -> npt.NDArray[np.float64]:
    """One row per response: its vector, and the logarithm of its length in characters, ten times as heavy."""
    [minilm] = embedders_of(Embedding(model="minilm"), folder / "vectors.sqlite")
    vectors = minilm.vectors(
        responses.to_list(), lambda done, total: click.echo(f"\r{done}/{total}", err=True, nl=False)
    )
    length = responses.str.len_chars().clip(lower_bound=1).cast(pl.Float64).log().to_numpy()
    return np.column_stack([vectors.astype(np.float64), length / 10])


def fitted(rows: pl.DataFrame, features: npt.NDArray[np.float64]) -> RidgeCV:
    """The regression of `reward_logit` on the features, both less their means of the prompt."""
    away = np.column_stack([_less_mean(rows, column) for column in features.T])
    return RidgeCV(alphas=STRENGTHS, fit_intercept=False).fit(away, _less_mean(rows, rows["reward_logit"].to_numpy()))


def correlation(rows: pl.DataFrame, features: npt.NDArray[np.float64]) -> float:
    """The mean over prompts of Spearman's correlation of the reward with `reward_logit`, by regressions on others."""
    fold = rows.select(pl.col("prompt").hash(seed=2) % FOLDS).to_series().to_numpy()
    found = np.zeros(rows.height)
    for held in range(FOLDS):
        reward = fitted(rows.filter(pl.Series(fold != held)), features[fold != held])
        found[fold == held] = reward.predict(features[fold == held])
    groups = rows.with_columns(found=found).group_by("prompt").agg("found", "reward_logit")
    each = [spearmanr(a, b).statistic for a, b in groups.select("found", "reward_logit").iter_rows()]
    return float(np.nanmean(each))


def sampled(asked: pl.DataFrame, model: str, max_tokens: int, folder: Path) -> pl.DataFrame:
    """One row per response of the solver: `prompt` as text, `response` and `finish_reason`."""
    asked.write_parquet(folder / "asked.parquet")
    (folder / "length.py").write_text(
        "def score(prompt: str, response: str) -> float:\n    return float(len(response))\n"
    )
    (folder / "eva.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "acme/one-policy",
                "seeds": {"path": "asked.parquet"},
                "solver": {
                    "backend": "transformers",
                    "model": str(Path(model).resolve()) if Path(model).exists() else model,
                    "dtype": "float32",
                    "batch_size": 24,
                    "responses": 6,
                    "max_tokens": max_tokens,
                },
                # Every response is kept, whatever it is worth. What it is worth is learnt above.
                "reward": {"backend": "verifier", "function": "length.py:score"},
            }
        )
    )
    subprocess.run([sys.executable, "-m", "eva_data.cli", "build", "--iter", "1"], cwd=folder, check=True)
    [data] = folder.glob("data/*/responses")
    asked_of = pl.scan_parquet(data.parent / "prompts/iter_1*.parquet").select(
        "prompt_id", prompt=pl.col("prompt").list.last().struct.field("content")
    )
    answers = pl.scan_parquet(data / "iter_1*.parquet")
    return answers.join(asked_of, on="prompt_id").select("prompt", "response", "finish_reason").collect()


def _less_mean(rows: pl.DataFrame, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    away = pl.col("value") - pl.col("value").mean().over("prompt")
    return rows.select("prompt", value=pl.Series(values)).select(away).to_series().to_numpy()


if __name__ == "__main__":
    main()
