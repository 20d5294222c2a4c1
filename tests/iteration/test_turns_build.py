"""A game of conversations that go on: built, verified, published and loaded, with a scripted solver and creator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from hub_server import WRITE, Hub
from odd_server import Answer, Asked, OddServer, said

from eva_data.cli.text.build import print_lineages
from eva_data.dataset.store import Store
from eva_data.files import sha256
from eva_data.hub.verify import verify_iteration

pytestmark = pytest.mark.slow

REPO = "alice/turns"


def players(asked: Asked) -> Answer:
    """Answers every prompt in three qualities; as the creator it asks on."""
    if "You are the user of this conversation" in asked.prompt:
        return said(asked, f"And how is it with the other {len(asked.prompt) % 97} of them?")
    status, reply = said(asked)[:2]
    for choice in range(asked.body.get("n", 1)):
        quality = (asked.time - 1 + choice) % 3
        reply["choices"][choice]["message"]["content"] = f"{len(asked.body['messages'])} turns, quality {quality}"
    return status, reply


def test_pairs_differ_in_the_last_turn_alone_after_the_solvers_best_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pl.DataFrame({"prompt": ["Name two rivers.", "Name three lakes.", "Name a few hills."]}).write_csv(
        tmp_path / "seeds.csv"
    )
    (tmp_path / "rewards.py").write_text("def score(prompt, response):\n    return float(response[-1])\n")
    with OddServer(players) as server, Hub(tmp_path / "hub") as hub:
        settings = {
            "name": "alice/turns",
            "folder": "data",
            "seeds": {"path": "seeds.csv"},
            "solver": {"backend": "api", "model": "tiny", "base_url": server.url, "responses": 3, "canary": False},
            "reward": {"function": "rewards.py:score"},
            "estimate": {"min_best": None},
            "sample": {"fraction": 0.7},
            "mix": {"evolved": 0.7},
            "evolve": {"method": "self_talk", "evolutions": 1, "near_duplicate": None},
        }
        (tmp_path / "eva.yaml").write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "eva_data.cli", "build", "--iter", "2"]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        published = hub.run(tmp_path, "publish", "--iter", "2", "--repo", REPO, token=WRITE)
        assert published.returncode == 0, published.stdout + published.stderr
        load = (
            "from datasets import load_dataset\n"
            f"rows = load_dataset('{REPO}', 'preferences', split='iter_2', revision='iter-2')\n"
            "print(sorted(len(row['prompt']) for row in rows))"
        )
        loaded = hub.python(tmp_path, "-c", load, token=WRITE)
        assert loaded.returncode == 0, loaded.stderr
    store = Store(tmp_path / "data")
    pairs = store.scan("preferences", 2).sort("depth").collect()
    assert loaded.stdout.strip() == "[1, 3, 3]"
    roles = [[turn["role"] for turn in prompt] for prompt in pairs["prompt"].to_list()]
    assert roles == [["user"], ["user", "assistant", "user"], ["user", "assistant", "user"]]
    longer = pairs.filter(pl.col("depth") == 1)
    assert {prompt[1]["content"] for prompt in longer["prompt"].to_list()} == {"1 turns, quality 2"}
    assert [[turn["content"] for turn in side] for side in longer["chosen"].to_list()] == [["3 turns, quality 2"]] * 2
    assert [[turn["content"] for turn in side] for side in longer["rejected"].to_list()] == [["3 turns, quality 0"]] * 2
    assert verify_iteration(store, 2).problems == []
    print_lineages(store, 2, 1)
    shown = capsys.readouterr().out
    assert re.search(r"^\[seed\] Name .*\n\[assistant\] 1 turns, quality 2\n\[\w+\] And how is it with", shown, re.M)
    path = store.table_files("responses", 2)[0]
    worse = pl.when(pl.col("response") == "1 turns, quality 2").then(pl.lit("1 turns, quality 7"))
    pl.read_parquet(path).with_columns(response=worse.otherwise("response")).write_parquet(path)
    manifest = json.loads(store.manifest_path(2).read_text())
    manifest["files"]["responses/iter_2.parquet"] |= {"sha256": sha256(path), "bytes": path.stat().st_size}
    store.manifest_path(2).write_text(json.dumps(manifest))
    found = verify_iteration(store, 2).problems
    assert [each for each in found if "2 prompts do not continue their parent by its best answer" in each]
