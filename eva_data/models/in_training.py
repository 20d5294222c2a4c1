"""Asks the model that is being trained. In an online run, this model rewrites the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eva_data.calls import Completion, Request, Sampling
from eva_data.models.local import TransformersLLM

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Policy(TransformersLLM):
    """Asks a model that is in memory already, on its own device and in its own dtype. It loads no model.

    No answer is kept in a ledger, since the same question gets another answer after the next step. Each sample has a
    generator of its own, seeded by the request and its salt, so that a resumed run gets the same answers.
    """

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: Sampling,
        *,
        fingerprint: str,
        seed: int,
        batch_size: int,
        system: str,
    ) -> Policy:
        """A policy that samples by `sampling`, `batch_size` completions at once."""
        policy = cls(
            fingerprint=fingerprint,
            engine={},
            sampling=vars(sampling),
            max_prompt_tokens=None,
            system=system,
            seed=seed,
            ledger="",
            progress="",
            path="",
            device="",
            dtype="",
            batch_size=batch_size,
            threads=None,
            trust_remote_code=False,
        )
        policy.take(model, tokenizer)
        return policy

    def _complete(self, wave: Sequence[Request], done: int, expected: int) -> list[Completion]:
        prompts = [self.tokenise(request) for request in wave]
        keys = [self.key(request) for request in wave]
        answers = {place: prompt for place, prompt in enumerate(prompts) if isinstance(prompt, Completion)}
        fitting = sorted(set(range(len(wave))) - answers.keys(), key=lambda place: (len(prompts[place]), keys[place]))
        batches = [fitting[start : start + self.batch_size] for start in range(0, len(fitting), self.batch_size)]
        for batch, _, samples in self._computing.map((each, self.batch(prompts, keys, each)) for each in batches):
            computed = self.completions_of(samples, prompts, keys, batch)
            answers |= {place: computed[keys[place]] for place in batch}
        return [answers[place] for place in range(len(wave))]
