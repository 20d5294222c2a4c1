"""`eva-data review` without a server, or with a server that is not Argilla 2: one sentence each, without a secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from serving import Quiet, serving

from eva_data.cli import main
from eva_data.config import Review
from eva_data.errors import ConfigError, ReviewError
from eva_data.review.connection import connect
from eva_data.review.serve import start_server

KEY = "a-secret.apikey"


class _Page(Quiet):
    """A server that is not Argilla 2. It answers with the key that it got, or below `/old` like an older Argilla."""

    def do_GET(self) -> None:
        old = self.path.startswith("/old")
        self.send_response(500 if self.path.startswith("/bad") else 200)
        self.end_headers()
        quoted = f"no {self.headers['X-Argilla-Api-Key']} here".encode()
        self.wfile.write(b'{"version": "1.29.1"}' if old else quoted)


@pytest.fixture
def other() -> Iterator[str]:
    """The address of a server that is not Argilla 2."""
    with serving(_Page) as address:
        yield address


def refusal(url: str | None) -> str:
    with pytest.raises((ConfigError, ReviewError)) as told, connect(Review(api_url=url)):
        pass
    return str(told.value)


def test_a_server_that_is_not_named_not_there_or_not_argilla_is_told_without_the_key(
    monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.delenv("ARGILLA_API_URL", raising=False)
    monkeypatch.delenv("ARGILLA_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert refusal(None).startswith("no Argilla server is named: say which with `--api-url`, ARGILLA_API_URL or")
    assert refusal(other).startswith("the environment variable ARGILLA_API_KEY, which holds the key of `Argilla`, is")
    monkeypatch.setenv("ARGILLA_API_KEY", f"{KEY}\n")
    assert refusal("127.0.0.1:1").startswith("the Argilla server at 127.0.0.1:1 cannot be reached (")
    assert refusal("http://127.0.0.1:1").startswith("the Argilla server at http://127.0.0.1:1 cannot be reached (")
    assert refusal("http://a:b").startswith("http://a:b is no address of a server (")
    assert refusal(other) == f"{other} does not answer as an Argilla server does: is the address right?"
    assert (
        refusal(f"{other}/old")
        == f"{other}/old answers as version '1.29.1' of Argilla, not as 2: is the address right?"
    )
    assert refusal(f"{other}/bad") == (
        f"the Argilla server at {other}/bad answered 500 (no *** here): repeat the command, nothing is done twice"
    )
    monkeypatch.setenv("ARGILLA_API_KEY", "käse")
    assert refusal(other) == "ARGILLA_API_KEY holds characters that no key of Argilla has: copy it anew"


def test_how_to_run_a_server_is_said_and_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(main, ["review", "serve"])
    assert said.exit_code == 0
    assert "eva-data review serve --start" in said.output
    assert "pip install argilla-server==2.8.0" in said.output
    assert "export ARGILLA_API_URL=http://127.0.0.1:6900 ARGILLA_API_KEY=" in said.output
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = CliRunner().invoke(main, ["review", "serve", "--start"])
    assert asked.exit_code == 1
    assert asked.output.startswith("Error: docker is not installed, so no Argilla server was started: install docker")
    assert list(tmp_path.iterdir()) == []


DOCKER = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/called"
case "$*" in
  *version*) exit ${COMPOSE:-0} ;;
  *) echo "no daemon" >&2; exit ${DAEMON:-0} ;;
esac
"""


def test_a_server_is_started_by_docker_compose_with_a_password_and_key_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = tmp_path / "argilla"
    monkeypatch.setenv("COMPOSE", "1")
    with pytest.raises(ReviewError, match="docker has no `compose` plugin, so no Argilla server was started"):
        start_server(folder)
    assert not folder.exists()
    monkeypatch.setenv("COMPOSE", "0")
    monkeypatch.setenv("DAEMON", "1")
    with pytest.raises(ReviewError, match=r"docker compose failed \(no daemon\)"):
        start_server(folder)
    monkeypatch.setenv("DAEMON", "0")
    secrets = (folder / ".env").read_text()
    told = start_server(folder)
    assert (folder / ".env").read_text() == secrets
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    values = dict(line.split("=", 1) for line in secrets.splitlines())
    assert sorted(values) == ["ARGILLA_API_KEY", "ARGILLA_PASSWORD", "POSTGRES_PASSWORD"]
    assert not any(value in told for value in values.values())
    up = f"compose --file {folder}/compose.yaml --env-file {folder}/.env up --detach"
    assert (tmp_path / "called").read_text().splitlines()[-1] == up
    assert all(f"${{{name}}}" in (folder / "compose.yaml").read_text() for name in values)
