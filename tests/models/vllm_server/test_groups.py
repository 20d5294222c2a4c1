"""Which GPUs each server of this machine sees."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fake_vllm import starts, write_interpreter

from eva_data.models.vllm.hosts import Local, Order


def seen(folder: Path, launcher: Local, gpus: int, number: int) -> str | None:
    command = [str(write_interpreter(folder)), "--served-model-name", "m", "--fake=dies"]
    host = launcher.begin(Order(command, "a key", folder / "log", gpus, number))
    while host.poll() is None:
        time.sleep(0.01)
    host.stop()
    found: str | None = starts(folder)[-1]["environment"].get("CUDA_VISIBLE_DEVICES")
    return found


def test_each_server_sees_the_gpus_of_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,8")
    launcher = Local(grouped=True)
    assert [launcher.count(gpus) for gpus in (1, 2, 5, 8)] == [5, 2, 1, 1]
    # Two groups of two: the third server shares the first group, and GPU 8 is left over.
    assert [seen(tmp_path, launcher, 2, number) for number in (0, 1, 2)] == ["4,5", "6,7", "4,5"]


def test_one_server_sees_what_the_command_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert seen(tmp_path, Local(grouped=False), 1, 0) == "4,5"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launcher = Local(grouped=True)
    assert (launcher.count(1), seen(tmp_path, launcher, 1, 3)) == (1, "")
