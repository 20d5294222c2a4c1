"""Whole builds with a solver behind a URL, through the command line, against a server that misbehaves when told."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest
from misbehaving import Misbehaving, Seen
from sandbox_runs import command, processes_of, tables, totals

pytestmark = pytest.mark.slow

KEY = "sk-planted-0123456789"

VERIFIER = """
from hashlib import sha256

def score(prompt: str, response: str) -> float:
    return int(sha256(response.encode()).hexdigest()[:4], 16) / 65536
"""


def config(folder: Path, server: Misbehaving, prompts: int = 30) -> tuple[str, ...]:
    """Write eva.yaml, a verifier and prompts beside `folder`, and return the options of a build."""
    (folder.parent / "scores.py").write_text(VERIFIER)
    rows = [
        f"Tell me what you know of the number {number}, of its neighbours and of its square."
        for number in range(prompts)
    ]
    pl.DataFrame({"prompt": rows}).write_parquet(folder.parent / "prompts.parquet")
    (folder.parent / "eva.yaml").write_text(
        "name: acme/remote\n"
        "seeds: {path: prompts.parquet}\n"
        f"solver: {{backend: api, model: tiny, base_url: '{server.url}', api_key_env: EVA_TEST_KEY, responses: 3,\n"
        "  max_in_flight: 4, prices: {input: 1, output: 2}}\n"
        "reward: {backend: verifier, function: 'scores:score'}\n"
        "evolve: {near_duplicate: null, min_chars: 1}\n"
    )
    return ("--config", str(folder.parent / "eva.yaml"))


def build(folder: Path, *arguments: str, settings: tuple[str, ...], key: str = KEY) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, [str(folder.parent), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        command(folder, "build", *arguments, settings=settings),
        cwd=folder.parent,
        env=os.environ | {"EVA_TEST_KEY": key, "PYTHONPATH": path, "COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def sampled(server: Misbehaving) -> list[Seen]:
    """All requests except the requests of the canary."""
    return [seen for seen in list(server.seen) if seen.body["temperature"] != 0]


def answered(server: Misbehaving) -> int:
    """The number of completions that the server has given."""
    return sum(int(seen.body["n"]) for seen in sampled(server) if seen.answered)


def test_a_build_with_a_server_repeats_nothing_after_a_kill_and_no_file_holds_the_key(tmp_path: Path) -> None:
    folder = tmp_path / "remote"
    with Misbehaving(key=KEY, delay=0.05) as server:
        settings = config(folder, server)
        killed = build(folder, "--iter", "2", settings=settings)
        while killed.poll() is None and len(sampled(server)) < 45:
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        while processes_of(folder):
            time.sleep(0.05)
        lost = answered(server) - totals(folder)["generations"]
        # What was answered and is not in the ledger was in flight: at most four requests of three choices.
        assert 0 <= lost <= 4 * 3
        again = build(folder, "--iter", "2", settings=settings)
        output, errors = again.communicate(timeout=600)
        assert again.returncode == 0, errors
    assert totals(folder)["repeated"] == 0
    assert answered(server) - totals(folder)["generations"] == lost
    assert server.most_in_flight <= 4
    assert tables(folder, 2)["preferences"].height > 0
    assert tables(folder, 1)["responses"].height == 90
    for file in folder.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
    assert KEY not in output + errors


def test_a_key_that_the_server_refuses_is_in_no_file_and_no_message(tmp_path: Path) -> None:
    folder = tmp_path / "remote"
    with Misbehaving(key="another") as server:
        run = build(folder, "--iter", "1", settings=config(folder, server))
        output, errors = run.communicate(timeout=600)
    assert run.returncode == 1
    assert "refuses the key (HTTP 401): put a valid one into the environment variable EVA_TEST_KEY" in errors
    assert KEY not in output + errors
    assert [file for file in folder.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()] == []


@pytest.mark.parametrize(
    ("change", "sentence", "requests"),
    [
        # Routers take names that they do not list, so the first request decides.
        ("model=huge", "does not know the model `huge`", 1),
        (
            "base_url=http://127.0.0.1:9/v1",
            "no server answers at http://127.0.0.1:9/v1: start it, or correct `base_url`",
            0,
        ),
    ],
)
def test_a_wrong_address_or_model_ends_the_build_before_anything_is_paid(
    tmp_path: Path, change: str, sentence: str, requests: int
) -> None:
    folder = tmp_path / "remote"
    with Misbehaving(key=KEY) as server:
        settings = (*config(folder, server), "--set", f"solver.{change}")
        run = build(folder, "--iter", "1", settings=settings)
        _, errors = run.communicate(timeout=600)
    assert run.returncode == 1
    assert sentence in errors
    assert len(server.seen) == requests
    assert server.answered == []


def test_another_model_under_the_same_name_stops_the_next_iteration_until_it_has_a_revision(tmp_path: Path) -> None:
    folder = tmp_path / "remote"
    with Misbehaving(key=KEY) as server:
        settings = config(folder, server, prompts=12)
        first = build(folder, "--iter", "1", settings=settings)
        first.communicate(timeout=600)
        assert first.returncode == 0
        server.voice = "v2"
        second = build(folder, "--iter", "2", settings=settings)
        _, errors = second.communicate(timeout=600)
        assert second.returncode == 1
        assert "the server's model `tiny@unknown` answers differently than before" in errors
        assert "`--solver NAME@REVISION`" in errors
        third = build(folder, "--iter", "2", "--solver", "tiny@v2", settings=settings)
        _, errors = third.communicate(timeout=600)
        assert third.returncode == 0, errors
    assert tables(folder, 2)["responses"]["solver"].unique().to_list() == ["tiny@v2"]
