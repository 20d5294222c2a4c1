"""An OpenAI-compatible server that only waits, and its clock: `echo '[0.05]' | python benchmarks/latency_server.py`.

It reads a list of seconds and prints its port. The request `Request 17: ...` waits for the 17th number of seconds, so
every client sees the same latencies. `GET /clock` returns what came since it was last asked, and forgets it. The server
speaks just enough HTTP for well-behaved clients, so that the measured time is the client's.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from time import monotonic


class Clock:
    """What the server has seen since it was last asked."""

    def __init__(self) -> None:
        self.first, self.last = 0.0, 0.0
        self.requests, self.in_flight, self.most_in_flight = 0, 0, 0

    def arrived(self) -> None:
        self.first = self.first or monotonic()
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def sent(self) -> None:
        self.last = monotonic()
        self.in_flight -= 1


_TEXT = "The quick brown fox jumps over the lazy dog. " * 20 + "\nVerdict: tie"
"""A reply, whose last line is a verdict for who asks for one."""
_REPLY = json.dumps(
    {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 0,
        "model": "waiting",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": _TEXT}}],
        "usage": {"prompt_tokens": 60, "completion_tokens": 180, "total_tokens": 240},
    }
)
_MODELS = json.dumps(
    {"object": "list", "data": [{"id": "waiting", "object": "model", "created": 0, "root": "waiting"}]}
)


def _http(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


_ANSWERS = {"completion": _http(_REPLY), "models": _http(_MODELS)}
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_NUMBER = re.compile(rb"Request (\d+)")


class Connection(asyncio.Protocol):
    def __init__(self, clock: list[Clock], waits: list[float]) -> None:
        self._clock, self._waits = clock, waits
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            request, self._received = self._received[:end], self._received[end:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"POST"):
            clock = self._clock[0]
            clock.arrived()
            number = _NUMBER.search(request)
            wait = self._waits[int(number[1]) % len(self._waits)] if number else 0.0
            if wait:
                self._loop.call_later(wait, self._reply, clock)
            else:
                self._reply(clock)
        elif request.startswith(b"GET /clock"):
            self._transport.write(_http(json.dumps(vars(self._clock[0]))))
            self._clock[0] = Clock()
        else:
            self._transport.write(_ANSWERS["models"])

    def _reply(self, clock: Clock) -> None:
        self._transport.write(_ANSWERS["completion"])
        clock.sent()


async def serve(waits: list[float]) -> None:
    clock = [Clock()]
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(clock, waits), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(json.load(sys.stdin)))
