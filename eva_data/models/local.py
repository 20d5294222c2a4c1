"""Runs a transformers model in this process: chains run in waves, and batches are cut by length."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError
from pydantic import PrivateAttr

from eva_data.calls import Chain, Completion, Request, Sampling, T, merge_system
from eva_data.errors import ModelError
from eva_data.ledger import Bill, derived_seed
from eva_data.models.base import LedgerLLM, refused
from eva_data.models.rendering import render

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from eva_data.models.decode import Decoded


class TransformersLLM(LedgerLLM):
    """A causal language model that transformers runs on one device.

    A *wave* is the set of all requests that the running chains wait for. It is sorted by prompt length and cut into
    batches before the ledger is asked. A batch with any missing answer is computed whole. So the content of a batch
    depends on the inputs alone, and a killed run that is repeated computes exactly the same logits.
    """

    path: str
    """Local model folder."""
    device: str
    dtype: str
    batch_size: int
    threads: int | None
    trust_remote_code: bool

    _model: PreTrainedModel = PrivateAttr()
    _tokenizer: PreTrainedTokenizerBase = PrivateAttr()
    _end_tokens: list[int] = PrivateAttr()
    _longest: int = PrivateAttr()

    def load(self) -> None:
        import torch

        super().load()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        self.take(
            *load_model(self.path, dtype=self.dtype, device=self.device, trust_remote_code=self.trust_remote_code)
        )

    def take(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Use a model that is in memory already."""
        self._model, self._tokenizer = model, tokenizer
        # A model that sees images too has a part of its config for text. Some models have no bound.
        positions = self._model.config.get_text_config().to_dict().get("max_position_embeddings") or sys.maxsize
        context = positions - Sampling(**self.sampling).max_tokens
        self._longest = context if self.max_prompt_tokens is None else self.max_prompt_tokens
        configured = self._model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        self._end_tokens = sorted({token for token in [*ends, self._tokenizer.eos_token_id] if token is not None})
        if not self._end_tokens:
            raise ModelError(f"the model {self.path} names no end token: set eos_token_id in its generation config")

    def drive(self, chains: Sequence[Chain[T]], expected: int) -> list[T]:
        results: dict[int, T] = {}
        answers: dict[int, list[Completion] | None] = dict.fromkeys(range(len(chains)))
        done = 0
        while answers:
            waiting: dict[int, list[Request]] = {}
            for number, answer in answers.items():
                try:
                    # A generator is started by sending None.
                    waiting[number] = chains[number].send(answer)  # type: ignore[arg-type]
                except StopIteration as finished:
                    results[number] = finished.value
            wave = [request for requests in waiting.values() for request in requests]
            completions = iter(self._complete(wave, done, expected))
            done += len(wave)
            answers = {number: [next(completions) for _ in requests] for number, requests in waiting.items()}
        return [results[number] for number in range(len(chains))]

    def _complete(self, wave: Sequence[Request], done: int, expected: int) -> list[Completion]:
        """One completion per request, in order."""
        # The n requests of one prompt share their messages, which are rendered and tokenised once.
        tokenised = {id(request.messages): request for request in wave}
        by_messages = {place: self.tokenise(request) for place, request in tokenised.items()}
        prompts = [by_messages[id(request.messages)] for request in wave]
        keys = [self.key(request) for request in wave]
        answers: dict[int, Completion] = {}
        for place, prompt in enumerate(prompts):
            if isinstance(prompt, Completion):
                answers[place] = prompt
        # Equal prompts are neighbours, since a batch reads each prompt once.
        fitting = sorted(
            set(range(len(wave))) - answers.keys(), key=lambda place: (len(prompts[place]), prompts[place], keys[place])
        )
        for start in range(0, len(fitting), self.batch_size):
            batch = fitting[start : start + self.batch_size]
            kept = self._ledger.completions([keys[place] for place in batch])
            if any(keys[place] not in kept for place in batch):
                started = time.monotonic()
                computed = self._compute([prompts[place] for place in batch], [keys[place] for place in batch])
                missing = {key: completion for key, completion in computed.items() if key not in kept}
                self._ledger.keep_completions(missing, [self._bill(missing, time.monotonic() - started)])
                kept |= missing
            answers |= {place: kept[keys[place]] for place in batch}
            self.report(done + len(answers), expected)
        return [answers[place] for place in range(len(wave))]

    def _bill(self, computed: Mapping[bytes, Completion], seconds: float) -> Bill:
        return Bill(
            model=self.fingerprint,
            stage=self.stage,
            iteration=self.iteration,
            completions=len(computed),
            prompt_tokens=sum(completion.prompt_tokens or 0 for completion in computed.values()),
            completion_tokens=sum(completion.completion_tokens or 0 for completion in computed.values()),
            seconds=seconds,
            cost=0.0,
        )

    def _compute(self, prompts: Sequence[list[int]], keys: Sequence[bytes]) -> dict[bytes, Completion]:
        samples = self._sample(prompts, [derived_seed(key) for key in keys])
        decoded = self._tokenizer.batch_decode(
            [sample.tokens for sample in samples], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return {
            key: Completion(
                text=text,
                finish_reason="stop" if sample.ended else "length",
                prompt_tokens=len(prompt),
                completion_tokens=len(sample.tokens),
            )
            for key, prompt, sample, text in zip(keys, prompts, samples, decoded, strict=True)
        }

    def _sample(self, prompts: Sequence[list[int]], seeds: Sequence[int]) -> list[Decoded]:
        from eva_data.models.decode import sample_batch

        sampling = Sampling(**self.sampling)
        return sample_batch(
            self._model,
            prompts,
            seeds,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            end_tokens=self._end_tokens,
            pad_token=self._tokenizer.pad_token_id or 0,
        )

    def tokenise(self, request: Request) -> Any:
        """The tokens of a request, or a failed Completion if the request cannot be made."""
        messages = list(request.messages)
        try:
            text = render(self._tokenizer, messages)
        except TemplateError as error:
            if messages[0]["role"] != "system" or self.system == "keep":
                return refused(f"chat_template_refuses: {error}")
            if self.system == "reject":
                return refused("system_role_unsupported")
            text = render(self._tokenizer, merge_system(messages))
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(tokens) > self._longest:
            return refused("prompt_too_long", len(tokens))
        return tokens


def load_model(
    path: str, *, dtype: str, device: str, trust_remote_code: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer of a local folder, ready to generate. Raise ModelError if they cannot be loaded."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    if tokenizer.chat_template is None:
        raise ModelError(
            f"the model {path} has no chat template, so its prompts cannot be rendered: "
            "use an instruction-tuned model, or put a chat_template.jinja beside its tokenizer"
        )
    precision = "auto" if dtype == "auto" else getattr(torch, dtype)
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=precision, trust_remote_code=trust_remote_code)
    return model.to(device).eval(), tokenizer
