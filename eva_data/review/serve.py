"""Says how to run an Argilla server on this machine, or runs it by docker compose if the user asks for it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from eva_data.errors import ReviewError
from eva_data.files import write_text

COMPOSE = Path(__file__).parent / "compose.yaml"
URL = "http://127.0.0.1:6900"

_INSTRUCTIONS = f"""\
`eva-data review` needs an Argilla server, 2.8, with its own database, search engine and queue. Three ways to one:

1. With docker: `eva-data review serve --start` runs it on this machine, at {URL}, out of {COMPOSE},
   and says where its password and key are.
2. On the Hub: https://docs.argilla.io/latest/getting_started/quickstart/ makes a Space; its page shows the URL and,
   under your settings, the key. Give it persistent storage, or its answers go when it sleeps.
3. With pip, in an environment of its own, beside an Elasticsearch 8 at port 9200 and a redis at port 6379:
     pip install argilla-server==2.8.0 'click<8.2'
     export ARGILLA_ELASTICSEARCH=http://127.0.0.1:9200 ARGILLA_REDIS_URL=redis://127.0.0.1:6379/0
     python -m argilla_server database migrate
     python -m argilla_server database users create_default --api-key A-KEY-OF-YOURS --password A-LONG-PASSWORD
     python -m argilla_server start --host 127.0.0.1 --port 6900

Then tell eva-data where it is, and whose key to use (an owner's or admin's, from the settings page):
  export ARGILLA_API_URL={URL} ARGILLA_API_KEY=...
Make a workspace in the settings page, unless there is one, and users with the role annotator in it: they review."""


def instructions() -> str:
    """The instructions to run a server."""
    return _INSTRUCTIONS


def start_server(folder: Path) -> str:
    """Run the server by docker compose, with its settings in `folder`, and return how to reach it.

    Password and key are drawn once and stay in `folder/.env`, which only this user can read. Raise ReviewError if
    docker or its compose plugin is missing or fails.
    """
    docker = shutil.which("docker")
    if docker is None:
        raise ReviewError(
            "docker is not installed, so no Argilla server was started: install docker with its compose plugin, or see "
            "`eva-data review serve` for other ways"
        )
    if _run([docker, "compose", "version"]).returncode != 0:
        raise ReviewError(
            "docker has no `compose` plugin, so no Argilla server was started: install docker-compose-plugin, or see "
            "`eva-data review serve` for other ways"
        )
    compose, environment = folder / "compose.yaml", folder / ".env"
    write_text(compose, COMPOSE.read_text(encoding="utf-8"))
    if not environment.exists():
        _write_secrets(environment)
    done = _run([docker, "compose", "--file", str(compose), "--env-file", str(environment), "up", "--detach"])
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[-300:] or f"status {done.returncode}"
        raise ReviewError(f"docker compose failed ({said}): mend it and repeat the command")
    return (
        f"Argilla starts at {URL}; in a minute it answers. Its user is `argilla`, its password and key are in "
        f"{environment}:\n"
        f"  export ARGILLA_API_URL={URL} $(grep ARGILLA_API_KEY {environment})\n"
        f"It ends with: docker compose --file {compose} down"
    )


def _write_secrets(path: Path) -> None:
    names = ("ARGILLA_PASSWORD", "ARGILLA_API_KEY", "POSTGRES_PASSWORD")
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{name}={secrets.token_urlsafe(24)}\n" for name in names)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
