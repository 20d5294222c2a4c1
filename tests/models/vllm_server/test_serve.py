"""vLLM as a child process: waiting, a first question, and the end of all its processes. A failed start says why.

The tests start a script instead of vLLM's interpreter. It behaves as vLLM was seen to behave.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fake_vllm import starts, write_interpreter
from processes import alive

from eva_data.config import RewardServer, VllmModel
from eva_data.errors import ModelError
from eva_data.models.vllm.command import arguments, first_error, interpreter
from eva_data.models.vllm.fleet import Servers
from eva_data.models.vllm.register import read
from eva_data.models.vllm.server import VllmServer

pytestmark = pytest.mark.slow


def solver(folder: Path, how: str = "", **fields: Any) -> VllmModel:
    fakes = (f"--fake={how}",) if how else ()
    return VllmModel(
        backend="vllm", model="org/model", python=write_interpreter(folder), **{"arguments": fakes, **fields}
    )


def server(folder: Path, how: str = "", **fields: Any) -> VllmServer:
    block = solver(folder, how, **fields)
    return VllmServer(block, Path("/models/tiny"), "tiny", log=folder / "server.log", key="solver")


def post(url: str, address: str, body: dict[str, Any], key: str = "") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("POST", address, json.dumps(body), {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    found = response.status, json.loads(response.read())
    connection.close()
    return found


def test_a_server_answers_at_its_url_and_is_gone_with_its_children_after_the_block(tmp_path: Path) -> None:
    with server(tmp_path) as running:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", running.url)
        assert post(running.url, "/v1/chat/completions", {"model": "tiny"})[0] == 401
        status, reply = post(running.url, "/v1/chat/completions", {"model": "tiny"}, running.key)
        assert (status, reply["path"]) == (200, "/v1/chat/completions")
        (start,) = starts(tmp_path)
        assert not running.ended
        assert alive(start["pids"]) == start["pids"]
    assert running.ended
    assert alive(start["pids"]) == []
    running.stop()


def test_who_waits_is_told_how_long_and_the_last_line_of_the_log(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    block, log = solver(tmp_path), tmp_path / "server.log"
    with VllmServer(
        block, Path("m"), "tiny", log=log, key="solver", on_wait=lambda seconds, line: told.append((seconds, line))
    ):
        pass
    assert [seconds for seconds, _ in told] == sorted(seconds for seconds, _ in told)
    assert {line for _, line in told} <= {"", "serving tiny"}
    assert told[-1][1] == "serving tiny"


def test_a_generating_model_is_called_with_all_that_its_block_says(tmp_path: Path) -> None:
    block = VllmModel(
        backend="vllm",
        model="org/model",
        dtype="bfloat16",
        quantization="fp8",
        max_model_len=4096,
        tensor_parallel=2,
        data_parallel=4,
        trust_remote_code=True,
        arguments=("--gpu-memory-utilization=0.85",),
    )
    assert arguments(block, Path("/models/tiny"), "tiny") == [
        *("-m", "vllm.entrypoints.openai.api_server"),
        *("--model", "/models/tiny", "--served-model-name", "tiny", "--dtype", "bfloat16"),
        *("--generation-config", "vllm", "--quantization", "fp8", "--max-model-len", "4096"),
        *("--tensor-parallel-size", "2", "--data-parallel-size", "4", "--trust-remote-code"),
        *("--disable-uvicorn-access-log", "--gpu-memory-utilization=0.85"),
    ]


def test_a_reward_model_is_served_by_the_pooling_runner(tmp_path: Path) -> None:
    assert arguments(RewardServer(backend="server", model="org/rm"), Path("/models/rm"), "rm") == [
        *("-m", "vllm.entrypoints.openai.api_server"),
        *("--model", "/models/rm", "--served-model-name", "rm", "--dtype", "auto"),
        *("--runner", "pooling", "--disable-uvicorn-access-log"),
    ]


def test_a_path_is_given_as_it_is_seen_from_anywhere() -> None:
    block = VllmModel(backend="vllm", model="model")
    assert arguments(block, Path("model"), "tiny")[3] == str(Path.cwd() / "model")


def test_a_server_has_a_key_of_its_own_and_not_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sk-planted")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with server(tmp_path) as running:
        (start,) = starts(tmp_path)
    environment = start["environment"]
    assert environment["VLLM_API_KEY"] == running.key
    assert running.key not in " ".join(start["arguments"]) + (tmp_path / "server.log").read_text()
    assert environment["CUDA_VISIBLE_DEVICES"] == "3"
    added = {name for name in environment if name not in os.environ} - {"_", "PWD", "SHLVL", "OLDPWD"}
    assert added == {"PYTHONSAFEPATH"}


def test_a_server_that_ends_says_the_first_error_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("KeyError: of an earlier start\n")
    with pytest.raises(ModelError) as raised, server(tmp_path, "dies"):
        pass
    assert str(raised.value) == (
        "vLLM with the model /models/tiny ended with status 1: ValueError: no available memory for the cache blocks; "
        f"its log is {tmp_path / 'server.log'}"
    )
    assert alive(starts(tmp_path)[0]["pids"]) == []


KILLED = (
    r"was ended by SIGKILL, as the kernel does where memory runs out: nothing is in its log; its log is .*server\.log$"
)


def test_a_server_that_is_killed_without_a_word_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=KILLED):
        server(tmp_path, "killed").start()


@pytest.mark.parametrize(("how", "last"), [("deaf", "loading weights"), ("unhealthy", "serving tiny")])
def test_a_server_that_never_gets_healthy_is_ended(tmp_path: Path, how: str, last: str) -> None:
    with pytest.raises(ModelError) as raised:
        server(tmp_path, how, start_minutes=0.05).start()
    assert str(raised.value) == (
        "vLLM with the model /models/tiny does not answer after 0.05 minutes; its log "
        f"{tmp_path / 'server.log'} ends with: {last}; if it only needs longer, raise `solver.start_minutes`"
    )
    assert alive(starts(tmp_path)[0]["pids"]) == []


def test_a_healthy_server_that_dies_of_the_first_request_is_found_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        server(tmp_path, "fragile").start()
    assert str(raised.value) == (
        "vLLM with the model /models/tiny ended with status 0: RuntimeError: head size 16 is not supported; its log "
        f"is {tmp_path / 'server.log'}"
    )


def test_a_healthy_server_that_refuses_the_first_request_is_found_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        server(tmp_path, "mute").start()
    assert str(raised.value) == (
        "vLLM started with the model /models/tiny, but to a first request at /v1/chat/completions it answers 400: "
        '{"error": {"message": "you must provide a chat template"}}; its log is ' + str(tmp_path / "server.log")
    )
    assert alive(starts(tmp_path)[0]["pids"]) == []


def test_a_reward_model_without_a_head_is_found_at_once(tmp_path: Path) -> None:
    python = write_interpreter(tmp_path)
    block = RewardServer(backend="server", model="org/rm", python=python, arguments=("--fake=headless",))
    with pytest.raises(ModelError) as raised:
        VllmServer(block, Path("/models/rm"), "rm", log=tmp_path / "log", key="reward").start()
    assert str(raised.value) == (
        "vLLM gives no scores of the model /models/rm: it serves only a `...ForSequenceClassification` as a reward "
        "model; name one in `reward.model`, or use `backend: classifier`"
    )


def test_an_interpreter_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    block = VllmModel(backend="vllm", model="m", python=tmp_path / "nowhere" / "python")
    with pytest.raises(ModelError) as raised:
        VllmServer(block, Path("m"), "m", log=tmp_path / "log", key="creator")
    assert str(raised.value) == (
        f"`creator.python` is {tmp_path}/nowhere/python, which is no program on this machine: name the interpreter of "
        "the environment that vLLM is installed in, such as /opt/vllm/bin/python"
    )


@pytest.mark.parametrize("written", ["./python", "env/bin/../../python"])
def test_an_interpreter_is_found_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    block = VllmModel(backend="vllm", model="m", python=written)
    assert Path(interpreter(block, "solver")).resolve() == tmp_path / "python"
    # A bare name is looked for on PATH, as in a shell.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    block = VllmModel(backend="vllm", model="m", python="python")
    assert interpreter(block, "solver") == str(Path(sys.executable).parent / "python")


@pytest.mark.parametrize("given", [None, Path(sys.executable)])
def test_an_interpreter_without_vllm_is_named_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Path | None
) -> None:
    # The test environment itself has no vLLM; a folder of that name among the user's files is none.
    (tmp_path / "vllm").mkdir()
    monkeypatch.chdir(tmp_path)
    block = VllmModel(backend="vllm", model="m", python=given)
    with pytest.raises(ModelError) as raised:
        VllmServer(block, Path("m"), "m", log=tmp_path / "log", key="solver").start()
    assert str(raised.value) == (
        f"{sys.executable} has no vLLM: name the interpreter of an environment that has it in `solver.python`, or "
        "install it there with `pip install vllm`"
    )


def test_an_interrupt_while_waiting_ends_the_server(tmp_path: Path) -> None:
    def interrupt(seconds: float, line: str) -> None:
        if starts(tmp_path):
            raise KeyboardInterrupt

    block = solver(tmp_path, "deaf")
    with pytest.raises(KeyboardInterrupt):
        VllmServer(block, Path("m"), "m", log=tmp_path / "log", key="solver", on_wait=interrupt).start()
    assert alive(starts(tmp_path)[0]["pids"]) == []


def test_a_killed_parent_leaves_no_server_behind(tmp_path: Path) -> None:
    parent = f"""
