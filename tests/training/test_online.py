"""Online training.

TRL's losses are computed on the curriculum's prompts, and the buffer is checkpointed with the weights. The result is a
dataset like any other.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
import torch
import torch.nn.functional as F
from hub_server import Hub
from misbehaving import Misbehaving
from online_game import arguments, make_run, recipe
from safetensors.torch import load_file
from sandbox_runs import command, eva, hashes, processes_of, tables
from scripts import RECIPES
from tiny import Architecture, save_model, save_reward_model
from transformers import PreTrainedModel

from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config import Pair
from eva_data.config.reading import CARELESS_CONFIG, load_config
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, StaleError
from eva_data.game.online import Online, online_config, train_online
from eva_data.hub.verify import verify_iteration
from eva_data.iteration.run import Run
from eva_data.models.player import player_of
from eva_data.project import train_dir

# TRL 1.16 calls by their old names what transformers 5.23 has renamed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread_and_a_cache_of_its_own"),
    pytest.mark.filterwarnings(
        "ignore:.*gradient_checkpointing.*:FutureWarning",
        "ignore:The configuration has `max_new_tokens`",
    ),
]

SMALL = {"prompts": 4, "capacity": 6, "per_device_train_batch_size": 4, "save_steps": 3, "logging_steps": 2}
NOISE: dict[str, Any] = {"count_truncated": True, "min_best": None}
"""For models of random weights: their responses seldom end, and none is right."""


def record(job: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job / "record.jsonl").read_text(encoding="utf-8").splitlines()]


def finished(job: Path) -> int:
    """The number of steps whose line in the record is whole."""
    path = job / "record.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def survivors(line: dict[str, Any]) -> list[str]:
    """The ids of the new prompts of a step."""
    return sorted(row["prompt_id"] for row in line["evolutions"] if row["status"] is None)


def waiting_by_the_rules(lines: list[dict[str, Any]]) -> list[list[str]]:
    """The buffer after each step: survivors that were not trained on since. If it is full, the newest survivors."""
    found: list[list[str]] = [[]]
    for line in lines:
        trained = {row["prompt_id"] for row in line["prompts"]}
        left = [name for name in found[-1] if name not in trained]
        found.append([*left, *survivors(line)][-SMALL["capacity"] :])
    return found[1:]


def phases_by_the_rules(lines: list[dict[str, Any]], seeds: int) -> list[str]:
    """The phase of each step, computed from the buffer and the seeds that were trained on before it."""
    found, warm, used = [], False, 0
    for line, waiting in zip(lines, waiting_by_the_rules(lines), strict=True):
        found.append("bootstrap" if used >= seeds else "mix-up" if warm else "warm-up")
        warm |= len(waiting) == SMALL["capacity"]
        used += sum(row["origin"] == "seed" for row in line["prompts"])
    return found


@pytest.mark.parametrize(
    ("algorithm", "rows"), [("rloo", 32), ("grpo", 64), ("dr_grpo", 64), ("dapo", 64), ("oaif", 8)]
)
def test_the_recipes_have_the_papers_sizes(online: ModuleType, tmp_path: Path, algorithm: str, rows: int) -> None:
    given = arguments(tmp_path, make_run(tmp_path), RECIPES / f"{algorithm}.yaml", "--max_steps", "400")
    own, training, _ = online.parse_arguments(given)
    assert (own.prompts, own.evolved, own.n_new, own.n_new_bootstrap) == (8, 0.5, 4, 2)
    assert (own.capacity, own.from_buffer, own.priority, own.static) == (3200, 0.5, "parent", False)
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps == rows
    assert training.max_steps == 400


class Heard:
    """The arguments that TRL gave the reward function, and its results."""

    def __init__(self, play: Any) -> None:
        self.score, self.ids, self.rewards = play.reward, list[list[int]](), list[float]()

    def __call__(self, **given: Any) -> list[float]:
        self.ids += given["completion_ids"]
        rewards: list[float] = self.score(**given)
        self.rewards += rewards
        return rewards


def ready(
    online: ModuleType, tmp_path: Path, algorithm: str, reward: str = "by_letters", **more: Any
) -> tuple[Any, Heard]:
    """A trainer whose reference differs from its policy, and the calls of its reward function."""
    model = save_model(tmp_path / "model")
    run = make_run(tmp_path / "data", str(model), reward={"function": f"online_game:{reward}"}, pair={})
    changes = {"prompts": 4, "capacity": 6, "per_device_train_batch_size": 4 if algorithm == "oaif" else 16}
    file = recipe(tmp_path, f"sandbox_{algorithm}", **changes | more)
    given = arguments(tmp_path / "job", run, file, "--max_steps", "2")
    own, training, model_arguments = online.parse_arguments(given)
    play = online.Play(own, training, json.loads(Path(own.game).read_text()))
    play.reward = heard = Heard(play)
    trainer = online.build_trainer(own, training, model_arguments, play)
    seeds, _ = online.load_table(own, "prompts", online.PROMPTS.names())
    play.start(trainer, seeds.to_list(), model_arguments)
    if trainer.ref_model is not None:
        shift(trainer.ref_model, 1)
    return trainer, heard


def shift(model: PreTrainedModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def log_likelihood(model: PreTrainedModel, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """log pi(completion | prompt) of one sequence without padding. The end token counts."""
    ids = torch.tensor([prompt + completion])
    log_probabilities: torch.Tensor = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return log_probabilities.gather(-1, torch.tensor(completion)[:, None]).sum()


def prompt_tokens(trainer: Any) -> list[list[int]]:
    return [
        list(trainer.processing_class.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False))
        for row in trainer.play.rows
    ]


def test_rloo_is_the_clipped_ratio_times_the_lead_over_the_others(online: ModuleType, tmp_path: Path) -> None:
    trainer, heard = ready(online, tmp_path, "rloo")
    trainer.model.train()
    rows = [row for row in trainer.play.batch(trainer) for _ in range(4)]
    batch = trainer._generate_and_score_completions(rows)
    prompts = [ids for ids in prompt_tokens(trainer) for _ in range(4)]
    both = list(zip(prompts, heard.ids, strict=True))
    with torch.no_grad():
        old = torch.stack([log_likelihood(trainer.model, *pair) for pair in both])
        reference = torch.stack([log_likelihood(trainer.ref_model, *pair) for pair in both])
    # r - beta KL, less the mean of the three other responses to the prompt (Ahmadian et al. 2024).
    value = (torch.tensor(heard.rewards) - 0.02 * (old - reference)).view(4, 4)
    advantage = (value - (value.sum(1, keepdim=True) - value) / 3).view(-1)
    assert len(set(heard.rewards)) > 4
    torch.testing.assert_close(batch["advantages"], advantage, atol=1e-4, rtol=1e-4)

    # After an update the policy is another one than the one that sampled.
    shift(trainer.model, 2)
    with torch.no_grad():
        ratio = (torch.stack([log_likelihood(trainer.model, *pair) for pair in both]) - old).exp()
        expected = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
        loss = trainer.compute_loss(trainer.model, batch)
    assert ((ratio > 1.2) | (ratio < 0.8)).any()
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)


def token_likelihoods(model: PreTrainedModel, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """log pi of each token of a completion."""
    ids = torch.tensor([prompt + completion])
    log_probabilities: torch.Tensor = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return log_probabilities.gather(-1, torch.tensor(completion)[:, None])[:, 0]


def grpo_by_hand(
    trainer: Any, loss_type: str, groups: list[tuple[list[int], list[list[int]], list[float]]], beta: float
) -> torch.Tensor:
    """The loss of (prompt, completions, rewards) of each group, sampled from the present model (Shao et al. 2024)."""
    rows = []
    for prompt, completions, rewards in groups:
        reward = torch.tensor(rewards)
        advantages = (reward - reward.mean()) / (reward.std() + 1e-4)
        for completion, advantage in zip(completions, advantages, strict=True):
            with torch.no_grad():
                now = token_likelihoods(trainer.model, prompt, completion)
                lead = token_likelihoods(trainer.ref_model, prompt, completion) - now if beta else torch.zeros_like(now)
            # The ratio to the model that sampled is 1. The distance to the reference is never negative (Schulman 2020).
            rows.append(-advantage + beta * (lead.exp() - lead - 1))
    if loss_type == "grpo":
        return torch.stack([row.mean() for row in rows]).mean()
    total = torch.cat(rows).sum()
    return total / sum(map(len, rows)) if loss_type == "dapo" else total / (len(rows) * 48)


@pytest.mark.parametrize(("loss_type", "beta"), [("grpo", 0.02), ("dr_grpo", 0.02), ("dapo", 0.0)])
def test_grpo_weighs_tokens_by_the_lead_of_their_response(
    online: ModuleType, tmp_path: Path, loss_type: str, beta: float
) -> None:
    trainer, heard = ready(online, tmp_path, "grpo", loss_type=loss_type, beta=beta)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    batch = trainer._generate_and_score_completions(online.own_rows(trainer))
    groups = [
        (prompt, heard.ids[start : start + 4], heard.rewards[start : start + 4])
        for prompt, start in zip(prompt_tokens(trainer), range(0, 16, 4), strict=True)
    ]
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch)
    torch.testing.assert_close(loss, grpo_by_hand(trainer, loss_type, groups, beta), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("loss_type", "beta"), [("grpo", 0.02), ("dr_grpo", 0.02), ("dapo", 0.0)])
@pytest.mark.parametrize("rounds", [1, 9])
def test_groups_of_equal_rewards_are_replaced_and_what_lacks_does_not_count(
    online: ModuleType, tmp_path: Path, loss_type: str, beta: float, rounds: int
) -> None:
    more = {"loss_type": loss_type, "beta": beta, "max_resample": rounds}
    trainer, heard = ready(online, tmp_path, "grpo", reward="by_letters_of_some", **more)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    batch = trainer._generate_and_score_completions(online.own_rows(trainer))
    play = trainer.play
    groups = {
        name: (heard.ids[start : start + 4], heard.rewards[start : start + 4])
        for start, name in zip(
            range(0, len(heard.ids), 4), dict.fromkeys(a.prompt_id for a in play.answers), strict=True
        )
    }
    different = [name for name, (_, rewards) in groups.items() if len(set(rewards)) > 1]
    assert play.trained == different[:4]
    # One round leaves some out, nine do not.
    assert (len(play.trained) == 4) is (rounds == 9)
    assert play.rounds == rounds or rounds == 9
    assert batch["advantages"].shape == (16,)
    texts = {name: row["prompt"] for name, row in play.curriculum.seeds.items()}
    template = trainer.processing_class.apply_chat_template
    kept = [
        (list(template(texts[name], add_generation_prompt=True, return_dict=False)), *groups[name])
        for name in play.trained
    ]
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch)
    torch.testing.assert_close(loss, grpo_by_hand(trainer, loss_type, kept, beta), atol=1e-5, rtol=1e-5)


def test_online_dpo_leaves_pairs_out_that_the_settings_do_not_want(online: ModuleType, tmp_path: Path) -> None:
    keep = sys.modules["growing_prompts"].kept
    rewards = [0.9, 0.2, None, 0.5, 0.1, 0.3, 0.8, 0.6]
    assert keep(rewards, Pair()) == [True, True, False, True] * 2
    assert keep(rewards, Pair(min_chosen=0.5, margin=0.2)) == [True, False, False, False] * 2
    trainer, _ = ready(online, tmp_path, "oaif")
    trainer.play.game["pair"] = {"min_chosen": 2.0}
    trainer.training_step(trainer.model, None)
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in trainer.model.parameters())


def test_online_dpo_prefers_the_better_of_two(online: ModuleType, tmp_path: Path) -> None:
    trainer, heard = ready(online, tmp_path, "oaif")
    loss = trainer.training_step(trainer.model, None)
    # TRL has the first response to each of the four prompts, then the second.
    end = trainer.eos_token_ids[0]
    complete = [ids[: ids.index(end) + 1] if end in ids else ids for ids in heard.ids]
    expected = []
    for place, prompt in enumerate(prompt_tokens(trainer)):
        first, second = place, place + 4
        chosen, rejected = (first, second) if heard.rewards[first] >= heard.rewards[second] else (second, first)
        with torch.no_grad():
            lead = [
                log_likelihood(model, prompt, complete[chosen]) - log_likelihood(model, prompt, complete[rejected])
                for model in (trainer.model, trainer.ref_model)
            ]
        expected.append(-F.logsigmoid(0.1 * (lead[0] - lead[1])))
    assert heard.rewards[:4] != heard.rewards[4:]
    torch.testing.assert_close(loss, torch.stack(expected).mean(), atol=1e-4, rtol=1e-4)


def test_of_two_responses_one_without_a_reward_neither_wins_nor_loses(online: ModuleType) -> None:
    assert sys.modules["growing_prompts"].tied([-2.0, None, -3.0, None, -1.0, -4.0, None, None]) == [
        *(-2.0, -4.0, -3.0, None),
        *(-1.0, -4.0, -3.0, None),
    ]


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "qwen3"])
@pytest.mark.parametrize("algorithm", ["rloo", "grpo", "oaif"])
def test_three_steps_train_and_evolve(
    online: ModuleType, tmp_path: Path, algorithm: str, architecture: Architecture
) -> None:
    model = save_model(tmp_path / "model", architecture)
    # What random weights write as a creator is no prompt, and is eliminated. No answer of theirs is right either, so
    # the better of two wrong answers has to do.
    blocks: dict[str, Any] = {"creator": {"model": "sandbox", "threads": 1}, "estimate": NOISE, "pair": {}}
    run = make_run(tmp_path / "data", str(model), **blocks)
    file = recipe(tmp_path, f"sandbox_{algorithm}", **SMALL, save_strategy="no", learning_rate=1e-3)
    online.main(arguments(tmp_path / "job", run, file, "--max_steps", "3"))

    theta = tmp_path / "job" / "output"
    before, after = (load_file(folder / "model.safetensors") for folder in (model, theta))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    training = json.loads((theta / "training.json").read_text())
    assert (training["algorithm"], training["steps"]) == (algorithm, 3)
    assert training["seeds"] == {"read": 24, "prompt_too_long": 0}
    responses = 2 if algorithm == "oaif" else 4
    assert training["sampling"] == {"responses": responses, "temperature": 1.0, "top_p": 1.0, "max_tokens": 48}
    assert str(tmp_path) not in json.dumps(training)
    lines = record(tmp_path / "job")
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert [len(line["answers"]) for line in lines] == [4 * responses] * 3
    assert [len(line["evolutions"]) for line in lines] == [2 * 4] * 3
    assert any(survivors(line) for line in lines)
    assert [line["waiting"] for line in lines] == [len(names) for names in waiting_by_the_rules(lines)]


def test_without_evolving_the_seeds_are_trained_on_in_order(online: ModuleType, tmp_path: Path) -> None:
    run = make_run(tmp_path / "data", str(save_model(tmp_path / "model")), seeds=8)
    file = recipe(tmp_path, "sandbox_oaif", **SMALL, save_strategy="no")
    online.main(arguments(tmp_path / "job", run, file, "--max_steps", "2", "--static", "true"))
    lines = record(tmp_path / "job")
    assert len({row["prompt_id"] for line in lines for row in line["prompts"]}) == 8
    assert [line["evolutions"] for line in lines] == [[], []]
    assert [line["generated"] for line in lines] == [8, 16]


def test_a_run_ends_after_the_step_in_which_so_many_responses_were_generated(
    online: ModuleType, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "data", str(save_model(tmp_path / "model")), seeds=8)
    file = recipe(tmp_path, "sandbox_grpo", **SMALL, save_strategy="no", max_completions=17)
    online.main(arguments(tmp_path / "job", run, file, "--max_steps", "9", "--static", "true"))
    assert [line["generated"] for line in record(tmp_path / "job")] == [16, 32]
    assert json.loads((tmp_path / "job" / "output" / "training.json").read_text())["steps"] == 2


def test_a_creator_of_its_own_a_reward_model_and_estimated_priorities(online: ModuleType, tmp_path: Path) -> None:
    model, reward = save_model(tmp_path / "model"), save_reward_model(tmp_path / "reward")
    settings = {"backend": "classifier", "model": str(reward), "batch_tokens": 2048}
    blocks: dict[str, Any] = {"creator": {"model": "sandbox", "threads": 1}, "estimate": NOISE}
    run = make_run(tmp_path / "data", str(model), reward=settings, **blocks)
    file = recipe(tmp_path, "sandbox_rloo", **SMALL | {"save_steps": 1, "priority": "estimate"})
    online.main(arguments(tmp_path / "job", run, file, "--max_steps", "1"))
    (line,) = record(tmp_path / "job")
    assert all(isinstance(answer["reward"], float) for answer in line["answers"])
    state = json.loads((tmp_path / "job" / "output" / "checkpoint-1" / "curriculum.json").read_text())
    entries = state["buffer"]["entries"]
    assert [entry["prompt_id"] for entry in entries] == waiting_by_the_rules([line])[-1]
    # Each its own, and none its parent's.
    given = {entry["priority"] for entry in entries}
    assert len(given) == len(entries) > 1
    creator = run.config.creator
    assert not isinstance(creator, str)
    assert {row["creator"] for row in line["evolutions"]} == {player_of(creator).fingerprint}
    assert not given & set(line["informativeness"].values())


def test_a_creator_behind_a_url_is_asked_once_and_its_key_is_nowhere(
    online: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-planted-0123456789"
    monkeypatch.setenv("EVA_TEST_KEY", key)
    model = save_model(tmp_path / "model")
    file = recipe(tmp_path, "sandbox_oaif", **SMALL, save_strategy="no")
    with Misbehaving(key=key) as server:
        creator = {"backend": "api", "model": "tiny", "base_url": server.url, "api_key_env": "EVA_TEST_KEY"}
        evolve = {"candidates": 2, "near_duplicate": None}
        run = make_run(tmp_path / "data", str(model), creator=creator, estimate=NOISE, evolve=evolve)
        online.main(arguments(tmp_path / "first", run, file, "--max_steps", "2"))
        asked = len(server.seen)
        online.main(arguments(tmp_path / "second", run, file, "--max_steps", "2"))
        # Beside the canary, which is asked at every start: nothing, since the ledger has it all.
        assert {seen.body["temperature"] for seen in server.seen[asked:]} == {0.0}
    lines = record(tmp_path / "first")
    assert lines == record(tmp_path / "second")
    attempts = [row for line in lines for row in line["evolutions"]]
    # In two steps, of two prompts each, the better of two for each of four siblings.
    assert [(row["step"], row["candidate"]) for row in attempts] == [
        (step, candidate) for _ in range(2 * 2) for step in range(1, 5) for candidate in range(2)
    ]
    assert all(row["parent_id"] == row["chain_id"] for row in attempts)
    assert {str(row["creator"]).partition("@")[0] for row in attempts} == {"tiny"}
    assert any(row["status"] is None for row in attempts)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if key.encode() in path.read_bytes()]


@pytest.mark.parametrize(("algorithm", "more"), [("rloo", {}), ("grpo", {"max_resample": 2})])
def test_a_killed_run_goes_on_with_the_same_buffer_to_the_same_weights(
    online: ModuleType, tmp_path: Path, algorithm: str, more: dict[str, Any]
) -> None:
    file = recipe(tmp_path, f"sandbox_{algorithm}", **SMALL, learning_rate=1e-4, **more)
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"

    def given(job: Path) -> list[str]:
        return arguments(job, make_run(tmp_path / "data"), file, "--max_steps", "6", "--resume", "true")

    def launch() -> subprocess.Popen[bytes]:
        one_thread = {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache"), "CUDA_VISIBLE_DEVICES": ""}
        with (tmp_path / "log").open("ab") as log:
            command = [sys.executable, str(train_dir() / "online.py"), *given(killed)]
            return subprocess.Popen(command, env=os.environ | one_thread, stdout=log, stderr=log)

    process = launch()
    # Between two checkpoints, so that the record is longer than what is gone on from.
    while process.poll() is None and finished(killed) < 4:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert (killed / "output" / "checkpoint-3" / "trained_on.json").exists()
    assert not (killed / "output" / "training.json").exists()

    assert launch().wait() == 0, (tmp_path / "log").read_text()
    online.main(given(undisturbed))
    for name in ("record.jsonl", "output/checkpoint-6/curriculum.json", "output/training.json"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()
    resumed, whole = (load_file(job / "output" / "model.safetensors") for job in (killed, undisturbed))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    # What was gone on from was a buffer with something in it.
    entries = json.loads((killed / "output" / "checkpoint-3" / "curriculum.json").read_text())["buffer"]["entries"]
    lines = record(killed)
    assert [entry["prompt_id"] for entry in entries] == waiting_by_the_rules(lines)[2] != []
    assert [line["phase"] for line in lines] == phases_by_the_rules(lines, seeds=24)


def test_two_processes_share_the_steps_and_the_groups_that_are_replaced(tmp_path: Path) -> None:
    run = make_run(tmp_path / "data", reward={"function": "online_game:by_letters_of_some"}, pair={})
    file = recipe(tmp_path, "sandbox_grpo", **SMALL, max_resample=2)
    # On processors, `accelerate launch` starts one process, whatever it is asked for.
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        *(str(train_dir() / "online.py"), *arguments(tmp_path / "job", run, file, "--max_steps", "3")),
        *("--processes", "2"),
    ]
    here = {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    here |= {"ACCELERATE_USE_CPU": "true"}
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=os.environ | here | paths, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = record(tmp_path / "job")
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line in lines:
        rewards: dict[str, list[float]] = {}
        for answer in line["answers"]:
            rewards.setdefault(answer["prompt_id"], []).append(answer["reward"])
        # The answers of both processes, those to replaced prompts included, four to each prompt.
        assert rewards.keys() == {row["prompt_id"] for row in line["prompts"]}
        assert {len(given) for given in rewards.values()} == {4}
        different = [name for name, given in rewards.items() if len(set(given)) > 1]
        assert sorted(line["trained"]) == sorted(different[:4])
    assert any(line["rounds"] for line in lines)
    assert lines[-1]["generated"] == sum(len(line["answers"]) for line in lines)
    training = json.loads((tmp_path / "job" / "output" / "training.json").read_text())
    assert all(math.isfinite(row["loss"]) for row in training["history"])


STEPS = ("--steps", "6")
FEW_SEEDS = ("--set", "seeds.sandbox=12", "--set", "pair.min_chosen=null")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of an undisturbed online run. Its recipe lies beside it."""
    root = tmp_path_factory.mktemp("undisturbed")
    file = recipe(root, "sandbox_rloo", **SMALL, learning_rate=1e-4)
    done = eva(root / "data", "online", *STEPS, "--recipe", str(file), settings=FEW_SEEDS)
    assert done.returncode == 0, done.stderr
    assert "online training: 6/6" in done.stderr
    return root / "data-rloo"


