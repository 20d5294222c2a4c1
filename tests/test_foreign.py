"""Foreign text is printed unchanged, except that characters that control a terminal become escapes."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.foreign import cut, shown, shown_in_line

CONTROLS = st.sampled_from(
    [
        *(*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))),
        *("\x1b[2J", "\x1b]8;;http://x\x07", "\r\n"),
        *("\u202e", "\u2028", "\u2066", "\u200b", "\ufeff", "\ud800", "\U000e0041"),
    ]
)
TEXTS = st.lists(st.one_of(CONTROLS, st.text(max_size=5)), max_size=20).map("".join)
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J\x9d", "\\x9b2J\\x9d"),
        ("a\0b\x7fc\bd", "a\\x00b\\x7fc\\x08d"),
        ("over\rwritten", "over\\x0dwritten"),
        ("one\r\ntwo\n\tthree", "one\ntwo\n\tthree"),
        ("abc\u202edcba\u2066x\u2069\u200f\u061c", "abc\\u202edcba\\u2066x\\u2069\\u200f\\u061c"),
        ("a\u2028b\u200bc\ufeff", "a\\u2028b\\u200bc\\ufeff"),
        ("hidden\U000e0041\U000e0042", "hidden\\U000e0041\\U000e0042"),
        ("\udc9b", "\\udc9b"),
        ("שלום, العربية, 日本語, é, 👩‍💻, क्‍ष", "שלום, العربية, 日本語, é, 👩‍💻, क्‍ष"),
    ],
)
def test_what_acts_is_shown_as_its_escape_and_all_else_stays(text: str, reads: str) -> None:
    assert shown(text) == reads


@given(TEXTS)
def test_nothing_that_acts_is_left_and_nothing_else_is_lost(text: str) -> None:
    safe = shown(text)
    for character in safe:
        assert character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in BIDI
    assert safe.encode("utf-8").decode("utf-8") == safe
    assert shown(safe) == safe
    back = re.sub(
        r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})",
        lambda found: chr(int(found[1] or found[2] or found[3], 16)),
        safe,
    )
    if "\\" not in text:
        assert back == text.replace("\r\n", "\n")


@given(TEXTS)
def test_in_a_line_nothing_begins_another(text: str) -> None:
    assert shown_in_line(text).splitlines() in ([], [shown_in_line(text)])


def test_a_long_text_is_cut_and_says_how_long_it_is() -> None:
    assert cut("short\ntext", 500, 12) == "short\ntext"
    assert cut("x" * 1234, 10, 3) == "xxxxxxxxxx… (1,234 characters in all, `--full` prints them)"
    assert cut("a\nb\nc\nd", 10, 3) == "a\nb\nc… (7 characters in all, `--full` prints them)"
