"""TRL trains the next solver by the recipe on the given pairs. After a kill, the result is the same."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file
from scripts import RECIPES, arguments
from tiny import (
    Architecture,
    pairs,
    preferences,
    save_composite_model,
    save_dataset,
    save_model,
    save_own_language_model,
)
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig

from eva_data.config import Config
from eva_data.config.reading import parse_config
from eva_data.errors import DataError, JobError, StaleError
from eva_data.files import sha256
from eva_data.models.resolve import folder_fingerprint
from eva_data.training.launch import failure, launch_arguments
from eva_data.training.offline import train
from eva_data.training.recipes import OFFLINE

# TRL 1.16 calls by their old names what transformers 5.23 has renamed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread_and_a_cache_of_its_own"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
]


COLUMNS = ("prompt", "chosen", "rejected")

PAPER: dict[str, dict[str, Any]] = {
    "dpo": {"loss_type": ["sigmoid"], "beta": 0.05, "learning_rate": 5e-7, "num_train_epochs": 2},
    "sppo": {"loss_type": ["sppo"], "beta": 0.001, "learning_rate": 5e-7, "num_train_epochs": 6}
    | {"lr_scheduler_type": "linear", "optim": "rmsprop", "max_length": 1024, "max_prompt_length": 512},
    "simpo": {"loss_type": "simpo", "beta": 10, "learning_rate": 8e-7, "num_train_epochs": 1}
    | {"simpo_gamma": 5, "cpo_alpha": 0, "alpha": 0, "batch": 32},
    "orpo": {"beta": 0.5, "learning_rate": 5e-7, "num_train_epochs": 1},
}
"""Appendix A's table of hyperparameters, where they differ."""

SHARED = {
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,  # below 1: a share
    "optim": "adamw_torch",
    "batch": 8,
    "max_length": 2048,
    "max_prompt_length": 1024,
    "weight_decay": 0,
    "label_smoothing": 0,
    "trust_remote_code": False,
    "report_to": [],
}


@pytest.mark.parametrize("recipe", PAPER)
def test_a_recipe_is_the_papers(preference: ModuleType, tmp_path: Path, recipe: str) -> None:
    own, training, _ = preference.parse_arguments(arguments(tmp_path, tmp_path, recipe=recipe))
    found = vars(training) | {
        "batch": training.per_device_train_batch_size * training.gradient_accumulation_steps,
        "max_prompt_length": own.max_prompt_length,
    }
    expected = SHARED | PAPER[recipe]
    assert {name: found.get(name, 0) for name in expected} == expected


def test_every_recipe_is_parsed_as_what_its_algorithm_is(preference: ModuleType, tmp_path: Path) -> None:
    assert tuple(preference.ALGORITHMS) == OFFLINE
    recipes = {algorithm: [algorithm, f"sandbox_{algorithm}"] for algorithm in OFFLINE}
    recipes["dpo"] = ["dpo", "dpo_nll", "dpo_nll_code", "irpo", "sandbox"]
    for algorithm, names in recipes.items():
        for name in names:
            own, training, _ = preference.parse_arguments(arguments(tmp_path, tmp_path, recipe=name))
            assert (own.algorithm, type(training)) == (algorithm, preference.ALGORITHMS[algorithm].config)


def test_the_sandbox_recipe_adds_the_likelihood_of_the_chosen(preference: ModuleType, tmp_path: Path) -> None:
    _, training, _ = preference.parse_arguments(arguments(tmp_path, tmp_path))
    assert isinstance(training, DPOConfig)
    assert (training.loss_type, training.loss_weights) == (["sigmoid", "sft"], [1.0, 0.2])


