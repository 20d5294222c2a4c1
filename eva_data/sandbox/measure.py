"""Measures the sandbox model: right answers, informativeness and valid rewrites."""

from collections.abc import Callable, Mapping, Sequence
from random import Random

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from eva_data.sandbox.tokenizer import asked
from eva_data.sandbox.verifier import score
from eva_data.sandbox.world import draw_task, heldout_prompts, parse, render

LONGEST = 64
"""Most tokens of an answer; longer ones are cut."""


def batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Positions in batches of `size`, the shortest first, so that there is little padding."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[i : i + size] for i in range(0, len(order), size)]


@torch.inference_mode()
def reply(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[str],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 512,
) -> list[str]:
    """One reply to each user message. At temperature 0, every token is the likeliest."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [asked(message) for message in messages]
    replies = [""] * len(prompts)
    lengths = [len(ids) for ids in tokenizer(prompts)["input_ids"]]
    for rows in batches(lengths, batch_size):
        batch = tokenizer([prompts[i] for i in rows], padding=True, padding_side="left", return_tensors="pt")
        tokens, mask = batch["input_ids"], batch["attention_mask"]
        written, cache = torch.empty((len(rows), 0), dtype=torch.long), None
        running = torch.ones(len(rows), dtype=torch.bool)
        while running.any() and written.shape[1] < max_tokens:
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
            out = model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logits, cache = out.logits[:, -1].float(), out.past_key_values
            if temperature > 0:
                chances = torch.softmax(logits / temperature, dim=-1)
                tokens = torch.multinomial(chances, 1, generator=generator)
            else:
                tokens = logits.argmax(-1, keepdim=True)
            tokens = tokens.masked_fill(~running[:, None], tokenizer.pad_token_id)
            running = running & (tokens[:, 0] != tokenizer.eos_token_id)
            written = torch.cat([written, tokens], dim=1)
            mask = torch.cat([mask, torch.ones_like(tokens)], dim=1)
        for row, text in zip(rows, tokenizer.batch_decode(written, skip_special_tokens=True), strict=True):
            replies[row] = text
    return replies


def right_answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    per_depth: int,
    depth: int,
    score: Callable[[str, str], float | None],
) -> float:
    """The share of the first `per_depth` held-out prompts of a depth that the model answers rightly, greedily."""
    prompts = heldout_prompts(per_depth, (depth,))
    replies = reply(model, tokenizer, prompts, max_tokens=LONGEST)
    return sum(score(prompt, text) == 1 for prompt, text in zip(prompts, replies, strict=True)) / per_depth


def solving_table(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    per_depth: int,
    *,
    score: Callable[[str, str], float | None] = score,
    depths: Sequence[int] = (1, 2, 3, 4, 5),
) -> list[dict[str, float]]:
    """One row per depth, on held-out prompts: shares of right answers (greedy, any of six samples), and mean A_min."""
    table = []
    for depth in depths:
        prompts = heldout_prompts(per_depth, (depth,))
        greedy = reply(model, tokenizer, prompts, max_tokens=LONGEST)
        sixfold = [prompt for prompt in prompts for _ in range(6)]
        sampled = reply(model, tokenizer, sixfold, max_tokens=LONGEST, temperature=1.0, seed=depth)
        rewards = [score(prompt, text) or 0.0 for prompt, text in zip(sixfold, sampled, strict=True)]
        six = [rewards[i : i + 6] for i in range(0, len(rewards), 6)]
        right = [score(prompt, text) == 1 for prompt, text in zip(prompts, greedy, strict=True)]
        table.append(
            {
                "depth": depth,
                "greedy": sum(right) / per_depth,
                "any_of_6": sum(max(group) == 1 for group in six) / per_depth,
                "a_min": sum(max(group) - min(group) for group in six) / per_depth,
            }
        )
    return table


def rewriting_table(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    templates: Mapping[str, str],
    per_cell: int,
) -> dict[str, list[dict[str, float]]]:
    """Template -> one row per depth, at temperature 1: share that parses, mean depth of these, share distinct."""
    table: dict[str, list[dict[str, float]]] = {}
    for mutation, template in templates.items():
        table[mutation] = []
        for depth in (1, 2, 3, 4, 5):
            rng = Random(f"{mutation} {depth}")
            prompts = [render(draw_task(depth, rng), rng) for _ in range(per_cell)]
            requests = [template.replace("<PROMPT>", prompt) for prompt in prompts]
            texts = reply(model, tokenizer, requests, max_tokens=96, temperature=1.0, seed=depth)
            tasks = [task for text in texts if (task := parse(text))]
            table[mutation].append(
                {
                    "depth": depth,
                    "valid": len(tasks) / per_cell,
                    "new_depth": sum(len(task.operations) for task in tasks) / max(1, len(tasks)),
                    "distinct": len(set(texts) - set(prompts)) / per_cell,
                }
            )
    return table
