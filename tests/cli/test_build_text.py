"""The text after a build. A build without pairs says so first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasets import load_dataset
from rich.console import Console

from eva_data.cli import main
from eva_data.cli.text.costs import spent_table


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


def test_the_first_line_says_what_came_out_and_a_repeated_build_says_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": p, "response": str(n), "reward": n} for p in ("Why?", "How?") for n in range(2)]
    rows += [{"prompt": "When?", "response": text, "reward": 1} for text in ("Now.", "Then.")]
    first = built(tmp_path, rows).splitlines()
    assert re.fullmatch(r"2 pairs of 3 prompts, in (< 1|\d+) s", next(line for line in first if "pairs of" in line))
    assert any("Rejected, by reason" in line for line in first)
    assert any(line.startswith("All reasons: eva-data explain, or docs/reasons.md") for line in first)
    again = CliRunner().invoke(main, ["build", "--iter", "1"], catch_exceptions=False).output
    assert "2 pairs of 3 prompts; iteration 1 was there already" in again
    assert "Rejected" not in again and "┏" not in again


def test_what_was_spent_has_short_ids_and_in_100_columns_one_line_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"replies": 2, "completions": 360, "prompt_tokens": 4512, "completion_tokens": 3108, "cost": 0.0}
    names = ("sandbox-steps@8b04acc49b46a0e9", "gpt-5@unknown", "iter_1@c95d96370b089c36")
    bills = [{"iteration": 1, "stage": "respond", "model": name, "unpriced": 0} | counts for name in names]
    Console(width=100).print(spent_table(bills))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    models = [line[2] for line in lines if line[:2] == ["1", "respond"]]
    assert models == ["sandbox-steps@8b04acc4", "gpt-5@unknown", "iter_1@c95d9637"]


def test_a_reward_that_rounds_to_zero_has_no_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    built(tmp_path, [{"prompt": "Why?", "response": r, "reward": w} for r, w in (("So.", 0.5), ("No.", -1e-4))])
    shown = CliRunner().invoke(main, ["show", "--iter", "1"], catch_exceptions=False).output
    assert sorted(line.split() for line in shown.splitlines() if line.endswith(("So.", "No."))) == [
        ["chosen", "0.500", "So."],
        ["rejected", "0.000", "No."],
    ]
