"""One vLLM server: starts it, waits for it, asks it once, and ends it with everything that it started.

Only the process that builds does this. Jobs get URL and key.
"""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from eva_data.config import RewardServer, VllmModel
from eva_data.errors import ModelError
from eva_data.models.keys import key_headers
from eva_data.models.vllm.command import arguments, first_error, first_request, interpreter
from eva_data.models.vllm.hosts import Host, Launcher, Local, Order
from eva_data.supervise import ending, last_lines

POLL_SECONDS = 0.2

FIRST_ANSWER_SECONDS = 120.0
"""A server that says that it is healthy has at least so many seconds for its first answer."""

_SHOWN_CHARACTERS = 600

OnWait = Callable[[float, str], None]
"""Called with (seconds waited, last line of the log) while a server starts."""


class VllmServer:
    """vLLM with one model, on a free port of the machine that the launcher gives, while the context lasts.

    Requests call the model `name` and show the key. `key` is the place of the block in the settings, such as `solver`,
    for errors.
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
        launcher: Launcher | None = None,
        number: int = 0,
    ) -> None:
        self._block, self._path, self._name, self._place = block, path, name, key
        self._log, self._on_wait = log, on_wait
        self._launcher = launcher or Local(grouped=False)
        self._number = number
        self._python = interpreter(block, key)
        self._log_start = 0
        self._host: Host | None = None
        self._url = ""
        self.key = secrets.token_urlsafe(32)
        """The key of this server alone."""

    @property
    def url(self) -> str:
        """The server's address, up to and with `/v1`; empty before it has one."""
        return self._url

    @property
    def log(self) -> Path:
        """The file to which the server's output is appended."""
        return self._log

    @property
    def ended(self) -> bool:
        """Whether the server does not run: it was not started, was stopped, or is dead."""
        host = self._host
        return host is None or host.poll() is not None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the server will be ended from outside; None if that is not known."""
        host = self._host
        return None if host is None else host.seconds_left()

    @property
    def healthy(self) -> bool:
        """Whether the server says that it is well."""
        return self._request("GET", "/health", timeout=5.0)[0] == 200

    def start(self) -> None:
        """Start the server and return once it has answered a first request.

        Raise ModelError if it ends before that, or is not healthy within the block's `start_minutes`. The time for
        which it waits for a machine does not count.
        """
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        command = [self._python, *arguments(self._block, self._path, self._name)]
        gpus = self._block.tensor_parallel * self._block.data_parallel
        order = Order(command, self.key, self._log, gpus, self._number, self._place)
        self._host = host = self._launcher.begin(order)
        try:
            self._wait_until_healthy(host)
            self._ask_once(host)
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Raise ModelError, with the cause from the log, if the server ended by itself."""
        if self._host is not None:
            self._check(self._host)

    def _check(self, host: Host) -> None:
        status = host.poll()
        if status is None:
            return
        if "No module named 'vllm'" in self._last_line():
            raise ModelError(
                f"{self._python} has no vLLM: name the interpreter of an environment that has it in "
                f"`{self._place}.python`, or install it there with `pip install vllm`"
            )
        raise ModelError(f"vLLM with the model {self._path} {ending(status)}: {self._why()}; its log is {self._log}")

    def stop(self) -> None:
        """End the server and everything that it started; return when nothing is left. It is safe to call this again."""
        host, self._host = self._host, None
        if host is not None:
            host.stop()

    def __enter__(self) -> VllmServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_healthy(self, host: Host) -> None:
        began, placed = time.monotonic(), False
        while True:
            address = host.address()
            if address is not None:
                self._url = f"http://{address[0]}:{address[1]}/v1"
                if self.healthy:
                    return
                if not placed:
                    placed, began = True, time.monotonic()
            self._check(host)
            waited, last = time.monotonic() - began, host.waits_for() or self._last_line()
            if placed and waited > self._block.start_minutes * 60:
                raise ModelError(
                    f"vLLM with the model {self._path} does not answer after {self._block.start_minutes:g} minutes; "
                    f"its log {self._log} ends with: {last}; if it only needs longer, raise "
                    f"`{self._place}.start_minutes`"
                )
            if self._on_wait:
                self._on_wait(waited, last)
            time.sleep(POLL_SECONDS)

    def _ask_once(self, host: Host) -> None:
        """Make a first request. A healthy server's engine may die of it, or the model may lack what requests need."""
        address, body = first_request(self._block, self._name)
        status, said = self._request("POST", address, body, timeout=FIRST_ANSWER_SECONDS)
        if status == 200:
            return
        if status == 404 and isinstance(self._block, RewardServer):
            raise ModelError(
                f"vLLM gives no scores of the model {self._path}: it serves only a `...ForSequenceClassification` as a "
                f"reward model; name one in `{self._place}.model`, or use `backend: classifier`"
            )
        # A dying engine replies with an error before its process ends.
        deadline = time.monotonic() + 5
        while status in (None, 500) and time.monotonic() < deadline:
            self._check(host)
            time.sleep(POLL_SECONDS)
        raise ModelError(
            f"vLLM started with the model {self._path}, but to a first request at {address} it answers "
            f"{status or 'nothing'}: {_one_line(said)}; its log is {self._log}"
        )

    def _last_line(self) -> str:
        """The last line that this server wrote, since others may have written to the same log before."""
        return last_lines(self._log, 1, since=self._log_start)

    def _why(self) -> str:
        if not self._log.exists():
            return "it wrote no log"
        with self._log.open("rb") as file:
            file.seek(self._log_start)
            text = file.read().decode("utf-8", errors="replace")
        return _one_line(first_error(text) or self._last_line()) or "nothing is in its log"

    def _request(
        self, method: str, address: str, body: dict[str, Any] | None = None, *, timeout: float
    ) -> tuple[int | None, str]:
        """Status and text of a reply, or None and the cause if there was no reply. No proxy is used."""
        where = self._url.removeprefix("http://").removesuffix("/v1")
        connection = http.client.HTTPConnection(where, timeout=timeout)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, address, text, {"Content-Type": "application/json"} | key_headers(self.key))
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace").replace(self.key, "***")
        except (OSError, http.client.HTTPException) as error:
            return None, str(error)
        finally:
            connection.close()


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_SHOWN_CHARACTERS]
