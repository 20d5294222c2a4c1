"""Opens Hub datasets. `datasets` reads their tables; our own readers, which infer no types, read their text files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
import pyarrow as pa

from eva_data.errors import DataError
from eva_data.tables.reading.opening import open_place
from eva_data.tables.reading.places import Place, format_of
from eva_data.tables.reading.source import Source, first_line
from eva_data.tables.reading.unpacked import parquet_bytes

_TEXT_BUILDERS = {"csv": "csv", "json": "json", "text": "txt"}


def open_hub(dataset: str, config: str | None, split: str, revision: str | None, key: str) -> Source:
    """Open a split of a Hub dataset, or of a local folder as `datasets` reads it. Raise DataError if that fails."""
    from datasets import DownloadManager, load_dataset, load_dataset_builder
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    # `datasets` raises plain ValueErrors, TypeErrors and KeyErrors for names, features and files that do not fit.
    wrong = (
        DatasetsError,
        HfHubHTTPError,
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
        NotImplementedError,
    )
    try:
        builder = load_dataset_builder(dataset, config, revision=revision)
        files = _text_files(builder, split)
        packed = _parquet_files(builder, split)
        manager = DownloadManager(dataset_name=dataset)
        local = [Path(str(path)) for path in manager.download([str(file) for file in files or packed])]
        for path in local if files is None else ():
            parquet_bytes(path)
    except wrong as error:
        raise _cannot(dataset, split, key, error) from None
    if files is not None:
        formats = {str(format_of(PurePosixPath(str(file)))) for file in files}
        return open_place(Place(tuple(local), formats.pop()), dataset, key)
    try:
        loaded = load_dataset(dataset, config, split=split, revision=revision)
        frame = pl.from_arrow(loaded.data.table)
    except wrong as error:
        raise _cannot(dataset, split, key, error) from None
    assert isinstance(frame, pl.DataFrame)
    return Source(dataset, key, ((dataset, frame.lazy()),))


def _text_files(builder: Any, split: str) -> list[object] | None:
    """The files of a split if all are text in a format that we read ourselves, else None."""
    files = builder.config.data_files
    kind = type(builder).__module__.rpartition(".")[2]
    if kind not in _TEXT_BUILDERS or not files or split not in files:
        return None
    found = list(files[split])
    formats = {format_of(PurePosixPath(str(file))) for file in found}
    return found if len(formats) == 1 and None not in formats else None


def _parquet_files(builder: Any, split: str) -> list[object]:
    """The files of a split if they are parquet, which `datasets` reads; no files else."""
    files = builder.config.data_files
    is_parquet = type(builder).__module__.rpartition(".")[2] == "parquet"
    return list(files[split]) if is_parquet and files and split in files else []


def _cannot(dataset: str, split: str, key: str, error: BaseException) -> DataError:
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    cause = error.__cause__ or error.__context__
    said = first_line(error)
    if cause is not None and first_line(cause) not in said:
        said = f"{said}: {first_line(cause)}"
    block = key.rpartition(".")[0] or key
    if isinstance(error, ConnectionError) or isinstance(cause, LocalEntryNotFoundError | OfflineModeIsEnabled):
        return DataError(
            f"the Hub dataset {dataset} (split {split}) is not on this machine and the Hub cannot be reached: check "
            f"the network, or download its files and name them by `{block}.path`"
        )
    return DataError(
        f"the Hub dataset {dataset} (split {split}) cannot be loaded: {said}; correct `{block}.dataset`, "
        f"`{block}.config`, `{block}.split` or `{block}.revision`, or download its files and name them by "
        f"`{block}.path`"
    )