def test_a_recipe_with_an_unknown_key_is_refused(preference: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("algorithm: simpo\nlearning_rat: 1.0e-5\n")
    with pytest.raises(ValueError, match="learning_rat"):
        preference.parse_arguments(arguments(tmp_path, tmp_path, recipe=tmp_path / "mine.yaml"))


@pytest.mark.parametrize(("text", "found"), [("beta: 0.1", "is missing"), ("algorithm: ppo", "is `ppo`")])
def test_a_recipe_must_name_an_algorithm(preference: ModuleType, tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"{text}\n")
    with pytest.raises(SystemExit, match=f"error: `algorithm` {found}: known are dpo, sppo, simpo, orpo"):
        preference.parse_arguments(arguments(tmp_path, tmp_path, recipe=tmp_path / "mine.yaml"))


def test_a_batch_that_the_devices_cannot_share_is_refused(preference: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="`batch_size` 12 is no multiple of 16"):
        preference.parse_arguments(arguments(tmp_path, tmp_path, "--batch_size", "12"))


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "qwen2", "qwen3"])
@pytest.mark.parametrize("recipe", [*PAPER, "dpo_nll", "kto", "sft"])
def test_two_steps_make_an_ordinary_model_folder(
    preference: ModuleType, tmp_path: Path, architecture: Architecture, recipe: str
) -> None:
    model = save_model(tmp_path / "model", architecture)
    save_dataset(tmp_path / "data", {"iter_1": pairs(12)})
    short = ["--max_steps", "2", "--logging_steps", "1", "--seed", "7"]
    preference.main(arguments(tmp_path, model, *short, recipe=recipe))

    theta = tmp_path / "theta"
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (model, theta))
    assert type(after) is type(before)
    assert after.dtype == torch.float32
    assert after.config.use_cache
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    old, new = (AutoTokenizer.from_pretrained(folder) for folder in (model, theta))
    assert (new.chat_template, new.get_vocab()) == (old.chat_template, old.get_vocab())
    kept = "generation_config.json"
    assert json.loads((theta / kept).read_text()) == json.loads((model / kept).read_text())
    assert not (theta / "training_args.bin").exists()

    training = json.loads((theta / "training.json").read_text())
    unusable = {"same_response": 0, "prompt_too_long": 0, "sequence_too_long": 0}
    assert training["pairs"] == {"read": 12, **unusable, "trained": 12}
    assert training["algorithm"] == recipe.removesuffix("_nll")
    assert (training["steps"], [row["step"] for row in training["history"]]) == (2, [1, 2])
    assert recipe != "dpo" or training["history"][0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert training["settings"]["seed"] == 7
    assert list(training["files"]) == ["iter_1.parquet"]


@pytest.mark.parametrize("recipe", ["sandbox", "sandbox_simpo", "sandbox_orpo", "sandbox_sppo"])
def test_an_adapter_is_merged_into_the_model_that_is_saved(preference: ModuleType, tmp_path: Path, recipe: str) -> None:
    model = save_model(tmp_path / "model")
    save_dataset(tmp_path / "data", {"iter_1": pairs(12)})
    lora = ["--use_peft", "--lora_r", "4", "--learning_rate", "1e-2"]
    preference.main(arguments(tmp_path, model, "--max_steps", "2", *lora, recipe=recipe))

    theta = tmp_path / "theta"
    adapter = load_file(theta / "adapter" / "adapter_model.safetensors")
    before, after = (load_file(folder / "model.safetensors") for folder in (model, theta))
    assert set(after) == set(before)
    name = "model.layers.0.self_attn.q_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
    # TRL's default alpha is 32, so the adapter counts 32 / 4 times.
    torch.testing.assert_close(after[f"{name}.weight"], before[f"{name}.weight"] + 8 * (b @ a))
    assert b.abs().max() > 0
    assert not (theta / "adapter_config.json").exists()


LORA = ["--max_steps", "2", "--use_peft", "--lora_r", "4", "--learning_rate", "1e-2"]
LORA += ["--lora_target_modules", "q_proj", "v_proj"]


@pytest.mark.parametrize("recipe", ["sandbox", "sandbox_simpo"])
def test_code_that_was_allowed_stays_allowed_until_the_adapter_is_merged(
    preference: ModuleType, tmp_path: Path, recipe: str
) -> None:
    model = save_own_language_model(tmp_path / "model")
    save_dataset(tmp_path / "data", {"iter_1": pairs(12)})
    preference.main(arguments(tmp_path, model, *LORA, "--trust_remote_code", "true", recipe=recipe))
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "theta", trust_remote_code=True)
    assert type(after).__name__ == "OwnForCausalLM"
    before, now = (load_file(folder / "model.safetensors") for folder in (model, tmp_path / "theta"))
    assert set(before) == set(now) and any(not torch.equal(before[name], now[name]) for name in before)


@pytest.mark.parametrize("recipe", ["sandbox", "sandbox_simpo"])
@pytest.mark.parametrize("more", [["--max_steps", "2"], LORA])
def test_a_model_whose_config_has_parts_is_trained(
    preference: ModuleType, tmp_path: Path, recipe: str, more: list[str]
) -> None:
    model = save_composite_model(tmp_path / "model")
    (model / "preprocessor_config.json").write_text('{"image_processor_type": "Gemma3ImageProcessor"}')
    save_dataset(tmp_path / "data", {"iter_1": pairs(12)})
    preference.main(arguments(tmp_path, model, *more, recipe=recipe))
    before, now = (load_file(folder / "model.safetensors") for folder in (model, tmp_path / "theta"))
    assert any(not torch.equal(before[name], now[name]) for name in before if "language_model" in name)
    assert set(before) == set(now)
    # What a server needs to load it.
    kept = (tmp_path / "theta" / "preprocessor_config.json").read_text()
    assert kept == (model / "preprocessor_config.json").read_text()


