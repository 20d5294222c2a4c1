"""The text after a build. A build without pairs says so first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasets import load_dataset

from eva_data.cli import main


def built(folder: Path, rows: Sequence[Mapping[str, object]]) -> str:
    """Build iteration 1 from a table of responses in the current folder, and return the printed text."""
    (folder / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "eva.yaml").write_text(
        "name: acme/few\nfolder: out\nsolver: {backend: table, path: r.jsonl, then: {model: a/b}}\n"
        "seeds: null\nreward: {function: json:loads}\n"
    )
    done = CliRunner().invoke(main, ["build", "--iter", "1"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_build_without_pairs_says_so_first_and_does_not_suggest_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    alike = [{"prompt": p, "response": r, "reward": 0.5} for p in ("Why?", "How?") for r in ("So.", "Thus.")]
    lines = built(tmp_path, alike).strip().splitlines()
    assert lines[0].startswith("Iteration 1 has no preference pairs (all_rewards_equal 2), so there is nothing in it")
    assert "eva-data train" not in "".join(lines) and "eva-data build --iter 2" not in "".join(lines)
    call = re.search(r'load_dataset\("out", "(\w+)", split="iter_1"\)', "\n".join(lines))
    assert call is not None
    table = load_dataset("out", call[1], split="iter_1", cache_dir=str(tmp_path / "cache"))
    assert len(table) == 4


def test_a_build_with_pairs_says_what_is_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = built(tmp_path, [{"prompt": "Why?", "response": str(n), "reward": n} for n in range(2)])
    assert "no preference pairs" not in output
    assert 'load_dataset("out", "preferences", split="iter_1")' in output
    assert "Next: eva-data build --iter 2" in output
