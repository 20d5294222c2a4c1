"""A stand-in for the interpreter of an environment with vLLM: `write_interpreter(folder)` gives an executable.

It takes vLLM's command line, answers the first requests of eva-data, and behaves as its argument `--fake=HOW` says:

    (nothing)   is healthy after two refusals; it has a child in a session of its own, like vLLM's engine
    dies        ends with a traceback
    killed      is killed without a message
    deaf        never listens
    unhealthy   answers 503 for ever
    fragile     is healthy, but its engine dies at the first request
    mute        is healthy, but refuses every request with 400
    headless    is healthy, but knows the address of no request
    answers     answers chat completions, slowly, by the content of the messages; what it has answered is appended to
                `answered.jsonl` in the folder
    strikes     is healthy until it has a line in `answered.jsonl`, then dies of every further request

Like vLLM, it refuses every request under /v1 with 401 that does not show the key of its environment.

Each start appends a line of JSON to `starts.jsonl` in the folder: its arguments, pids and environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TRACEBACK = """\
(APIServer pid=7) WARNING 11-21 10:34:26 [system_utils.py:255] This can cause errors like `OSError: [Errno 24]`
(EngineCore pid=8) ERROR 11-21 10:35:05 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=8) ERROR 11-21 10:35:05 [core.py:1510]     raise ValueError(
(EngineCore pid=8) ERROR 11-21 10:35:05 [core.py:1510] ValueError: no available memory for the cache blocks
Traceback (most recent call last):
  File "/opt/vllm/v1/engine/utils.py", line 1431, in wait_for_engine_startup
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above.
"""


WORDS = ("red", "blue", "green", "the", "sum", "is", "seven", "nine")


def write_interpreter(folder: Path) -> Path:
    """Write the executable to `folder`, which must exist."""
    path = folder / "python"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\nexec {sys.executable} {__file__} {folder} "$@"\n'
    )
    path.chmod(0o755)
    return path


def answered(folder: Path) -> list[dict[str, Any]]:
    """What the folder's servers have answered so far: `pid` and `asked`."""
    path = folder / "answered.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def starts(folder: Path) -> list[dict[str, Any]]:
    """All starts of the folder's interpreter so far."""
    path = folder / "starts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Server(BaseHTTPRequestHandler):
    """Answers as vLLM would."""

    how = ""
    name = ""
    refusals = 2
    folder = Path()

    def do_GET(self) -> None:
        unhealthy = self.how == "unhealthy" or Server.refusals > 0
        Server.refusals -= 1
        self._reply(503 if unhealthy else 200, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = os.environ.get("VLLM_API_KEY")
        if key and self.path.startswith("/v1") and self.headers["Authorization"] != f"Bearer {key}":
            self._reply(401, {"error": "Unauthorized"})
        elif self.how in ("answers", "strikes") and body.get("max_tokens") != 1:
            self._complete(body)
        elif self.how == "mute":
            self._reply(400, {"error": {"message": "you must provide a chat template"}})
        elif self.how == "fragile":
            print("RuntimeError: head size 16 is not supported", flush=True)
            self._reply(500, {"error": {"message": "EngineCore encountered an issue."}})
            self.wfile.flush()
            os._exit(0)
        else:
            known = body["model"] == self.name and self.how != "headless"
            self._reply(200 if known else 404, {"path": self.path, "body": body})

    def _complete(self, body: dict[str, Any]) -> None:
        """Answer with words that the messages and the number of the choice determine."""
        if self.how == "strikes" and (self.folder / "answered.jsonl").exists():
            os._exit(1)
        time.sleep(0.1)
        said = json.dumps(body["messages"])
        choices = []
        for number in range(body.get("n", 1)):
            digest = hashlib.sha256(f"{said} {number}".encode()).digest()
            text = " ".join(WORDS[byte % len(WORDS)] for byte in digest[: 2 + digest[-1] % 6])
            choices.append(
                {"index": number, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            )
        self._reply(200, {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 9 * len(choices)}})
        self.wfile.flush()
        line = json.dumps({"pid": os.getpid(), "asked": f"{said} {len(choices)}"}) + "\n"
        # One write of a line this short is whole, whoever else writes.
        file = os.open(self.folder / "answered.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def main(folder: Path, arguments: list[str]) -> None:
    port = int(arguments[arguments.index("--port") + 1])
    Server.folder = folder
    Server.name = arguments[arguments.index("--served-model-name") + 1]
    Server.how = next((text.removeprefix("--fake=") for text in arguments if text.startswith("--fake=")), "")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
    start = {"arguments": arguments, "pids": [os.getpid(), child.pid], "environment": dict(os.environ)}
    with (folder / "starts.jsonl").open("a") as file:
        file.write(json.dumps(start) + "\n")
    if Server.how == "dies":
        print(TRACEBACK, end="", flush=True)
        sys.exit(1)
    if Server.how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if Server.how == "deaf":
        print("loading weights", flush=True)
        time.sleep(1000)
    print(f"serving {Server.name}", flush=True)
    host = arguments[arguments.index("--host") + 1]
    server = ThreadingHTTPServer((host, port), Server)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