def save_tied_model(folder: Path) -> Path:
    """Save a model of tied embeddings in bfloat16 and several shards, whose padding token is the end token."""
    plain = save_model(folder / "plain", "qwen2")
    config, tokenizer = AutoConfig.from_pretrained(plain), AutoTokenizer.from_pretrained(plain)
    config.tie_word_embeddings, config.pad_token_id = True, config.eos_token_id
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder / "model", max_shard_size="20KB")
    tokenizer.save_pretrained(folder / "model")
    assert len([*(folder / "model").glob("model-*.safetensors")]) > 2
    return folder / "model"


@pytest.mark.parametrize(
    "more", [["--max_steps", "2"], LORA, ["--max_steps", "2", "--activation_checkpointing", "true"]]
)
def test_tied_embeddings_in_shards_of_half_precision_are_trained_and_stay_tied(
    preference: ModuleType, tmp_path: Path, more: list[str]
) -> None:
    model = save_tied_model(tmp_path)
    save_dataset(tmp_path / "data", {"iter_1": pairs(12)})
    preference.main(arguments(tmp_path, model, *more, recipe="sandbox"))
    before = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "theta")
    assert after.lm_head.weight.data_ptr() == after.model.embed_tokens.weight.data_ptr()
    assert after.config.tie_word_embeddings and after.dtype == torch.float32
    changed = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert any(changed)


def test_pairs_that_teach_nothing_or_are_too_long_are_left_out_and_counted(
    preference: ModuleType, tmp_path: Path
) -> None:
    # The template takes 19 tokens around a prompt and 2 after a response, and a letter is a token.
    model = save_model(tmp_path / "model")
    rows = [
        ("p" * 10, "c" * 5, "r" * 9),  # 29 and 40
        ("p" * 11, "c", "r"),  # a prompt of 30
        ("p" * 10, "c" * 10, "r"),  # 41 in all with the chosen response
        ("p" * 10, "c", "r" * 10),  # 41 in all with the rejected one
        ("p" * 12, "c" * 99, "r"),  # both: counts once, as a prompt
        ("p" * 12, "same", "same"),
    ]
    save_dataset(tmp_path / "data", {"iter_1": preferences(rows)})
    parsed = preference.parse_arguments(arguments(tmp_path, model, "--max_prompt_length", "29", "--max_length", "40"))
    dataset, _ = preference.load_table(parsed[0], "preferences", COLUMNS)
    kept, counts = preference.usable_pairs(dataset, *parsed)
    long = {"prompt_too_long": 2, "sequence_too_long": 2}
    assert counts == {"read": 6, "same_response": 1, **long, "trained": 1}
    assert [row["content"] for turns in kept["rejected"] for row in turns] == ["r" * 9]

    parsed = preference.parse_arguments(arguments(tmp_path, model, "--max_prompt_length", "28", "--max_length", "40"))
    with pytest.raises(SystemExit, match=r"none of 6 pairs can be trained on: in 1 the two .* same, 5 prompts"):
        preference.usable_pairs(dataset, *parsed)


def test_a_split_that_is_not_there_is_named(preference: ModuleType, tmp_path: Path) -> None:
    save_dataset(tmp_path / "data", {"iter_1": pairs(2)})
    own, _, _ = preference.parse_arguments(arguments(tmp_path, tmp_path, "--split", "iter_3"))
    with pytest.raises(SystemExit, match=r"error: cannot load `preferences`, split `iter_3`.*iter_1"):
        preference.load_table(own, own.table, COLUMNS)


def test_a_split_without_pairs_is_refused(preference: ModuleType, tmp_path: Path) -> None:
    save_dataset(tmp_path / "data", {"iter_1": pairs(0), "iter_2": pairs(2)})
    own, _, _ = preference.parse_arguments(arguments(tmp_path, tmp_path))
    with pytest.raises(SystemExit, match=r"error: cannot load .* corresponds to no data"):
        preference.load_table(own, own.table, COLUMNS)


