"""Compares two responses by a language model that answers which is better, A or B.

The question has the form on which RLHFlow's pair-preference models were trained (Dong et al. 2024, arXiv 2405.07863;
the form is on the card of RLHFlow/pair-preference-model-LLaMA3-8B): one user turn, no token at the beginning of the
text, and the start of the answer's turn. The templates of these models always add that start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from eva_data.calls import Message, merge_system
from eva_data.errors import ModelError
from eva_data.rewards.local.batches import Item, padded
from eva_data.rewards.local.comparisons import Comparison, Read
from eva_data.rewards.local.conversation import items, write
from eva_data.rewards.local.loading import (
    LocalModel,
    dtype_of,
    load_model,
    load_tokenizer,
    longest_input,
    read_config,
    refuse_other_models,
)
from eva_data.rewards.local.scoring import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def question(comparison: Comparison) -> str:
    """The text of the user turn."""
    return (
        f"[CONTEXT] {_context(comparison.prompt)} [RESPONSE A] {comparison.first} [RESPONSE B] {comparison.second} \n"
    )


def _context(prompt: Sequence[Message]) -> str:
    if prompt[0]["role"] == "system":
        # The import of its module is slow, because it imports Distilabel.
        prompt = merge_system(prompt)
    return "\n" + "".join(f"\n<turn> {message['role']}\n {message['content']}" for message in prompt) + "\n"


def reader(local: LocalModel) -> tuple[Read, Callable[[], Loaded]]:
    """The function that writes comparisons for the model, and the function that loads the model."""
    path, trusted = local.path, local.block.trust_remote_code
    config = read_config(path)
    tokenizer = load_tokenizer(path, trust_remote_code=trusted)

    def text_of(comparison: Comparison) -> str:
        text = write(tokenizer, [{"role": "user", "content": question(comparison)}], ask=True)
        return text.replace(str(tokenizer.bos_token), "") if tokenizer.bos_token else text

    def load() -> Loaded:
        from transformers import AutoModelForCausalLM

        refuse_other_models(
            path,
            config,
            endings=("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"),
            wanted="a language model, a `...ForCausalLM`, with `kind: causal`",
            trust_remote_code=trusted,
        )
        answers = [_only_token(tokenizer, answer, path) for answer in "AB"]
        model = load_model(AutoModelForCausalLM, local, trust_remote_code=trusted)
        return Loaded(Prefer(model, *answers), dtype_of(model))

    return lambda wanted: items(tokenizer, wanted, text_of, longest_input(local.block.max_tokens, config)), load


def _only_token(tokenizer: PreTrainedTokenizerBase, answer: str, path: str) -> int:
    tokens = tokenizer.encode(answer, add_special_tokens=False)
    if len(tokens) != 1:
        raise ModelError(
            f"the tokenizer of the reward model {path} writes the answer `{answer}` as {len(tokens)} tokens: a model "
            "that compares by answering A or B needs one token for each"
        )
    return int(tokens[0])


class Prefer:
    """The probability of A among the answers A and B, for every question of a batch, in one forward pass."""

    def __init__(self, model: PreTrainedModel, a: int, b: int) -> None:
        self._model = model
        self._a = a
        self._b = b

    def __call__(self, batch: Sequence[Item]) -> list[float]:
        import torch

        ids, mask = padded(batch, 0, self._model.device)
        # Logits of all positions would take rows x tokens x vocabulary numbers. The texts of a batch have similar
        # lengths, so there are only a few different last positions.
        places, place = (mask.sum(1) - 1).unique(return_inverse=True)
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask, logits_to_keep=places).logits
        answers = logits[torch.arange(len(batch), device=logits.device), place].float()
        return (answers[:, self._a] - answers[:, self._b]).sigmoid().tolist()  # type: ignore[no-any-return]
