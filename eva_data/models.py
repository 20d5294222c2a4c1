"""Which model answers: where its files are and what it is, by content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva_data.config import Evolve, Generation, TransformersModel
from eva_data.errors import ModelError
from eva_data.files import sha256

SANDBOX_MODEL = Path(__file__).parent / "sandbox" / "model"

_NOT_THE_MODEL = {"README.md", "training.json", "training_args.bin", ".gitattributes"}


@dataclass(frozen=True)
class ResolvedModel:
    """A model on this disk."""

    name: str
    """As the config calls it."""
    path: Path
    fingerprint: str
    """`name@commit` of a Hub model, `name@hash` of a folder: the same fingerprint gives the same answers."""


def resolve(block: TransformersModel) -> ResolvedModel:
    """The model of a config block, downloaded if it is a Hub id.

    Raises ModelError where it cannot be found or is no model folder.
    """
    path = SANDBOX_MODEL if block.model == "sandbox" else Path(block.model).expanduser()
    if path.is_dir():
        return ResolvedModel(block.model, path, f"{_label(block.model, path)}@{folder_fingerprint(path)}")
    if block.model.count("/") != 1 or block.model.startswith((".", "~", "/")):
        raise ModelError(
            f"there is no model folder {block.model}: name a folder with config.json and weights, a Hub id such as "
            "`org/name`, or `sandbox`"
        )
    snapshot = _download(block.model, block.revision)
    return ResolvedModel(block.model, snapshot, f"{block.model}@{snapshot.name}")


def folder_fingerprint(path: Path) -> str:
    """Hash of a folder's weights, tokenizer, chat template and configs, not of its path or card."""
    if not (path / "config.json").exists():
        raise ModelError(f"{path} is no model folder: it has no config.json")
    files = sorted(file for file in path.iterdir() if file.is_file() and file.name not in _NOT_THE_MODEL)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256(file)}\n".encode())
    return digest.hexdigest()[:16]


def _label(name: str, path: Path) -> str:
    """What a folder is called in tables: its last two parts, so that no path of a machine is published."""
    return name if name == "sandbox" else path.resolve().name


def _download(model: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, ignore_patterns=["*.gguf", "*.pth", "original/*"]))
    except LocalEntryNotFoundError:
        raise ModelError(
            f"the model {model} is not on this machine and the Hub cannot be reached: check the network, "
            "or name a local folder"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise ModelError(
            f"the Hub answered {status} for the model {model}"
            + (f" at revision {revision}" if revision else "")
            + ": check its name and revision, and log in with `hf auth login` if it is private or gated"
        ) from None


def llm_fields(
    block: TransformersModel, model: ResolvedModel, seed: int, sampling: Generation | Evolve, **overrides: Any
) -> dict[str, Any]:
    """The fields of the LLM class for this model; `sampling` says how it samples."""
    return {
        "fingerprint": model.fingerprint,
        "engine": {"dtype": block.dtype},
        "sampling": {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        | overrides,
        "max_prompt_tokens": block.max_prompt_tokens,
        "system": block.system,
        "seed": seed,
        "path": str(model.path),
        "device": block.device,
        "dtype": block.dtype,
        "batch_size": block.batch_size,
        "threads": block.threads,
        "trust_remote_code": block.trust_remote_code,
    }
