"""Runs a transformers model in this process: chains run in waves, and batches are cut by length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError
from pydantic import PrivateAttr

from eva_data.calls import Chain, Completion, Request, Sampling, T, merge_system
from eva_data.ledger import Bill, Claims, derived_seed
from eva_data.ledger.claims import each_once
from eva_data.models.base import LedgerLLM, refused
from eva_data.models.cluster.computing import Computing, Here, OnRay
from eva_data.models.rendering import render

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from eva_data.models.cluster.sampler import TokenBatch
    from eva_data.models.decode import Decoded


class TransformersLLM(LedgerLLM):
    """A causal language model that transformers runs on one device.

    A *wave* is the set of all requests that the running chains wait for. It is sorted by prompt length and cut into
    batches before the ledger is asked. A batch with any missing answer is computed whole. So the content of a batch
    depends on the inputs alone, and a killed run that is repeated computes exactly the same logits. What another
    process is computing is taken from the ledger when it is there; other batches are computed meanwhile.
    """

    path: str
    """Local model folder."""
    device: str
    dtype: str
    batch_size: int
    threads: int | None
    trust_remote_code: bool
    cluster: dict[str, Any] | None = None
    """Address and number of actors of the Ray cluster whose actors compute the batches; None if this process does."""

    _claims: Claims = PrivateAttr()
    _computing: Computing = PrivateAttr()
    _tokenizer: PreTrainedTokenizerBase = PrivateAttr()
    _longest: int = PrivateAttr()

    def load(self) -> None:
        import torch

        from eva_data.models.cluster.sampler import Sampler, load_tokenizer

        super().load()
        self._claims = Claims(self._ledger, self.fingerprint, self.stage, self.iteration)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        load = partial(
            Sampler.loaded,
            self.path,
            Sampling(**self.sampling),
            dtype=self.dtype,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
        )
        if self.cluster is None:
            sampler = load()
            self._use(Here(sampler), sampler.tokenizer)
        else:
            threads = torch.get_num_threads()
            self._use(
                OnRay(load, **self.cluster, device=self.device, threads=threads),
                load_tokenizer(self.path, trust_remote_code=self.trust_remote_code),
            )

    def unload(self) -> None:
        self._computing.close()
        self._claims.close()
        super().unload()

    def take(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Use a model that is in memory already."""
        from eva_data.models.cluster.sampler import Sampler

        self._use(Here(Sampler(model, tokenizer, Sampling(**self.sampling), self.path)), tokenizer)

    def _use(self, computing: Computing, tokenizer: PreTrainedTokenizerBase) -> None:
        self._computing, self._tokenizer = computing, tokenizer
        context = computing.facts["positions"] - Sampling(**self.sampling).max_tokens
        self._longest = context if self.max_prompt_tokens is None else self.max_prompt_tokens

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
        batches = [fitting[start : start + self.batch_size] for start in range(0, len(fitting), self.batch_size)]
        kept: dict[bytes, Completion] = {}

        def answered(batch: list[int]) -> None:
            answers.update({place: kept[keys[place]] for place in batch})
            self.report(done + len(answers), expected)

        def computed(
            open_ones: Iterator[tuple[list[int], set[bytes]]],
        ) -> Iterator[tuple[list[int], dict[bytes, Completion]]]:
            given = ((each, self.batch(prompts, keys, each[0])) for each in open_ones)
            for (batch, mine), seconds, samples in self._computing.map(given):
                found = self.completions_of(samples, prompts, keys, batch)
                fresh = {key: completion for key, completion in found.items() if key in mine}
                self._claims.keep(fresh, [self._bill(fresh, seconds)])
                yield batch, fresh

        each_once(batches, lambda batch: [keys[place] for place in batch], self._claims.take, computed, kept, answered)
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

    def batch(self, prompts: Sequence[list[int]], keys: Sequence[bytes], places: Sequence[int]) -> TokenBatch:
        """The batch of the requests at some places of a wave."""
        from eva_data.models.cluster.sampler import TokenBatch

        return TokenBatch([prompts[place] for place in places], [derived_seed(keys[place]) for place in places])

    def completions_of(
        self, samples: Sequence[Decoded], prompts: Sequence[list[int]], keys: Sequence[bytes], places: Sequence[int]
    ) -> dict[bytes, Completion]:
        """Key -> completion of a batch that is computed."""
        decoded = self._tokenizer.batch_decode(
            [sample.tokens for sample in samples], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return {
            keys[place]: Completion(
                text=text,
                finish_reason="stop" if sample.ended else "length",
                prompt_tokens=len(prompts[place]),
                completion_tokens=len(sample.tokens),
            )
            for place, sample, text in zip(places, samples, decoded, strict=True)
        }

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
