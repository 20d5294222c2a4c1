"""How vLLM is called, what it is asked first, and which line of its log says why it ended."""

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
"""What `vllm serve` runs. Called by this name it also starts where vLLM is installed under another one, as its CPU
build is."""

_ERROR = re.compile(
    r"^(?:\([^)]*pid=\d+\) )?(?:ERROR [\d:. -]+\[[^\]]*\] )?"
    r"((?:[\w.]*(?:Error|Exception)|[\w.]+: error): .*(?:\n +\S.*)?)",
    re.MULTILINE,
)
"""The last line of an exception, with the one below, where pydantic puts what it means."""


def interpreter(block: VllmModel | RewardServer, key: str) -> str:
    """Path of the Python that shall run vLLM; ModelError, naming `<key>.python`, where it is no program."""
    if block.python is None:
        return sys.executable
    # As it is written: `./python` is the one in this folder, and not the first on PATH.
    found = shutil.which(os.path.expanduser(block.python))
    if found is None:
        raise ModelError(
            f"`{key}.python` is {block.python}, which is no program on this machine: name the interpreter of the "
            "environment that vLLM is installed in, such as /opt/vllm/bin/python"
        )
    return str(Path(found).absolute())


def arguments(block: VllmModel | RewardServer, path: Path, name: str) -> list[str]:
    """What follows the interpreter, but for the port; requests call the model `name`."""
    command = ["-m", MODULE, "--model", str(path.absolute()), "--served-model-name", name, "--host", HOST]
    command += ["--dtype", block.dtype]
    if isinstance(block, RewardServer):
        # Without `--convert`: with it, a model that has no head to score with would get a random one.
        command += ["--runner", "pooling"]
    else:
        # Otherwise the model's own generation_config fills in whatever a request does not say.
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
    """Address and body of the smallest request of the kind that will follow."""
    if isinstance(block, RewardServer):
        return "/classify", {"model": name, "input": "Hi"}
    messages = [{"role": "user", "content": "Hi"}]
    return "/v1/chat/completions", {"model": name, "messages": messages, "max_tokens": 1, "temperature": 0}


def first_error(log: str) -> str | None:
    """The first error in a log of vLLM: later ones only pass it on. None where there is none."""
    found = _ERROR.search(log)
    return found[1] if found else None


SERVED_NAME = "model"
"""What a server that is started here calls its model."""
