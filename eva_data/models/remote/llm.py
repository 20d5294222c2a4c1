"""A model behind a server or a provider: every request on its own, none held behind a batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PrivateAttr

from eva_data.calls import Chain, Completion, Message, Request, Sampling, T
from eva_data.errors import EndpointError, EvaError
from eva_data.ledger import Bill, Keeper
from eva_data.models.base import LedgerLLM, refused
from eva_data.models.keys import read_key
from eva_data.models.remote import canary
from eva_data.models.remote.asking import Asker, gather
from eva_data.models.remote.budget import Price, Purse
from eva_data.models.remote.endpoints import Pool
from eva_data.models.remote.retries import PAUSES, Patience, Rounds
from eva_data.models.remote.transport import Transport

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPORT_SECONDS = 1.0
CHARACTERS_PER_TOKEN = 4


class RemoteLLM(LedgerLLM):
    """A model that OpenAI-compatible servers (`urls`) or a provider known to litellm (no URL) answer for."""

    model: str
    """As the server, or litellm, calls it."""
    urls: list[str]
    key_env: str | None = None
    """Environment variable of the key; it is read in `load` and kept nowhere else."""
    key_name: str = ""
    """What error messages call that variable."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    tokenizer: str | None = None
    max_in_flight: int | Literal["auto"] = 64
    timeout_seconds: float = 600
    give_up_minutes: float = 10
    further_rounds: tuple[float, ...] = PAUSES
    """Seconds before each further round of what failed, once all else is done."""
    canary: bool = True
    price: Price | None = None
    budget: float | None = None

    _key: str | None = PrivateAttr(None)
    _counter: PreTrainedTokenizerBase | None = PrivateAttr(None)

    def load(self) -> None:
        super().load()
        self._key = read_key(self.key_env, self.model)
        if self.tokenizer is not None:
            from transformers import AutoTokenizer

            self._counter = AutoTokenizer.from_pretrained(self.tokenizer)

    def drive(self, chains: Sequence[Chain[T]], expected: int) -> list[T]:
        try:
            return asyncio.run(self._drive(chains, expected))
        except BaseExceptionGroup as group:
            raise _first(group) from None

    async def _drive(self, chains: Sequence[Chain[T]], expected: int) -> list[T]:
        asker = self._asker()
        drive = _Drive(self, asker, expected)
        try:
            if self.canary:
                await canary.check(self._ledger, self.fingerprint, asker.greedily)
            asker.patience.rounds.enter()
            # Twice as many chains as requests fit in flight, so that none of these ever waits for a chain.
            places = asyncio.Semaphore(2 * asker.patience.pool.most + 16)
            async with asyncio.TaskGroup() as group:
                tasks: list[asyncio.Task[T]] = []
                for chain in chains:
                    await places.acquire()
                    tasks.append(group.create_task(drive.follow(chain, _Place(places))))
                asker.patience.rounds.leave()
        finally:
            await asker.transport.close()
        self.report(expected, expected)
        self._refuse_a_stage_of_failures(asker)
        return [task.result() for task in tasks]

    def _asker(self) -> Asker:
        sampling = Sampling(**self.sampling)
        transport, one_at_a_time = self._connect(sampling)
        pool = Pool(self.urls or [self.model], self.max_in_flight, give_up_seconds=self.give_up_minutes * 60)
        return Asker(
            transport=transport,
            patience=Patience(pool, Rounds(self.further_rounds)),
            keeper=Keeper(self._ledger),
            purse=None if self.budget is None else Purse(self.budget, self._ledger.spent()[0]),
            price=self.price,
            max_tokens=sampling.max_tokens,
            system=self.system,
            bill=Bill(self.fingerprint, self.stage, self.iteration, 0, None, None, 0.0, None),
            one_at_a_time=one_at_a_time,
        )

    def _connect(self, sampling: Sampling) -> tuple[Transport, bool]:
        """The way to the model, and whether it is known to give one choice per request."""
        fields: dict[str, Any] = {
            "key": self._key,
            "key_name": self.key_name or self.key_env or "that `api_key_env` names (none is named)",
            "extra_body": self.extra_body,
            "timeout_seconds": self.timeout_seconds,
        }
        if self.urls:
            from eva_data.models.remote.openai_server import OpenAIServer

            return OpenAIServer(self.model, sampling, **fields), False
        from eva_data.models.remote.litellm_provider import Provider

        provider = Provider(self.model, sampling, **fields)
        return provider, not provider.answers_n

    def kept(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """What the ledger has of these calls."""
        return self._ledger.completions(keys)

    def too_long(self, messages: Sequence[Message]) -> Completion | None:
        """The failed completion of a prompt over `max_prompt_tokens`, counted or else estimated."""
        if self.max_prompt_tokens is None:
            return None
        characters = sum(len(message["content"]) for message in messages)
        if self._counter is None:
            estimate = characters // CHARACTERS_PER_TOKEN
            return refused("prompt_too_long", estimate) if estimate > self.max_prompt_tokens else None
        if characters <= self.max_prompt_tokens // 2:
            # No token is shorter than a character, but for the frame of a turn.
            return None
        text = "".join(message["content"] for message in messages)
        tokens = len(self._counter(text, add_special_tokens=False)["input_ids"])
        return refused("prompt_too_long", tokens) if tokens > self.max_prompt_tokens else None

    def _refuse_a_stage_of_failures(self, asker: Asker) -> None:
        """A stage in which not one request was answered is no result but an error."""
        last = asker.patience.pool.last_error or asker.last_refusal
        if not asker.finished and (asker.patience.pool.last_error or last.startswith("bad_request")):
            raise EndpointError(f"not one request to `{self.model}` was answered, the last failed with: {last}")


@dataclass
class _Drive:
    """The chains of one call of `drive`, and how far they are."""

    llm: RemoteLLM
    asker: Asker
    expected: int
    done: int = 0
    reported: float = 0.0
    asking: dict[bytes, asyncio.Future[Completion]] = field(default_factory=dict)
    """Requests that are at work."""

    async def follow(self, chain: Chain[T], place: _Place) -> T:
        """Run one chain to its end."""
        answer: list[Completion] | None = None
        while True:
            try:
                # A generator is started by sending None.
                requests = chain.send(answer)  # type: ignore[arg-type]
            except StopIteration as finished:
                place.leave()
                result: T = finished.value
                return result
            answer = await self.answer(requests, place.leave)
            self.done += len(requests)
            if time.monotonic() - self.reported > REPORT_SECONDS:
                self.reported = time.monotonic()
                self.llm.report(self.done, self.expected)

    async def answer(self, requests: Sequence[Request], step_aside: Callable[[], None]) -> list[Completion]:
        """One completion per request, in order; from the ledger where it has them."""
        keys = [self.llm.key(request) for request in requests]
        answers = self.llm.kept(keys)
        self.asker.finished += len(answers)
        # Samples of the same messages, which are the same object, share a request. Equal requests are one, also
        # where another chain has just made it.
        groups: dict[tuple[int, str], dict[bytes, Sequence[Message]]] = {}
        asked_already: dict[bytes, asyncio.Future[Completion]] = {}
        for request, key in zip(requests, keys, strict=True):
            if key in self.asking:
                asked_already[key] = self.asking[key]
            elif key not in answers:
                self.asking[key] = asyncio.get_running_loop().create_future()
                groups.setdefault((id(request.messages), request.salt), {})[key] = request.messages
        if groups:
            for found in await gather([self._ask(group, step_aside) for group in groups.values()]):
                answers |= found
                for key, completion in found.items():
                    self.asking.pop(key).set_result(completion)
        for key, asked in asked_already.items():
            answers[key] = await asked
        return [answers[key] for key in keys]

    async def _ask(
        self, group: dict[bytes, Sequence[Message]], step_aside: Callable[[], None]
    ) -> dict[bytes, Completion]:
        keys, messages = list(group), next(iter(group.values()))
        too_long = self.llm.too_long(messages)
        if too_long is not None:
            return dict.fromkeys(keys, too_long)
        return dict(zip(keys, await self.asker.complete(messages, keys, step_aside), strict=True))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that ended the others: one meant for the user, if there is one."""
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    return next((error for error in leaves if isinstance(error, EvaError)), leaves[0])


class _Place:
    """A chain's place among those at work; given up once, when it ends or first has to wait for a failed request."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places

    def leave(self) -> None:
        if self._places is not None:
            self._places.release()
            self._places = None
