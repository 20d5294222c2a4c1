"""Finds models on this machine: their files, and their fingerprints by content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from eva_data.errors import ModelError
from eva_data.files import sha256

SANDBOX_MODEL = Path(__file__).parent.parent / "sandbox" / "model"
SANDBOX_MODELS = {
    "sandbox": SANDBOX_MODEL,
    "sandbox-steps": SANDBOX_MODEL.with_name("model_steps"),
    "sandbox-both": SANDBOX_MODEL.with_name("model_both"),
}
"""The models that come with eva-data, by the names that the settings use."""

_NOT_THE_MODEL = {"README.md", "training.json", "training_args.bin", ".gitattributes"}


@dataclass(frozen=True)
class ResolvedModel:
    """A model on this disk."""

    name: str
    """The model's name in the config."""
    path: Path
    fingerprint: str
    """`name@commit` for a Hub model, `name@hash` for a folder. The same fingerprint gives the same answers."""


def resolve(model: str, revision: str | None = None) -> ResolvedModel:
    """The model that a name in the settings means; a Hub id is downloaded.

    Raise ModelError if it cannot be found or is not a model folder.
    """
    path = SANDBOX_MODELS.get(model) or Path(model).expanduser()
    if path.is_dir():
        return ResolvedModel(model, path, f"{_label(model, path)}@{folder_fingerprint(path)}")
    if model.count("/") != 1 or model.startswith((".", "~", "/")):
        raise ModelError(
            f"there is no model folder {model}: name a folder with config.json and weights, a Hub id such as "
            "`org/name`, or `sandbox`, `sandbox-steps` or `sandbox-both`"
        )
    snapshot = _download(model, revision)
    return ResolvedModel(model, snapshot, f"{model}@{snapshot.name}")


def folder_fingerprint(path: Path) -> str:
    """The hash of a folder's weights, tokenizer, chat template and configs, without its path and card."""
    if not (path / "config.json").exists():
        raise ModelError(f"{path} is no model folder: it has no config.json")
    files = sorted(file for file in path.iterdir() if file.is_file() and file.name not in _NOT_THE_MODEL)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256(file)}\n".encode())
    return digest.hexdigest()[:16]


def _label(name: str, path: Path) -> str:
    """A folder's name in tables: the last two parts of its path, so that no path of a machine is published."""
    return name if name in SANDBOX_MODELS else path.resolve().name


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
