"""An OpenAI-compatible server for benchmarks, in a process of its own. The benchmark itself says what is replied."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web

Reply = Callable[[bytes], Sequence[str]]
"""Gives the texts of all choices for the body of a request."""


@contextmanager
def server(script: str, given: str = "") -> Iterator[str]:
    """Run `<script> --serve` with `given` as its standard input, and give the address of its server."""
    command = [sys.executable, script, "--serve"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(given)
    process.stdin.close()
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def serve(reply: Reply, models: Sequence[str], *, tokens: int) -> None:
    """Answer every request for a completion by `reply`, print the port, and never end.

    A choice counts as `tokens` tokens.
    """

    async def answer(request: web.Request) -> web.Response:
        choices = [
            {"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for index, text in enumerate(reply(await request.read()))
        ]
        spent = tokens * len(choices)
        usage = {"prompt_tokens": 60, "completion_tokens": spent, "total_tokens": 60 + spent}
        return web.json_response({"id": "1", "object": "chat.completion", "choices": choices, "usage": usage})

    async def listed(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in models]})

    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", answer), web.get("/v1/models", listed)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
