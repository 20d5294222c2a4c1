"""The next solver is trained as the recipe says, by TRL, on the pairs it is given; a kill costs no result."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file
from tiny import Architecture, pairs, preferences, save_dataset, save_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from trl import DPOConfig

from eva_data.config import Config
from eva_data.errors import ConfigError, DataError, JobError, StaleError
from eva_data.project import train_dir
from eva_data.settings import parse_config
from eva_data.train import failure, find_recipe, launch_arguments, train

# TRL 1.16 calls by their old names what transformers 5.23 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")

RECIPES = train_dir() / "recipes"


@pytest.fixture(scope="module")
def preference() -> ModuleType:
    """The script, as a module."""
    spec = spec_from_file_location("preference", train_dir() / "preference.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["preference"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def one_thread_and_a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def arguments(folder: Path, model: Path, *more: str, recipe: Path = RECIPES / "sandbox.yaml") -> list[str]:
    return [
        *("--config", str(recipe), "--dataset", str(folder / "data"), "--split", "iter_1"),
        *("--model_name_or_path", str(model), "--output_dir", str(folder / "theta"), *more),
    ]


def test_the_dpo_recipe_is_the_papers(preference: ModuleType, tmp_path: Path) -> None:
    own, training, _ = preference.parse(arguments(tmp_path, tmp_path, recipe=RECIPES / "dpo.yaml"))
    assert isinstance(training, DPOConfig)
    assert {
        "loss": training.loss_type,
        "beta": training.beta,
        "learning rate": training.learning_rate,
        "schedule": training.lr_scheduler_type,
        "warm-up ratio": training.warmup_steps,
        "optimizer": training.optim,
        "epochs": training.num_train_epochs,
        "batch": training.per_device_train_batch_size * training.gradient_accumulation_steps,
        "max length": training.max_length,
        "max prompt length": own.max_prompt_length,
        "remote code": training.trust_remote_code,
        "trackers": training.report_to,
    } == {
        "loss": ["sigmoid"],
        "beta": 0.05,
        "learning rate": 5e-7,
        "schedule": "cosine",
        "warm-up ratio": 0.1,
        "optimizer": "adamw_torch",
        "epochs": 2,
        "batch": 8,
        "max length": 2048,
        "max prompt length": 1024,
        "remote code": False,
        "trackers": [],
    }


def test_the_sandbox_recipe_adds_the_likelihood_of_the_chosen(preference: ModuleType, tmp_path: Path) -> None:
    _, training, _ = preference.parse(arguments(tmp_path, tmp_path))
    assert isinstance(training, DPOConfig)
    assert (training.loss_type, training.loss_weights) == (["sigmoid", "sft"], [1.0, 0.2])


def test_a_recipe_with_an_unknown_key_is_refused(preference: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("learning_rat: 1.0e-5\n")
    with pytest.raises(ValueError, match="learning_rat"):
        preference.parse(arguments(tmp_path, tmp_path, recipe=tmp_path / "mine.yaml"))


def test_a_batch_that_the_devices_cannot_share_is_refused(preference: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="`batch_size` 12 is no multiple of 16"):
        preference.parse(arguments(tmp_path, tmp_path, "--batch_size", "12"))


def test_the_loss_is_dpos_formula_plus_the_mean_likelihood(preference: ModuleType, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    rows = [("Say ab.", "ab", "ba"), ("Say a longer word.", "elephant", "ant"), ("Hi", "Hello!", "No.")]
    save_dataset(tmp_path / "data", {"iter_1": preferences(rows)})
    own, training, model_arguments = preference.parse(arguments(tmp_path, model))
    dataset, _ = preference.load_pairs(own)
    trainer = preference.build_trainer(dataset, training, model_arguments)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        (batch,) = trainer.get_train_dataloader()
        loss = trainer.compute_loss(trainer.model, batch).item()

    reference = AutoModelForCausalLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)

    def log_probs(of: PreTrainedModel, prompt: str, response: str) -> torch.Tensor:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        start = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
        ids: Any = tokenizer.apply_chat_template(turns, return_dict=False)
        assert ids[: len(start)] == start
        with torch.no_grad():
            every = F.log_softmax(of(torch.tensor([ids])).logits[0], dim=-1)
        return torch.stack([every[at - 1, ids[at]] for at in range(len(start), len(ids))])

    sigmoid, likelihoods = [], []
    for prompt, chosen, rejected in rows:
        policy = log_probs(trainer.model, prompt, chosen), log_probs(trainer.model, prompt, rejected)
        before = log_probs(reference, prompt, chosen), log_probs(reference, prompt, rejected)
        ratio = (policy[0].sum() - before[0].sum()) - (policy[1].sum() - before[1].sum())
        sigmoid.append(math.log1p(math.exp(-0.1 * ratio.item())))
        likelihoods.append(policy[0])
    by_hand = sum(sigmoid) / 3 - 0.2 * torch.cat(likelihoods).mean().item()
    assert loss == pytest.approx(by_hand, rel=1e-5)
    assert abs(sum(sigmoid) / 3 - math.log(2)) > 1e-3


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "qwen2", "qwen3"])
def test_two_steps_make_an_ordinary_model_folder(
    preference: ModuleType, tmp_path: Path, architecture: Architecture
) -> None:
    model = save_model(tmp_path / "model", architecture)
    save_dataset(tmp_path / "data", {"iter_1": pairs(12)})
    short = ["--max_steps", "2", "--logging_steps", "1"]
    preference.main(arguments(tmp_path, model, *short, "--loss_type", "sigmoid", "--loss_weights", "1", "--seed", "7"))

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
    assert training["pairs"] == {"read": 12, "prompt_too_long": 0, "sequence_too_long": 0, "trained": 12}
    assert (training["steps"], [row["step"] for row in training["history"]]) == (2, [1, 2])
    assert training["history"][0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert training["settings"]["seed"] == 7
    assert list(training["files"]) == ["iter_1.parquet"]


def test_an_adapter_is_merged_into_the_model_that_is_saved(preference: ModuleType, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    save_dataset(tmp_path / "data", {"iter_1": pairs(12)})
    lora = ["--use_peft", "--lora_r", "4", "--learning_rate", "1e-2"]
    preference.main(arguments(tmp_path, model, "--max_steps", "2", *lora))

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


def test_pairs_that_are_too_long_are_left_out_and_counted(preference: ModuleType, tmp_path: Path) -> None:
    # The template takes 19 tokens around a prompt and 2 after a response, and a letter is a token.
    model = save_model(tmp_path / "model")
    rows = [
        ("p" * 10, "c" * 5, "r" * 9),  # 29 and 40
        ("p" * 11, "c", "r"),  # a prompt of 30
        ("p" * 10, "c" * 10, "r"),  # 41 in all with the chosen response
        ("p" * 10, "c", "r" * 10),  # 41 in all with the rejected one
        ("p" * 12, "c" * 99, "r"),  # both: counts once, as a prompt
    ]
    save_dataset(tmp_path / "data", {"iter_1": preferences(rows)})
    parsed = preference.parse(arguments(tmp_path, model, "--max_prompt_length", "29", "--max_length", "40"))
    dataset, _ = preference.load_pairs(parsed[0])
    kept, counts = preference.drop_long_pairs(dataset, *parsed)
    assert counts == {"read": 5, "prompt_too_long": 2, "sequence_too_long": 2, "trained": 1}
    assert [row["content"] for turns in kept["rejected"] for row in turns] == ["r" * 9]

    parsed = preference.parse(arguments(tmp_path, model, "--max_prompt_length", "28", "--max_length", "40"))
    with pytest.raises(SystemExit, match="all 5 pairs are too long: 5 prompts"):
        preference.drop_long_pairs(dataset, *parsed)


def test_a_split_that_is_not_there_is_named(preference: ModuleType, tmp_path: Path) -> None:
    save_dataset(tmp_path / "data", {"iter_1": pairs(2)})
    own, _, _ = preference.parse(arguments(tmp_path, tmp_path, "--split", "iter_3"))
    with pytest.raises(SystemExit, match=r"error: cannot load `preferences`, split `iter_3`.*iter_1"):
        preference.load_pairs(own)


def test_a_split_without_pairs_is_refused(preference: ModuleType, tmp_path: Path) -> None:
    save_dataset(tmp_path / "data", {"iter_1": pairs(0), "iter_2": pairs(2)})
    own, _, _ = preference.parse(arguments(tmp_path, tmp_path))
    with pytest.raises(SystemExit, match=r"error: cannot load .* corresponds to no data"):
        preference.load_pairs(own)


def test_two_iterations_together_are_scratch_training(preference: ModuleType, tmp_path: Path) -> None:
    splits = {"iter_1": pairs(3), "iter_2": pairs(2, start=3), "iter_10": pairs(1, start=5)}
    save_dataset(tmp_path / "data", splits)
    own, _, _ = preference.parse(arguments(tmp_path, tmp_path, "--split", "iter_1+iter_2"))
    dataset, files = preference.load_pairs(own)
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
            for process in psutil.Process().children(recursive=True):
                if process.cmdline()[1:2] == [str(train_dir() / "preference.py")]:
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
    assert (theta / "training.json").read_bytes() == (tmp_path / "theta" / "training.json").read_bytes()

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


def test_a_recipe_is_found_by_name_or_by_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("beta: 0.1\n")
    assert find_recipe("dpo") == RECIPES / "dpo.yaml"
    assert find_recipe(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match=r"`train\.recipe` is `dop`: known are dpo, sandbox"):
        find_recipe("dop")
    with pytest.raises(ConfigError, match="no such file"):
        find_recipe(str(tmp_path / "yours.yaml"))


def test_training_runs_where_the_solver_does(tmp_path: Path) -> None:
    def launched(device: str, **environment: str) -> tuple[list[str], str | None]:
        config = make_config(tmp_path, "dpo", device=device, threads=3)
        arguments, changed = launch_arguments(config, environment)
        assert arguments[8:10] == ["--num_cpu_threads_per_process", "3"]
        return arguments[10:], changed.get("CUDA_VISIBLE_DEVICES")

    assert launched("cpu", CUDA_VISIBLE_DEVICES="0,1") == (["--cpu"], "")
    assert launched("cuda") == (["--gpu_ids", "0"], None)
    assert launched("cuda:2") == (["--gpu_ids", "2"], None)
    assert launched("cuda:1", CUDA_VISIBLE_DEVICES="4,6") == (["--gpu_ids", "6"], "4,6")
    assert launched("mps") == ([], None)


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
    full = "OSError: [Errno 28] No space left on device: 'optimizer.pt'"
    assert failure(f"Traceback (most recent call last):\n{full}\n{exited}", 1) == full
    killed = "it was killed (SIGKILL), most often for want of memory: take a smaller batch or an adapter"
    assert failure(f"{{'loss': '0.69'}}\n{launcher}died with <Signals.SIGKILL: 9>.", 1) == killed
    assert failure("Signal 9 (SIGKILL) received by PID 77", 1) == killed
    assert failure("", 128 + 9) == killed
    assert failure("one\ntwo\n\nthree", 1) == "two | three"
    assert failure("", 1) == "it ended with status 1 and no word"
