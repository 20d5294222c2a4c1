"""The table of prompts that could not be drawn, by reason."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from small_store import small_store

from eva_data.files import sha256
from eva_data.report.measures.drawable import drawable
from eva_data.report.page.parts import Table
from eva_data.report.sections.informativeness import informativeness


def test_prompts_are_counted_by_the_reason_that_bars_them(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    path = store.folder / "informativeness" / "iter_2.parquet"
    table = pl.read_parquet(path)
    estimated = pl.col("stage") == "estimate"
    reasons = pl.Series(["unsolved", "too_easy", "no_consensus"][: table.filter(estimated).height])
    assert reasons.len() == 3
    rows = pl.concat(
        [
            table.filter(estimated).with_columns(reason=reasons, selected=pl.Series([False, False, True])),
            table.filter(~estimated),
        ]
    )
    rows.write_parquet(path)
    manifest = store.folder / "manifests" / "iter_2.json"
    said = json.loads(manifest.read_text(encoding="utf-8"))
    said["files"]["informativeness/iter_2.parquet"]["sha256"] = sha256(path)
    manifest.write_text(json.dumps(said), encoding="utf-8")
    assert drawable(store, [1, 2]).rows() == [(2, 3, 1, 1, 1, 1, 0, 0)]
    section = informativeness(store)
    assert section is not None
    [barred] = [part for part in section.parts if isinstance(part, Table) and "unsolved" in part.columns]
    assert barred.rows == (("2", 3, 1, "1 (33%)", "1 (33%)", "1 (33%)", "0 (0%)", "0 (0%)"),)
