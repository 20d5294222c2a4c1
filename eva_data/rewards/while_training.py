"""Rewards during training: scores responses in this process by a reward job, whose model is loaded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from eva_data.calls import Message
from eva_data.config import REWARD_BACKENDS
from eva_data.errors import ConfigError
from eva_data.jobs.job import Job
from eva_data.ledger import Score
from eva_data.rewards import backend_called, backend_of, score_rows
from eva_data.rewards.backends import classifier
from eva_data.rewards.local.conversation import items, write
from eva_data.rewards.local.loading import load_tokenizer, local_model, longest_input, read_config
from eva_data.rewards.local.scoring import Loaded, scores


def refuse_others(backend: str) -> None:
    """Raise ConfigError if a reward cannot score while a model trains."""
    if not backend_called(backend).WHILE_TRAINING:
        usable = ", ".join(name for name in REWARD_BACKENDS if backend_called(name).WHILE_TRAINING)
        raise ConfigError(
            f"`reward` has `backend: {backend}`, which cannot score while a model trains: use one of {usable}"
        )


class LiveReward:
    """A function that gives one Score for each prompt and response."""

    def __init__(self, job: Job) -> None:
        refuse_others(backend_of(job))
        self._job = job
        job.folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, prompts: Sequence[Sequence[Message]], responses: Sequence[str]) -> list[Score]:
        rows = [
            {"prompt": list(prompt), "response_idx": [0], "responses": [response]}
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        found = self._classified(rows) if backend_of(self._job) == "classifier" else score_rows(self._job, rows)
        return [score for (score,) in found]

    @cached_property
    def _loaded(self) -> tuple[Any, Mapping[str, Any], Loaded]:
        model = local_model(self._job)
        config = read_config(model.path)
        tokenizer = load_tokenizer(model.path, trust_remote_code=model.block.trust_remote_code)
        return tokenizer, config, classifier.load(model, config, tokenizer)

    def _classified(self, rows: Sequence[dict[str, Any]]) -> list[list[Score]]:
        """The same as `classifier.score_rows`, which would load the model each time."""
        tokenizer, config, loaded = self._loaded
        longest = longest_input(local_model(self._job).block.max_tokens, config)

        def text_of(conversation: Sequence[Message]) -> str:
            return write(tokenizer, conversation)

        return [
            *scores(
                self._job,
                rows,
                classifier.conversations(self._job.scorer),
                lambda wanted: items(tokenizer, wanted, text_of, longest),
                lambda: loaded,
            )
        ]
