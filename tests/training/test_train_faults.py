"""Unusable data, models and disks end a training with one sentence that says what to do."""

from __future__ import annotations

import json
import resource
import traceback
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from scripts import arguments
from tiny import pairs, preferences, save_dataset, save_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from eva_data.errors import ModelError
from eva_data.models import rendering
from eva_data.training.launch import failure

# TRL 1.16 calls by their old names what transformers 5.23 has renamed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread_and_a_cache_of_its_own"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
]

SANDBOX = ["sandbox", "sandbox_sppo", "sandbox_simpo", "sandbox_orpo"]


@pytest.mark.parametrize("recipe", SANDBOX)
def test_one_pair_is_trained_on(preference: ModuleType, tmp_path: Path, recipe: str) -> None:
    save_dataset(tmp_path / "data", {"iter_1": pairs(1)})
    preference.main(arguments(tmp_path, save_model(tmp_path / "model"), recipe=recipe))
    training = json.loads((tmp_path / "theta" / "training.json").read_text())
    assert (training["pairs"]["trained"], training["steps"]) == (1, 3)


@pytest.mark.parametrize("recipe", SANDBOX)
def test_a_chat_template_that_loops_is_ended_in_a_training_too(
    preference: ModuleType, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "LIMIT_SECONDS", 0.5)
    model = save_model(tmp_path / "model")
    loops = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc") + "{% endfor %}" * 3
    (model / "chat_template.jinja").write_text(loops)
    save_dataset(tmp_path / "data", {"iter_1": pairs(3)})
    with pytest.raises(
        ModelError, match=r"the chat template of model took more than 0\.5 s for 3 conversations: use an"
    ):
        preference.main(arguments(tmp_path, model, recipe=recipe))


def test_a_missing_column_is_named(preference: ModuleType, tmp_path: Path) -> None:
    save_dataset(tmp_path / "data", {"iter_1": pairs(2).select("prompt", "chosen")})
    with pytest.raises(SystemExit, match=r"error: `preferences` of .* has no column `rejected`, only prompt, chosen$"):
        preference.main(arguments(tmp_path, tmp_path))


def test_folders_of_one_name_are_not_taken_for_each_other(preference: ModuleType, tmp_path: Path) -> None:
    for name, count in (("first", 3), ("second", 5)):
        save_dataset(tmp_path / name / "data", {"iter_1": pairs(count)})
        own, _, _ = preference.parse_arguments(arguments(tmp_path / name, tmp_path))
        dataset, _ = preference.load_table(own, "preferences", ("prompt", "chosen", "rejected"))
        assert len(dataset) == count


def test_pairs_of_equal_responses_are_refused(preference: ModuleType, tmp_path: Path) -> None:
    equal = preferences([(f"Say {word}.", word, word) for word in ("ab", "cd", "ef")])
    save_dataset(tmp_path / "data", {"iter_1": equal})
    with pytest.raises(SystemExit, match="none of 3 pairs can be trained on: in 3 the two responses are the same, 0"):
        preference.main(arguments(tmp_path, save_model(tmp_path / "model")))


@pytest.mark.parametrize("recipe", ["sandbox", "sandbox_simpo"])
def test_a_tokenizer_of_another_model_is_refused(preference: ModuleType, tmp_path: Path, recipe: str) -> None:
    folder = save_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(100)
    model.save_pretrained(folder)
    save_dataset(tmp_path / "data", {"iter_1": pairs(2)})
    with pytest.raises(SystemExit, match=r"gives token \d+, but the model knows 100 tokens only: .* put the right one"):
        preference.main(arguments(tmp_path, folder, recipe=recipe))


@pytest.mark.parametrize("recipe", SANDBOX)
def test_a_tokenizer_without_a_padding_token_will_do(preference: ModuleType, tmp_path: Path, recipe: str) -> None:
    folder = save_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    uneven = preferences([("Say ab.", "ab", "ba"), ("Say a longer word.", "elephant", "ant")])
    save_dataset(tmp_path / "data", {"iter_1": uneven})
    preference.main(arguments(tmp_path, folder, "--max_steps", "2", recipe=recipe))
    after = AutoTokenizer.from_pretrained(tmp_path / "theta")
    assert (after.bos_token, after.eos_token) == (tokenizer.bos_token, tokenizer.eos_token)


def test_a_system_message_that_the_template_has_no_place_for_is_told(preference: ModuleType, tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say ab."}]
    table = pairs(1).with_columns(prompt=pl.Series([turns], dtype=pairs(1).schema["prompt"]))
    save_dataset(tmp_path / "data", {"iter_1": table})
    try:
        preference.main(arguments(tmp_path, save_model(tmp_path / "model", "gemma2")))
    except Exception:
        told = failure(traceback.format_exc(), 1)
    assert told == "jinja2.exceptions.TemplateError: System role not supported"


@pytest.mark.parametrize("recipe", SANDBOX[1:])
def test_what_a_kill_left_is_gone_on_from_to_the_same_weights(
    preference: ModuleType, tmp_path: Path, recipe: str
) -> None:
    model = save_model(tmp_path / "model")
    save_dataset(tmp_path / "data", {"iter_1": pairs(40)})
    steps = ["--batch_size", "8", "--per_device_train_batch_size", "4", "--save_steps", "4", "--logging_steps", "3"]
    steps += ["--save_total_limit", "9"]
    theta = tmp_path / "theta"
    preference.main(arguments(tmp_path, model, *steps, recipe=recipe))
    undisturbed = {name: (theta / name).read_bytes() for name in ("model.safetensors", "training.json")}

    # 15 steps; a checkpoint was being written at step 12, and is not whole.
    for name in undisturbed:
        (theta / name).unlink()
    assert sorted(path.name for path in theta.glob("checkpoint-*")) == [
        *("checkpoint-12", "checkpoint-15", "checkpoint-4", "checkpoint-8"),
    ]
    (theta / "checkpoint-12" / "trained_on.json").unlink()
    (theta / "checkpoint-15" / "trained_on.json").unlink()
    files = [theta / f"checkpoint-{step}" / "trained_on.json" for step in (4, 8)]
    before = [file.stat().st_ino for file in files]
    preference.main(arguments(tmp_path, model, *steps, "--resume", "true", recipe=recipe))
    assert {name: (theta / name).read_bytes() for name in undisturbed} == undisturbed
    assert [file.stat().st_ino for file in files] == before


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (1_000, "OSError: [Errno 27] File too large"),  # the data
        (60_000, "SafetensorError: Error while serializing: I/O error: File too large (os error 27)"),  # the model
        (150_000, "RuntimeError: [enforce fail at inline_container.cc"),  # the optimizer
    ],
)
def test_a_file_that_cannot_be_written_is_told(preference: ModuleType, tmp_path: Path, size: int, reason: str) -> None:
    model = save_model(tmp_path / "model")
    save_dataset(tmp_path / "data", {"iter_1": pairs(12)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        preference.main(arguments(tmp_path, model, "--max_steps", "2", recipe="sandbox_simpo"))
    except Exception:
        text = traceback.format_exc()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = failure(text, 1)
    assert told.startswith("it could not write a file (") and reason in told
    assert told.endswith("), most often because no space is left: make room")
