"""Measures how much longer `pair` takes because texts that differ in white space alone are one candidate.

    python benchmarks/pairing.py --prompts 10_000

Six responses of several lines answer each prompt. They are paired by the present rules and by rules 1, which compare
texts character for character, in turn and in one process. The script prints the ratio of the processor times, once for
rewards that all differ and once for rewards of 0 and 1, where draws of texts break ties.
"""

from __future__ import annotations

import random
import time
from functools import partial

import click
import polars as pl

from eva_data.method.estimate import informativeness
from eva_data.method.pair import Paired, pair
from eva_data.tables.rules import RULES
from eva_data.tables.schemas import PROMPTS, RESPONSES, conform

RESPONSES_PER_PROMPT = 6
REPEATED = 0.03
"""The share of responses that repeat the prompt's first response in other white space."""
WORDS = ("about", "answer", "back", "because", "book", "can", "every", "first", "give", "have", "know", "value", "work")


@click.command()
@click.option("--prompts", default=10_000, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="The fastest of so many counts.")
def main(prompts: int, rounds: int) -> None:
    draw = random.Random(42)
    answers = [response for _ in range(prompts) for response in of_prompt(draw)]
    megabytes = sum(map(len, answers)) / 1e6
    click.echo(f"{prompts:,} prompts x {RESPONSES_PER_PROMPT} responses, {megabytes:,.0f} MB of text")
    asked = prompts_of(prompts)
    for name, reward in (("all different", draw.random), ("0 or 1", partial(draw.choice, [0.0, 1.0]))):
        scored = responses_of(answers, [reward() for _ in answers])
        best = {1: float("inf"), RULES: float("inf")}
        for _ in range(rounds):
            for rules in best:
                best[rules] = min(best[rules], seconds(asked, scored, rules))
        told = ", ".join(f"rules {rules} {took:.2f} s" for rules, took in best.items())
        click.echo(f"rewards {name}: {told}, ratio {best[RULES] / best[1]:.2f}")


def of_prompt(draw: random.Random) -> list[str]:
    """The responses to a prompt: paragraphs, lists and indented lines."""
    texts = [answer(draw) for _ in range(RESPONSES_PER_PROMPT)]
    return [texts[0].replace(" ", "\n", 3) if draw.random() < REPEATED else text for text in texts]


def answer(draw: random.Random) -> str:
    paragraphs = []
    for _ in range(draw.randint(2, 6)):
        lines = [sentence(draw) for _ in range(draw.randint(1, 5))]
        begin = draw.choice(["", "", "- ", "    "])
        paragraphs.append(" ".join(lines) if not begin else "\n".join(begin + line for line in lines))
    return "\n\n".join(paragraphs)


def sentence(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(5, 20))).capitalize() + "."


def prompts_of(count: int) -> pl.DataFrame:
    text = pl.format("Question {}", pl.int_range(count))
    return conform(
        pl.select(
            prompt_id=pl.int_range(count).cast(pl.String).str.zfill(32),
            prompt=pl.concat_list(pl.struct(role=pl.lit("user"), content=text)),
            origin=pl.lit("seed"),
            created_iteration=1,
            iteration=1,
        ),
        PROMPTS,
    )


def responses_of(texts: list[str], rewards: list[float]) -> pl.DataFrame:
    place = pl.int_range(len(texts))
    return conform(
        pl.DataFrame({"response": texts, "reward": rewards}).with_columns(
            prompt_id=(place // RESPONSES_PER_PROMPT).cast(pl.String).str.zfill(32),
            response_idx=place % RESPONSES_PER_PROMPT,
            finish_reason=pl.lit("stop"),
            stage=pl.lit("respond"),
            reused=False,
            iteration=1,
        ),
        RESPONSES,
    )


def seconds(prompts: pl.DataFrame, responses: pl.DataFrame, rules: int) -> float:
    """Processor seconds of `pair`."""
    metrics = informativeness(responses.lazy(), stage="respond", iteration=1, n=RESPONSES_PER_PROMPT, seed=42).collect()
    begun = time.process_time()
    found: Paired = pair(
        prompts.lazy(), responses.lazy(), metrics.lazy(), seed=42, iteration=1, on_policy=True, rules=rules
    )
    took = time.process_time() - begun
    assert found.preferences.height + found.rejects.height == prompts.height
    return took


if __name__ == "__main__":
    main()
