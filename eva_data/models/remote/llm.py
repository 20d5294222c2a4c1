"""Asks a model behind a server or a provider. Every request goes out by itself; none waits for a batch."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, Literal

from pydantic import Field, PrivateAttr

from eva_data.calls import Chain, Completion, Message, Sampling, T
from eva_data.errors import EvaError
from eva_data.ledger import Bill, Keeper
from eva_data.models.base import LedgerLLM, refused
from eva_data.models.keys import read_key
from eva_data.models.remote import canary
from eva_data.models.remote.asking import Asker
from eva_data.models.remote.budget import Price, Purse
from eva_data.models.remote.endpoints import Pool
from eva_data.models.remote.fields import LENGTH
from eva_data.models.remote.retries import PAUSES, Retries, reporting
from eva_data.models.remote.transport import Transport

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS_PER_TOKEN = 4
_OBJECTS_PER_COLLECTION = 50_000


class RemoteLLM(LedgerLLM):
    """A model behind OpenAI-compatible servers (`urls`), or, without a URL, behind a provider that litellm knows."""

    model: str
    """The model's name at the server, or in litellm."""
    urls: list[str]
    servers_file: str | None = None
    """File that says which servers there are, with their keys; None if `urls` says it for good."""
    replicas: int = 0
    """Number of servers that the file will name."""
    key_env: str | None = None
    """Environment variable of the key. The key is read in `load` and kept nowhere else."""
    key_name: str = ""
    """The variable's name in error messages."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of litellm."""
    renamed: dict[str, str | None] = Field(default_factory=dict)
    """Field -> its name at the server; None if the server does not accept the field."""
    likeliest: int = 0
    """How many of the likeliest tokens are asked for, with log-probabilities; 0 asks for none."""
    tokenizer: str | None = None
    max_in_flight: int | Literal["auto"] = 64
    timeout_seconds: float = 600
    give_up_minutes: float = 10
    further_rounds: tuple[float, ...] = PAUSES
    """Seconds before each further round. A round makes the failed requests again once all others are done."""
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
        results: list[T] = []

        async def deliver(found: list[T]) -> None:
            results.extend(found)

        try:
            shards: Iterator[Iterable[Chain[T]]] = iter([chains])
            _run(self._drive(shards, expected, deliver))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        return results

    def drive_shards(self, shards: Iterator[Iterable[Chain[T]]], expected: int) -> Generator[list[T], None, None]:
        """See LedgerLLM. Requests go out while the caller holds a shard; `shards` is iterated in another thread."""
        work: _Shards[T] = _Shards(lambda deliver: self._drive(shards, expected, deliver))
        return work.results()

    async def _drive(
        self, shards: Iterator[Iterable[Chain[T]]], expected: int, deliver: Callable[[list[T]], Awaitable[None]]
    ) -> None:
        asker = self._asker()
        try:
            async with asker.keeper, self._followed(asker), reporting(partial(self._tell, asker, expected)):
                if self.canary:
                    await canary.check(self._ledger, self.fingerprint, asker.greedily)
                await asker.run(shards, deliver)
        finally:
            await asker.transport.close()
        self.report(expected, expected)

    def _followed(self, asker: Asker) -> AbstractAsyncContextManager[None]:
        """A context in which the servers are those of the register, if there is one."""
        if self.servers_file is None:
            return nullcontext()
        from eva_data.models.remote.openai_server import OpenAIServer
        from eva_data.models.vllm.register import followed

        transport = asker.transport
        assert isinstance(transport, OpenAIServer)
        return followed(Path(self.servers_file), asker.retries.pool, transport.use_keys)

    def _tell(self, asker: Asker, expected: int) -> None:
        waits = asker.retries.waits()
        if asker.done or waits:
            self.report(asker.done, expected, waits)

    def _asker(self) -> Asker:
        sampling = Sampling(**self.sampling)
        transport, one_at_a_time = self._connect(sampling)
        urls = [] if self.servers_file else self.urls or [self.model]
        pool = Pool(urls, self.max_in_flight, give_up_seconds=self.give_up_minutes * 60, expected=self.replicas)
        bill = Bill(self.fingerprint, self.stage, self.iteration, 0, None, None, 0.0, None)
        keeper = Keeper(self._ledger, bill, self.budget)
        return Asker(
            transport=transport,
            retries=Retries(pool, self.further_rounds),
            keeper=keeper,
            purse=Purse(keeper, bill, self.price, self._longest_answer(), limited=self.budget is not None),
            system=self.system,
            one_at_a_time=one_at_a_time,
            key=self.keyed(),
            too_long=self.too_long,
        )

    def _longest_answer(self) -> int:
        """The longest answer, in tokens, that requests allow, with tokens that are billed beyond `max_tokens`."""
        given = [{**self.extra_body, **self.options}.get(name) for name in LENGTH]
        return max([Sampling(**self.sampling).max_tokens, *(value for value in given if isinstance(value, int))])

    def _connect(self, sampling: Sampling) -> tuple[Transport, bool]:
        """The transport to the model, and whether the model is known to give one choice per request."""
        fields: dict[str, Any] = {
            "key": self._key,
            "key_name": self.key_name or self.key_env or "that `api_key_env` names (none is named)",
            "extra_body": self.extra_body,
            "timeout_seconds": self.timeout_seconds,
            "fields": self.renamed,
            "likeliest": self.likeliest,
        }
        if self.urls or self.servers_file:
            from eva_data.models.remote.openai_server import OpenAIServer

            return OpenAIServer(self.model, sampling, **fields), False
        from eva_data.models.remote.litellm_provider import Provider

        provider = Provider(self.model, sampling, options=self.options, **fields)
        return provider, not provider.answers_n

    def too_long(self, messages: Sequence[Message]) -> Completion | None:
        """A failed completion if the prompt has more than `max_prompt_tokens`, counted or else estimated; else None."""
        if self.max_prompt_tokens is None:
            return None
        characters = sum(len(message["content"]) for message in messages)
        if self._counter is None:
            estimate = characters // CHARACTERS_PER_TOKEN
            return refused("prompt_too_long", estimate) if estimate > self.max_prompt_tokens else None
        if characters <= self.max_prompt_tokens // 2:
            # A token has at least one character, apart from the frame of a turn.
            return None
        text = "".join(message["content"] for message in messages)
        tokens = len(self._counter(text, add_special_tokens=False)["input_ids"])
        return refused("prompt_too_long", tokens) if tokens > self.max_prompt_tokens else None


