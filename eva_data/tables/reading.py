"""Tables of strangers: files and Hub datasets, read as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from eva_data.errors import DataError

_READERS: dict[str, Callable[[Path], pl.LazyFrame]] = {
    ".parquet": pl.scan_parquet,
    ".jsonl": pl.scan_ndjson,
    ".ndjson": pl.scan_ndjson,
    ".csv": pl.scan_csv,
}


def read_file(path: Path, key: str) -> pl.LazyFrame:
    """A parquet, jsonl or csv file, lazily; `key` names the setting in errors."""
    if not path.is_file():
        raise DataError(f"`{key}` is {path}, and there is no such file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"`{key}` is {path}: expected a file that ends in {', '.join(_READERS)}")
    if path.stat().st_size == 0:
        raise DataError(f"`{key}` is {path}, and the file is empty")
    try:
        frame = reader(path)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise DataError(f"`{key}` is {path}, which cannot be read as {path.suffix[1:]}: {first}") from None
    return frame


def read_hub(dataset: str, config: str | None, split: str, revision: str | None) -> pl.LazyFrame:
    """A split of a Hub dataset."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        loaded = load_dataset(dataset, config, split=split, revision=revision)
    except (DatasetNotFoundError, HfHubHTTPError, ConnectionError, ValueError, FileNotFoundError) as error:
        first = str(error).strip().partition("\n")[0]
        raise DataError(f"the Hub dataset {dataset} (split {split}) cannot be loaded: {first}") from None
    frame = pl.from_arrow(loaded.data.table)
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()
