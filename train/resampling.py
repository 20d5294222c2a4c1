"""Dynamic sampling for GRPO (DAPO, Yu et al. 2025, arXiv 2503.14476): groups of equal rewards are replaced.

The advantages of a group are 0 if all its rewards are equal, so that it takes part in no update. It is replaced by
another prompt of the curriculum, whose responses come from the present model: nothing is kept from an earlier step.
After `max_resample` rounds, the step is trained on fewer groups. The batch keeps its shape, so that every process does
the same number of passes: rows of equal rewards fill it, without a token that counts, and the loss is a mean over the
other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from typing import Any

import torch
from torch.nn.functional import pad

from eva_data.training.curriculum import Answer, differ

Tensors = dict[str, Any]

SCALE = "resample_scale"
"""The key of the number by which the loss of a batch is multiplied."""
ROW_MEANS = ("grpo", "dr_grpo", "sapo", "luspo")
"""Losses that are means over the rows of a batch. The other losses are means over the tokens that count."""
REFUSED = {"loss_type": ("bnpo",), "scale_rewards": ("batch",)}
"""Argument of TRL -> values with which groups cannot be replaced: they relate a group to the others of its round."""


def resampled(trainer: Any, rows: list[Any], generate: Callable[[list[Any]], Tensors]) -> Tensors:
    """The scored batch of this process, after groups of equal rewards were replaced.

    `rows` are the rows of this process, and `generate` answers and scores rows. All processes take the same decisions,
    since they see the answers of all.
    """
    play, size = trainer.play, trainer.num_generations
    output = generate(rows)
    groups = _groups(play.round(), size)
    wanted, at_most = len(groups), play.own.max_resample
    found = [differ(group) for group in groups]
    play.trained = [group[0].prompt_id for group, good in zip(groups, found, strict=True) if good or not at_most]
    if not at_most or all(found):
        return output | {SCALE: torch.ones((), device=trainer.accelerator.device)}
    whole = [_of_all(trainer, output)]
    processes = trainer.accelerator.num_processes
    while sum(found) < wanted and play.rounds < at_most:
        # Each process answers the same number of rows.
        more = play.more(wanted - sum(found), multiple=processes // gcd(size, processes))
        if not more:
            break
        repeated = [row for row in more for _ in range(size)]
        each = len(repeated) // processes
        first = trainer.accelerator.process_index * each
        whole.append(_of_all(trainer, generate(repeated[first : first + each])))
        fresh = _groups(play.round(), size)
        found += [differ(group) for group in fresh]
        groups += fresh
    kept = [number for number, good in enumerate(found) if good][:wanted]
    play.trained = [groups[number][0].prompt_id for number in kept]
    filler = [number for number, good in enumerate(found) if not good][: wanted - len(kept)]
    return _selected(trainer, _joined(whole), kept, filler, len(rows))


def scaled(trainer: Any, loss: torch.Tensor, inputs: Tensors) -> torch.Tensor:
    """The loss as a mean over the rows that count."""
    return loss * inputs[SCALE] if trainer.loss_type in ROW_MEANS else loss


def _groups(answers: Sequence[Answer], size: int) -> list[Sequence[Answer]]:
    return [answers[start : start + size] for start in range(0, len(answers), size)]


def _of_all(trainer: Any, output: Tensors) -> Tensors:
    """The rows of all processes, in order."""
    accelerator, padding = trainer.accelerator, trainer.processing_class.pad_token_id
    found = {}
    for name, tensor in output.items():
        if tensor.ndim == 0:
            continue
        if tensor.ndim > 1:
            tensor = accelerator.pad_across_processes(
                tensor, dim=1, pad_index=_empty(name, padding), pad_first=name.startswith("prompt")
            )
        found[name] = accelerator.gather(tensor)
    found["padding"] = padding
    return found


def _joined(rounds: Sequence[Tensors]) -> Tensors:
    """The rows of all rounds, padded to the same widths."""
    padding = rounds[0]["padding"]
    joined: Tensors = {}
    for name in rounds[0].keys() - {"padding"}:
        tensors = [each[name] for each in rounds]
        if tensors[0].ndim > 1:
            width = max(tensor.shape[1] for tensor in tensors)
            sides = [(width - tensor.shape[1], 0) for tensor in tensors]
            sides = sides if name.startswith("prompt") else [side[::-1] for side in sides]
            value = _empty(name, padding)
            tensors = [pad(tensor, side, value=value) for tensor, side in zip(tensors, sides, strict=True)]
        joined[name] = torch.cat(tensors)
    return joined


def _empty(name: str, padding: int) -> int:
    return padding if name.endswith("_ids") else 0


def _selected(trainer: Any, rows: Tensors, kept: Sequence[int], filler: Sequence[int], size: int) -> Tensors:
    """The share of this process in the kept groups and the filler, of which no token counts."""
    each, device = trainer.num_generations, trainer.accelerator.device
    places = [group * each + place for group in (*kept, *filler) for place in range(each)]
    batch = {name: tensor[torch.tensor(places, device=device)] for name, tensor in rows.items()}
    counting = len(kept) * each
    batch["completion_mask"][counting:] = 0
    batch["advantages"][counting:] = 0
    tokens = batch["completion_mask"].sum()
    first = trainer.accelerator.process_index * size
    mine = {name: tensor[first : first + size] for name, tensor in batch.items()}
    scale = (len(kept) + len(filler)) / max(len(kept), 1)
    return mine | {"num_items_in_batch": tokens, SCALE: torch.tensor(scale, device=device)}