class _Shards(Generic[T]):
    """Runs an event loop in a thread of its own, and hands over what it delivers."""

    def __init__(self, work: Callable[[Callable[[list[T]], Awaitable[None]]], Coroutine[Any, Any, None]]) -> None:
        """`work` is called with the function to which it delivers the results of each shard."""
        self._work = work
        self._queue: SimpleQueue[tuple[list[T], asyncio.Event] | BaseException | None] = SimpleQueue()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def results(self) -> Generator[list[T], None, None]:
        """The results of each shard. A shard counts as delivered once it is taken from here.

        If it is left before its end, the requests under way are cancelled.
        """
        thread = threading.Thread(target=self._run, name="requests", daemon=True)
        thread.start()
        try:
            while (found := self._queue.get()) is not None:
                if isinstance(found, BaseException):
                    raise found
                results, taken = found
                self._tell(taken.set)
                del found
                yield results
                del results
        finally:
            if self._task is not None:
                self._tell(self._task.cancel)
            thread.join()

    def _run(self) -> None:
        try:
            _run(self._drive())
        except BaseExceptionGroup as group:
            self._queue.put(_first(group))
        except BaseException as error:
            # This is the edge of the thread: any exception must reach the other one.
            self._queue.put(error)
        else:
            self._queue.put(None)

    async def _drive(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        await self._work(self._deliver)

    async def _deliver(self, results: list[T]) -> None:
        taken = asyncio.Event()
        self._queue.put((results, taken))
        await taken.wait()

    def _tell(self, what: Callable[[], object]) -> None:
        """Call a function in the other thread, unless its work is over."""
        with suppress(RuntimeError):
            # The loop is closed.
            if self._loop is not None:
                self._loop.call_soon_threadsafe(what)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run an event loop to the end of the work."""
    # Every request makes some hundred objects, and few of them are in cycles. Python would look for cycles after each
    # 700 of them, among all that was ever imported, which takes a third of the time.
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_OBJECTS_PER_COLLECTION, *before[1:])
    try:
        asyncio.run(work)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the others; an error that is meant for the user, if there is one."""
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    return next((error for error in leaves if isinstance(error, EvaError)), leaves[0])
