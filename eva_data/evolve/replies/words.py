"""Reads the words of each language from the files in `words/`, which have a README of their own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple, TypeAlias

Key: TypeAlias = Literal[
    "requests",
    "offers",
    "declines",
    "own_task",
    "apologies",
    "nouns",
    "renewed",
    "announces",
    "remarks",
    "answers",
    "agreeing",
    "opening",
    "because",
    "first_step",
    "code",
    "greetings",
    "tasks",
    "letters",
    "opinions",
    "question_labels",
    "undecided",
    "you_can",
    "asks_for_task",
    "instructs",
    "named_texts",
    "errors",
    "interjections",
    "wants_advice",
    "genres",
    "without_mark",
    "rhetorical",
    "instead",
    "pairs",
    "agreements",
    "bracketed",
    "plain_labels",
    "speaks_of_rewriting",
    "how_about_this",
    "promises",
    "to_you",
    "elsewhere",
    "advice",
    "follows",
    "casting",
    "salutations",
]
"""Keys of the files. Keys that concern several languages at once are in `shapes.toml`."""
_ARABIC = re.compile(r"[\u0621-\u063a\u0641-\u064a]")
_SIGNED = "(?:\\g<0>[\u064b-\u0652]*)"
_ACCENTED = {plain: f"[{plain}{accented}]" for plain, accented in zip("aeiouáéíóú", "áéíóúaeiou", strict=True)}
_SHORT = 3
"""A verb of so few letters gets no accent: "hazlo"."""
_FEW = 4
"""Words are tried one by one if they are so few."""
_FOLDED = {ord("İ"): "i", ord("ı"): "i", ord("ſ"): "s"} | dict(zip(range(0x1C80, 0x1C87), "вдосттъ", strict=True))
_FOLDED |= dict.fromkeys(range(0x064B, 0x0653), "")
_ODD = re.compile(f"[{''.join(map(chr, _FOLDED))}]")
_WORDS = ("clitics", "commands", "openers", "doing", "noun_commands")
# Typed and typeset apostrophes are the same to a pattern.
_APOSTROPHES = "\u2019\u02bc\u2018"


@cache
def languages() -> dict[str, dict[str, list[str]]]:
    """Code of a language -> key -> words and patterns."""
    found: dict[str, dict[str, list[str]]] = {}
    folder = files("eva_data.evolve.replies") / "words"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        name, _, ending = file.name.rpartition(".")
        if ending == "toml":
            read = tomllib.loads(file.read_text(encoding="utf-8"))
            found[name] = {
                key: value.split() if key in _WORDS else [line for line in value.split("\n") if line]
                for key, value in read.items()
                if isinstance(value, str)
            }
    return found


class _Word(NamedTuple):
    letters: tuple[str, ...]
    """At each place the folded letters that may stand there."""
    pattern: str


@cache
def words(key: Literal["commands", "openers", "doing", "noun_commands"]) -> str:
    """One alternation of the words of all languages, longest first."""
    found = {word: "" for language in languages().values() for word in language.get(key, ())}
    if key == "commands":
        for language in languages().values():
            objects = "|".join(language.get("clitics", ()))
            found |= {word: f"(?:{objects})" for word in language.get(key, ()) if objects}
    longest = [
        form for word in sorted(found, key=lambda word: (-len(word), word)) for form in _forms_of(word, found[word])
    ]
    latin = [word for word in longest if any(map(str.isascii, word.letters[0]))]
    others = [word for word in longest if not all(map(str.isascii, word.letters[0]))]
    return f"(?=[a-z])(?:{_by_letters(latin)})|(?![a-z])(?:{_by_letters(others)})"


def _forms_of(word: str, ending: str) -> list[_Word]:
    """A word, alone and with an ending that shifts the accent: "escribe", "escríbela"."""
    alone = _Word(tuple(map(folded, word)), re.escape(word))
    if not ending:
        return [alone]
    bent = "".join(_ACCENTED.get(letter, re.escape(letter)) for letter in word)
    accented = "" if len(word) <= _SHORT or ending.startswith("(?:-") else r"(?=\w*[áéíóú])"
    letters = tuple(folded(_ACCENTED.get(letter, letter).strip("[]")) for letter in word)
    return [alone, _Word(letters, f"{accented}{bent}{ending}")]


def _by_letters(words: Sequence[_Word], before: str = "") -> str:
    """One alternation of the words in their order. Only those with the first letters of a text are tried on it."""
    if len(words) <= _FEW or any(len(word.letters) == len(before) for word in words):
        return "|".join(word.pattern for word in words)
    groups: dict[str, list[_Word]] = {}
    for word in words:
        for letter in word.letters[len(before)]:
            groups.setdefault(before + letter, []).append(word)
    return "|".join(f"(?={re.escape(first)})(?:{_by_letters(group, first)})" for first, group in groups.items())


@cache
def patterns(key: Key) -> str:
    """One alternation of the patterns of all languages."""
    return "|".join(f"(?:{pattern})" for pattern in alternatives(key))


@cache
def alternatives(key: Key) -> tuple[str, ...]:
    """The patterns of all languages."""
    found = [pattern for language in languages().values() for pattern in language.get(key, ())]
    # Arabic is written with or without vowel signs.
    return tuple(_ARABIC.sub(_SIGNED, pattern) for pattern in found)


def folded(text: str) -> str:
    """The text in lower case and without Arabic vowel signs. What `re.IGNORECASE` takes for equal is equal in it."""
    if not text.isascii() and _ODD.search(text):
        text = text.translate(_FOLDED)
    return text.lower()


def straight(text: str) -> str:
    """The text with straight apostrophes. Its length does not change."""
    for apostrophe in _APOSTROPHES:
        text = text.replace(apostrophe, "'")
    return text


def compiled(build: Callable[[], str], flags: re.RegexFlag = re.IGNORECASE) -> Callable[[], re.Pattern[str]]:
    """A function that builds and compiles a pattern at its first call."""

    @cache
    def pattern() -> re.Pattern[str]:
        return re.compile(build(), flags)

    return pattern
