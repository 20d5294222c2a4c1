"""Train the sandbox models: the first from nothing, in two lessons, and from it the solver that shows its steps.

    python -m eva_data.sandbox.make_model --out FIRST
    python -m eva_data.sandbox.make_model --out DIR --start FIRST --lesson careless --steps 500
    python -m eva_data.sandbox.make_model --out MORE --start DIR --lesson steps --steps 1000 --batch-size 96
    python -m eva_data.sandbox.make_model --out EVEN --start MORE --lesson steps --steps 800 --seed 1
    python -m eva_data.sandbox.make_model --out STEPS --start EVEN --lesson numbers --steps 600
    python -m eva_data.sandbox.make_model --out BOTH --start STEPS --lesson both --steps 1200

First, a small Llama learns to answer prompts of depth 1 and 2 (it hardly sees deeper prompts), and to rewrite prompts
of any depth as Distilabel's evol-instruct templates ask. The second lesson shows all depths, but more than half of the
answers to deep prompts leave the last operation out, like data from a web of careless people. Then the model can do
better than it does, which the game is about.

In the lessons after these, answers show their steps, and all prompts are of depth 1 or 2. The model learns to take one
step or two, and at depth 3 it mostly stops too early. It forgets how to rewrite, so its creator is the second model.
The last lesson brings the rewriting back, for games in which creator and solver are one model.

The same seed, machine, number of threads and versions give the same
weights.
"""

import json
import math
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

import click
import torch
from distilabel.steps.tasks.evol_instruct.utils import MUTATION_TEMPLATES
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from eva_data.sandbox.examples import Example, rewriting, showing_steps, solving
from eva_data.sandbox.gate import PROMPTS, failure
from eva_data.sandbox.measure import rewriting_table, solving_table
from eva_data.sandbox.model_card import write_sandbox_card
from eva_data.sandbox.steps import score as steps_score
from eva_data.sandbox.tokenizer import END, asked, build_tokenizer
from eva_data.sandbox.verifier import score as similarity_score

_CONTEXT = 1024


class Lesson(NamedTuple):
    """The mix of a lesson's examples, and its learning rates."""

    depths: dict[int, float]
    careless: float
    solving_share: float
    rate: float
    warmup: float
    decay: float
    shows_steps: bool = False
    numbers: float = 0.0
    """The share of further prompts that are about a number; arithmetic is what the model is slowest to learn."""


LESSONS = {
    "first": Lesson({1: 0.40, 2: 0.54, 3: 0.05, 4: 0.01}, 0.0, 0.6, 3e-3, 0.02, 0.4),
    "careless": Lesson({1: 0.28, 2: 0.37, 3: 0.17, 4: 0.12, 5: 0.06}, 0.55, 0.75, 1e-3, 0.04, 0.6),
    "steps": Lesson({1: 0.35, 2: 0.65}, 0.0, 1.0, 2e-3, 0.04, 0.6, shows_steps=True),
    "numbers": Lesson({1: 0.35, 2: 0.65}, 0.0, 1.0, 2e-3, 0.04, 0.6, shows_steps=True, numbers=0.4),
    "both": Lesson({1: 0.35, 2: 0.65}, 0.0, 0.6, 2e-3, 0.04, 0.6, shows_steps=True, numbers=0.2),
}