def test_an_online_run_is_a_dataset_like_any_other(undisturbed: Path, tmp_path: Path) -> None:
    file = undisturbed.parent / "sandbox_rloo.yaml"
    folder = Path(shutil.copytree(undisturbed, tmp_path / "data-rloo"))
    store = Store(folder)
    assert verify_iteration(store, 1).problems == []
    found = tables(folder, 1)
    manifest = store.manifest(1)
    assert manifest.online is not None
    # Four seeds a step until the buffer has been full, then two, and none once all twelve are used.
    warm_up = manifest.online["steps_by_phase"]["warm-up"]
    by_phase = {"bootstrap": warm_up, "mix-up": 6 - 2 * warm_up, "warm-up": warm_up}
    assert manifest.online["steps_by_phase"] == {phase: steps for phase, steps in by_phase.items() if steps}
    assert manifest.online["prompts_trained"] == 24
    assert manifest.counts.prompts == found["prompts"].height
    evolved = found["prompts"].filter(pl.col("origin") == "evolved")
    assert evolved.height > 6
    mixed = found["evolutions"].filter(pl.col("status") == "mixed")
    assert sorted(mixed["prompt_id"]) == sorted(evolved["prompt_id"])
    known = [*found["prompts"]["prompt_id"], *found["evolutions"]["prompt_id"]]
    assert evolved["parent_id"].is_in(known).all()
    assert found["evolutions"].select("chain_id", "step").is_unique().all()
    per_prompt = found["responses"].group_by("prompt_id").len()
    assert (per_prompt.height, per_prompt["len"].unique().to_list()) == (found["prompts"].height, [4])
    theta = folder / ".eva" / "solvers" / "iter_1"
    assert "trained online by `rloo` for 6 steps on 24 prompts" in (theta / "README.md").read_text()
    assert not (folder / ".eva" / "jobs" / "iter_1" / "online").exists()

    written = (theta / "model.safetensors").stat().st_mtime_ns
    config, _ = online_config(
        load_config(CARELESS_CONFIG, [*FEW_SEEDS[1::2], f"folder={tmp_path / 'data'}"]), "rloo", static=False
    )
    same = Run(config, ConsoleReporter())
    assert train_online(same, Online(str(file), 6)) == manifest
    assert (theta / "model.safetensors").stat().st_mtime_ns == written
    with pytest.raises(StaleError, match=r"holds another run: `steps` is 7, was 6; .*`--set folder=...`"):
        train_online(same, Online(str(file), 7))

    again = ("online", *STEPS, "--recipe", str(file), *FEW_SEEDS, "--set", f"folder={tmp_path / 'data'}")
    with Hub(tmp_path / "hub") as hub:
        pushed = hub.run(tmp_path, *again, "--push", "alice/online")
        assert pushed.returncode == 0, pushed.stderr
        model = hub.repos["alice/online"]
        assert (model.private, model.tags) == (True, {"iter-1": model.commits[-1].sha})
        card = model.commits[-1].files["README.md"].decode()
        assert "trained online by `rloo` for 6 steps on 24 prompts" in card
        assert model.commits[-1].files["model.safetensors"] == (theta / "model.safetensors").read_bytes()
        public = hub.run(tmp_path, *again, "--push", "alice/online", "--public")
        assert public.stderr.strip().splitlines()[-1].startswith("Error: what is public needs a licence")


