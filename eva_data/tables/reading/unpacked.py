"""Bounds what a packed file becomes in memory: a few kilobytes may unpack to more than a machine holds.

A packed file may become `TIMES` its size, and any file may become `FREE` bytes. Parquet files are counted by the
headers of their pages, before anything is unpacked, because the sizes in the footer are only claims. The format is at
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eva_data.errors import DataError

TIMES = 100
"""How many times its packed size a file may have unpacked. Texts have up to ten times, tables of hashes less."""
FREE = 1_000_000_000
"""Bytes to which any file may unpack, however small it is."""
LONGEST_ROW = 100_000_000
"""Most characters of one row of a text file."""

_VALUE_BYTES = 16
"""Bytes of a value in memory beside its text, which counts where the text is stored once for many values."""

_DELTA_BYTE_ARRAY = 7
"""The encoding in which a text is stored as how much of the text before it begins it, and the rest."""
_BATCH_ROWS = 65_536


def most_unpacked(packed: int) -> int:
    """The bytes to which a file of `packed` bytes may unpack."""
    return max(FREE, packed * TIMES)


def too_large(name: str) -> DataError:
    """The error for a file that unpacks to more than it may."""
    return DataError(
        f"{name} unpacks to more than {TIMES} times its size and more than {FREE / 1e9:g} GB, which no file of texts "
        "does: do not use it; if you made it yourself, write it again unpacked, and name the result"
    )


class Unpacking(io.RawIOBase):
    """An unpacked stream that raises DataError once it has given more bytes than its packed file may hold."""

    def __init__(self, unpacked: Any, packed: int, name: str) -> None:
        self._unpacked, self._left, self._name = unpacked, most_unpacked(packed), name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read: int = self._unpacked.readinto(buffer)
        self._left -= read
        if self._left < 0:
            raise too_large(self._name)
        return read


def parquet_bytes(path: Path) -> int:
    """The bytes that a parquet file has unpacked, each text as often as it occurs.

    Raise DataError if it is more than the file may have, and ArrowException or OSError if the file is no parquet or the
    headers of its pages are damaged.
    """
    packed = path.stat().st_size
    most = most_unpacked(packed)
    chunks = list(_chunks(path))
    total = sum(chunk.bytes for chunk in chunks)
    if total > most:
        raise too_large(str(path))
    if total + sum(chunk.values * (chunk.dictionary + chunk.spread) for chunk in chunks) > most:
        # Only now is it worth counting how often each shared text occurs.
        longest = {chunk.column: 0 for chunk in chunks if chunk.dictionary or chunk.spread}
        for chunk in chunks:
            if chunk.spread:
                longest[chunk.column] = max(longest[chunk.column], chunk.spread, chunk.dictionary)
        for column, most_bytes in longest.items():
            total += _repeated(path, column, most_bytes, most - total)
    return total


@dataclass(frozen=True)
class _Chunk:
    """What the headers of a column's pages say, in one row group."""

    column: str
    bytes: int
    values: int
    dictionary: int
    """Bytes of the texts that are stored once for many values, and are read so; 0 without any."""
    spread: int
    """Bytes of the largest page in which values share texts and are read one by one; 0 without any."""


def _chunks(path: Path) -> Iterator[_Chunk]:
    footer = pq.read_metadata(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for group in range(footer.num_row_groups):
            for column in range(footer.num_columns):
                yield _chunk(path, data, footer.row_group(group).column(column))


def _chunk(path: Path, data: mmap.mmap, column: Any) -> _Chunk:
    starts = [column.data_page_offset]
    if column.has_dictionary_page and column.dictionary_page_offset:
        starts.append(column.dictionary_page_offset)
    place = min(starts)
    end = place + column.total_compressed_size
    total = values = dictionary = spread = 0
    try:
        while place < min(end, len(data)):
            header = _Header(data, place)
            unpacked, packed = header.fields[2], header.fields[3]
            if min(unpacked, packed, header.values) < 0:
                raise ValueError(f"a page of {min(unpacked, packed, header.values)} bytes")
            place = header.end + packed
            if 7 in header.fields:
                dictionary += unpacked if column.physical_type == "BYTE_ARRAY" else 0
                spread = max(spread, unpacked if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else 0)
                total += unpacked
            else:
                values += header.values
                spread = max(spread, unpacked if header.encoding == _DELTA_BYTE_ARRAY else 0)
                total += max(unpacked, header.values * _VALUE_BYTES)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise pa.ArrowInvalid(f"a page of the column {column.path_in_schema} is damaged ({error!r})") from None
    return _Chunk(column.path_in_schema, total, values, dictionary, spread)


class _Header:
    """The header of a page, in Thrift's compact protocol."""

    def __init__(self, data: mmap.mmap, place: int) -> None:
        self._data, self.end = data, place
        self.fields: dict[int, Any] = self._struct(0)
        first, second = self.fields.get(5, {}), self.fields.get(8, {})
        self.values: int = first.get(1, 0) + second.get(1, 0)
        """How many values the page holds; 0 if it is a dictionary."""
        self.encoding: int | None = first.get(2, second.get(4))

    def _byte(self) -> int:
        self.end += 1
        return self._data[self.end - 1]

    def _number(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
            if shift > 63:
                raise ValueError("a number without an end")

    def _signed(self) -> int:
        number = self._number()
        return number >> 1 ^ -(number & 1)

    def _struct(self, depth: int) -> dict[int, Any]:
        if depth > 8:
            raise ValueError("a header without an end")
        fields: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            number = number + (kind >> 4) if kind >> 4 else self._signed()
            fields[number] = self._value(kind & 15, depth, is_field=True)
        return fields

    def _value(self, kind: int, depth: int, *, is_field: bool = False) -> Any:
        if kind in (1, 2):
            # A field's truth value stands in its kind.
            return kind == 1 if is_field else self._byte() == 1
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 12:
            return self._struct(depth + 1)
        if kind in (9, 10):
            size = self._byte()
            length = size >> 4 if size >> 4 < 15 else self._number()
            return [self._value(size & 15, depth) for _ in range(length)]
        lengths = {3: 1, 7: 8}
        if kind == 8:
            length = self._number()
            self.end += length
        elif kind in lengths:
            self.end += lengths[kind]
        else:
            raise ValueError(f"a field of the kind {kind}")
        return None


def _repeated(path: Path, column: str, longest: int, most: int) -> int:
    """The bytes of the texts in a column, each as often as it occurs.

    `longest` bounds the bytes of one value if all have to be written out to be counted; 0 if not. Raise DataError if
    there are more than `most`.
    """
    total, rows = 0, max(1, min(_BATCH_ROWS, FREE // longest)) if longest else _BATCH_ROWS
    with pq.ParquetFile(path, read_dictionary=None if longest else [column], pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=rows, columns=[column], use_threads=False):
            total += sum(map(_text_bytes, batch.columns))
            if total > most:
                raise too_large(str(path))
    return total


def _text_bytes(array: Any) -> int:
    """The bytes of all texts in an array, also inside lists and objects."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary).cast(pa.int64())
        return pc.sum(lengths.take(array.indices)).as_py() or 0
    if pa.types.is_map(kind):
        return _text_bytes(array.keys) + _text_bytes(array.items)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _text_bytes(array.flatten())
    if pa.types.is_struct(kind):
        return sum(map(_text_bytes, array.flatten()))
    if pa.types.is_fixed_size_binary(kind):
        return len(array) * int(kind.byte_width)
    if any(is_text(kind) for is_text in _TEXTS):
        return pc.sum(pc.binary_length(array).cast(pa.int64())).as_py() or 0
    return 0


_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
