"""Chooses the embedding model of the settings, and turns texts into vectors by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from eva_data.calls import Completion
from eva_data.config import Embedding
from eva_data.embedding.packaged import PACKAGED, PackagedModel, Similarity
from eva_data.embedding.vectors import STAGE, Make, Vectors, packed, unpacked, vector_key
from eva_data.errors import ConfigError
from eva_data.ledger import Bill, Ledger

WORDS = "words"
"""The name of no model at all: whoever embeds counts words in its own way."""

CHARACTERS = 8_000
"""The first characters of a text, which are embedded."""
_AT_ONCE = 1_024
"""Texts whose vectors are committed to the ledger together."""


@dataclass(frozen=True)
class Embedder:
    """An embedding model, and the ledger that keeps its vectors."""

    name: str
    """The name for the user."""
    fingerprint: str
    """What the model is, by content; it stands in the key of every vector."""
    similar: Similarity
    """For two texts in the same language."""
    across: Similarity | None
    """For two texts in different languages; None if the model reads English alone."""
    ledger: Path
    load: Callable[[], Make]
    """Loads the model. It is called once, and only if a vector is missing."""
    keeps_itself: bool = False
    """Whether the model keeps its vectors in the ledger as they come, with its bills."""

    @property
    def only_english(self) -> bool:
        return self.across is None

    def vectors(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> Vectors:
        """One row per text, in order; zeros for a text without a visible character.

        A text that the ledger has is not embedded again, and equal texts are embedded once.

        `progress` is told (done, total) of the texts that have to be embedded.
        """
        cut = [text[:CHARACTERS] for text in texts]
        distinct = list(dict.fromkeys(cut))
        keys = {text: vector_key(self.fingerprint, text) for text in distinct}
        with Ledger(self.ledger) as ledger:
            kept = ledger.completions(list(keys.values()))
            found = {text: unpacked(kept[key].text or "") for text, key in keys.items() if key in kept}
            missing = [text for text in distinct if text not in found and text.strip()]
            make = self.load() if missing else None
            for start in range(0, len(missing), _AT_ONCE):
                part = missing[start : start + _AT_ONCE]
                assert make is not None
                made = make(part)
                # What is used now is what a later run finds in the ledger.
                packs = [packed(row) for row in made]
                found |= {text: unpacked(pack) for text, pack in zip(part, packs, strict=True)}
                if not self.keeps_itself:
                    done = dict(zip([keys[text] for text in part], packs, strict=True))
                    rows = {key: Completion(pack, "stop", None, None) for key, pack in done.items()}
                    ledger.keep_completions(rows, [_bill(self.fingerprint, len(part))])
                if progress is not None:
                    progress(min(start + _AT_ONCE, len(missing)), len(missing))
        if not found:
            return np.zeros((len(cut), 1), np.float32)
        nothing = np.zeros_like(next(iter(found.values())))
        return np.stack([found.get(text, nothing) for text in cut])


def embedders_of(block: Embedding, ledger: Path, budget: float | None = None) -> list[Embedder]:
    """The embedding models of the settings; none if that is `words`, or if none is named and none is installed.

    Raise ConfigError if the cosines of a model of the user's own are unknown, and MissingExtraError or ModelError if
    the named model cannot be loaded.
    """
    name = block.model
    if block.api:
        assert name is not None
        from eva_data.embedding.served import ServedModel

        served = ServedModel(block, budget)
        similar = _given(block)
        return [Embedder(name, served.fingerprint, similar, similar, ledger, lambda: served.through(ledger), True)]
    if name == WORDS:
        return []
    if name is None or name in PACKAGED:
        return [
            _packaged(model, block, ledger)
            for model in PACKAGED.values()
            if model.name == name or (name is None and model.installed)
        ]
    from eva_data.embedding.local import named

    fingerprint, load = named(name, block)
    similar = _given(block)
    return [Embedder(name, fingerprint, similar, similar, ledger, cache(load))]


def _packaged(model: PackagedModel, block: Embedding, ledger: Path) -> Embedder:
    from eva_data.embedding.local import packaged

    model.file()
    own = (block.similar, block.margin, block.alike)
    similar = Similarity(*(usual if given is None else given for given, usual in zip(own, model.similar, strict=True)))
    return Embedder(model.name, model.fingerprint, similar, model.across, ledger, cache(lambda: packaged(model, block)))


def _given(block: Embedding) -> Similarity:
    if block.similar is None or block.margin is None or block.alike is None:
        raise ConfigError(
            f"from which cosines on two texts mean the same is not known of the embedding model `{block.model}`: set "
            "`embedding.similar`, `embedding.margin` and `embedding.alike`, or take `e5` or `minilm`, for which they "
            "were measured"
        )
    return Similarity(block.similar, block.margin, block.alike)


def _bill(fingerprint: str, texts: int) -> Bill:
    return Bill(fingerprint, STAGE, 0, texts, None, None, 0.0, 0.0)
