"""Supervision beside the game, in the worlds `steps` and `crowded`: theta_0 is taught the right answers of depth 3.

    python -m eva_data.experiments.gold eva_data/sandbox/model_steps --out docs/results/gold.csv

Supervision like this is what a curriculum does without: the prompts are of the wanted depth, and each has its answer.
The learning rate, the epochs, and the batch are those of the recipe `sandbox_steps`, and the held-out prompts those of
the sweeps.
"""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

GOLD_FILE = "gold.csv"
EXAMPLES, EPOCHS, BATCH, RATE, WARMUP = 1500, 3, 16, 1e-4, 0.05
DEPTHS = (2, 3, 4)


def teach_gold(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, examples: int, seed: int) -> None:
    """Train the model on the right answers to `examples` puzzles of depth 3, which are about words of the seeds."""
    import torch

    from eva_data.sandbox.examples import showing_steps
    from eva_data.sandbox.make_model import loss_on_replies

    rng = Random(f"sandbox gold {seed}")
    shown = [showing_steps(rng, {3: 1.0}) for _ in range(examples)]
    steps = EPOCHS * math.ceil(examples / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    model.train()
    done = 0
    for _ in range(EPOCHS):
        rng.shuffle(shown)
        for start in range(0, examples, BATCH):
            for group in optimizer.param_groups:
                group["lr"] = RATE * min((done + 1) / (WARMUP * steps), (steps - done) / ((1 - WARMUP) * steps), 1.0)
            loss_on_replies(model, tokenizer, shown[start : start + BATCH]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            done += 1
    model.eval()


@click.command()
@click.argument("model", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--seed", "seeds", multiple=True, type=int, default=(11, 12, 13), help="May be repeated.")
@click.option("--examples", default=EXAMPLES, show_default=True)
@click.option("--heldout", default=2000, show_default=True, help="Held-out prompts of each depth.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A CSV file. Default: print it.")
def main(model: Path, seeds: tuple[int, ...], examples: int, heldout: int, out: Path | None) -> None:
    """Write one row per seed and depth: the shares of right answers, greedily, before and after."""
    import polars as pl
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    from eva_data.sandbox.measure import right_answers
    from eva_data.sandbox.steps import score

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows, before = [], dict[int, float]()
    for seed in seeds:
        torch.manual_seed(seed)
        solver = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        for depth in DEPTHS if not before else ():
            before[depth] = right_answers(solver, tokenizer, heldout, depth, score)
        teach_gold(solver, tokenizer, examples, seed)
        for depth in DEPTHS:
            after = right_answers(solver, tokenizer, heldout, depth, score)
            rows.append({"seed": seed, "depth": depth, "before": before[depth], "after": after, "prompts": heldout})
    table = pl.DataFrame(rows)
    if out is None:
        click.echo(table.write_csv())
    else:
        table.write_csv(out)


if __name__ == "__main__":
    main()
