"""Runs the real argilla-server 2.8.0 from an environment of its own, which `make argilla` builds.

    with ArgillaServer(folder) as server:
        server.workspace("one")                           a workspace, and both reviewers in it
        server.call("GET", "me/datasets", user="ann")     the REST API as a reviewer, else as the owner
        with server.down(): ...                           the server stops and keeps its data

`python tests/servers/argilla_server.py FOLDER` runs it for a look at the page.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from elastic import Elastic

from eva_data.supervise import Supervised, last_lines

INSTALLED = Path(__file__).parents[2] / ".venv-argilla"
PYTHON = INSTALLED / "bin" / "python"
KEY, OWNER, REVIEWERS, PASSWORD = "owner.apikey", "argilla", ("ann", "bob"), "a long password"
_SECONDS = 300.0


def missing() -> list[str]:
    """What this machine lacks for the server, and the remedy."""
    return [
        *([] if (INSTALLED / "ready").exists() else [f"argilla-server in {INSTALLED} (`make argilla`)"]),
        *([] if shutil.which("redis-server") else ["redis-server (Debian: `apt-get install redis-server`)"]),
    ]


class ArgillaServer:
    """The server with its redis and its Elasticsearch, on free ports of 127.0.0.1. All end with this process.

    Their data and logs are in `folder`, which must not exist. The documents of Elasticsearch are in memory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.elastic = folder, Elastic()
        self._port, self._redis_port = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._running: dict[str, Supervised] = {}
        self._tokens: dict[str, str] = {}
        self._environment = os.environ | {
            "ARGILLA_HOME_PATH": str(folder),
            "ARGILLA_REDIS_URL": f"redis://127.0.0.1:{self._redis_port}/0",
            "ARGILLA_ELASTICSEARCH": self.elastic.url,
            # Otherwise every start would draw another key and end the sessions.
            "ARGILLA_AUTH_SECRET_KEY": "a secret of the tests",
            # Otherwise the server would report its start to its makers.
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "1",
        }
        # The tests' own PYTHONPATH is for their own packages.
        self._environment.pop("PYTHONPATH", None)

    def __enter__(self) -> ArgillaServer:
        self.folder.mkdir(parents=True)
        self.elastic.__enter__()
        try:
            redis = ("--port", str(self._redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder))
            self._launch("redis", "redis-server", *redis)
            self._manage("migrate")
            self._manage("users", "create_default", "--api-key", KEY, "--password", PASSWORD)
            self.start()
            for name in REVIEWERS:
                self.call("POST", "users", username=name, first_name=name, password=PASSWORD, role="annotator")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self._running.pop(name).stop()
        self.elastic.__exit__()

    def start(self) -> None:
        """Start the server itself, and return when it answers."""
        where = ("--host", "127.0.0.1", "--port", str(self._port), "--no-access-log")
        self._launch("server", str(PYTHON), "-m", "argilla_server", "start", *where)
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            if self._running["server"].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"argilla-server does not answer at {self.url}:\n{self._log('server')}")
            time.sleep(0.1)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Stop the server itself in this context; redis and the documents stay."""
        self._running.pop("server").stop()
        try:
            yield
        finally:
            self.start()

    def call(self, method: str, path: str, user: str | None = None, **body: Any) -> Any:
        """Make a call of the REST API as the owner or a reviewer. Raise requests.HTTPError if it fails."""
        reply = self.request(method, path, user, **body)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def request(self, method: str, path: str, user: str | None = None, **body: Any) -> requests.Response:
        """Make a call and return the reply with any status."""
        headers = {"Authorization": f"Bearer {self._token(user)}"} if user else {"X-Argilla-Api-Key": KEY}
        return requests.request(method, f"{self.url}/api/v1/{path}", json=body, headers=headers, timeout=_SECONDS)

    def workspace(self, name: str) -> str:
        """Make a workspace that both reviewers see."""
        made = self.call("POST", "workspaces", name=name)
        for user in self.call("GET", "users")["items"]:
            if user["username"] in REVIEWERS:
                self.call("POST", f"workspaces/{made['id']}/users", user_id=user["id"])
        return name

    def _token(self, user: str) -> str:
        if user not in self._tokens:
            form = {"username": user, "password": PASSWORD}
            reply = requests.post(f"{self.url}/api/v1/token", data=form, timeout=_SECONDS)
            reply.raise_for_status()
            self._tokens[user] = reply.json()["access_token"]
        return self._tokens[user]

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/v1/version", timeout=_SECONDS).ok
        except requests.ConnectionError:
            return False

    def _launch(self, name: str, *command: str) -> None:
        log = self.folder / f"{name}.log"
        self._running[name] = Supervised(command, log=log, env=self._environment, cwd=self.folder)

    def _manage(self, *command: str) -> None:
        """Run `argilla_server database ...` to its end."""
        self._launch("database", str(PYTHON), "-m", "argilla_server", "database", *command)
        with self._running.pop("database") as process:
            status = process.wait(_SECONDS)
        if status != 0:
            raise RuntimeError(f"`argilla_server database {command[0]}` ended with {status}:\n{self._log('database')}")

    def _log(self, name: str) -> str:
        return last_lines(self.folder / f"{name}.log", 40)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


if __name__ == "__main__":
    with ArgillaServer(Path(sys.argv[1]).resolve()) as server:
        server.workspace("reviews")
        print(f"{server.url} as {OWNER} (key {KEY}), {' or '.join(REVIEWERS)}; password {PASSWORD!r}; Enter ends it")
        input()
