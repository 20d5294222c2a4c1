"""Secrets in seeds and tables are masked before ids are computed, so ids are hashes of the published texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_store import messages

from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config import Seeds
from eva_data.config.reading import parse_config
from eva_data.dataset.seeds import read_seeds
from eva_data.dataset.store import Store
from eva_data.game.play import play
from eva_data.hub.verify import verify_iteration
from eva_data.iteration.run import Run
from eva_data.models.keys import redactor
from eva_data.tables.ids import prompt_id_of

KEY = "planted-0123456789"
MASKED = "Log in with *** and say ab."


def test_a_seed_is_named_by_its_masked_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_API_KEY", KEY)
    lines = [{"prompt": f"Log in with {KEY} and say ab."}, {"prompt": MASKED}, {"prompt": "Say ab."}]
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    seeds, rejects = read_seeds(Seeds(path=path), 1)
    assert seeds.sort("prompt_id").to_dicts() == sorted(
        [
            {"prompt_id": prompt_id_of(prompt), "prompt": prompt, "source": "seeds.jsonl"}
            for prompt in (messages("user", MASKED), messages("user", "Say ab."))
        ],
        key=lambda row: str(row["prompt_id"]),
    )
    # Two spellings of one masked prompt are one seed.
    assert rejects.select("reason", "text", "duplicate_of").rows() == [
        ("duplicate", MASKED, prompt_id_of(messages("user", MASKED)))
    ]


def test_a_table_with_a_key_in_it_is_built_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_API_KEY", KEY)
    rows = [
        {"prompt": f"Log in with {KEY} and say ab.", "response": f"ab, by {KEY}", "reward": 1.0},
        {"prompt": f"Log in with {KEY} and say ab.", "response": "ba", "reward": 0.0},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {"name": "masked", "folder": str(tmp_path / "data"), "solver": {"backend": "table", "path": str(path)}}
    play(Run(parse_config(values, "the test"), ConsoleReporter()), 1, only=False, train_last=False)
    store = Store(tmp_path / "data")
    pairs = store.scan("preferences", 1).select("prompt", "prompt_id", "chosen", "rejected").collect()
    asked = messages("user", MASKED)
    assert pairs.to_dicts() == [
        {
            "prompt": asked,
            "prompt_id": prompt_id_of(asked),
            "chosen": messages("assistant", "ab, by ***"),
            "rejected": messages("assistant", "ba"),
        }
    ]
    assert verify_iteration(store, 1).problems == []
    # Elsewhere, where nobody knows the key.
    monkeypatch.delenv("ACME_API_KEY")
    assert verify_iteration(store, 1).problems == []
    written = [path for path in store.folder.rglob("*") if path.is_file()]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_what_a_server_echoes_is_masked_as_tables_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_PASSWORD", "correcthorsebattery")
    monkeypatch.setenv("ACME_CREDENTIALS", "user:planted-credentials")
    monkeypatch.setenv("EVA_DATA_SECRET_VARIABLES", "OF_THE_SETTINGS")
    monkeypatch.setenv("OF_THE_SETTINGS", "named-by-the-settings")
    text = "correcthorsebattery, user:planted-credentials, named-by-the-settings, own"
    assert redactor("own")(text) == "***, ***, ***, ***"