def test_two_iterations_together_are_scratch_training(preference: ModuleType, tmp_path: Path) -> None:
    splits = {"iter_1": pairs(3), "iter_2": pairs(2, start=3), "iter_10": pairs(1, start=5)}
    save_dataset(tmp_path / "data", splits)
    own, _, _ = preference.parse_arguments(arguments(tmp_path, tmp_path, "--split", "iter_1+iter_2"))
    dataset, files = preference.load_table(own, own.table, COLUMNS)
    assert dataset.column_names == ["prompt", "chosen", "rejected"]
    assert [turns[0]["content"] for turns in dataset["chosen"]] == [f"word000{index}" for index in range(5)]
    assert list(files) == ["iter_1.parquet", "iter_2.parquet"]


def make_config(model: Path, recipe: str, **solver: Any) -> Config:
    return parse_config(
        {
            "name": "test",
            "seeds": {"sandbox": 10},
            "reward": {"function": "eva_data.sandbox.verifier:score"},
            "solver": {"backend": "transformers", "model": str(model), "threads": 1, **solver},
            "train": {"recipe": recipe},
        },
        "the test",
    )


def test_a_killed_training_goes_on_from_its_checkpoint_to_the_same_weights(
    preference: ModuleType, tmp_path: Path
) -> None:
    # A checkpoint between two logs, which must not show in the history.
    changes = {"num_train_epochs": 4, "save_steps": 10, "logging_steps": 7}
    changes |= {"batch_size": 8, "per_device_train_batch_size": 8}
    recipe = yaml.safe_load((RECIPES / "sandbox.yaml").read_text()) | changes
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    model = save_model(tmp_path / "model")
    folder = save_dataset(tmp_path / "data", {"iter_1": pairs(200)})
    config = make_config(model, str(tmp_path / "mine.yaml"))
    job = folder / ".eva" / "jobs" / "iter_1" / "train"

    def kill_midway(done: int, total: int) -> None:
        if list(job.glob("output/checkpoint-*/trained_on.json")):
            # The training is a fork of the nursery, which is a child of this process.
            for nursery in psutil.Process().children():
                for process in nursery.children():
                    os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(JobError, match=r"training theta_1 failed: it was killed \(SIGKILL\)"):
        train(config, 1, folder=folder, model=model, on_progress=kill_midway)
    assert not (folder / ".eva" / "solvers" / "iter_1").exists()

    heard: list[tuple[int, int]] = []
    theta = train(config, 1, folder=folder, model=model, on_progress=lambda done, total: heard.append((done, total)))
    assert theta == folder / ".eva" / "solvers" / "iter_1"
    assert heard == sorted(heard)
    assert heard[0][0] >= 10 and heard[-1] == (100, 100)
    assert sorted(path.name for path in theta.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    ]
    assert not job.exists()

    preference.main(arguments(tmp_path, model, recipe=tmp_path / "mine.yaml"))
    undisturbed = load_file(tmp_path / "theta" / "model.safetensors")
    resumed = load_file(theta / "model.safetensors")
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in undisturbed)
    told, alone = (json.loads((folder / "training.json").read_text()) for folder in (theta, tmp_path / "theta"))
    assert told == alone | {"fingerprint": folder_fingerprint(theta), "recipe_sha256": sha256(tmp_path / "mine.yaml")}

    before = theta.stat().st_mtime_ns
    assert train(config, 1, folder=folder, model=tmp_path / "nowhere") == theta
    assert theta.stat().st_mtime_ns == before


def test_a_checkpoint_of_other_pairs_is_not_gone_on_from(preference: ModuleType, tmp_path: Path) -> None:
    for step, origin in ((20, {"split": "iter_1"}), (40, {"split": "iter_1"}), (100, {"split": "iter_2"})):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trained_on.json").write_text(json.dumps(origin))
    (tmp_path / "checkpoint-60").mkdir()  # killed while it was written
    assert preference.last_checkpoint(tmp_path, {"split": "iter_1"}) == str(tmp_path / "checkpoint-40")
    assert preference.last_checkpoint(tmp_path, {"split": "iter_3"}) is None


def test_there_must_be_pairs_before_anything_is_launched(tmp_path: Path) -> None:
    folder = save_dataset(tmp_path / "data", {"iter_1": pairs(0)})
    config = make_config(tmp_path, "sandbox")
    with pytest.raises(DataError, match="iteration 1 has 0 pairs"):
        train(config, 1, folder=folder, model=tmp_path)
    with pytest.raises(StaleError, match="iteration 2 has no pairs yet: build it"):
        train(config, 2, folder=folder, model=tmp_path)


