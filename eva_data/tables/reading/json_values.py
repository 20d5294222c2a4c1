"""Reads the values of a JSON file one after the other: the items of an array, lines, or objects spread over lines.

The file may have any size. Numbers keep their digits as written, since 7.0 and 7 are two texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any, TextIO

from eva_data.errors import DataError
from eva_data.tables.reading.unpacked import LONGEST_ROW

_CHUNK = 1 << 20
_NEAR_THE_END = 16
_BLANKS = " \t\r\n\ufeff\x1e"


class Number(str):
    """A JSON number, or Python's NaN and Infinity, by its characters."""

    __slots__ = ()


_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=Number)


class Values:
    """The values of a file that is open as text. `name` is its name in errors."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file = file
        self._name = name
        self._buffer = ""
        self._at = 0
        self._line = 1
        self._ended = False
        self.in_array = False
        """Whether the file is one array, whose elements are the values."""
        self.mended = 0
        """Number of values so far in which half of a surrogate pair was replaced by U+FFFD."""

    def __iter__(self) -> Iterator[Any]:
        if self._next_character() == "[":
            self.in_array = True
            self._at += 1
            yield from self._array()
        else:
            while self._next_character():
                yield self._value()

    @property
    def line(self) -> int:
        """The number of the line in which the next value is looked for."""
        return self._line

    def _array(self) -> Iterator[Any]:
        if self._next_character() == "]":
            self._at += 1
        else:
            while True:
                yield self._value()
                found = self._next_character()
                self._at += 1
                if found == "]":
                    break
                if found != ",":
                    self._at -= 1
                    raise self._wrong("expected a comma or the array's end" if found else "the array has no end")
        if self._next_character():
            raise self._wrong("there is more after the array's end")

    def _value(self) -> Any:
        while True:
            self._next_character()
            start = self._at
            try:
                value, end = _DECODER.raw_decode(self._buffer, start)
            except JSONDecodeError as error:
                if not self._ended and self._may_be_cut(error):
                    self._more()
                    continue
                said = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
                later = self._buffer.count("\n", start, error.pos)
                raise self._wrong(f"{said} (in line {self._line + later})" if later else said) from None
            except RecursionError:
                raise self._wrong("values are nested too deeply to be a table") from None
            if end == len(self._buffer) and not self._ended and not isinstance(value, dict):
                self._more()
                continue
            # Only an escape can write half of a surrogate pair.
            if self._buffer.find("\\u", start, end) >= 0:
                value = self._mend(value)
            self._skip_to(end)
            return value

    def _mend(self, value: Any) -> Any:
        mended = _without_halves(value)
        self.mended += mended != value
        return mended

    def _may_be_cut(self, error: JSONDecodeError) -> bool:
        return error.pos >= len(self._buffer) - _NEAR_THE_END or error.msg.startswith("Unterminated string")

    def _next_character(self) -> str:
        """Move on to the next character that is not blank and return it; empty at the end of the file."""
        while True:
            while self._at < len(self._buffer):
                character = self._buffer[self._at]
                if character not in _BLANKS:
                    return character
                self._line += character == "\n"
                self._at += 1
            if self._ended:
                return ""
            self._more()

    def _more(self) -> None:
        rest = self._buffer[self._at :]
        if len(rest) > LONGEST_ROW:
            raise DataError(
                f"{self._name}, line {self._line}: the value that begins here has more than {LONGEST_ROW:,} "
                "characters: expected a row a value; split it, or take it out"
            )
        # Read at least as much as is left over, so that a huge value is parsed only a few times.
        read = self._file.read(max(_CHUNK, len(rest)))
        self._ended = not read
        self._buffer, self._at = rest + read, 0

    def _skip_to(self, end: int) -> None:
        self._line += self._buffer.count("\n", self._at, end)
        self._at = end

    def _wrong(self, what: str) -> DataError:
        return DataError(f"{self._name}, line {self._line}: this is not JSON: {what}; mend the line, or take it out")


def _without_halves(value: Any) -> Any:
    if isinstance(value, str):
        if value.isascii() or isinstance(value, Number):
            return value
        # The JSON parser has already joined a pair that was escaped in two halves.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_halves(item) for item in value]
    if isinstance(value, dict):
        return {_without_halves(key): _without_halves(item) for key, item in value.items()}
    return value
