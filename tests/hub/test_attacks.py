"""Attacks by a stranger's dataset on a user who pulls it and builds on it: nothing runs, is read or is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
import yaml
from hub_server import Hub
from published import accept, changed, publish, small_dataset
from sandbox_runs import error_of
from serving import Quiet, serving

REPO = "mallory/gift"
KEY = "sk-planted-0123456789"


class Publisher(Quiet):
    """A server that keeps all requests."""

    got: ClassVar[list[str]] = []

    def _keep(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        self.got.append(f"{self.command} {self.path} {dict(self.headers)} {body}")
        self.send_response(404)
        self.end_headers()

    do_GET = do_POST = _keep


@pytest.fixture
def publisher() -> Iterator[str]:
    """The publisher's address."""
    Publisher.got.clear()
    with serving(Publisher) as address:
        yield f"{address}/v1"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The victim's working folder."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def run(hub: Hub, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run eva-data as the victim, with keys in the environment."""
    keys = {"OPENAI_API_KEY": KEY, "GEMINI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
    return subprocess.run(
        [sys.executable, "-m", "eva_data.cli", *arguments],
        cwd=home,
        env=os.environ | hub.environment() | keys,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def victim(hub: Hub, home: Path, made: Path, *, seed: str = "Say ab.", **settings: Any) -> str:
    """Publish a dataset with these settings, pull it, build on it, and return the output."""
    files = small_dataset(made, iterations=1, seed=seed)
    publish(hub, REPO, changed(files, 1, lambda values: values["config"].update(settings)))
    pulled = run(hub, home, "pull", REPO)
    assert pulled.returncode == 0, pulled.stderr
    for verb in (["build"], ["build", "--dry-run"], ["run"]):
        target = ["--iters", "2"] if verb == ["run"] else ["--iter", "2"]
        said = error_of(run(hub, home, *verb, *target))
        assert "came with a pulled dataset and wait for you: " in said
    return pulled.stdout


def api(model: str, **extra: Any) -> dict[str, Any]:
    """The whole block of a provider's model in a manifest."""
    sampling = {"responses": 2, "temperature": 0.7, "top_p": 0.9, "max_tokens": 64, "max_prompt_tokens": 64}
    return sampling | {
        "system": "keep",
        "backend": "api",
        "model": model,
        "revision": None,
        "tokenizer": None,
        "extra_body": extra,
    }


@pytest.mark.slow
@pytest.mark.parametrize("model", ["openai/gpt-4o", "gemini/gemini-2.5-flash", "anthropic/claude-sonnet-4-5"])
def test_the_users_key_does_not_go_to_the_publisher(
    hub: Hub, home: Path, tmp_path: Path, publisher: str, model: str
) -> None:
    files = small_dataset(tmp_path / "made", iterations=1)
    redirected = {"solver": api(model, api_base=publisher)}
    publish(hub, REPO, changed(files, 1, lambda values: values["config"].update(redirected)))
    said = error_of(run(hub, home, "pull", REPO))
    assert "`extra_body` holds `api_base`, which would say where requests go" in said
    assert list(home.rglob("*.parquet")) == []
    assert not (home / "eva.yaml").exists()
    assert Publisher.got == []
    assert KEY not in said


@pytest.mark.slow
def test_what_goes_out_beside_the_users_key_waits_for_the_user(
    hub: Hub, home: Path, tmp_path: Path, publisher: str
) -> None:
    said = victim(hub, home, tmp_path / "made", solver=api("openai/gpt-4o", user="mallory"))
    assert "`solver.extra_body` puts {'user': 'mallory'} into every request, beside your key" in said
    assert Publisher.got == []
    assert KEY not in (home / "eva.yaml").read_text() + said


@pytest.mark.slow
def test_an_address_in_a_manifest_is_dropped(hub: Hub, home: Path, tmp_path: Path, publisher: str) -> None:
    addressed = api("gpt-4o") | {"base_url": publisher, "api_key_env": "OPENAI_API_KEY"}
    victim(hub, home, tmp_path / "made", solver=addressed)
    assert publisher not in (home / "eva.yaml").read_text()
    accept(home / "eva.yaml")
    assert "base_url" not in yaml.safe_load((home / "eva.yaml").read_text())["solver"]
    assert Publisher.got == []


@pytest.mark.slow
def test_prompts_that_are_programs_do_not_run(hub: Hub, home: Path, tmp_path: Path) -> None:
    stolen = tmp_path / "stolen"
    program = f"__import__('pathlib').Path({str(stolen)!r}).write_text('x')"
    function = {"backend": "verifier", "function": "cProfile:run", "version": "", "answers": None}
    said = victim(hub, home, tmp_path / "made", seed=program, reward=function)
    assert "`reward.function` calls cProfile:run on this machine with prompts and responses" in said
    assert not stolen.exists()


@pytest.mark.slow
def test_a_strangers_model_is_neither_downloaded_nor_run(hub: Hub, home: Path, tmp_path: Path) -> None:
    files = small_dataset(tmp_path / "honest", iterations=1)
    solver = json.loads(files["manifests/iter_1.json"])["config"]["solver"]
    said = victim(hub, home, tmp_path / "made", solver=solver | {"model": "mallory/model", "trust_remote_code": True})
    assert "`solver.trust_remote_code` runs code on this machine that comes with the model" in said
    assert [call for call in hub.calls if "mallory/model" in call] == []


@pytest.mark.slow
def test_a_folder_of_the_user_is_not_read(hub: Hub, home: Path, tmp_path: Path, publisher: str) -> None:
    private = tmp_path / "private"
    private.mkdir()
    pl.DataFrame({"prompt": ["my diary"]}).write_parquet(private / "train.parquet")
    files = small_dataset(tmp_path / "honest", iterations=1)
    seeds = json.loads(files["manifests/iter_1.json"])["config"]["seeds"]
    said = victim(
        hub,
        home,
        tmp_path / "made",
        seeds=seeds | {"dataset": str(private), "sandbox": None},
        solver=api("openai/gpt-4o", user="mallory"),
    )
    assert f"`seeds.dataset` reads the data set {private}, and its rows go to the models" in said
    assert Publisher.got == []


@pytest.mark.slow
def test_texts_of_a_manifest_do_not_steer_the_terminal(hub: Hub, home: Path, tmp_path: Path) -> None:
    nasty = "\x1b[2J\x1b]0;x\x07\u202eevil\r\nPulled: all is well\x00"
    said = victim(hub, home, tmp_path / "made", solver=api(f"openai/{nasty}", note=nasty), name=f"gift{nasty}")
    assert all(line.isprintable() for line in said.splitlines())
    assert "Pulled: all is well" not in [line.strip() for line in said.splitlines()]
    assert all(line.isprintable() for line in (home / "eva.yaml").read_text().splitlines())


@pytest.mark.slow
def test_a_dry_run_shows_what_would_run_and_where_requests_would_go(hub: Hub, home: Path, tmp_path: Path) -> None:
    files = small_dataset(tmp_path / "made", iterations=1)
    publish(hub, REPO, files)
    assert run(hub, home, "pull", REPO).returncode == 0
    accept(home / "eva.yaml")
    here = ["--set", "solver={backend: api, model: m, base_url: 'http://127.0.0.1:9/v1', api_key_env: OPENAI_API_KEY}"]
    fresh = run(hub, home, "build", "--iter", "1", "--dry-run", "--set", "folder=data/fresh", *here)
    assert fresh.returncode == 0, fresh.stderr
    for line in (
        "- `solver.base_url` sends requests to http://127.0.0.1:9/v1",
        "- `solver.api_key_env` signs requests with the key in the environment variable OPENAI_API_KEY",
        "- `solver.model` asks for the model m at http://127.0.0.1:9/v1",
        "- `reward.function` calls eva_data.sandbox.verifier:score on this machine with prompts and responses",
    ):
        assert line in fresh.stdout.splitlines()
