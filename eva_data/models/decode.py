"""Samples completions of tokenised prompts from a causal language model, each with its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import DynamicCache, PreTrainedModel


class Decoded(NamedTuple):
    """The tokens of one completion, without the end token, and whether the model ended it."""

    tokens: list[int]
    ended: bool


@torch.inference_mode()
def sample_batch(
    model: PreTrainedModel,
    prompts_B: Sequence[Sequence[int]],
    seeds_B: Sequence[int],
    *,
    temperature: float,
    top_p: float,
    max_tokens: int,
    end_tokens: Sequence[int],
    pad_token: int,
) -> list[Decoded]:
    """Sample one completion per prompt, up to an end token or `max_tokens`.

    Prompts are padded on the left under a mask, and equal ones are read once. Each row has a random generator with its
    own seed, so its randomness does not depend on the other rows. Its logits depend on them in the last bits, as in any
    batched inference.
    `temperature` 0 is greedy.
    """
    device = model.device
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(map(tuple, prompts_B)))}
    distinct_B = torch.tensor([places[tuple(prompt)] for prompt in prompts_B], device=device)
    width = max(map(len, places))
    ids_UT = torch.tensor([[pad_token] * (width - len(p)) + list(p) for p in places], device=device)
    mask_BT = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in places], device=device)
    uniform_BN = torch.stack(
        [torch.rand(max_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds_B]
    ).to(device)
    ends = torch.tensor(sorted(end_tokens), device=device)
    cache = DynamicCache(config=model.config)
    rows_B = torch.arange(len(prompts_B), device=device)
    tokens: list[list[int]] = [[] for _ in prompts_B]
    ended = [False] * len(prompts_B)
    step_ids, positions = ids_UT, (mask_BT.cumsum(-1) - 1).clamp(min=0)
    for step in range(max_tokens):
        logits_BV = model(
            input_ids=step_ids,
            attention_mask=mask_BT,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        if step == 0:
            logits_BV, mask_BT, positions = logits_BV[distinct_B], mask_BT[distinct_B], positions[distinct_B]
            cache.batch_select_indices(distinct_B)
        next_B = pick(logits_BV, uniform_BN[rows_B, step], temperature=temperature, top_p=top_p)
        ends_B = torch.isin(next_B, ends)
        for row, token, end in zip(rows_B.tolist(), next_B.tolist(), ends_B.tolist(), strict=True):
            if end:
                ended[row] = True
            else:
                tokens[row].append(token)
        if bool(ends_B.all()):
            break
        # Finished rows leave the batch. When they leave depends on the inputs alone, so a rerun computes the same.
        keep = (~ends_B).nonzero().squeeze(-1)
        if len(keep) < len(rows_B):
            rows_B, next_B, mask_BT, positions = rows_B[keep], next_B[keep], mask_BT[keep], positions[keep]
            cache.batch_select_indices(keep)
        step_ids = next_B[:, None]
        positions = positions[:, -1:] + 1
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(mask_BT), 1)], dim=-1)
    return [Decoded(row, end) for row, end in zip(tokens, ended, strict=True)]


def pick(logits_BV: torch.Tensor, uniform_B: torch.Tensor, *, temperature: float, top_p: float) -> torch.Tensor:
    """The token of each row at the point `uniform` (in [0, 1)) of the row's cumulative distribution.

    The nucleus is the smallest set of most likely tokens that holds `top_p` of the mass. The sums are in float64, so
    that rounding never selects a token without mass.
    """
    if temperature == 0:
        return logits_BV.argmax(dim=-1)
    probabilities, order = (logits_BV.double() / temperature).softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    cumulative = probabilities.cumsum(dim=-1)
    outside = cumulative - probabilities >= top_p
    cumulative = probabilities.masked_fill(outside, 0).cumsum(dim=-1)
    point = uniform_B[:, None] * cumulative[:, -1:]
    choice = (cumulative <= point).sum(dim=-1, keepdim=True).clamp(max=(~outside).sum(dim=-1, keepdim=True) - 1)
    return order.gather(-1, choice).squeeze(-1)
