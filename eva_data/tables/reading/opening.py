"""Opens files, folders and globs of every format that is read."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from eva_data.errors import DataError
from eva_data.tables.ranges import pieces_of
from eva_data.tables.reading.csv_files import read_csv, read_lines
from eva_data.tables.reading.json_files import read_json
from eva_data.tables.reading.places import Place, place_of
from eva_data.tables.reading.source import Source, reading
from eva_data.tables.reading.unpacked import parquet_bytes

_UNTYPED = ("csv", "tsv", "txt")


def open_path(path: Path, key: str, *, split: str = "train", encoding: str | None = None) -> Source:
    """Open the table at a path: a file, a folder of shards, a saved dataset or a glob.

    `key` is the name of the setting in errors. `split` chooses among the splits of a folder. `encoding` is for text
    files; None finds it out. Raise DataError if nothing can be read.
    """
    expanded = path.expanduser()
    with reading(key, str(path)):
        place = place_of(expanded, key, split)
    return open_place(place, path.name, key, encoding)


def open_place(place: Place, name: str, key: str, encoding: str | None = None) -> Source:
    """Open the data files that `place_of` found as one table of this `name`."""
    notes, twice = list(place.notes), frozenset[str]()
    frames: list[tuple[str, pl.LazyFrame]] = []
    cuts: list[tuple[tuple[int, int], ...]] = []
    if place.format in ("json", "txt"):
        read = (read_json if place.format == "json" else read_lines)(place.files, encoding, key)
        frames.append((str(place.files[0]), read.frame))
        notes += read.notes
    for file in place.files:
        if place.format in ("csv", "tsv"):
            read = read_csv(file, "\t" if place.format == "tsv" else ",", encoding, key)
            frames.append((str(file), read.frame))
            notes += read.notes
            twice |= set(read.twice)
        elif place.format in ("parquet", "arrow"):
            with reading(key, str(file)):
                if place.format == "parquet":
                    parquet_bytes(file)
                scan = _scan_arrow(file) if place.format == "arrow" else pl.scan_parquet(file, glob=False)
                frames.append((str(file), scan))
                cuts.append(pieces_of(file) if place.format == "parquet" else ())
    source = Source(name, key, tuple(frames), tuple(notes), twice, place.format in _UNTYPED, tuple(cuts))
    if not source.schema:
        raise DataError(f"`{key}` is {place.files[0]}, and it holds no rows: expected at least one")
    return source


def _scan_arrow(file: Path) -> pl.LazyFrame:
    """Scan a file in either of Arrow's formats: the file format, or the stream format that `datasets` writes."""
    with file.open("rb") as raw:
        is_file = raw.read(6) == b"ARROW1"
    if is_file:
        return pl.scan_ipc(file, glob=False)
    with pa.memory_map(str(file)) as mapped, pa.ipc.open_stream(mapped) as stream:
        frame = pl.from_arrow(stream.read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()