import sys, time
from pathlib import Path
from eva_data.config import VllmModel
from eva_data.models.vllm.server import VllmServer

block = VllmModel(backend="vllm", model="m", python=Path({str(write_interpreter(tmp_path))!r}))
VllmServer(block, Path("m"), "m", log=Path({str(tmp_path / "log")!r}), key="solver").start()
print("ready", flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (start,) = starts(tmp_path)
        assert alive(start["pids"]) == start["pids"]
        process.kill()
    deadline = time.monotonic() + 60
    while alive(start["pids"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive(start["pids"]) == []


def reached(servers: Servers, block: VllmModel, path: str, log: Path, key: str = "solver") -> dict[str, str]:
    """URL -> key of the servers that are up as soon as one is."""
    register = servers.reach(block, Path(path), "model", log=log, key=key)["servers_file"]
    return read(Path(str(register)))


def test_one_server_runs_at_a_time_and_is_kept_for_the_same_model(tmp_path: Path) -> None:
    block, log, register = solver(tmp_path), tmp_path / "server.log", tmp_path / "state" / "register.json"
    with Servers(tmp_path / "state") as servers:
        servers.check()
        first = reached(servers, block, "/models/a", log)
        again = reached(servers, block, "/models/a", log, key="creator")
        assert again == first
        assert register.stat().st_mode & 0o777 == 0o600
        assert len(starts(tmp_path)) == 1
        reached(servers, block, "/models/b", log)
        one, other = starts(tmp_path)
        assert alive(one["pids"]) == []
        assert alive(other["pids"]) == other["pids"]
        assert other["arguments"][3] == "/models/b"
    assert alive(other["pids"]) == []
    assert not register.exists()
    servers.stop()


def test_a_failed_start_leaves_nothing_that_would_be_taken_for_a_server(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with Servers(tmp_path / "state") as servers:
        with pytest.raises(ModelError):
            reached(servers, solver(tmp_path, "dies"), "m", log)
        servers.check()
        assert len(starts(tmp_path)) == 1
        assert len(reached(servers, solver(tmp_path), "m", log)) == 1


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("INFO all is well\n", None),
        ("api_server.py: error: unrecognized arguments: --nonsense\n",) * 2,
        (
            "  File 'x.py', line 1\npydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
            "  Value error, Unknown quantization method: fp9. [type=value_error]\n    For further information\n",
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
            "  Value error, Unknown quantization method: fp9. [type=value_error]",
        ),
        (
            "(Worker pid=1) ERROR 11-21 10:36:03 [executor.py:1063] torch.OutOfMemoryError: CUDA out of memory.\n"
            "(Worker pid=1) ERROR 11-21 10:36:03 [executor.py:1063] RuntimeError: Worker failed\n",
            "torch.OutOfMemoryError: CUDA out of memory.",
        ),
        ("WARNING limits can cause errors like `OSError: too many open files`\n", None),
    ],
)
def test_the_first_error_of_a_log_is_found_and_a_warning_is_none(log: str, expected: str | None) -> None:
    assert first_error(log) == (expected.rstrip("\n") if expected else None)
