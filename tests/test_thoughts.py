"""Thoughts that the chat template opened: the reply has only the closing mark. A text about marks stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.thoughts import without_thoughts


@pytest.mark.parametrize(
    ("reply", "rest"),
    [
        ("Rating: 2</think>Rating: 4", "Rating: 4"),
        ("so it is four</think>4", "4"),
        ("So it is four.</think> 4", " 4"),
        ("so it is four\n</think>\n4", "\n4"),
        ("Hm.\n[/THINK]\n4", "\n4"),
        ("Close the block with </think> before you answer.", "Close the block with </think> before you answer."),
        ("What does `</think>` mean?", "What does `</think>` mean?"),
        ("```xml\n<a>b</think>c</a>\n```", "```xml\n<a>b</think>c</a>\n```"),
        ("```xml\n<a>b\n```\nDone.</think>4", "4"),
    ],
)
def test_a_closing_mark_alone_ends_the_thoughts_unless_the_text_is_about_it(reply: str, rest: str) -> None:
    assert without_thoughts(reply) == rest


@given(st.text(alphabet=st.characters(exclude_characters="<[◁")).filter(lambda text: text.lstrip()[:1] != "a"))
def test_a_text_without_marks_comes_back(text: str) -> None:
    assert without_thoughts(text) == text


@given(st.from_regex(r"[A-Z][a-z ]{0,40}\.", fullmatch=True), st.from_regex(r"[A-Z][a-z ]{0,40}", fullmatch=True))
def test_marked_thoughts_come_off_in_whatever_marks(thought: str, answer: str) -> None:
    marks = [("<think>", "</think>"), ("<reasoning>", "</reasoning>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷")]
    for begin, end in marks:
        assert without_thoughts(f"{begin}{thought}{end}\n{answer}") == f"\n{answer}"
        assert without_thoughts(f"{thought}{end}\n{answer}") == f"\n{answer}"
