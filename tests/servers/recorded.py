"""Records what tables hold, independently of the versions of eva-data and of the parquet writer."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

Json = dict[str, Any]


def contents(folder: Path) -> Json:
    """For every table of a dataset folder: its columns, its number of rows, and the SHA-256 of its values."""
    return {
        str(path.relative_to(folder)): content(path, list(pl.read_parquet_schema(path)))
        for path in sorted(folder.glob("*/iter_*.parquet"))
    }


def content(path: Path, columns: Sequence[str]) -> Json:
    """The same for one table, by these columns. Any other column must hold only nulls."""
    table = pl.read_parquet(path)
    besides = table.select(pl.exclude(columns))
    assert besides.null_count().row(0) == (table.height,) * besides.width, f"{path} holds more than {columns}"
    text = json.dumps(_rounded(table.select(columns).to_dicts()), ensure_ascii=False, sort_keys=True)
    return {"columns": list(columns), "rows": table.height, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def differing(folder: Path, recorded: Json) -> list[str]:
    """The tables that differ from the record, are missing in it, or are missing in the folder."""
    now = {str(path.relative_to(folder)) for path in folder.glob("*/iter_*.parquet")}
    return sorted(now ^ recorded.keys()) + [
        name for name, was in recorded.items() if name in now and content(folder / name, was["columns"]) != was
    ]


def calls(ledger: Path) -> dict[str, int]:
    """The number of calls of each kind in a ledger, and how often they were made."""
    with closing(sqlite3.connect(ledger)) as connection:
        return {
            name: number
            for table in ("generations", "rewards")
            for name, number in zip(
                (table, f"{table} made"),
                connection.execute(f"SELECT count(*), coalesce(sum(times), 0) FROM {table}").fetchone(),
                strict=True,
            )
        }


def probes(ledger: Path) -> set[str]:
    """The questions of the canary, which are asked at every start."""
    with closing(sqlite3.connect(ledger)) as connection:
        return {probe for (probe,) in connection.execute("SELECT probe FROM canaries")}


def _rounded(value: Any) -> Any:
    """The value with numbers to 12 digits, since sums differ in the last digits on another processor."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return value
