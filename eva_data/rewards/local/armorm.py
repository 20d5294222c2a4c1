"""ArmoRM (Wang et al. 2024, arXiv 2406.12845): one score from several objectives, which the prompt weights.

The code in RLHFlow/ArmoRM-Llama3-8B-v0.1 does not import under transformers 5 (it needs `LLAMA_INPUTS_DOCSTRING`). So
its published weights are loaded into a model of our own, whose weights have the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel, PreTrainedTokenizerBase

from eva_data.errors import ModelError
from eva_data.rewards.local.batches import Item, padded
from eva_data.rewards.local.loading import LocalModel, dtype_of, load_model
from eva_data.rewards.local.scoring import Loaded

ARCHITECTURE = "LlamaForRewardModelWithGating"
TURN = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
"""The start of the answer's turn. The gating reads the prompt up to here."""


class Gating(nn.Module):
    """The weight of each objective, from the hidden state at the prompt's end. The weights sum to `logit_scale`."""

    def __init__(self, inputs: int, outputs: int, *, temperature: float, hidden: int, layers: int) -> None:
        super().__init__()
        self.temperature = temperature
        self.logit_scale = nn.Parameter(torch.ones(1))
        widths = [inputs, *[hidden] * layers, outputs]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, prompts: torch.Tensor) -> torch.Tensor:
        *inner, last = self.layers
        for layer in inner:
            prompts = layer(prompts).relu()
        weights: torch.Tensor = last(prompts).div(self.temperature).softmax(-1)
        return weights * self.logit_scale


class ArmoRM(LlamaPreTrainedModel):
    """Scores of conversations, of shape (rows,), from the ends of the prompts and the ends of the texts."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        given = config.to_dict()
        objectives = given.get("num_objectives", 19)
        self.model = LlamaModel(config)
        self.regression_layer = nn.Linear(config.hidden_size, objectives, bias=False)
        self.reward_transform_matrix = nn.Parameter(torch.zeros(objectives, objectives), requires_grad=False)
        self.gating = Gating(
            config.hidden_size,
            objectives,
            temperature=given.get("gating_temperature", 10),
            hidden=given.get("gating_hidden_dim", 1024),
            layers=given.get("gating_n_hidden", 3),
        )
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, prompt_ends: torch.Tensor) -> torch.Tensor:
        states = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        rows = torch.arange(len(input_ids), device=states.device)
        rewards = self.regression_layer(states[rows, attention_mask.sum(1) - 1]) @ self.reward_transform_matrix
        scores: torch.Tensor = (self.gating(states[rows, prompt_ends]) * rewards).sum(1)
        return scores


class ArmoScores:
    """The score of every conversation of a batch, in one forward pass; NaN if it has no assistant's turn."""

    def __init__(self, model: ArmoRM, turn: Sequence[int]) -> None:
        self._model = model
        self._turn = torch.tensor(turn, dtype=torch.int32)

    def __call__(self, batch: Sequence[Item]) -> list[float]:
        ends = [self._prompt_end(item) for item in batch]
        ids, mask = padded(batch, 0, self._model.device)
        with torch.inference_mode():
            places = torch.tensor([end or 0 for end in ends], device=self._model.device)
            values = self._model(ids, mask, places).float().tolist()
        return [float("nan") if end is None else value for end, value in zip(ends, values, strict=True)]

    def _prompt_end(self, item: Item) -> int | None:
        tokens = torch.frombuffer(item.tokens, dtype=torch.int32)
        if len(tokens) < len(self._turn):
            return None
        found = (tokens.unfold(0, len(self._turn), 1) == self._turn).all(1).nonzero()
        return int(found[-1]) if len(found) else None


def load(local: LocalModel, tokenizer: PreTrainedTokenizerBase) -> Loaded:
    """Load ArmoRM from a folder with its published layout."""
    turn = tokenizer.encode(TURN, add_special_tokens=False)
    if len(turn) < 2:
        raise ModelError(f"the tokenizer of {local.path} does not know Llama 3's turns: it is no ArmoRM")
    model = load_model(ArmoRM, local)
    assert isinstance(model, ArmoRM)
    return Loaded(ArmoScores(model, turn), dtype_of(model))
