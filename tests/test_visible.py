"""Characters that could control a terminal become escapes. Ordinary text stays."""

from __future__ import annotations

import pytest

from eva_data.foreign import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\x00b\x7f\x9b31m", r"a\x00b\x7f\x9b31m"),
        ("one\ntwo\r\tthree", r"one\ntwo\x0d\tthree"),
        ("\u202eevil\u2066\u200f", r"\u202eevil\u2066\u200f"),
        ("\u2028\u2029\ufeff\u200b", r"\u2028\u2029\ufeff\u200b"),
        ("half \ud800 pair", r"half \ud800 pair"),
        ("\U000e0041", r"\U000e0041"),
        ("Grüße, 你好, שלום, नमस्ते, 👩‍💻", "Grüße, 你好, שלום, नमस्ते, 👩‍💻"),
    ],
)
def test_hidden_characters_are_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_may_stay_and_long_texts_are_cut() -> None:
    assert visible("a\tb\nc\x1b", lines=True) == "a\tb\nc\\x1b"
    assert visible("x" * 12, longest=10) == "xxxxxxxxxx... (2 characters more)"
