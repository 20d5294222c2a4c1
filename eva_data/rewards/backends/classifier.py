"""Rewards by a sequence-classification model: its only logit for prompt and response, or its own `score`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from eva_data.calls import Message, Row, Rows
from eva_data.errors import ModelError
from eva_data.jobs.job import Job
from eva_data.ledger import Score, call_key
from eva_data.rewards.keyed import TextsOf
from eva_data.rewards.local.batches import Item, padded
from eva_data.rewards.local.conversation import items, write
from eva_data.rewards.local.loading import (
    LocalModel,
    dtype_of,
    load_model,
    load_tokenizer,
    local_model,
    longest_input,
    read_config,
    refuse_other_models,
)
from eva_data.rewards.local.scoring import Loaded, scores
from eva_data.rewards.scorers import model_here

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


WHILE_TRAINING = True

scorer_of = model_here


def score_rows(job: Job, rows: Rows) -> Iterator[list[Score]]:
    """One Score per response. Reasons without a reward: not_finite, too_long, not_unicode, chat_template_refuses."""
    model = local_model(job)
    config = read_config(model.path)
    tokenizer = load_tokenizer(model.path, trust_remote_code=model.block.trust_remote_code)
    longest = longest_input(model.block.max_tokens, config)

    def text_of(conversation: Sequence[Message]) -> str:
        return write(tokenizer, conversation)

    yield from scores(
        job,
        rows,
        conversations(job.scorer),
        lambda wanted: items(tokenizer, wanted, text_of, longest),
        lambda: load(model, config, tokenizer),
        elsewhere=load_elsewhere,
    )


def conversations(fingerprint: str) -> TextsOf[list[Message]]:
    """What gives a row's responses: each with the ledger's key of its reward, and the prompt before it."""

    def texts_of(row: Row) -> list[tuple[bytes, list[Message]]]:
        return [
            (
                reward_key(fingerprint, row["prompt"], response),
                [*row["prompt"], {"role": "assistant", "content": response}],
            )
            for response in row["responses"]
        ]

    return texts_of


def reward_key(fingerprint: str, prompt: Sequence[Message], response: str) -> bytes:
    """The ledger's key of a reward."""
    turns = [[message["role"], message["content"]] for message in prompt]
    return call_key({"reward_model": fingerprint, "prompt": turns, "response": response})


def load_elsewhere(local: LocalModel) -> Loaded:
    """Load the model in a process that has read nothing of it yet. Raise the errors of `load`."""
    tokenizer = load_tokenizer(local.path, trust_remote_code=local.block.trust_remote_code)
    return load(local, read_config(local.path), tokenizer)


def load(local: LocalModel, config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> Loaded:
    """Load the model. Raise ModelError if it is not a reward model or needs code that is not allowed."""
    from transformers import AutoModelForSequenceClassification

    from eva_data.rewards.local import armorm

    path, trusted = local.path, local.block.trust_remote_code
    if armorm.ARCHITECTURE in (config.get("architectures") or []):
        return armorm.load(local, tokenizer)
    refuse_other_models(
        path,
        config,
        endings=("ForSequenceClassification",),
        wanted="a model with a reward head, a `...ForSequenceClassification`",
        trust_remote_code=trusted,
    )
    model = load_model(AutoModelForSequenceClassification, local, trust_remote_code=trusted)
    return Loaded(Classify(model, path), dtype_of(model))


class Classify:
    """The reward of every conversation of a batch, in one forward pass."""

    def __init__(self, model: PreTrainedModel, name: str) -> None:
        self._model = model
        self._name = name
        self._config = model.config.get_text_config()
        pad = self._config.pad_token_id
        self._pad = pad if pad is not None and 0 <= pad < self._config.vocab_size else None

    def __call__(self, batch: Sequence[Item]) -> list[float]:
        import torch

        # Such a model looks for the last token whose id is not the padding id. If it has no padding token, it would
        # take the last place of the row. So the padding must be a token that the batch does not hold.
        self._config.pad_token_id = self._pad if self._pad is not None else _token_not_in(batch)
        ids, mask = padded(batch, self._config.pad_token_id, self._model.device)
        with torch.inference_mode():
            output = self._model(input_ids=ids, attention_mask=mask)
        return self._rewards(output, len(batch)).float().tolist()

    def _rewards(self, output: Mapping[str, torch.Tensor], rows: int) -> torch.Tensor:
        name = "score" if "score" in output else "logits"
        if name not in output:
            raise ModelError(f"the reward model {self._name} returns neither `logits` nor a `score`")
        values = output[name]
        if values.shape not in ((rows,), (rows, 1)):
            raise ModelError(
                f"the reward model {self._name} gives `{name}` of shape {tuple(values.shape)} for {rows} texts: a "
                "reward is one number per text, so use a model with one label, or one with a `score` of its own"
            )
        return values.reshape(rows)


def _token_not_in(batch: Sequence[Item]) -> int:
    held = set[int]().union(*(item.tokens for item in batch))
    return next(token for token in count() if token not in held)
