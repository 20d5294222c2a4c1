"""Answers `/classify` like vLLM 0.32, by a real model, in threads of this process."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

Reply = tuple[int, dict[str, Any]]


@dataclass
class ScoringServer:
    """The server, while the context lasts. A fault replaces the answer to a request."""

    folder: Path
    """The reward model's folder."""
    model: str = "model"
    """The model's name; another name gets 404."""
    key: str | None = None
    """Requests without this key get 401."""
    faults: Callable[[int], Reply | None] = lambda number: None
    """Gives the fault for the number of a request, from 0; None for no fault."""
    delay: float = 0
    asked: list[list[int]] = field(default_factory=list)
    """The tokens of every request."""
    most_in_flight: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def reply(self, path: str, authorization: str | None, body: dict[str, Any]) -> Reply:
        """Status and body of the reply to a request."""
        with self._lock:
            number = len(self.asked)
            self.asked.append(body["input"])
            fault = self.faults(number)
        if fault is not None:
            return fault
        if self.key is not None and authorization != f"Bearer {self.key}":
            return 401, {"error": {"message": "Unauthorized"}}
        if path != "/classify" or body["model"] != self.model:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist.", "code": 404}}
        if len(body["input"]) > 512:
            message = f"This model's maximum context length is 512 tokens, not {len(body['input'])} input tokens."
            return 400, {"error": {"message": message, "type": "BadRequestError", "code": 400}}
        with self._lock, torch.inference_mode():
            logits = self._model(input_ids=torch.tensor([body["input"]])).logits[0].tolist()
        probs = logits if body["use_activation"] is False else [1 / (1 + math.exp(-logit)) for logit in logits]
        data = [{"index": 0, "label": "LABEL_0", "probs": probs, "num_classes": len(probs)}]
        return 200, {"object": "list", "model": self.model, "data": data}

    def __enter__(self) -> ScoringServer:
        torch.set_num_threads(1)
        self._model: Any = AutoModelForSequenceClassification.from_pretrained(self.folder, dtype=torch.float32).eval()
        self._lock = threading.Lock()
        self._in_flight = 0
        self._gate = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, authorization: str | None, body: dict[str, Any]) -> Reply:
        """The same as `reply`, but counted and delayed."""
        with self._lock:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        self._gate.wait(self.delay)
        try:
            return self.reply(path, authorization, body)
        finally:
            with self._lock:
                self._in_flight -= 1


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


def _handler(server: ScoringServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, reply = server.answer(self.path, self.headers["Authorization"], body)
            text = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler
