"""An online run that was cut off goes on with the inputs that it began with, or says which are others now."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from online_game import make_run, recipe
from sandbox_runs import command, error_of, eva

from eva_data.config import Seeds
from eva_data.dataset.seeds import read_seeds
from eva_data.dataset.store import Store
from eva_data.errors import StaleError
from eva_data.files import sha256
from eva_data.game.online import BEGUN, Online, begun_with, train_online
from eva_data.iteration.run import Run

PROMPTS = ("Say ab.", "Say ba.", "Say abc.", "Say cba.")


def write_seeds(path: Path, texts: tuple[str, ...] = PROMPTS) -> Path:
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return path


def begun(folder: Path, **more: Any) -> Run:
    """A run whose job folder says what it began with; `more` are further settings."""
    seeds = write_seeds(folder / "seeds.jsonl")
    run = make_run(folder / "data", **{"seeds": {"path": str(seeds)}} | more)
    begun_with(run)
    return run


def of_file(folder: Path, **more: Any) -> Run:
    return make_run(folder / "data", **{"seeds": {"path": str(folder / "seeds.jsonl")}} | more)


def test_what_a_run_began_with_is_what_it_goes_on_with(tmp_path: Path) -> None:
    run = begun(tmp_path)
    kept = run.store.job_folder(1, "online") / BEGUN
    written = kept.read_bytes()
    assert begun_with(of_file(tmp_path)) == json.loads(written)["inputs"]
    assert json.loads(written)["inputs"]["seeds.path"] == sha256(tmp_path / "seeds.jsonl")
    assert kept.read_bytes() == written


def test_a_changed_file_of_seeds_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    run = begun(tmp_path)
    write_seeds(tmp_path / "seeds.jsonl", ("Say abba.", *PROMPTS[1:]))
    job = run.store.job_folder(1, "online").resolve()
    before = sorted(job.iterdir())
    with pytest.raises(StaleError) as raised:
        train_online(of_file(tmp_path), Online("sandbox_rloo", 2))
    assert str(raised.value) == (
        f"the online run in {run.store.folder} is not finished, and its inputs are not those that it began with: "
        "`seeds.path` holds other content; restore them, train into a folder of its own with `--set folder=...`, or "
        f"remove {run.store.job_folder(1, 'online')} to begin it anew"
    )
    assert sorted(job.iterdir()) == before
    write_seeds(tmp_path / "seeds.jsonl")
    assert begun_with(of_file(tmp_path))["seeds.path"] == sha256(tmp_path / "seeds.jsonl")


def test_a_file_of_seeds_that_is_gone_is_named(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / "seeds.jsonl").unlink()
    with pytest.raises(StaleError, match=r"`seeds.path` cannot be read; restore them"):
        begun_with(of_file(tmp_path))


def test_a_changed_reward_function_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    function = tmp_path / "scores_of_a_user.py"
    function.write_text("def score(prompt, response):\n    return float(len(response))\n")
    reward = {"backend": "verifier", "function": "scores_of_a_user:score"}
    begun(tmp_path, reward=reward)
    monkeypatch.delitem(__import__("sys").modules, "scores_of_a_user")
    function.write_text("def score(prompt, response):\n    return -float(len(response)) + 1\n")
    with pytest.raises(StaleError, match=r"`reward.function` holds other content; restore them"):
        begun_with(of_file(tmp_path, reward=reward))


def test_other_settings_of_the_seeds_are_named_with_both_values(tmp_path: Path) -> None:
    begun(tmp_path)
    other = {"path": str(tmp_path / "seeds.jsonl"), "per_iteration": 2}
    with pytest.raises(StaleError, match=r"`seeds.per_iteration` is 2, was None; restore them"):
        begun_with(of_file(tmp_path, seeds=other))


@pytest.mark.long
def test_a_killed_command_refuses_other_seeds_and_goes_on_with_its_own(tmp_path: Path) -> None:
    rows, _ = read_seeds(Seeds(sandbox=12), 42)
    path = tmp_path / "seeds.jsonl"
    own = rows.select("prompt").write_ndjson
    own(path)
    began = sha256(path)
    file = recipe(tmp_path, "sandbox_rloo", prompts=4, capacity=6, per_device_train_batch_size=4, save_steps=1)
    given = ("--steps", "1", "--recipe", str(file), "--set", f"seeds={{path: {path}}}", "--set", "pair.min_chosen=null")
    folder = tmp_path / "data-rloo"
    job = folder / ".eva" / "jobs" / "iter_1" / "online"
    line = command(tmp_path / "data", "online", *given, settings=())
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(line, cwd=tmp_path, stdout=log, stderr=log) as process:
        while process.poll() is None and not (job / "game.json").exists():
            time.sleep(0.01)
        process.kill()
    assert (job / BEGUN).exists(), (tmp_path / "log").read_text()
    path.write_text(path.read_text() + json.dumps({"prompt": "Say ab."}) + "\n")
    said = error_of(eva(tmp_path / "data", "online", *given, settings=()))
    assert "its inputs are not those that it began with: `seeds.path` holds other content" in said
    assert not (folder / "manifests").exists()
    own(path)
    done = eva(tmp_path / "data", "online", *given, settings=())
    assert done.returncode == 0, done.stderr
    assert Store(folder).manifest(1).inputs["seeds.path"] == began
    assert not job.exists()
