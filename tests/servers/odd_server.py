"""A server whose replies are written by hand in a test: `OddServer(lambda asked: (400, {...}))`, a context manager."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One POST."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    time: int
    """How often exactly these messages were asked, with this time."""

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def greedy(self) -> bool:
        return self.body.get("temperature") == 0


Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, JSON or bytes, and optional further headers."""


def said(asked: Asked, text: Any = None, reason: str | None = "stop", **message: Any) -> Answer:
    """A good reply. Every choice holds its prompt, or `text`."""
    texts = [f"to {asked.prompt}, time {asked.time}, choice {n}" for n in range(asked.body.get("n", 1))]
    choices = [
        {"index": n, "finish_reason": reason, "message": {"role": "assistant", "content": text or own} | message}
        for n, own in enumerate(texts)
    ]
    usage = {"prompt_tokens": 3, "completion_tokens": 4 * len(choices)}
    return 200, {"object": "chat.completion", "choices": choices, "usage": usage}


def refused(message: str, status: int = 400, **fields: Any) -> Answer:
    """An error in the form of OpenAI."""
    return status, {
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | fields
    }


def titled(headers: Message) -> dict[str, str]:
    """The headers by names in title case, such as `Authorization`, since clients write names in any case."""
    return {name.title(): value for name, value in headers.items()}


class OddServer:
    """Answers `/v1/models` by `listed`, and a POST by `answer`."""

    def __init__(self, answer: Callable[[Asked], Answer] = said, listed: Answer | None = None) -> None:
        self.asked: list[Asked] = []
        self.looked: list[Mapping[str, str]] = []
        """The headers of each GET."""
        self._times: dict[str, int] = {}
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.looked.append(titled(self.headers))
                self._send(listed or (200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(answer(server._note(self.path, titled(self.headers), body)))

            def _send(self, reply: Answer) -> None:
                status, content, *more = reply
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **(more[0] if more else {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def _note(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Asked:
        with self._lock:
            name = json.dumps(body.get("messages"))
            self._times[name] = self._times.get(name, 0) + 1
            asked = Asked(path, headers, body, self._times[name])
            self.asked.append(asked)
            return asked

    def __enter__(self) -> OddServer:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