def test_training_runs_where_the_solver_does(tmp_path: Path) -> None:
    def launched(device: str, **environment: str) -> tuple[list[str], str | None]:
        config = make_config(tmp_path, "dpo", device=device, threads=3)
        arguments, changed = launch_arguments(config, environment)
        assert arguments[10:12] == ["--num_cpu_threads_per_process", "3"]
        return arguments[12:], changed.get("CUDA_VISIBLE_DEVICES")

    assert launched("cpu", CUDA_VISIBLE_DEVICES="0,1") == (["--cpu"], "")
    assert launched("cuda") == (["--gpu_ids", "0"], None)
    assert launched("cuda:2") == (["--gpu_ids", "2"], None)
    assert launched("cuda:1", CUDA_VISIBLE_DEVICES="4,6") == (["--gpu_ids", "6"], "4,6")
    assert launched("mps") == ([], None)


PLACE = """
import os
from accelerate import PartialState
from transformers import TrainingArguments
state = PartialState()
names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "ACCELERATE_USE_FSDP", "ACCELERATE_MIXED_PRECISION")
found = [os.environ.get(name) for name in names]
print("PLACE", state.num_processes, state.distributed_type.value, state.device, found)
print("WORLD", TrainingArguments("out", use_cpu=True).world_size)
"""
LEFT_OVER = {
    **{"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"},
    **{"LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "7", "OMPI_COMM_WORLD_SIZE": "2"},
    **{"PMI_SIZE": "2", "PMI_RANK": "1", "ACCELERATE_USE_FSDP": "true", "ACCELERATE_MIXED_PRECISION": "fp16"},
}
SEVERAL = "distributed_type: MULTI_GPU\nnum_processes: 4\nnum_machines: 2\nmachine_rank: 1\nmixed_precision: fp16\n"


@pytest.mark.parametrize("accelerate", ["", SEVERAL, "distributed_type: FSDP\nnum_processes: 2\n", "what: ever\n"])
def test_what_another_launch_left_behind_changes_nothing(tmp_path: Path, accelerate: str) -> None:
    script = tmp_path / "place.py"
    script.write_text(PLACE)
    home = tmp_path / "home"
    (home / "accelerate").mkdir(parents=True)
    if accelerate:
        (home / "accelerate" / "default_config.yaml").write_text(accelerate)
    before = os.environ | LEFT_OVER | {"HF_HOME": str(home)}
    arguments, environment = launch_arguments(make_config(tmp_path, "dpo", device="cpu", threads=1), before)
    command = [sys.executable, "-m", "accelerate.commands.launch", *arguments, str(script)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PLACE 1 NO cpu [None, None, None, None, 'no']" in done.stdout
    assert "WORLD 1" in done.stdout


def test_with_settings_of_accelerate_the_environment_is_the_users(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(SEVERAL)
    config = make_config(tmp_path, "dpo", device="cpu")
    config = config.model_copy(update={"train": config.train.model_copy(update={"accelerate": file})})
    arguments, environment = launch_arguments(config, LEFT_OVER)
    assert arguments == ["--config_file", str(file)]
    assert LEFT_OVER.items() <= environment.items()


def test_of_a_failure_the_line_that_matters_is_told() -> None:
    launcher = (
        "Traceback (most recent call last):\n"
        '  File "launch.py", line 999, in simple_launcher\n'
        "    raise subprocess.CalledProcessError(returncode=process.returncode, cmd=cmd)\n"
        "subprocess.CalledProcessError: Command '['python', 'preference.py']' "
    )
    exited = f"{launcher}returned non-zero exit status 1."
    assert failure(f"error: all 5 pairs are too long\n{exited}", 1) == "all 5 pairs are too long"
    memory = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert failure(f"{{'loss': '0.69'}}\n{memory}\n{exited}", 1) == memory
    several = f"[rank0]: Traceback\n[rank0]: {memory}\ntorch.distributed.elastic.ChildFailedError: \n"
    assert failure(several, 1) == memory
    killed = "it was killed (SIGKILL), most often for want of memory: take a smaller batch or an adapter"
    assert failure(f"{{'loss': '0.69'}}\n{launcher}died with <Signals.SIGKILL: 9>.", 1) == killed
    assert failure("Signal 9 (SIGKILL) received by PID 77", 1) == killed
    assert failure("", 128 + 9) == killed
    assert failure("one\ntwo\n\nthree", 1) == "two | three"
    assert failure("", 1) == "it ended with status 1 and no word"
