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

Each start appends a line of JSON to `starts.jsonl` in the folder: its arguments, pids and environment.
"""

from __future__ import annotations

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


def write_interpreter(folder: Path) -> Path:
    """Write the executable to `folder`, which must exist."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} "$@"\n')
    path.chmod(0o755)
    return path


def starts(folder: Path) -> list[dict[str, Any]]:
    """All starts of the folder's interpreter so far."""
    path = folder / "starts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Server(BaseHTTPRequestHandler):
    """Answers as vLLM would."""

    how = ""
    name = ""
    refusals = 2

    def do_GET(self) -> None:
        unhealthy = self.how == "unhealthy" or Server.refusals > 0
        Server.refusals -= 1
        self._reply(503 if unhealthy else 200, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.how == "mute":
            self._reply(400, {"error": {"message": "you must provide a chat template"}})
        elif self.how == "fragile":
            print("RuntimeError: head size 16 is not supported", flush=True)
            self._reply(500, {"error": {"message": "EngineCore encountered an issue."}})
            self.wfile.flush()
            os._exit(0)
        else:
            known = body["model"] == self.name and self.how != "headless"
            self._reply(200 if known else 404, {"path": self.path, "body": body})

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def main(folder: Path, arguments: list[str]) -> None:
    port = int(arguments[arguments.index("--port") + 1])
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
    ThreadingHTTPServer(("127.0.0.1", port), Server).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
