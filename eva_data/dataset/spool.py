"""Tables that are made part by part, in memory while they are small, and then in files that are scanned."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from eva_data.tables.schemas import empty

SPILL_BYTES = 32 * 2**20
"""Parts beyond this size in memory go to a file."""
SORTED_BYTES = 4 * SPILL_BYTES
"""The same for a table that is sorted by a key. The fewer its files are, the less is read beside what is wanted."""

_GROUP_ROWS = 2_000, 20_000
"""The least and the most rows of a row group, which is read or skipped as a whole."""
_GROUP_BYTES = 8 * 2**20
"""The size in memory of a row group in between. Each costs as much as thousands of short rows, so there are few."""


class Spool:
    """A table that grows by parts, for whoever works on it range by range afterwards."""

    def __init__(
        self,
        folder: Path | None,
        name: str,
        schema: pl.Schema,
        *,
        key: str | None = None,
        most_bytes: int | None = None,
    ) -> None:
        """The files are `<name>-<number>.parquet` in `folder`; without a folder, all stays in memory.

        `most_bytes` are in memory at most, SPILL_BYTES or SORTED_BYTES by default.

        The parts come in the order of their ids, or else `key` names the column of ids by which each file is sorted, so
        that a range of ids is a run of rows in each.
        """
        self._folder, self._name, self._key = folder, name, key
        self.schema = schema
        self._most = most_bytes or (SPILL_BYTES if key is None else SORTED_BYTES)
        self._parts: list[pl.DataFrame] = []
        self._size = 0
        self._files: list[Path] = []
        self.height = 0

    def add(self, part: pl.DataFrame) -> None:
        """Append rows, in the schema of the table."""
        if part.is_empty():
            return
        self._parts.append(part)
        self._size += int(part.estimated_size())
        self.height += part.height
        if self._folder is not None and self._size > self._most:
            self._spill(self._folder)

    def table(self) -> pl.LazyFrame:
        """All rows. They are in the order in which they came, unless they are sorted by a key and lie in files."""
        rest = pl.concat([empty(self.schema), *self._parts]).lazy()
        return pl.concat([pl.scan_parquet(self._files, glob=False), rest]) if self._files else rest

    def _spill(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self._name}-{len(self._files):06}.parquet"
        rows = pl.concat(self._parts)
        self._parts, self._size = [], 0
        if self._key is not None:
            rows = rows.sort(self._key, nulls_last=True, maintain_order=True)
        rows.write_parquet(
            path, compression="zstd", compression_level=1, row_group_size=self._group_rows(rows), statistics=True
        )
        self._files.append(path)

    def _group_rows(self, rows: pl.DataFrame) -> int:
        """How many rows a row group has. Of many files that are sorted each, a range of ids is a short run in each."""
        least, most = _GROUP_ROWS
        if self._key is not None:
            return least
        return min(most, max(least, int(rows.height * _GROUP_BYTES / rows.estimated_size())))
