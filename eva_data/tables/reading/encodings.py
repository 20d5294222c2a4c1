"""Opens text files that are compressed, have a byte order mark, or are in UTF-16 or an encoding other than UTF."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from eva_data.errors import DataError
from eva_data.tables.reading.unpacked import Unpacking

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEAD = 4096
_GZIP, _BZIP2, _XZ = b"\x1f\x8b", re.compile(rb"BZh[1-9]1A"), b"\xfd7zXZ\x00"
"""The first bytes of compressed files; their names do not count."""


def encoding_of(path: Path, asked: str | None, key: str) -> str:
    """The encoding of a text file: the one asked for, else by its byte order mark or its zero bytes, else UTF-8.

    `asked` is the encoding in the settings, or None. Raise DataError if Python does not know it.
    """
    if asked is not None:
        try:
            return codecs.lookup(asked).name
        except LookupError:
            raise DataError(f"`encoding` is `{asked}`, which is no encoding: write utf-8, latin-1 or cp1252") from None
    with _telling(path, "utf-8", key), _bytes(path) as file:
        head = file.read(_HEAD)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    if head[0::2].count(0) > len(head) // 4:
        return "utf-16-be"
    return "utf-8"


def is_plain(path: Path, encoding: str) -> bool:
    """Whether the bytes on disk are UTF-8 text as they are."""
    return encoding == "utf-8" and not _is_compressed(path)


@contextmanager
def open_text(path: Path, encoding: str, key: str) -> Iterator[TextIO]:
    """Open a text file with its line ends as they are. Bytes that cannot be read raise DataError with their line."""
    with _telling(path, encoding, key), _bytes(path) as file:
        yield io.TextIOWrapper(file, encoding=encoding, newline="")


@contextmanager
def _telling(path: Path, encoding: str, key: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(_not_text(path, encoding, key, error)) from None
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(
            f"`{key}`: {path} is compressed, and cannot be unpacked ({error}): it is cut off or damaged, copy it again"
        ) from None
    except OSError as error:
        raise DataError(f"`{key}`: {path} cannot be read ({error.strerror or error}): make it readable") from None


@contextmanager
def _bytes(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as raw:
        unpack = _unpacker(raw.read(6))
        raw.seek(0)
        if unpack is None:
            yield raw
            return
        with unpack(raw) as unpacked:
            yield cast(BinaryIO, io.BufferedReader(Unpacking(unpacked, path.stat().st_size, str(path)), 1 << 17))


def _unpacker(head: bytes) -> Callable[[Any], Any] | None:
    """What unpacks a file that begins like this; None if it is not packed."""
    if head.startswith(_GZIP):
        return gzip.open
    if _BZIP2.match(head):
        return bz2.open
    return lzma.open if head == _XZ else None


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as raw:
        return _unpacker(raw.read(6)) is not None


def _not_text(path: Path, encoding: str, key: str, error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    where = ""
    if encoding in ("utf-8", "utf-8-sig"):
        with _bytes(path) as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as found:
                    byte, where = found.object[found.start], f" in line {number}"
                    break
    name = encoding.upper().removesuffix("-SIG")
    guess = "" if "utf-16" in encoding else " (it may be Latin-1 or Windows-1252)"
    block = key.rpartition(".")[0] or key
    return (
        f"`{key}`: {path} is not {name} text: the byte 0x{byte:02x}{where}{guess}; save it as UTF-8, or name what it "
        f"is as `{block}.encoding`, such as latin-1 or cp1252"
    )
