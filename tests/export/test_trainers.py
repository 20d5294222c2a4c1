"""The files that other trainers read, line by line, and what they cannot hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest
from click.testing import CliRunner

from eva_data.cli import main
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.export.answers import FORMS
from eva_data.export.prompts import ANSWER_FORMS
from eva_data.export.trainers import TRAINER_FORMS, TrainerForm, write_for_trainer

SCORED = [
    ("Name a river.", "The Nile.", 0.5),
    ("Name a river.", "A mountain.", 0.0),
    ("Name a river.", "The Rhine, which is 1,230 km long.", 1.0),
    ("Name a river.", "The Po.", 0.5),
    ("Nenne einen Fluß.", "Die Spree.\nIn Berlin.", 1.0),
    ("Nenne einen Fluß.", '"Rhein"', 0.0),
    ("Say nothing.", "Nothing.", 0.0),
    ("Say nothing.", "...", 0.0),
]


def built(place: Path, rows: list[dict[str, Any]]) -> Store:
    """Iteration 1 of scored responses."""
    (place / "scored.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    settings = {
        "name": "acme/scored",
        "folder": str(place / "data"),
        "solver": {"backend": "table", "path": str(place / "scored.jsonl")},
    }
    (place / "eva.yaml").write_text(json.dumps(settings), encoding="utf-8")
    done = CliRunner().invoke(main, ["build", "--iter", "1", "--config", str(place / "eva.yaml")])
    assert done.exit_code == 0, done.output
    return Store(place / "data")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    rows = [dict(zip(("prompt", "response", "reward"), row, strict=True)) for row in SCORED]
    return built(tmp_path_factory.mktemp("scored"), rows)


def written(store: Store, form: TrainerForm, place: Path) -> list[Any]:
    """The lines of a form, sorted, since prompts are in the order of their hashes."""
    path = place / f"{form}.jsonl"
    count = write_for_trainer(path, store, 1, form)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert count == len(lines)
    return sorted(map(json.loads, lines), key=json.dumps)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


RIVER, FLUSS = "Name a river.", "Nenne einen Fluß."
BEST, WORST = "The Rhine, which is 1,230 km long.", "A mountain."
BESTE, SCHLECHTESTE = "Die Spree.\nIn Berlin.", '"Rhein"'

EXPECTED: dict[TrainerForm, list[Any]] = {
    "kto": [
        {"prompt": user(RIVER), "completion": said(BEST), "label": True},
        {"prompt": user(RIVER), "completion": said(WORST), "label": False},
        {"prompt": user(FLUSS), "completion": said(BESTE), "label": True},
        {"prompt": user(FLUSS), "completion": said(SCHLECHTESTE), "label": False},
    ],
    "sft": [
        {"prompt": user(RIVER), "completion": said(BEST)},
        {"prompt": user(FLUSS), "completion": said(BESTE)},
    ],
    "nemo_rl": [
        {
            "context": user(RIVER),
            "completions": [
                {"rank": 0, "completion": said(BEST)},
                {"rank": 1, "completion": said("The Nile.")},
                {"rank": 1, "completion": said("The Po.")},
                {"rank": 2, "completion": said(WORST)},
            ],
        },
        {
            "context": user(FLUSS),
            "completions": [
                {"rank": 0, "completion": said(BESTE)},
                {"rank": 1, "completion": said(SCHLECHTESTE)},
            ],
        },
    ],
    "llama_factory": [
        {
            "conversations": [{"from": "human", "value": RIVER}],
            "chosen": {"from": "gpt", "value": BEST},
            "rejected": {"from": "gpt", "value": WORST},
        },
        {
            "conversations": [{"from": "human", "value": FLUSS}],
            "chosen": {"from": "gpt", "value": BESTE},
            "rejected": {"from": "gpt", "value": SCHLECHTESTE},
        },
    ],
    "axolotl": [
        {"messages": user(RIVER), "chosen": said(BEST)[0], "rejected": said(WORST)[0]},
        {"messages": user(FLUSS), "chosen": said(BESTE)[0], "rejected": said(SCHLECHTESTE)[0]},
    ],
    "openai": [
        {
            "input": {"messages": user(RIVER), "tools": [], "parallel_tool_calls": True},
            "preferred_output": said(BEST),
            "non_preferred_output": said(WORST),
        },
        {
            "input": {"messages": user(FLUSS), "tools": [], "parallel_tool_calls": True},
            "preferred_output": said(BESTE),
            "non_preferred_output": said(SCHLECHTESTE),
        },
    ],
}


@pytest.mark.parametrize("form", EXPECTED)
def test_every_form_line_by_line(form: TrainerForm, store: Store, tmp_path: Path) -> None:
    assert written(store, form, tmp_path) == sorted(EXPECTED[form], key=json.dumps)


def test_every_form_is_tested() -> None:
    # `verifiers` is about prompts that carry their answers, which a table of responses does not.
    assert (*EXPECTED, "verifiers") == TRAINER_FORMS
    [form] = [option for option in main.commands["export"].params if option.name == "form"]
    assert isinstance(form.type, click.Choice)
    assert tuple(form.type.choices) == (*TRAINER_FORMS, *ANSWER_FORMS, *FORMS)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["kto", "sft"])
def test_datasets_and_trl_read_the_lines(form: TrainerForm, store: Store, tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl.data_utils import is_conversational

    write_for_trainer(tmp_path / "lines.jsonl", store, 1, form)
    rows = load_dataset("json", data_files=str(tmp_path / "lines.jsonl"), split="train", cache_dir=str(tmp_path))
    assert len(rows) == len(EXPECTED[form])
    assert is_conversational(rows[0])


def test_a_conversation_keeps_its_turns_and_has_no_place_in_openais_form(tmp_path: Path) -> None:
    turns = [*user("Name a river."), *said("The Nile."), *user("Another?")]
    store = built(tmp_path, [{"prompt": turns, "response": text, "reward": n} for n, text in enumerate("ab")])
    [line] = written(store, "llama_factory", tmp_path)
    assert line["conversations"] == [
        {"from": "human", "value": "Name a river."},
        {"from": "gpt", "value": "The Nile."},
        {"from": "human", "value": "Another?"},
    ]
    with pytest.raises(DataError, match="the pairs of iteration 1 whose prompts have several turns: 1; OpenAI"):
        write_for_trainer(tmp_path / "o.jsonl", store, 1, "openai")
    assert not (tmp_path / "o.jsonl").exists()


def test_what_cannot_be_written_is_said_and_leaves_no_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is out\.json, and kto is written as JSON lines: call it out\.jsonl"):
        write_for_trainer(tmp_path / "out.json", store, 1, "kto")
    rows = [{"prompt": "Say nothing.", "response": text, "reward": 0.0} for text in "ab"]
    empty = built(tmp_path, rows)
    forms: tuple[TrainerForm, ...] = (*EXPECTED, "verifiers")
    for form in forms:
        lacking = "that carries its answer" if form == "verifiers" else "with two rewards that differ"
        with pytest.raises(DataError, match=f"iteration 1 has no prompt {lacking}, .* {form}"):
            write_for_trainer(tmp_path / "out.jsonl", empty, 1, form)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_changed_table_is_not_exported(tmp_path: Path) -> None:
    store = built(tmp_path, [{"prompt": "Name a river.", "response": text, "reward": n} for n, text in enumerate("ab")])
    path = store.folder / "preferences" / "iter_1.parquet"
    table = pl.read_parquet(path)
    table.with_columns(chosen="rejected", rejected="chosen").write_parquet(path)
    with pytest.raises(DataError, match=r"preferences/iter_1\.parquet"):
        write_for_trainer(tmp_path / "out.jsonl", store, 1, "kto")


@pytest.mark.parametrize(
    ("arguments", "said_of"),
    [
        (["--format", "kto", "--set-name", "heldout"], "--format kto is for a trainer: it takes --iter"),
        (["--format", "mt_bench", "--iter", "1"], "--format mt_bench is for a benchmark: it takes --set-name"),
        (["--format", "kto", "--iter", "7"], "has no iteration 7: it holds 1"),
    ],
)
def test_the_command_says_what_a_form_takes(arguments: list[str], said_of: str, store: Store, tmp_path: Path) -> None:
    config = str(store.folder.parent / "eva.yaml")
    command = ["export", *arguments, "--output", str(tmp_path / "out.jsonl"), "--config", config]
    done = CliRunner().invoke(main, command)
    assert done.exit_code in (1, 2)
    assert said_of in done.output


def test_the_command_writes_the_newest_iteration(store: Store, tmp_path: Path) -> None:
    config = str(store.folder.parent / "eva.yaml")
    out = tmp_path / "out.jsonl"
    done = CliRunner().invoke(main, ["export", "--format", "kto", "--output", str(out), "--config", config, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["format"], found["iteration"], found["rows"], found["set"]) == ("kto", 1, 4, None)
