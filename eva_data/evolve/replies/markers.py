"""Reads a marked reply: a text between two markers, or a JSON object with one text.

A prompt may mention the markers. A marker inside a sentence or in quotation marks is a mention. Every other marker is
structure. The text between the outer markers stays character for character, except for the blank rest of the lines of
the markers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import islice

from eva_data.calls import Unparsable

OPEN, CLOSE = "<new_prompt>", "</new_prompt>"
KEY = "prompt"
"""The key of the JSON object."""
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {KEY: {"type": "string"}},
    "required": [KEY],
    "additionalProperties": False,
}
"""The JSON schema for servers that guide the decoding."""

_NAME = r"(?:new|rewritten)[\\_ -]{0,2}prompt"
# A marker may be bold, escaped, or in other brackets. A mark on one side only belongs to the prompt.
_MARKER = re.compile(
    rf"(?:\*\*|__)<(?P<a>/?){_NAME}>(?:\*\*|__)|<\s?(?P<b>/?)\s?{_NAME}\s?>|&lt;(?P<c>/?){_NAME}&gt;"
    rf"|\\<(?P<d>/?){_NAME}\\>|\[(?P<e>/?){_NAME}\]|[＜《](?P<f>/?){_NAME}[＞》]",
    re.IGNORECASE,
)
_QUOTING = "`'\"“”‘’«»「」"
_NONE = Unparsable(f"no text between {OPEN} and {CLOSE}")


@dataclass(frozen=True)
class _Marker:
    start: int
    end: int
    opens: bool
    spoken_of: bool


def between_markers(answer: str) -> str | Unparsable:
    """The text of the last marked part. Of nested parts the outermost counts."""
    found = [_marker(answer, match) for match in _MARKER.finditer(answer)]
    structure = [marker for marker in found if not marker.spoken_of]
    text = _last_part(answer, structure)
    if text is None and len(structure) < len(found):
        text = _last_part(answer, found)
    return _NONE if text is None else text


def has_left_over(text: str) -> bool:
    """Whether the text still has a marker that is not a mention."""
    return any(not _marker(text, match).spoken_of for match in _MARKER.finditer(text))


def _marker(answer: str, match: re.Match[str]) -> _Marker:
    before, after = answer[: match.start()], answer[match.end() :]
    quoted = before[-1:] != "" and before[-1:] in _QUOTING and after[:1] != "" and after[:1] in _QUOTING
    opens = not any(match.groups())
    return _Marker(match.start(), match.end(), opens, quoted or _inside_a_sentence(before, after))


def _inside_a_sentence(before: str, after: str) -> bool:
    """Whether the marker has a word before it in its line, and a word or punctuation after it."""
    if not re.search(r"[\w,;(] \Z", before[-2:]):
        return False
    return re.match(r"[ ][^\s<]|[.,;:?!)](?:\s|\Z|[^\w])", after) is not None


def _last_part(answer: str, markers: list[_Marker]) -> str | None:
    parts: list[tuple[int, int]] = []
    start: _Marker | None = None
    depth = 0
    for marker in markers:
        if marker.opens:
            if start is not None and depth == 1 and not answer[start.end : marker.start].strip():
                start = marker
                continue
            if depth == 0:
                start = marker
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0 and start is not None:
                parts.append((start.end, marker.start))
        elif parts and not any(m.opens and m.start > parts[-1][1] and m.start < marker.start for m in markers):
            # With a second closing marker at the end of the reply, the first closing marker belongs to the text.
            between, after = answer[parts[-1][1] : marker.start], answer[marker.end :]
            parts[-1] = (parts[-1][0], parts[-1][1] if "\n\n" in between or after.strip() else marker.start)
    if depth and start is not None and any(not marker.opens and marker.start > start.end for marker in markers):
        # With more opening than closing markers, all opening markers but the first are mentions.
        last = max(marker.start for marker in markers if not marker.opens)
        parts.append((start.end, last))
    if not parts:
        return None
    begin, end = parts[-1]
    return marked_text(answer[begin:end])


def marked_text(inside: str) -> str:
    """The text without the rest of the opening marker's line, and without the line break before the closing marker."""
    first, newline, rest = inside.partition("\n")
    if newline and not first.strip():
        inside = rest
        return without_edges_but_indentation(inside)
    return inside.strip()


def without_edges_but_indentation(text: str) -> str:
    """The text from its first line that is not blank. A single line loses its indentation; several lines keep it."""
    lines = text.rstrip().split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    return lines[0].strip() if len(lines) == 1 else "\n".join(lines)


_MOST_OBJECTS = 1000
"""So many opening braces are tried as the beginning of the object."""


def json_text(answer: str) -> str | Unparsable:
    """The unchanged text in the JSON object. The object may stand in a code fence or after other words."""
    decoder = json.JSONDecoder(strict=False)
    for match in islice(re.finditer(r"\{", answer), _MOST_OBJECTS):
        try:
            value, _ = decoder.raw_decode(answer, match.start())
        except (ValueError, RecursionError):
            # RecursionError: brackets nested a thousand deep.
            continue
        if isinstance(value, dict) and isinstance(value.get(KEY), str):
            return str(value[KEY])
    return Unparsable(f'no JSON object with a text under "{KEY}"')
