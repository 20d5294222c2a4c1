"""Prompts with right answers for trainers with verifiable rewards: whole files, loaded as their trainers load them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest
from click.testing import CliRunner, Result

from eva_data.cli import main

KNOWN = {"What is 2 + 3?": "5", "What is 7 x 8?": "56"}
UNKNOWN = "Why is the sky blue?"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built iteration of three prompts, and a file with the answers to two of them."""
    folder = tmp_path_factory.mktemp("answered")
    rows = [
        {"prompt": text, "response": response, "reward": reward}
        for text in (*KNOWN, UNKNOWN)
        for response, reward in (("Right.", 1.0), ("Wrong.", 0.0))
    ]
    (folder / "scored.jsonl").write_text("\n".join(map(json.dumps, rows)))
    scored = {"backend": "table", "path": str(folder / "scored.jsonl")}
    done = run(folder, {"solver": scored}, "build", "--iter", "1")
    assert done.exit_code == 0, done.output
    pl.DataFrame({"question": list(KNOWN), "answer": list(KNOWN.values())}).write_parquet(folder / "answers.parquet")
    return folder


def run(folder: Path, blocks: dict[str, Any], *arguments: str) -> Result:
    settings = {"name": "acme/answered", "folder": str(folder / "data")} | blocks
    (folder / "eva.yaml").write_text(json.dumps(settings))
    return CliRunner().invoke(main, [*arguments, "--config", str(folder / "eva.yaml")])


def export(folder: Path, form: str, output: str, *, answers: bool = True) -> Result:
    reward: dict[str, Any] = {"backend": "verifier", "function": "eva_data.rewards.answers:math_equal"}
    if answers:
        reward["answers"] = {"path": str(folder / "answers.parquet"), "prompt": "question", "answer": "answer"}
    blocks = {"seeds": {"sandbox": 4}, "solver": {"backend": "transformers", "model": "sandbox"}, "reward": reward}
    return run(folder, blocks, "export", "--iter", "1", "--format", form, "--output", str(folder / output))


def test_verl_reads_messages_a_rule_and_the_right_answer(place: Path) -> None:
    done = export(place, "verl", "prompts.parquet")
    assert done.exit_code == 0, done.output
    assert "holds 2 prompts of iteration 1 with their answers, as verl reads them. 1 prompts, whose" in done.output
    loaded = datasets.load_dataset("parquet", data_files=str(place / "prompts.parquet"), split="train")
    rows = {row["prompt"][0]["content"]: row for row in loaded}
    assert {text: row["reward_model"] for text, row in rows.items()} == {
        text: {"style": "rule", "ground_truth": answer} for text, answer in KNOWN.items()
    }
    row = rows["What is 2 + 3?"]
    assert row["prompt"] == [{"role": "user", "content": "What is 2 + 3?"}]
    assert (row["data_source"], row["ability"]) == ("scored.jsonl", "reasoning")
    extra = row["extra_info"]
    assert (extra["split"], extra["depth"], extra["origin"], len(extra["prompt_id"])) == ("train", 0, "seed", 32)
    assert sorted(each["extra_info"]["index"] for each in rows.values()) == [0, 1]


def test_openrlhf_reads_inputs_and_labels(place: Path) -> None:
    done = export(place, "openrlhf", "prompts.jsonl")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (place / "prompts.jsonl").read_text().splitlines()]
    expected = [{"input": [{"role": "user", "content": text}], "label": answer} for text, answer in KNOWN.items()]
    assert sorted(lines, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize(
    ("form", "output", "answers", "says"),
    [
        ("verl", "prompts.jsonl", True, "verl reads parquet: call it prompts.parquet"),
        ("openrlhf", "prompts.parquet", True, "openrlhf reads jsonl: call it prompts.jsonl"),
        (
            "verl",
            "none.parquet",
            False,
            "of no prompt of iteration 1 is the answer known, so there is",
        ),
    ],
)
def test_what_cannot_be_written_is_said(place: Path, form: str, output: str, answers: bool, says: str) -> None:
    done = export(place, form, output, answers=answers)
    assert done.exit_code == 1 and says in str(done.exception) + done.output
    assert not (place / "none.parquet").exists()
