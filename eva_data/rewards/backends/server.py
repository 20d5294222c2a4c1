"""Rewards by a sequence-classification model that vLLM serves: the raw logit from `/classify`.

The conversation is sent as exactly the tokens that the `classifier` backend computes. `/score` cannot be used, because
it joins two plain texts without the chat template. From 0.11.1 on, vLLM leaves the sigmoid out on request.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from eva_data.calls import GAVE_UP, Message, Rows, Sampling
from eva_data.config import RewardServer
from eva_data.errors import EndpointError, EvaError, ModelError
from eva_data.jobs.job import Job, ProgressFile
from eva_data.ledger import Claims, Ledger, Score
from eva_data.ledger.claims import LOOK_SECONDS
from eva_data.models.keys import read_key
from eva_data.models.listing import look
from eva_data.models.remote.endpoints import Pool
from eva_data.models.remote.faults import Fault, Refused, Transient
from eva_data.models.remote.openai_server import OpenAIServer
from eva_data.models.remote.retries import ChainPlace, Retries, reporting
from eva_data.models.vllm.command import SERVED_NAME
from eva_data.models.vllm.register import followed
from eva_data.rewards.backends.classifier import conversations
from eva_data.rewards.keyed import KeyedRows
from eva_data.rewards.local.batches import Item
from eva_data.rewards.local.conversation import CHUNK, items, write
from eva_data.rewards.local.invariance import BOUNDS
from eva_data.rewards.local.loading import load_tokenizer, longest_input, read_config
from eva_data.rewards.scorers import Scorer, model_here, short_hash

WHILE_TRAINING = True

Turns = Sequence[Message]

PROBES = {
    "right": ("Name the capital of Australia.", "The capital of Australia is Canberra."),
    "wrong": ("Name the capital of Australia.", "I like turtles."),
    "long": ("How do I boil an egg?", "Put it into boiling water for seven minutes. " * 10),
}
"""Texts that a server that was not started here scores at every start, so that another model is noticed."""


def scorer_of(block: RewardServer) -> Scorer:
    """The model behind the server at `base_url`, or else the model to serve."""
    if not block.urls:
        return model_here(block)
    return Scorer(block, f"server:{look(block).fingerprint}:{short_hash({'tokenizer': block.tokenizer})}")


def score_rows(job: Job, rows: Rows) -> Iterator[list[Score]]:
    """One Score per response.

    Reasons without a reward are not_finite, too_long, not_unicode, chat_template_refuses, bad_request and gave_up.
    Raise EndpointError if the server refuses the key or the model, only fails, or scores not a single response. Raise
    ModelError if its model gives more than one number, or has changed.
    """
    assert job.ledger is not None
    wanted = KeyedRows(rows, conversations(job.scorer), job.ledger)
    progress, total = ProgressFile(job), wanted.responses
    failed: dict[bytes, Score] = {}
    if wanted.missing:

        def report(done: int, waits: str = "") -> None:
            # Equal responses to a prompt count as one text.
            progress(total * (wanted.distinct - wanted.missing + done) // wanted.distinct, total, waits)

        with Ledger(job.ledger) as ledger:
            failed = asyncio.run(_score(job, ledger, wanted.open(), report))
    progress(total, total)
    yield from wanted.scores(failed)


def _block(job: Job) -> RewardServer:
    assert isinstance(job.settings, RewardServer)
    return job.settings


async def _score(
    job: Job, ledger: Ledger, missing: Iterable[tuple[bytes, Turns]], report: Callable[[int, str], None]
) -> dict[bytes, Score]:
    """Bring a score of each of `missing` into the ledger, and return those that it does not keep."""
    block = _block(job)
    texts = _Texts(block, job.scorer_path)
    claims = Claims(ledger, job.scorer, job.kind, job.iteration)
    scorer = _Scorer(block, job.connection, job.scorer, ledger, claims)
    try:
        async with scorer.followed(), reporting(lambda: report(scorer.done, scorer.waits())):
            if block.base_url is not None:
                await scorer.compare(texts.items(_probes()))
            await scorer.run(texts.items(missing))
    except BaseExceptionGroup as group:
        # One request ended the job and all other requests.
        raise next((error for error in group.exceptions if isinstance(error, EvaError)), group.exceptions[0]) from None
    finally:
        await scorer.close()
        claims.close()
    if scorer.last_failure and not scorer.answered:
        where = next(iter(job.connection["urls"]), "the servers of `reward`")
        raise EndpointError(f"not one response was scored at {where}: {scorer.last_failure}")
    return scorer.failed


def _probes() -> list[tuple[bytes, Turns]]:
    return [
        (name.encode(), [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}])
        for name, (prompt, response) in PROBES.items()
    ]


class _Texts:
    """Turns conversations into tokens of the reward model."""

    def __init__(self, block: RewardServer, path: Path | None) -> None:
        source = block.tokenizer or (block.model if path is None else str(path))
        try:
            self._tokenizer = load_tokenizer(source, trust_remote_code=block.trust_remote_code)
        except ModelError as error:
            if block.tokenizer or path is not None:
                raise
            raise ModelError(
                f"{error}; name the folder or Hub id that has the tokenizer in `reward.tokenizer`"
            ) from None
        # A server that was not started here refuses texts that are too long for it.
        most = block.max_tokens
        self._longest = most if path is None else longest_input(most, read_config(str(path)))

    def items(self, wanted: Iterable[tuple[bytes, Turns]]) -> Iterator[Item]:
        return items(self._tokenizer, wanted, partial(write, self._tokenizer), self._longest)


class _Scorer:
    """The requests of one job, in one event loop."""

    def __init__(
        self,
        block: RewardServer,
        connection: Mapping[str, Any],
        fingerprint: str,
        ledger: Ledger,
        claims: Claims,
    ) -> None:
        self._ledger, self._claims, self._fingerprint = ledger, claims, fingerprint
        self._name = SERVED_NAME if block.base_url is None else block.model
        self._servers_file: str | None = connection.get("servers_file")
        pool = Pool(
            connection["urls"],
            block.max_in_flight,
            give_up_seconds=block.give_up_minutes * 60,
            expected=connection.get("replicas", 0),
        )
        self._retries = Retries(pool)
        self._server = OpenAIServer(
            self._name,
            # The sampling does not matter, since nothing is sampled.
            Sampling(temperature=0.0, top_p=1.0, max_tokens=1),
            key=read_key(block.api_key_env, block.model),
            key_name=block.api_key_env or "that `api_key_env` names (none is named)",
            extra_body={},
            timeout_seconds=block.timeout_seconds,
        )
        self.done = 0
        """The number of texts that have a score, or a reason for none."""
        self.failed: dict[bytes, Score] = {}
        """The scores that the ledger does not keep."""
        self.answered = 0
        self.last_failure = ""

    async def close(self) -> None:
        await self._server.close()

    def followed(self) -> AbstractAsyncContextManager[None]:
        """A context in which the servers are those of the register, if there is one."""
        if self._servers_file is None:
            return nullcontext()
        return followed(Path(self._servers_file), self._retries.pool, self._server.use_keys)

    def waits(self) -> str:
        """See Retries.waits."""
        return self._retries.waits()

    async def run(self, texts: Iterator[Item]) -> None:
        """Score all texts, and wait for those that other processes ask for meanwhile."""
        while elsewhere := await self._run(texts):
            await asyncio.sleep(LOOK_SECONDS)
            texts = iter(elsewhere)

    async def _run(self, texts: Iterator[Item]) -> list[Item]:
        """Score the texts that no other process is scoring, and return the others."""
        elsewhere: list[Item] = []
        # There are twice as many texts as requests in flight, so that a free place at a server never waits for a text.
        places = asyncio.Semaphore(2 * self._retries.pool.most + CHUNK)
        async with asyncio.TaskGroup() as group:
            with self._retries.at_work():
                # Tokenising takes time, and answers come meanwhile.
                while chunk := await asyncio.to_thread(_take, texts):
                    found, mine = self._claims.take_scores([item.key for item in chunk if item.refused is None])
                    self.done += len(found)
                    for item in chunk:
                        if item.key in mine or item.refused is not None:
                            await places.acquire()
                            group.create_task(self._follow(item, ChainPlace(places)))
                        elif item.key not in found:
                            elsewhere.append(item)
        return elsewhere

    async def _follow(self, item: Item, place: ChainPlace) -> None:
        score, is_kept = await self._scored(item, place)
        if not is_kept:
            self.failed[item.key] = score
        self.done += 1
        place.leave()

    async def _scored(self, item: Item, place: ChainPlace) -> tuple[Score, bool]:
        """The score of a text, and whether the ledger keeps it."""
        if item.refused is not None:
            return Score(None, item.refused), False
        try:
            score = await self._retries.ask(partial(self._ask, item), place)
        except Fault as fault:
            self._claims.release([item.key])
            if str(fault).startswith("context_length_exceeded"):
                return Score(None, "too_long"), False
            self.last_failure = str(fault)
            return Score(None, str(fault) if isinstance(fault, Refused) else f"{GAVE_UP}{fault}"), False
        self._claims.keep_scores({item.key: score})
        self.answered += 1
        return score, True

    async def _ask(self, item: Item, url: str) -> Score:
        body = {"model": self._name, "input": item.tokens.tolist(), "use_activation": False}
        return read_score(await self._server.post(f"{url.removesuffix('/v1')}/classify", body, url), self._name)

    async def compare(self, probes: Iterator[Item]) -> None:
        """Raise ModelError if a server's model scores differently than at its first start."""
        first = self._ledger.canary(self._fingerprint)
        now = {}
        for item in probes:
            try:
                score = await self._retries.ask(partial(self._ask, item))
            except Fault as fault:
                raise EndpointError(f"the reward model `{self._name}` does not score a first text: {fault}") from None
            now[item.key.decode()] = [repr(score.reward)]
        if not first:
            self._ledger.keep_canary(self._fingerprint, now)
            return
        changed = [name for name in now if name in first and _differ(first[name][0], now[name][0])]
        if changed:
            raise ModelError(
                f"the reward model `{self._name}` scores a text with {now[changed[0]][0]} that it once scored with "
                f"{first[changed[0]][0]}; if another model is served under this name, give it another "
                "`reward.revision`, so that its scores are not mixed with the earlier ones"
            )


def read_score(reply: Any, model: str) -> Score:
    """The only logit in a reply for one text. Raise Transient if there is none, and ModelError if there are several."""
    try:
        (found,) = reply["data"]
        numbers = [float(number) for number in found["probs"]]
    except (KeyError, TypeError, ValueError):
        raise Transient("the reply has no score") from None
    if len(numbers) != 1:
        raise ModelError(
            f"the reward model `{model}` gives {len(numbers)} numbers for a text: a reward is one number, so serve a "
            "model with one label"
        )
    return Score(numbers[0], None) if math.isfinite(numbers[0]) else Score(None, "not_finite")


def _take(texts: Iterator[Item]) -> list[Item]:
    return list(islice(texts, CHUNK))


def _differ(first: str, now: str) -> bool:
    """Whether two logits differ by more than rounding and the other texts of a batch can explain."""
    if "None" in (first, now):
        return first != now
    return abs(float(first) - float(now)) > BOUNDS["bfloat16"] * max(1.0, abs(float(first)))
