"""A causal language model in memory that samples the completions of a batch, in a job or in an actor of a cluster."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from eva_data.calls import Sampling
from eva_data.errors import ModelError
from eva_data.models.decode import Decoded, sample_batch

# Nothing here may import Distilabel, which would take an actor longer than the model itself.


class TokenBatch(NamedTuple):
    """Tokenised prompts, and the seed of the completion of each."""

    prompts: list[list[int]]
    seeds: list[int]


class Sampler:
    """A model in memory that samples one completion for each prompt of a batch."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: Sampling, path: str
    ) -> None:
        """Raise ModelError if the model names no end token."""
        self._model, self.tokenizer, self._sampling = model, tokenizer, sampling
        # A model that sees images too has a part of its config for text. Some models have no bound.
        positions = model.config.get_text_config().to_dict().get("max_position_embeddings") or sys.maxsize
        configured = model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        self._ends = sorted({token for token in [*ends, tokenizer.eos_token_id] if token is not None})
        if not self._ends:
            raise ModelError(f"the model {path} names no end token: set eos_token_id in its generation config")
        self.facts: dict[str, Any] = {"positions": positions, "ends": self._ends}

    @classmethod
    def loaded(cls, path: str, sampling: Sampling, *, dtype: str, device: str, trust_remote_code: bool) -> Sampler:
        """The sampler of a local folder. Raise the errors of `load_model`."""
        model, tokenizer = load_model(path, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
        return cls(model, tokenizer, sampling, path)

    def __call__(self, batch: TokenBatch) -> list[Decoded]:
        return sample_batch(
            self._model,
            batch.prompts,
            batch.seeds,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            max_tokens=self._sampling.max_tokens,
            end_tokens=self._ends,
            pad_token=self.tokenizer.pad_token_id or 0,
        )


def load_model(
    path: str, *, dtype: str, device: str, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer of a local folder, ready to generate. Raise ModelError if they cannot be loaded."""
    tokenizer = load_tokenizer(path, trust_remote_code=trust_remote_code)
    precision = "auto" if dtype == "auto" else getattr(torch, dtype)
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=precision, trust_remote_code=trust_remote_code)
    return model.to(device).eval(), tokenizer


def load_tokenizer(path: str, *, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """The tokenizer of a local folder. Raise ModelError if it has no chat template."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    if tokenizer.chat_template is None:
        raise ModelError(
            f"the model {path} has no chat template, so its prompts cannot be rendered: "
            "use an instruction-tuned model, or put a chat_template.jinja beside its tokenizer"
        )
    return tokenizer
