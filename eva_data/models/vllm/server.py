"""Runs vLLM as a child process: starts it, waits for it, asks it once, and ends it with everything that it started.

Only the process that builds does this. Jobs get the URL.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from eva_data.config import RewardServer, VllmModel
from eva_data.errors import ModelError
from eva_data.models.vllm.command import HOST, arguments, first_error, first_request, interpreter
from eva_data.supervise import Supervised, last_lines

POLL_SECONDS = 0.2

FIRST_ANSWER_SECONDS = 120.0
"""A server that says that it is healthy has at least so many seconds for its first answer."""

_SHOWN_CHARACTERS = 600

OnWait = Callable[[float, str], None]
"""Called with (seconds waited, last line of the log) while a server starts."""


class VllmServer:
    """vLLM with one model, on a free port of this machine, while the context lasts.

    Requests call the model `name`. `key` is the place of the block in the settings, such as `solver`, for errors.
    """

    def __init__(
        self,
        block: VllmModel | RewardServer,
        path: Path,
        name: str,
        *,
        log: Path,
        key: str,
        on_wait: OnWait | None = None,
    ) -> None:
        self._block, self._path, self._name, self._key = block, path, name, key
        self._log, self._on_wait = log, on_wait
        self._python = interpreter(block, key)
        self._port = 0
        self._log_start = 0
        self._process: Supervised | None = None

    @property
    def url(self) -> str:
        """The server's address, up to and with `/v1`."""
        return f"http://{HOST}:{self._port}/v1"

    @property
    def ended(self) -> bool:
        """Whether the server does not run: it was not started, was stopped, or is dead."""
        return self._process is None or self._process.poll() is not None

    def start(self) -> None:
        """Start the server and return once it has answered a first request.

        Raise ModelError if it ends before that, or is not healthy within the block's `start_minutes`.
        """
        # If another program takes the port in between, this server ends and says so.
        self._port = _free_port()
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        command = [self._python, *arguments(self._block, self._path, self._name), "--port", str(self._port)]
        self._process = Supervised(command, log=self._log, env=_environment())
        try:
            self._wait_until_healthy()
            self._ask_once()
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Raise ModelError, with the cause from the log, if the server ended by itself."""
        assert self._process is not None
        status = self._process.poll()
        if status is None:
            return
        if "No module named 'vllm'" in last_lines(self._log, 1):
            raise ModelError(
                f"{self._python} has no vLLM: name the interpreter of an environment that has it in "
                f"`{self._key}.python`, or install it there with `pip install vllm`"
            )
        raise ModelError(
            f"vLLM with the model {self._path} ended with status {status}: {self._why()}; its log is {self._log}"
        )

    def stop(self) -> None:
        """End the server and everything that it started; return when nothing is left. It is safe to call this again."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def __enter__(self) -> VllmServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_healthy(self) -> None:
        started = time.monotonic()
        while _request(self._port, "GET", "/health", timeout=5.0)[0] != 200:
            self.check()
            waited, last = time.monotonic() - started, last_lines(self._log, 1)
            if waited > self._block.start_minutes * 60:
                raise ModelError(
                    f"vLLM with the model {self._path} does not answer after {self._block.start_minutes:g} minutes; "
                    f"its log {self._log} ends with: {last}; if it only needs longer, raise `{self._key}.start_minutes`"
                )
            if self._on_wait:
                self._on_wait(waited, last)
            time.sleep(POLL_SECONDS)

    def _ask_once(self) -> None:
        """Make a first request. A healthy server's engine may die of it, or the model may lack what requests need."""
        address, body = first_request(self._block, self._name)
        status, said = _request(self._port, "POST", address, body, timeout=FIRST_ANSWER_SECONDS)
        if status == 200:
            return
        if status == 404 and isinstance(self._block, RewardServer):
            raise ModelError(
                f"vLLM gives no scores of the model {self._path}: it serves only a `...ForSequenceClassification` as a "
                f"reward model; name one in `{self._key}.model`, or use `backend: classifier`"
            )
        # A dying engine replies with an error before its process ends.
        deadline = time.monotonic() + 5
        while status in (None, 500) and time.monotonic() < deadline:
            self.check()
            time.sleep(POLL_SECONDS)
        raise ModelError(
            f"vLLM started with the model {self._path}, but to a first request at {address} it answers "
            f"{status or 'nothing'}: {_one_line(said)}; its log is {self._log}"
        )

    def _why(self) -> str:
        with self._log.open("rb") as file:
            file.seek(self._log_start)
            text = file.read().decode("utf-8", errors="replace")
        return _one_line(first_error(text) or "\n".join(text.splitlines()[-3:])) or "nothing is in its log"


class Servers:
    """Runs one server at a time: models that need vLLM do not share a GPU."""

    def __init__(self, on_wait: OnWait | None = None) -> None:
        self._on_wait = on_wait
        self._server: VllmServer | None = None
        self._what: tuple[str, ...] = ()

    def url_of(self, block: VllmModel | RewardServer, path: Path, name: str, *, log: Path, key: str) -> str:
        """URL of a server with this model. It is started unless it runs already; another server is stopped first."""
        what = (interpreter(block, key), *arguments(block, path, name))
        if self._server is None or self._what != what or self._server.ended:
            self.stop()
            server = VllmServer(block, path, name, log=log, key=key, on_wait=self._on_wait)
            server.start()
            self._server, self._what = server, what
        return self._server.url

    def check(self) -> None:
        """Raise ModelError if the server that should be running has ended."""
        if self._server is not None:
            self._server.check()

    def stop(self) -> None:
        """End the server, if there is one."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    # With this variable, vLLM would demand its key in our requests.
    environment = {name: value for name, value in os.environ.items() if name != "VLLM_API_KEY"}
    # A file in the working directory must not be imported as a module of vLLM.
    return environment | {"PYTHONSAFEPATH": "1"}


def _request(
    port: int, method: str, address: str, body: dict[str, Any] | None = None, *, timeout: float
) -> tuple[int | None, str]:
    """Status and text of a reply, or None and the cause if there was no reply. No proxy is used."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, address, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return None, str(error)
    finally:
        connection.close()


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN_CHARACTERS]
