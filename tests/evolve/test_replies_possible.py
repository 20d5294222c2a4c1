import re
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.evolve.replies.broken import what_is_broken
from eva_data.evolve.replies.possible import Pattern, Searched, every_pattern, first_match, has
from eva_data.evolve.replies.words import folded, languages, patterns, words

SETS = sorted(Path(__file__).parent.glob("replies_*.jsonl"))


def test_texts_that_are_equal_without_regard_to_case_are_folded_alike() -> None:
    known = {c for pattern in every_pattern() for c in pattern.source} | set(
        "".join(map(words, ("commands", "openers")))
    )
    every = map(chr, [*range(0xD800), *range(0xE000, 0x20000)])
    cased = "".join(c for c in every if c.lower() != c or c.upper() != c or c.casefold() != c)

    unlike = {
        (one, other)
        for one in known
        for other in re.findall(re.escape(one), cased, re.IGNORECASE)
        if folded(one) != folded(other)
    }

    assert unlike == set()
    assert folded("İSTANBUL ſo ıt مَرحَبًا") == "istanbul so it مرحبا"


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("would you like", [{"would you like"}]),
        (r"\b(?:can|may) i(?: now)? help", [{"can i help", "can i now help", "may i help", "may i now help"}]),
        (r"if you [^,.]{2,60}, i(?:.ll|.d)\b", [{"if you "}, {", i"}, {"ll", "d"}]),
        (r"(?:call|dial\w+)\b(?! me)[^.]*help", [{"call", "dial"}, {"help"}]),
        (r"colou?r[sz]?", [{"color", "colors", "colorz", "colour", "colours", "colourz"}]),
        (r"(?:no )+rewrit\w+", [{"rewrit"}, {"no "}]),
        (r"\d+|yes", []),
        (r"(?:yes)?\W*", []),
    ],
)  # fmt: skip
def test_a_pattern_needs_the_pieces_that_stand_in_all_its_matches(source: str, needs: list[set[str]]) -> None:
    assert sorted(map(sorted, Pattern("offers", 0, source).needs)) == sorted(map(sorted, needs))


@cache
def _plain(key: Searched) -> re.Pattern[str]:
    return re.compile(patterns(key), re.IGNORECASE)


_SENTENCES = [
    part for path in SETS for part in re.split(r'(?<=[.!?。！？])\s*|\\n|"', path.read_text(encoding="utf-8")) if part
]
_PIECES = [piece for pattern in every_pattern() for pieces in pattern.needs for piece in sorted(pieces)[:3]]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(_PIECES),
            st.sampled_from(_PIECES).map(str.upper),
            st.sampled_from(_SENTENCES),
            st.sampled_from([" ", ". ", "?", "\n", "ı", "ſ", "İ", "\u064e", "’", "—", "i ", "you ", "我"]),
        ),
        max_size=6,
    ).map("".join)
)
def test_the_same_is_found_as_with_one_alternation_of_all_patterns(text: str) -> None:
    for key in get_args(Searched):
        expected = _plain(key).search(text)
        found = first_match(key, text)

        assert (found and found.span()) == (expected and expected.span()), key
        assert has(key, text) is (expected is not None), key


def test_each_sentence_of_the_labelled_sets_matches_as_with_one_alternation() -> None:
    unlike = [
        (key, text)
        for text in _SENTENCES[::25]
        for key in get_args(Searched)
        if has(key, text) is not (_plain(key).search(text) is not None)
    ]

    assert unlike == []


@pytest.mark.parametrize("key", ["commands", "openers", "doing", "noun_commands"])
def test_every_word_of_every_language_is_found_in_either_case(key: str) -> None:
    assert key in ("commands", "openers", "doing", "noun_commands")
    pattern = re.compile(words(key), re.IGNORECASE)
    every = sorted({word for language in languages().values() for word in language.get(key, ())})

    assert [word for word in every if pattern.fullmatch(word) is None or pattern.fullmatch(word.upper()) is None] == []


def test_a_word_is_found_with_its_endings_and_the_longest_of_several_first() -> None:
    commands = re.compile(words("commands"), re.IGNORECASE)

    found = {text: commands.match(text) for text in ("Escríbela", "escribe", "ÉCRIS-MOI", "Schreibe", "xwrite")}

    assert {text: match and match[0] for text, match in found.items()} == {
        "Escríbela": "Escríbela",
        "escribe": "escribe",
        "ÉCRIS-MOI": "ÉCRIS",
        "Schreibe": "Schreibe",
        "xwrite": None,
    }


@given(
    st.text("ab. \n1é", max_size=12),
    st.text("abc. -1我", min_size=1, max_size=44),
    st.integers(5, 12),
    st.text("ab. \n1é", max_size=200),
)
def test_a_repetition_is_a_piece_of_up_to_forty_characters_eight_times_in_half_of_the_text(
    before: str, piece: str, times: int, after: str
) -> None:
    text = before + piece * times + after
    repeated = re.compile(r"(?=(\S.{0,39}?)\s*(?:\1\s*){7})(?P<all>\1\s*(?:\1\s*)+)", re.DOTALL)
    most = max((sum(map(str.isalnum, found["all"])) for found in repeated.finditer(text)), default=0)

    expected = most > 0 and most * 2 >= sum(map(str.isalnum, text))

    assert (what_is_broken(text, "Say what rain is.") == "the text repeats itself") is expected
