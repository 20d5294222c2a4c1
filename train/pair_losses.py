"""Losses on pairs that TRL lacks, as further values of `loss_type` beside those of its DPOTrainer.

`preference.py` runs by its path, so this file lies beside it and is imported by its bare name. With h = log pi(y|x) -
log pi_ref(y|x), a loss is the mean over the pairs of a batch, times its weight in `loss_weights`:

sppo        (h_w - (P_w - 1/2) / beta)^2 + (h_l - (P_l - 1/2) / beta)^2 for the chosen y_w and the rejected y_l (arXiv
            2405.00675, equation 4.7, eta = 1 / beta). P is a response's probability of winning.
nll         -log pi(y_w|x) / |y_w|, the likelihood normalised by length (arXiv 2404.19733, equation 1).
nll_again   -log pi(y_w|x) / |y_w|^2: the mean over tokens, divided once more by the number of tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import DPOTrainer

from eva_data.errors import ConfigError, DataError

OWN_LOSSES = ("sppo", "nll", "nll_again")
PROBABILITIES = ("win_chosen", "win_rejected")
"""Columns of P for `sppo`. Without them, P is 1 for the chosen and 0 for the rejected response."""


class PairTrainer(DPOTrainer):
    """TRL's DPOTrainer with OWN_LOSSES. Everything that TRL computes and logs stays as it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        weighted = list(zip(self.loss_types, self.loss_weights, strict=True))
        self.own_losses = [(name, weight) for name, weight in weighted if name in OWN_LOSSES]
        self.loss_types = [name for name, _ in weighted if name not in OWN_LOSSES]
        self.loss_weights = [weight for name, weight in weighted if name not in OWN_LOSSES]
        if not self.own_losses:
            return
        names = ", ".join(name for name, _ in self.own_losses)
        if self.use_weighting or self.ld_alpha is not None:
            raise ConfigError(f"`loss_type` {names} knows neither `use_weighting` nor `ld_alpha`: leave both out")
        if not self.precompute_ref_logps:
            raise ConfigError(f"`loss_type` {names} needs `precompute_ref_log_probs: true`: set it in the recipe")
        self.data_collator = _collator_with(self.data_collator, PROBABILITIES)

    def _set_signature_columns_if_needed(self) -> None:
        trl: Any = super()
        trl._set_signature_columns_if_needed()
        known: Any = self._signature_columns
        self._signature_columns: Any = [*dict.fromkeys([*known, *PROBABILITIES])]

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        trl: Any = super()
        if not self.own_losses:
            return trl._compute_loss(model, inputs, return_outputs)
        wins = [inputs.pop(name, None) for name in PROBABILITIES]
        passes: list[Any] = []
        # The log-probabilities of TRL's own forward pass, so that there is no second pass.
        hook = model.register_forward_hook(lambda module, args, output: passes.append(output))
        try:
            found = trl._compute_loss(model, inputs, return_outputs)
        finally:
            hook.remove()
        lengths = inputs["completion_mask"][:, 1:].sum(dim=1)
        log_probs = passes[0].log_probs[:, -(inputs["completion_mask"].size(1) - 1) :].sum(dim=1)
        loss, *rest = found if return_outputs else (found,)
        for name, weight in self.own_losses:
            loss = loss + weight * self._own(name, log_probs, lengths, inputs, wins).mean()
        return (loss, *rest) if return_outputs else loss

    def _own(
        self, name: str, log_probs: Tensor, lengths: Tensor, inputs: dict[str, Any], wins: list[Tensor | None]
    ) -> Tensor:
        """The loss of each pair. `log_probs` and `lengths` are of the chosen responses, then of the rejected."""
        if name != "sppo":
            chosen, length = log_probs.chunk(2)[0], lengths.chunk(2)[0]
            return -chosen / length ** (2 if name == "nll_again" else 1)
        reference = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
        one = torch.ones_like(inputs["ref_chosen_logps"])
        win = torch.cat([one if wins[0] is None else wins[0], 0 * one if wins[1] is None else wins[1]])
        distance = log_probs - reference - (win - 0.5) / self.beta
        assert self.model is not None
        mode = "train" if self.model.training else "eval"
        away = self.accelerator.gather_for_metrics(distance.detach().abs())
        self._metrics[mode]["sppo/distance_to_target"].append(away.mean().item())
        return (distance**2).view(2, -1).sum(dim=0)


def _collator_with(collate: Any, columns: tuple[str, ...]) -> Any:
    """A collator that adds columns of numbers to a batch."""

    def collated(examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = collate(examples)
        there = [name for name in columns if name in examples[0]]
        return batch | {name: torch.tensor([example[name] for example in examples]) for name in there}

    return collated


def with_probabilities(dataset: Dataset, since: int) -> tuple[Dataset, dict[str, int]]:
    """The pairs with the columns PROBABILITIES, and how many pairs have a hard target.

    From iteration `since` on, `score_chosen` and `score_rejected` are probabilities of winning, by a pairwise reward:
    the mean over the other responses to the prompt, the response itself not among them. A hard target, 1 for the chosen
    and 0 for the rejected response, stands where there is no such score, and where people decided: they may have chosen
    the response with the lower score. Raise DataError if a score is no probability.
    """

    def of_batch(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        rows = zip(
            *(batch[name] for name in ("score_chosen", "score_rejected", "verdict_by", "iteration")), strict=True
        )
        wins = [
            (1.0, 0.0, True) if iteration < since or by == "human" else (chosen, rejected, False)
            for chosen, rejected, by, iteration in rows
        ]
        return dict(zip((*PROBABILITIES, "hard"), map(list, zip(*wins, strict=True)), strict=True))

    found = dataset.map(of_batch, batched=True, remove_columns=["score_chosen", "score_rejected", "verdict_by"])
    hard = found["hard"][:]
    for name in PROBABILITIES:
        wrong = [value for value in found[name][:] if value is None or not 0 <= value <= 1]
        if wrong:
            raise DataError(
                f"{len(wrong)} pairs have a score that is no probability, such as {wrong[0]}: leave "
                "`win_probabilities_since` out, so that the chosen response counts as the winner"
            )
    return found.remove_columns(["hard", "iteration"]), {"hard": sum(hard), "by_probability": len(hard) - sum(hard)}