def test_what_cannot_be_trained_online_is_said_in_a_sentence(online: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`--algorithm` is `dpo`: known are rloo, grpo, oaif"):
        online_config(load_config(CARELESS_CONFIG), "dpo", static=False)
    config, ready_recipe = online_config(load_config(CARELESS_CONFIG), "oaif", static=True)
    assert (config.folder.name, config.name, ready_recipe) == (
        "eva-sandbox-oaif-static",
        "eva-sandbox-oaif-static",
        "sandbox_oaif",
    )
    judge = {"backend": "judge", "judge": {"backend": "transformers", "model": "sandbox"}}
    with pytest.raises(ConfigError, match="`backend: judge`, which cannot score while a model trains: use one of"):
        train_online(make_run(tmp_path / "data", reward=judge), Online("sandbox_rloo", 2))

    file = recipe(tmp_path, "sandbox_rloo", prompts=3)
    given = arguments(tmp_path / "job", make_run(tmp_path / "data", seeds=8), file, "--max_steps", "2")
    with pytest.raises(SystemExit, match="a step has `prompts` 3, 12 rows, which 1 devices cannot share"):
        online.parse_arguments(given)
    few = recipe(tmp_path, "sandbox_rloo", **SMALL)
    run = make_run(tmp_path / "data", str(save_model(tmp_path / "model")), seeds=3)
    with pytest.raises(ConfigError, match="3 seeds can be trained on, fewer than the 4 prompts of a step"):
        online.main(arguments(tmp_path / "job", run, few, "--max_steps", "2"))


MOMENTS = {
    "while it trains": ".eva/jobs/iter_1/online/output/checkpoint-3",
    "when the training is over": ".eva/jobs/iter_1/online/output/training.json",
    "while tables are written": "prompts/iter_1.parquet",
    "when the dataset is there and the model is not": "manifests/iter_1.json",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_command_is_completed_by_the_next_to_the_same_tables_and_weights(
    undisturbed: Path, tmp_path: Path, moment: str
) -> None:
    folder, file = tmp_path / "data-rloo", undisturbed.parent / "sandbox_rloo.yaml"
    line = command(tmp_path / "data", "online", *STEPS, "--recipe", str(file), settings=FEW_SEEDS)
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(line, cwd=tmp_path, stdout=log, stderr=log) as process:
        while process.poll() is None and not (folder / MOMENTS[moment]).exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    # The last moment is short: a command that was faster has to have ended well.
    assert process.returncode in (-signal.SIGKILL, 0), (tmp_path / "log").read_text()
    assert process.returncode or "model is not" in moment
    done = eva(tmp_path / "data", "online", *STEPS, "--recipe", str(file), settings=FEW_SEEDS)
    assert done.returncode == 0, done.stderr
    assert hashes(folder) == hashes(undisturbed)
    ours, theirs = (json.loads((each / "manifests" / "iter_1.json").read_text()) for each in (folder, undisturbed))
    assert ours == theirs
    weights = [load_file(each / ".eva" / "solvers" / "iter_1" / "model.safetensors") for each in (folder, undisturbed)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not (folder / ".eva" / "jobs" / "iter_1" / "online").exists()
    assert processes_of(folder) == []
