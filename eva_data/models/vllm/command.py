"""Builds vLLM's command line and first request, and finds the cause of a failure in its log."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eva_data.config import RewardServer, VllmModel
from eva_data.errors import ModelError

if TYPE_CHECKING:
    pass

HOST = "127.0.0.1"

MODULE = "vllm.entrypoints.openai.api_server"
"""The module that `vllm serve` runs. By this name it also starts if vLLM is installed under another package name, as
its CPU build is."""

_ERROR = re.compile(
    r"^(?:\([^)]*pid=\d+\) )?(?:ERROR [\d:. -]+\[[^\]]*\] )?"
    r"((?:[\w.]*(?:Error|Exception)|[\w.]+: error): .*(?:\n +\S.*)?)",
    re.MULTILINE,
)
"""The last line of an exception, with the next line, in which pydantic says what is wrong."""


def interpreter(block: VllmModel | RewardServer, key: str) -> str:
    """Path of the Python that shall run vLLM. Raise ModelError, which names `<key>.python`, if it is not a program."""
    if block.python is None:
        return sys.executable
    # The name is used as it is written: `./python` is in this folder, and not the first on PATH.
    found = shutil.which(os.path.expanduser(block.python))
    if found is None:
        raise ModelError(
            f"`{key}.python` is {block.python}, which is no program on this machine: name the interpreter of the "
            "environment that vLLM is installed in, such as /opt/vllm/bin/python"
        )
    return str(Path(found).absolute())


def arguments(block: VllmModel | RewardServer, path: Path, name: str) -> list[str]:
    """The arguments after the interpreter, without host and port. Requests call the model `name`."""
    command = ["-m", MODULE, "--model", str(path.absolute()), "--served-model-name", name]
    command += ["--dtype", block.dtype]
    if isinstance(block, RewardServer):
        # `--convert` is left out, because a model without a head for scores would get a random head.
        command += ["--runner", "pooling"]
    else:
        # Otherwise the model's own generation_config would fill in every field that a request leaves out.
        command += ["--generation-config", "vllm"]
    if block.quantization is not None:
        command += ["--quantization", block.quantization]
    if block.max_model_len is not None:
        command += ["--max-model-len", str(block.max_model_len)]
    if block.tensor_parallel > 1:
        command += ["--tensor-parallel-size", str(block.tensor_parallel)]
    if block.data_parallel > 1:
        command += ["--data-parallel-size", str(block.data_parallel)]
    if block.trust_remote_code:
        command += ["--trust-remote-code"]
    return [*command, "--disable-uvicorn-access-log", *block.arguments]


def first_request(block: VllmModel | RewardServer, name: str) -> tuple[str, dict[str, Any]]:
    """Address and body of a smallest request of the kind that will follow."""
    if isinstance(block, RewardServer):
        return "/classify", {"model": name, "input": "Hi"}
    messages = [{"role": "user", "content": "Hi"}]
    return "/v1/chat/completions", {"model": name, "messages": messages, "max_tokens": 1, "temperature": 0}


def first_error(log: str) -> str | None:
    """The first error in a log of vLLM, since later errors only repeat it; None if there is none."""
    found = _ERROR.search(log)
    return found[1] if found else None


SERVED_NAME = "model"
"""The model's name at a server that is started here."""
