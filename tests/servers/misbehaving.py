"""An OpenAI-compatible server that misbehaves on request: `python tests/servers/misbehaving.py PORT`, or a context.

The prompts themselves or `faults` ask for the replies in bad_replies.py.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

from aiohttp import web
from bad_replies import NO_ANSWER, Fault, answer, asked_for, cut, error, refusal, topic


@dataclass
class Seen:
    """One chat request."""

    number: int
    """The request's number in order of arrival, from 0."""
    time: int
    """How often exactly these messages were asked, with this time."""
    arrived: float
    """The time of arrival, by time.monotonic."""
    in_flight: int
    """Number of requests without a reply at its arrival, with this request."""
    headers: dict[str, str]
    body: dict[str, Any]
    fault: str | None = None
    answered: bool = False
    """Whether a whole reply with completions was sent."""

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])


@dataclass
class Misbehaving:
    """The server, in a thread of this process while the context lasts.

    An answer holds its prompt, how often that was asked, and the number of the choice. A greedy answer is always the
    same.
    """

    faults: Sequence[str | None] | Callable[[Seen], str | None] = ()
    """Faults by the number of the request, or a function of the request. Faults that the prompt asks for come first."""
    delay: float = 0
    """Seconds before each reply."""
    model: str = "tiny"
    """The only served model; another name gets 404."""
    root: str = "org/tiny"
    key: str | None = None
    """Requests without this key get 401."""
    voice: str = "v1"
    """The beginning of every answer. Change it to act as another model."""
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    turned_away: int = 0
    """Number of requests without the key."""
    listed: int = 0
    """How often a client asked for the list of models."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def answered(self) -> list[str]:
        """The prompts of all requests that were answered well, in order of arrival."""
        return [seen.prompt for seen in list(self.seen) if seen.answered]

    @property
    def most_in_flight(self) -> int:
        return max((seen.in_flight for seen in list(self.seen)), default=0)

    def stop(self, seconds: float) -> None:
        """Close all connections and refuse new ones for some seconds; then come back on the same port."""
        asyncio.run_coroutine_threadsafe(self._stop(seconds), self._loop).result()

    def __enter__(self) -> Misbehaving:
        self._times: Counter[str] = Counter()
        self._in_flight = 0
        self._coming_back: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- the socket ----------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0)
        await self._runner.setup()
        await self._listen()

    async def _listen(self) -> None:
        assert self._runner.server is not None
        self._socket = await self._loop.create_server(self._runner.server, "127.0.0.1", self.port, backlog=1024)
        self.port = self._socket.sockets[0].getsockname()[1]

    async def _stop(self, seconds: float) -> None:
        async def come_back() -> None:
            await asyncio.sleep(seconds)
            await self._listen()

        if not self._socket.is_serving():
            return
        self._socket.close()
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.close()
        self._coming_back = asyncio.create_task(come_back())

    async def _end(self) -> None:
        if self._coming_back is not None:
            self._coming_back.cancel()
        self._socket.close()
        await self._runner.cleanup()

    # --- requests ------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/seen":
            return web.json_response([asdict(seen) for seen in self.seen])
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            self.turned_away += 1
            return error(401, "Incorrect API key provided.", "invalid_api_key")
        if request.path == "/v1/models":
            self.listed += 1
            now = int(time.time()) + self.listed
            model = {"id": self.model, "object": "model", "owned_by": "tests", "root": self.root, "created": now}
            return web.json_response({"object": "list", "data": [model]})
        if request.path != "/v1/chat/completions":
            return error(404, f"{request.path} is not served", None)
        self._in_flight += 1
        try:
            return await self._complete(request)
        finally:
            self._in_flight -= 1

    async def _complete(self, request: web.BaseRequest) -> web.StreamResponse:
        seen = self._note(dict(request.headers), {"n": 1} | await request.json())
        fault = Fault.parse(seen.fault)
        await asyncio.sleep(self.delay + (fault.seconds if fault.name == "late" else 0))
        if fault.name == "stop":
            await self._stop(fault.seconds)
        texts = [self._say(seen, choice) for choice in range(seen.body["n"])]
        reply = refusal(fault, seen.body, self.model) or answer(fault, seen.body, texts)
        if fault.name in ("hang up", "cut length", "cut chunked"):
            return await cut(request, fault, reply)
        try:
            await reply.prepare(request)
            await reply.write_eof()
        except ConnectionError:
            # The client did not wait for the reply.
            return reply
        seen.answered = reply.status == 200 and fault.name not in NO_ANSWER
        return reply

    def _note(self, headers: dict[str, str], body: dict[str, Any]) -> Seen:
        asked = json.dumps(body["messages"])
        self._times[asked] += 1
        seen = Seen(len(self.seen), self._times[asked], time.monotonic(), self._in_flight, headers, body)
        seen.fault = asked_for(seen.prompt, seen.time) or self._planned(seen)
        self.seen.append(seen)
        return seen

    def _planned(self, seen: Seen) -> str | None:
        if callable(self.faults):
            return self.faults(seen)
        return self.faults[seen.number] if seen.number < len(self.faults) else None

    def _say(self, seen: Seen, choice: int) -> str:
        said = f"{self.voice}: {topic(seen.prompt)}"
        return said if seen.body.get("temperature") == 0 else f"{said}, time {seen.time}, choice {choice}"


if __name__ == "__main__":
    with Misbehaving(port=int(sys.argv[1])) as server:
        print(server.url, flush=True)
        signal.pause()
