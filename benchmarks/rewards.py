"""Measures how fast a classifier scores texts of real lengths: in batches by length, one at a time, and naively padded.

    python benchmarks/rewards.py --texts 600

The script makes a small Llama reward model and a tokenizer for the texts in a temporary folder. Then it scores the same
conversations in three ways: as a reward job of eva-data (with its ledger and its check), one text after the other, and
in batches of a fixed number of rows in the order of the file. Each time includes the loading of the model.
`--responses` names a parquet file of prompts and responses. Without it, the script takes
`../shared/data/responses_alpaca_eval.parquet` if it lies beside the checkout, or else generates texts of log-normal
lengths. The least time of several rounds counts, since the machine may do other things. On a processor, a single text
keeps a thread busy. So batches gain little there, and large batches lose because of its caches.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from eva_data.rewards.local.batches import Item

Row = dict[str, Any]

BESIDE = Path(__file__).parents[2] / "shared" / "data" / "responses_alpaca_eval.parquet"
WORDS = Path(__file__).parents[1] / "eva_data" / "sandbox" / "words.txt"
MAX_TOKENS = 4096
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Way(NamedTuple):
    """The result of one way to score."""

    scores: list[float]
    seconds: float
    processor: float


@click.command()
@click.option("--responses", type=click.Path(path_type=Path, exists=True), help="Parquet: prompt, response.")
@click.option("--texts", default=600, show_default=True, help="How many of them, drawn at random.")
@click.option("--batch-tokens", default=1024, show_default=True, help="Ours: tokens of a batch.")
@click.option("--batch-size", default=16, show_default=True, help="Naive padding: rows of a batch.")
@click.option("--hidden", default=128, show_default=True, help="Width of the model.")
@click.option("--layers", default=4, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--dtype", default="float32", show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(
    responses: Path | None,
    texts: int,
    batch_tokens: int,
    batch_size: int,
    hidden: int,
    layers: int,
    threads: int,
    device: str,
    dtype: str,
    rounds: int,
) -> None:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    path = responses or (BESIDE if BESIDE.exists() else None)
    rows = read_rows(path, texts) if path else generated_rows(texts)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_model(folder / "model", rows, hidden, layers)
        settings = {
            "backend": "classifier",
            "model": str(folder / "model"),
            "path": str(folder / "model"),
            "dtype": dtype,
            "device": device,
            "max_tokens": MAX_TOKENS,
            "batch_tokens": batch_tokens,
            "threads": threads,
            "trust_remote_code": False,
            "invariance": None,
        }
        items = tokenised(settings, rows)
        lengths = [len(item.tokens) for item in items]
        click.echo(
            f"{len(rows)} texts of {path.name if path else 'generated lengths'}: {sum(lengths):,} tokens, "
            f"{min(lengths)} to {max(lengths)}, median {median(lengths):.0f}"
        )
        ways: dict[str, Callable[[int], list[float]]] = {
            "eva-data": lambda number: by_job(folder / f"job-{number}", settings, rows),
            "one at a time": lambda _: plainly(settings, rows, 1),
            f"{batch_size} rows in file order": lambda _: plainly(settings, rows, batch_size),
        }
        timings = [{name: timed(way, number) for name, way in ways.items()} for number in range(rounds)]
    found = {name: least([timing[name] for timing in timings]) for name in ways}
    report(found, items, batch_tokens, batch_size)


def timed(way: Callable[[int], list[float]], number: int) -> Way:
    wall, processor = time.perf_counter(), time.process_time()
    scores = way(number)
    return Way(scores, time.perf_counter() - wall, time.process_time() - processor)


def least(ways: Sequence[Way]) -> Way:
    return Way(ways[0].scores, min(way.seconds for way in ways), min(way.processor for way in ways))


def report(found: dict[str, Way], items: Sequence[Item], batch_tokens: int, batch_size: int) -> None:
    from eva_data.rewards.local.batches import cut, padding

    in_order = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    ours, alone, _ = found.values()
    shares = [padding(cut(items, batch_tokens)), 0.0, padding(in_order)]
    for (name, way), share in zip(found.items(), shares, strict=True):
        difference = max(abs(a - b) for a, b in zip(way.scores, alone.scores, strict=True))
        click.echo(
            f"{name:24}{way.seconds:8.2f} s ({way.seconds / ours.seconds:.2f} x ours){way.processor:9.2f} s of "
            f"processor ({way.processor / ours.processor:.2f} x ours)   padding {share:.1%}   "
            f"off by at most {difference:.1e}"
        )


# --- the three ways ----------------------------------------------------------------------------------------------


def by_job(folder: Path, settings: dict[str, Any], rows: Sequence[Row]) -> list[float]:
    """Score by a reward job in this process, with a ledger of its own."""
    from eva_data.config.rewards import Classifier
    from eva_data.jobs.job import Job
    from eva_data.rewards import score_rows

    folder.mkdir()
    block = Classifier.model_validate({name: value for name, value in settings.items() if name != "path"})
    path = Path(settings["path"])
    job = Job(folder, "reward", block, ledger=folder / "ledger.sqlite", scorer="benchmark", scorer_path=path)
    return [score.reward or 0.0 for scores in score_rows(job, rows) for score in scores]


def plainly(settings: dict[str, Any], rows: Sequence[Row], batch_size: int) -> list[float]:
    """Score by plain transformers: rows in their order, padded to the longest of each batch."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(settings["threads"])
    tokenizer = AutoTokenizer.from_pretrained(settings["path"])
    model: Any = AutoModelForSequenceClassification.from_pretrained(
        settings["path"], dtype=getattr(torch, settings["dtype"])
    )
    model = model.to(settings["device"]).eval()
    found: list[float] = []
    for start in range(0, len(rows), batch_size):
        written = [
            tokenizer.apply_chat_template(conversation(row), tokenize=False) for row in rows[start : start + batch_size]
        ]
        batch = tokenizer(written, add_special_tokens=False, padding=True, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            found += model(**batch).logits[:, 0].float().tolist()
    return found


# --- the texts ---------------------------------------------------------------------------------------------------


def read_rows(path: Path, texts: int) -> list[Row]:
    import polars as pl

    table = pl.read_parquet(path, columns=["prompt", "response"]).drop_nulls()
    return [row_of(*pair) for pair in table.sample(min(texts, table.height), seed=42, shuffle=True).iter_rows()]


def generated_rows(texts: int) -> list[Row]:
    """Random words: half of the responses have fewer than about 200 words, and one in a hundred has more than 2000."""
    words = WORDS.read_text(encoding="utf-8").split()
    chance = random.Random(42)
    sizes = [(int(chance.lognormvariate(3, 0.8)) + 1, int(chance.lognormvariate(5.3, 1.0)) + 1) for _ in range(texts)]
    return [row_of(*(" ".join(chance.choices(words, k=size)) for size in pair)) for pair in sizes]


def row_of(prompt: str, response: str) -> Row:
    turn = {"role": "user", "content": prompt}
    return {"prompt_id": prompt, "prompt": [turn], "response_idx": [0], "responses": [response]}


def conversation(row: Row) -> list[dict[str, str]]:
    return [*row["prompt"], {"role": "assistant", "content": row["responses"][0]}]


def make_model(folder: Path, rows: Sequence[Row], hidden: int, layers: int) -> None:
    """Make a model with random weights, and a tokenizer of 4096 pieces that are learnt from the texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((message["content"] for row in rows for message in conversation(row)), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        max_position_embeddings=MAX_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    config.num_labels = 1
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tokenised(settings: dict[str, Any], rows: list[Row]) -> list[Item]:
    """All rows in order. Rows that are too long for the model are removed from `rows`."""
    from eva_data.rewards.local.conversation import items, write
    from eva_data.rewards.local.loading import load_tokenizer

    tokenizer = load_tokenizer(settings["path"], trust_remote_code=False)
    wanted = ((str(place).encode(), conversation(row)) for place, row in enumerate(rows))
    found = [*items(tokenizer, wanted, lambda messages: write(tokenizer, messages), MAX_TOKENS)]
    rows[:] = [row for row, item in zip(rows, found, strict=True) if item.refused is None]
    return [item for item in found if item.refused is None]


if __name__ == "__main__":
    main()
