"""Several processes train as one does, and none trains alone that was to train with others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from scripts import arguments
from tiny import pairs, save_dataset, save_model

from eva_data.config.reading import parse_config
from eva_data.errors import JobError
from eva_data.project import train_dir
from eva_data.training.launch import run_script

# TRL 1.16 calls by their old names what transformers 5.23 has renamed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread_and_a_cache_of_its_own"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
]


def test_two_nodes_train_as_one_process_does(preference: ModuleType, tmp_path: Path) -> None:
    model, short = save_model(tmp_path / "model"), ("--max_steps", "2", "--logging_steps", "1", "--batch_size", "8")
    save_dataset(tmp_path / "data", {"iter_1": pairs(16)})
    preference.main(arguments(tmp_path, model, *short, "--per_device_train_batch_size", "8"))
    (tmp_path / "theta").rename(tmp_path / "alone")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    launch += ["--master_addr", "127.0.0.1", "--master_port", str(port)]
    script = [str(train_dir() / "preference.py"), *arguments(tmp_path, model, *short, "--processes", "2")]
    script += ["--per_device_train_batch_size", "4"]
    here = {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    here |= {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    nodes = [
        subprocess.Popen(
            [*launch, "--node_rank", str(rank), *script], env=os.environ | here, stderr=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    errors = [node.communicate(timeout=300)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], errors
    alone, together = (json.loads((tmp_path / name / "training.json").read_text()) for name in ("alone", "theta"))
    assert together["steps"] == alone["steps"] == 2
    assert [row["loss"] for row in together["history"]] == pytest.approx(
        [row["loss"] for row in alone["history"]], rel=1e-3
    )
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("theta", "alone"))
    for name, weights in theirs.items():
        torch.testing.assert_close(ours[name], weights, rtol=1e-3, atol=1e-5)


def test_fewer_processes_than_were_to_train_are_an_error(
    preference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    file = tmp_path / "several.yaml"
    file.write_text("distributed_type: MULTI_CPU\nnum_processes: 2\nnum_machines: 1\nuse_cpu: true\n")
    given = {"solver": {"model": str(tmp_path / "model"), "device": "cpu"}, "train": {"accelerate": str(file)}}
    config = parse_config(
        {"name": "acme/several", "seeds": {"path": "seeds.csv"}, "reward": {"function": "a:b"}, **given}, "eva.yaml"
    )
    model = save_model(tmp_path / "model")
    save_dataset(tmp_path / "data", {"iter_1": pairs(4)})
    script = [str(train_dir() / "preference.py"), *arguments(tmp_path, model)]
    with pytest.raises(JobError) as raised:
        run_script(config, script, tmp_path, tmp_path / "log", os.environ, "theta_1", None)
    assert str(raised.value).startswith(
        "training theta_1 failed: the launcher was to start 2 processes, and this one trains among 1: `accelerate"
    )