def new_model(tokenizer: PreTrainedTokenizerBase, layers: int, hidden: int) -> LlamaForCausalLM:
    """An untrained model. Its heads have 32 dimensions, the fewest that vLLM serves."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        max_position_embeddings=_CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def loss_on_replies(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, examples: list[Example]
) -> torch.Tensor:
    """The mean loss per token of the replies, with their end tokens."""
    questions = tokenizer([asked(message) for message, _ in examples])["input_ids"]
    answers = tokenizer([answer + END for _, answer in examples])["input_ids"]
    width = max(len(question) + len(answer) for question, answer in zip(questions, answers, strict=True))
    tokens = torch.full((len(examples), width), tokenizer.pad_token_id)
    labels = torch.full((len(examples), width), -100)
    for row, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        tokens[row, : len(question) + len(answer)] = torch.tensor(question + answer)
        labels[row, len(question) : len(question) + len(answer)] = torch.tensor(answer)
    # Padding stands on the right. Causal attention of a reply never looks at it, so no mask is needed.
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    wanted = labels[:, 1:]
    logits = model.lm_head(hidden[:, :-1][wanted != -100])
    return torch.nn.functional.cross_entropy(logits.float(), wanted[wanted != -100])


def optimizers(model: LlamaForCausalLM, muon_lr: float, adam_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, Adam for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def pace(step: int, steps: int, lesson: Lesson) -> float:
    """The share of the learning rate: it rises over the first steps and falls to 0 over the last steps."""
    return min(1.0, (step + 1) / (lesson.warmup * steps), (steps - step) / (lesson.decay * steps))


def teach(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    lesson: Lesson,
    steps: int,
    batch_size: int,
    rng: Random,
) -> tuple[float, float]:
    """Train the model and print the progress. Return the last running losses per token of solving and rewriting.

    The second is 0 if the lesson has no rewriting.
    """
    opts = optimizers(model, lesson.rate, lesson.rate)
    n_solve = round(lesson.solving_share * batch_size)
    started, recent = time.monotonic(), [0.0, 0.0]
    model.train()
    for step in range(steps):
        for group in (g for opt in opts for g in opt.param_groups):
            group["lr"] = lesson.rate * pace(step, steps, lesson)
        answers = [_answer(rng, lesson) for _ in range(n_solve)]
        solve_loss = loss_on_replies(model, tokenizer, answers)
        (lesson.solving_share * solve_loss).backward()
        rewrites = [rewriting(rng, MUTATION_TEMPLATES) for _ in range(batch_size - n_solve)]
        rewrite_loss = torch.zeros(())
        if rewrites:
            rewrite_loss = loss_on_replies(model, tokenizer, rewrites)
            ((1 - lesson.solving_share) * rewrite_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad()
        weight = min(0.98, step / (step + 1))
        losses = (solve_loss.item(), rewrite_loss.item())
        recent = [weight * old + (1 - weight) * new for old, new in zip(recent, losses, strict=True)]
        if not all(map(math.isfinite, recent)):
            raise click.ClickException(f"the loss is {recent} at step {step}; try fewer layers or another seed")
        if step % 100 == 99 or step == steps - 1:
            click.echo(
                f"step {step + 1}: solving {recent[0]:.4f}, rewriting {recent[1]:.4f}, "
                f"{time.monotonic() - started:.0f} s"
            )
    return recent[0], recent[1]


def _answer(rng: Random, lesson: Lesson) -> Example:
    return (
        showing_steps(rng, lesson.depths, lesson.numbers)
        if lesson.shows_steps
        else solving(rng, lesson.depths, lesson.careless)
    )


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write.")
@click.option("--start", type=click.Path(path_type=Path, file_okay=False, exists=True), help="A model to go on from.")
@click.option("--lesson", type=click.Choice(list(LESSONS)), default="first", show_default=True)
@click.option("--steps", default=5000, show_default=True)
@click.option("--batch-size", default=48, show_default=True, help="Examples a step.")
@click.option("--layers", default=5, show_default=True)
@click.option("--hidden", default=128, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(
    out: Path,
    start: Path | None,
    lesson: str,
    steps: int,
    batch_size: int,
    layers: int,
    hidden: int,
    seed: int,
    threads: int,
) -> None:
    """Train the model, and write it, its tokenizer and a card with measurements to OUT."""
    torch.set_num_threads(threads)
    # This is the only use of a global generator: transformers draws initial weights from it.
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(MUTATION_TEMPLATES)
    history: list[dict[str, object]] = []
    if start is None:
        model = new_model(tokenizer, layers, hidden)
    else:
        model = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
        history = json.loads((start / "training.json").read_text(encoding="utf-8"))
    click.echo(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens, {steps} steps of {batch_size}")
    begun = time.monotonic()
    rng = Random(f"sandbox model {seed}" if start is None else f"sandbox model {lesson} {seed}")
    solve_loss, rewrite_loss = teach(model, tokenizer, LESSONS[lesson], steps, batch_size, rng)
    history.append(
        {
            "lesson": lesson,
            "steps": steps,
            "examples per step": batch_size,
            "seed": seed,
            "threads": threads,
            "minutes": round((time.monotonic() - begun) / 60, 1),
            "final loss, solving": round(solve_loss, 4),
            "final loss, rewriting": round(rewrite_loss, 4),
        }
    )
    model.bfloat16().save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "training.json").write_text(json.dumps(history, indent=2) + "\n", encoding="utf-8")
    # The model is measured as it will be used, with the rounded weights from the file.
    shipped = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    taught = LESSONS[lesson]
    score = steps_score if taught.shows_steps else similarity_score
    solved = solving_table(shipped, tokenizer, PROMPTS, score=score)
    rewritten = rewriting_table(shipped, tokenizer, MUTATION_TEMPLATES, 100) if taught.solving_share < 1 else {}
    click.echo(write_sandbox_card(out, model.num_parameters(), history, solved, rewritten))
    if taught.shows_steps and (wrong := failure(solved)):
        raise click.ClickException(f"{wrong}: train it for more or fewer steps")


if __name__ == "__main__":
    main()
