"""Measures how many of a creator's rewrites survive the rules, method by method.

    python benchmarks/creators.py MODEL PROMPTS [--methods eva,one_constraint] [--temperature 0.7] [--show FILE]

MODEL is a model folder, PROMPTS a text file with a prompt a line, or a parquet file with a column `prompt`. Each prompt
gets `--rewrites` siblings by each method. What survives is a prompt by the rules, not by eye: rules err in both
directions, and a weak model writes nonsense that no rule knows. So `--show` writes every attempt to a file, to be read.
Intervals are Wilson's, 95 %; rewrites of one prompt count as independent.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import click
import polars as pl
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eva_data.calls import Sampling
from eva_data.config import Evolve
from eva_data.evolve.while_training import LiveEvolve
from eva_data.models.in_training import Policy
from eva_data.statistics.shares import share
from eva_data.tables.ids import prompt_id_of
from eva_data.tables.reasons import kind_of

METHODS = "evol_instruct,evol_complexity,evol_quality,self_instruct,eva,one_constraint"


def seeds(path: Path) -> list[dict[str, object]]:
    """The prompts as sampled prompts of depth 0."""
    texts = (
        pl.read_parquet(path)["prompt"].to_list()
        if path.suffix == ".parquet"
        else [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    )
    rows = []
    for text in texts:
        prompt = [{"role": "user", "content": text}]
        name = prompt_id_of(prompt)
        rows.append({"prompt_id": name, "prompt": prompt, "root_id": name, "depth": 0})
    return rows


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("prompts", type=click.Path(path_type=Path, exists=True))
@click.option("--methods", default=METHODS, show_default=True)
@click.option("--rewrites", default=2, show_default=True)
@click.option("--max-tokens", default=128, show_default=True)
@click.option("--temperature", default=1.0, show_default=True)
@click.option("--top-p", default=1.0, show_default=True)
@click.option("--show", type=click.Path(path_type=Path), help="A file for all attempts, as JSON lines.")
def main(
    folder: Path,
    prompts: Path,
    methods: str,
    rewrites: int,
    max_tokens: int,
    temperature: float,
    top_p: float,
    show: Path | None,
) -> None:
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    parents, attempts = seeds(prompts), []
    print(f"{folder.name}, {len(parents)} prompts, {rewrites} rewrites each")
    for name in methods.split(","):
        settings = Evolve(method=name, max_tokens=max_tokens, temperature=temperature, top_p=top_p)
        sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens)
        creator = Policy.of(
            model, tokenizer, sampling, fingerprint=folder.name, seed=42, batch_size=16, system="keep"
        )  # fmt: skip
        evolve = LiveEvolve.of(creator, settings, seed=42, fits=lambda _: True)
        began = time.monotonic()
        rows = evolve(parents, rewrites, 1, parents, frozenset(str(row["prompt_id"]) for row in parents))
        seconds = time.monotonic() - began
        survived = sum(row["status"] is None for row in rows)
        rate = share(survived, len(rows))
        reasons = Counter(kind_of(row["reason"]) for row in rows if row["reason"])
        told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        print(f"{name}: {survived} of {len(rows)} survived, {100 * rate.low:.0f} to {100 * rate.high:.0f} %; {told}")
        print(f"  {seconds:.0f} s, {sum(row['completion_tokens'] or 0 for row in rows)} tokens", flush=True)
        attempts += [{"method": name, **row} for row in rows]
    if show is not None:
        show.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in attempts), encoding="utf-8")


if __name__ == "__main__":
    main()
