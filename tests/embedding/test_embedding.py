"""Embedding models: every vector is kept once, served models are asked by the batch, and wrong replies are told."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from odd_server import Answer, Asked, OddServer, refused

from eva_data.config import Embedding
from eva_data.embedding import served as embedding_served
from eva_data.embedding.embedder import Embedder, embedders_of
from eva_data.embedding.packaged import PACKAGED, Similarity
from eva_data.embedding.served import read_vectors
from eva_data.embedding.vectors import Make, Vectors, packed, unpacked
from eva_data.errors import BudgetError, ConfigError, EndpointError, MissingExtraError
from eva_data.ledger import Ledger
from eva_data.models.remote import retries
from eva_data.models.remote.faults import Transient

BOUNDS = {"similar": 0.6, "margin": 0.2, "alike": 0.9}


def counting(asked: list[list[str]]) -> Make:
    """A model whose vector is (number of letters, 1)."""

    def make(texts: Sequence[str]) -> Vectors:
        asked.append(list(texts))
        return np.array([[len(text), 1.0] for text in texts], np.float32)

    return make


def test_a_text_is_embedded_once_and_comes_from_the_ledger_after_that(tmp_path: Path) -> None:
    asked: list[list[str]] = []
    model = Embedder("m", "m@1", Similarity(0.5, 0.1, 0.9), None, tmp_path / "l.sqlite", lambda: counting(asked))
    first = model.vectors(["one", "four", "one", "  "])
    assert asked == [["one", "four"]]
    assert np.allclose(np.linalg.norm(first, axis=1), [1, 1, 1, 0], atol=1e-6)
    assert np.allclose(first[0], np.array([3, 1]) / 10**0.5, atol=1e-3) and (first[0] == first[2]).all()
    again = model.vectors(["four", "seven", "one"])
    assert asked == [["one", "four"], ["seven"]]
    assert (again[[0, 2]] == first[[1, 0]]).all()
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.totals()["repeated"] == 0 and ledger.spent() == (0.0, 0)


def test_half_precision_changes_a_cosine_by_less_than_a_thousandth() -> None:
    rows = np.random.default_rng(1).normal(size=(50, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    kept = np.stack([unpacked(packed(row)) for row in rows])
    assert np.abs(kept @ kept.T - rows @ rows.T).max() < 1e-3


def letters(text: str) -> list[float]:
    return [float(text.count(letter)) for letter in "abc"]


def vectors_of(asked: Asked) -> Answer:
    """Vectors in the wrong order, numbered, some of them in base64."""
    texts = asked.body["input"]
    data: list[dict[str, Any]] = [{"index": place, "embedding": letters(text)} for place, text in enumerate(texts)]
    data[0]["embedding"] = base64.b64encode(np.array(letters(texts[0]), "<f4").tobytes()).decode()
    return 200, {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": len(texts), "total_tokens": 9}}


def served(url: str, **more: Any) -> Embedding:
    values = {"api": True, "model": "tiny", "base_url": url, "prices": {"input": 1e6, "output": 0}, "batch": 2}
    return Embedding.model_validate(values | BOUNDS | more)


def test_a_served_model_is_asked_in_batches_and_for_no_text_twice(tmp_path: Path) -> None:
    with OddServer(vectors_of) as server:
        (model,) = embedders_of(served(server.url), tmp_path / "l.sqlite")
        rows = model.vectors(["ab", "a", "cc"])
        assert np.allclose(rows, [[0.5**0.5, 0.5**0.5, 0], [1, 0, 0], [0, 0, 1]], atol=1e-3)
        assert sorted((asked.path, tuple(asked.body["input"])) for asked in server.asked) == [
            ("/v1/embeddings", ("ab", "a")),
            ("/v1/embeddings", ("cc",)),
        ]
        model.vectors(["cc", "ab"])
        assert len(server.asked) == 2
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.spent() == (3.0, 0)
        assert [(bill["stage"], bill["prompt_tokens"]) for bill in ledger.bills()] == [("embed", 3)]


def test_a_model_tells_while_it_waits_for_a_server_that_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries, "UNTOLD_SECONDS", 0.5)
    monkeypatch.setattr(embedding_served, "_TOLD_SECONDS", 1.0)

    def answer(asked: Asked) -> Answer:
        if asked.time == 1:
            return 503, {"error": {"message": "full"}}, {"Retry-After": "1.8"}
        return vectors_of(asked)

    with OddServer(answer) as server:
        (model,) = embedders_of(served(server.url), tmp_path / "l.sqlite")
        assert np.allclose(model.vectors(["a"]), [[1, 0, 0]], atol=1e-3)
    assert caplog.messages == ["`tiny` gives no vectors: no answer for 1 s (HTTP 503: full)"]


def test_a_budget_ends_the_asking_and_what_was_paid_is_kept(tmp_path: Path) -> None:
    with OddServer(vectors_of) as server:
        # A text of one byte may cost 33 dollars: the frame of a turn is counted.
        (model,) = embedders_of(served(server.url, batch=1), tmp_path / "l.sqlite", budget=40.0)
        model.vectors(["a"])
        with pytest.raises(BudgetError):
            model.vectors(["a", "bbbbbbbbbb"])
        assert [asked.body["input"] for asked in server.asked] == [["a"]]


def test_a_model_that_refuses_is_told_in_a_sentence(tmp_path: Path) -> None:
    with OddServer(lambda asked: refused("no such model", 404)) as server:
        (model,) = embedders_of(served(server.url), tmp_path / "l.sqlite")
        with pytest.raises(EndpointError):
            model.vectors(["a"])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([[1.0, 0.0]], "the reply has 1 vectors for 2 texts"),
        ([[1.0, 0.0], [1.0]], "the vectors of the reply differ in length"),
        ([[1.0, 0.0], ["x", 1.0]], "the reply holds something else than vectors of numbers"),
        ([[1.0, 0.0], [float("nan"), 1.0]], "the reply holds something else than vectors of numbers"),
        ([[1.0, 0.0], [0.0, 0.0]], "the reply holds something else than vectors of numbers"),
        ([[1.0, 0.0], "no base64"], "the reply holds something else than vectors of numbers"),
    ],
)
def test_a_reply_that_holds_no_vectors_is_asked_for_again(data: list[Any], said: str) -> None:
    reply = {"data": [{"index": place, "embedding": row} for place, row in enumerate(data)]}
    with pytest.raises(Transient, match=said):
        read_vectors(reply, 2)
    with pytest.raises(Transient, match="not numbered"):
        read_vectors({"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]}, 2)


def test_what_the_settings_cannot_mean_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is about a served model"):
        Embedding.model_validate({"base_url": "http://127.0.0.1:1/v1"})
    with pytest.raises(ValueError, match="no `model` is named"):
        Embedding(api=True)
    with pytest.raises(ConfigError, match=r"embedding\.margin"):
        embedders_of(Embedding(api=True, model="tiny", base_url="http://127.0.0.1:1/v1"), tmp_path / "l.sqlite")
    with pytest.raises(ConfigError, match="the price of `tiny` is unknown"):
        block = Embedding.model_validate({"api": True, "model": "tiny", "base_url": "http://127.0.0.1:1/v1"} | BOUNDS)
        embedders_of(block, tmp_path / "l.sqlite", budget=1.0)
    assert embedders_of(Embedding(model="words"), tmp_path / "l.sqlite") == []


def test_a_packaged_model_that_is_not_installed_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eva_data.embedding.packaged.find_spec", lambda name: None)
    for name in PACKAGED:
        with pytest.raises(MissingExtraError, match=r"eva-data\[embedding\]"):
            embedders_of(Embedding(model=name), tmp_path / "l.sqlite")
    assert embedders_of(Embedding(), tmp_path / "l.sqlite") == []
