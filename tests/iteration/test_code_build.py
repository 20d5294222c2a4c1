"""Code of a scripted solver, run in the sandbox: built, verified with its tests run again, and loaded as pairs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from odd_server import Answer, Asked, OddServer, said

from eva_data.dataset.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isolates the code, and is not here"),
]

BODIES = ("return 2 * x", "return 2", "import os; os._exit(0)", "return x")


def solver(asked: Asked) -> Answer:
    status, reply = said(asked)[:2]
    for choice in range(asked.body.get("n", 1)):
        body = BODIES[(asked.time - 1 + choice) % 4]
        reply["choices"][choice]["message"]["content"] = f"Here:\n```python\ndef f(x):\n    {body}\n```"
    return status, reply


def test_the_code_that_passes_most_tests_is_chosen_and_verify_runs_the_tests_again(tmp_path: Path) -> None:
    prompts, tests = ["Double it.", "Twice."], ["assert f(1) == 2", "assert f(3) == 6"]
    pl.DataFrame({"prompt": prompts, "tests": [tests] * 2}).write_ndjson(tmp_path / "seeds.jsonl")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "eva_data.cli", *arguments],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "160"},
            timeout=200,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with OddServer(solver) as server:
        settings = {
            "name": "code",
            "folder": "data",
            "seeds": {"path": "seeds.jsonl"},
            "solver": {"backend": "api", "model": "tiny", "base_url": server.url, "responses": 4, "canary": False},
            "reward": {"backend": "code", "allow": True, "answers": {"path": "seeds.jsonl", "answer": "tests"}},
            "mix": {"source": "new_seeds"},
        }
        (tmp_path / "eva.yaml").write_text(yaml.safe_dump(settings))
        run("build", "--iter", "1")
        run("verify", "--iter", "1", "--rescore", "8")
    store = Store(tmp_path / "data")
    rewards = store.scan("responses", 1).sort("prompt_id", "response_idx").collect()["reward"]
    assert rewards.to_list() == [1.0, 0.5, 0.0, 0.0] * 2
    pairs = store.scan("preferences", 1).collect()
    assert pairs["score_chosen"].to_list() == [1.0, 1.0]
    assert all("return 2 * x" in chosen[-1]["content"] for chosen in pairs["chosen"])
    assert "tests of its code, which ran in a sandbox" in (store.folder / "README.md").read_text()
