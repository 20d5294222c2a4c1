"""Verdicts on repetitions that are computed again a few evolutions at a time are those of the whole table."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from small_store import small_store

from eva_data.dataset.staleness import config_of
from eva_data.evolve.elimination import eliminate
from eva_data.hub.checks import replay
from eva_data.iteration.create import judged_again
from eva_data.tables.ids import prompt_id
from eva_data.tables.reasons import TOPIC_CAP
from eva_data.tables.schemas import EVOLUTIONS, conform

COLUMNS = ("chain_id", "step", "prompt_id", "status", "reason", "duplicate_of")


def evolutions(candidate: int | None) -> pl.DataFrame:
    """Attempts of which the second repeats the first, one was left out, and one was refused by its chain."""
    texts = ["Say a.", "Say a.", "Say b.", "Say c.", "Say d."]
    table = pl.DataFrame(
        {
            "chain_id": ["00", "44", "88", "cc", "ee"],
            "prompt": [[{"role": "user", "content": text}] for text in texts],
            "status": ["mixed", "mixed", "unused", "eliminated", "eliminated"],
            "reason": [None, None, TOPIC_CAP, "too_short", "duplicate"],
            "duplicate_of": [None, None, None, None, "lost"],
        }
    )
    named = table.with_columns(
        *(pl.lit(value).alias(name) for name, value in {"step": 1, "depth": 1, "iteration": 2, "creator": "c"}.items()),
        pl.lit(candidate).alias("candidate"),
        prompt_id=prompt_id(pl.col("prompt")),
        root_id="chain_id",
        parent_id="chain_id",
    )
    return conform(named, EVOLUTIONS)


@pytest.mark.parametrize("candidate", [0, None])
@pytest.mark.parametrize("at_once", [1, 2, 20_000])
def test_a_table_is_judged_again_by_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, candidate: int | None
) -> None:
    monkeypatch.setattr(eliminate, "TEXTS_AT_ONCE", at_once)
    monkeypatch.setattr(replay, "TEXTS_AT_ONCE", at_once)
    store = small_store(tmp_path / "small", settings={"evolve": {"near_duplicate": None}})
    given = evolutions(candidate)
    again = judged_again(config_of(store.manifest(2)), store, 2, given.lazy(), rules=2)
    a, b, c, d = (given["prompt_id"][place] for place in (0, 2, 3, 4))
    assert again.select(COLUMNS).collect().rows() == [
        ("00", 1, a, "mixed", None, None),
        ("44", 1, a, "mixed", "duplicate", a),
        ("88", 1, b, "unused", TOPIC_CAP, None),
        ("cc", 1, c, "eliminated", "too_short", None),
        ("ee", 1, d, "eliminated", None, None),
    ]
    assert again.collect()["candidate"].to_list() == [candidate] * 5
    assert replay.compare("evolutions", given.lazy(), again) == [
        "evolutions: 2 rows are not what follows from the other tables, in reason, duplicate_of: 44/1/"
        f"{candidate}, ee/1/{candidate}"
    ]
