"""Loads reward models from folders: in the right class, with every weight, and without code that is not allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eva_data.config import LocalReward
from eva_data.errors import ModelError
from eva_data.jobs.job import Job

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LocalModel:
    """A reward model that runs on this machine."""

    block: LocalReward
    path: str
    """The model's folder."""


def local_model(job: Job) -> LocalModel:
    """The model of a reward job."""
    assert isinstance(job.settings, LocalReward)
    return LocalModel(job.settings, str(job.scorer_path))


def read_config(path: str) -> dict[str, Any]:
    """The folder's config.json."""
    try:
        config: dict[str, Any] = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"the reward model {path} has no config.json that can be read: {error}") from None
    return config


def refuse_other_models(
    path: str, config: Mapping[str, Any], *, endings: tuple[str, ...], wanted: str, trust_remote_code: bool
) -> None:
    """Raise ModelError unless the folder's class is allowed code or a class of transformers that ends in `endings`.

    transformers itself would load the known weights of another model and draw the others at random.
    """
    import transformers

    if trust_remote_code and config.get("auto_map"):
        return
    names: list[str] = config.get("architectures") or []
    known = [name for name in names if name in dir(transformers)]
    if names and not known and config.get("auto_map"):
        raise ModelError(
            f"the reward model {path} is a `{names[0]}`, which its own code defines: read that code, and set "
            "`reward.trust_remote_code: true` to run it"
        )
    if names and not known:
        raise ModelError(
            f"the reward model {path} is a `{names[0]}`, which transformers {transformers.__version__} does not know, "
            "and it brings no code of its own: use another reward model"
        )
    if known and not any(name.endswith(endings) for name in known):
        raise ModelError(f"{path} is a `{known[0]}`, but `reward` needs {wanted}")


def load_tokenizer(path: str, *, trust_remote_code: bool, chat: bool = True) -> PreTrainedTokenizerBase:
    """The folder's tokenizer. Raise ModelError if there is none, or if `chat` is set and it has no chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (ImportError, OSError, ValueError) as error:
        raise ModelError(f"the tokenizer of the reward model {path} cannot be loaded: {_first_line(error)}") from None
    if chat and tokenizer.chat_template is None:
        raise ModelError(
            f"the reward model {path} has no chat template, so conversations cannot be written as it reads them: put "
            "the chat_template.jinja of the model it was trained from beside its tokenizer"
        )
    return tokenizer


def load_model(kind: Any, local: LocalModel, **options: Any) -> PreTrainedModel:
    """Load a model of class `kind` on its device. Raise ModelError if a weight is not in the folder's files."""
    import torch

    path, block = local.path, local.block
    if block.threads is not None:
        torch.set_num_threads(block.threads)
    dtype = "auto" if block.dtype == "auto" else getattr(torch, block.dtype)
    try:
        # Weights of another size are refused below, with a readable error.
        loading = {"output_loading_info": True, "ignore_mismatched_sizes": True}
        model, found = kind.from_pretrained(path, dtype=dtype, **loading, **options)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"the reward model {path} cannot be loaded: {_first_line(error)}") from None
    wanting = sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])})
    if wanting:
        raise ModelError(
            f"the reward model {path} lacks weights of a {type(model).__name__}, or has them in another size, "
            f"{len(wanting)} in all, such as `{wanting[0]}`: it is no reward model of this kind"
        )
    model.config.get_text_config().use_cache = False
    try:
        on_device: PreTrainedModel = model.to(block.device).eval()
    except (AssertionError, RuntimeError) as error:
        raise ModelError(
            f"the reward model {path} cannot be put on `reward.device` = {block.device}: {_first_line(error)}"
        ) from None
    return on_device


def dtype_of(model: PreTrainedModel) -> str:
    """The model's dtype, such as float32 or bfloat16."""
    return str(model.dtype).removeprefix("torch.")


def longest_input(wanted: int, config: Mapping[str, Any]) -> int:
    """Most tokens of a text: the smaller of the settings' bound and the model's own bound."""
    # A model that sees images too has a part of its config for text.
    own: int | None = (config.get("text_config") or config).get("max_position_embeddings")
    return min(wanted, own or wanted)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
