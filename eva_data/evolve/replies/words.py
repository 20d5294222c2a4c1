"""Reads the words of each language from the files in `words/`, which have a README of their own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Literal, TypeAlias

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
_WORDS = ("clitics", "commands", "openers", "doing", "noun_commands")
# Typed and typeset apostrophes are the same to a pattern.
_APOSTROPHES = str.maketrans("\u2019\u02bc\u2018", "'''")


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


@cache
def words(key: Literal["commands", "openers", "doing", "noun_commands"]) -> str:
    """One alternation of the words of all languages, longest first."""
    found = {word: "" for language in languages().values() for word in language.get(key, ())}
    if key == "commands":
        for language in languages().values():
            objects = "|".join(language.get("clitics", ()))
            found |= {word: f"(?:{objects})" for word in language.get(key, ()) if objects}
    longest = sorted(found, key=lambda word: (-len(word), word))
    return "|".join(_stressed(word, found[word]) if found[word] else re.escape(word) for word in longest)


def _stressed(word: str, ending: str) -> str:
    """The pattern of a word, alone or with an ending that shifts the accent: "escribe", "escríbela"."""
    bent = "".join(_ACCENTED.get(letter, re.escape(letter)) for letter in word)
    accented = "" if len(word) <= _SHORT or ending.startswith("(?:-") else r"(?=\w*[áéíóú])"
    with_ending = f"{accented}{bent}{ending}"
    return f"{re.escape(word)}|{with_ending}"


@cache
def patterns(key: Key) -> str:
    """One alternation of the patterns of all languages."""
    found = [pattern for language in languages().values() for pattern in language.get(key, ())]
    # Arabic is written with or without vowel signs.
    return "|".join(f"(?:{_ARABIC.sub(_SIGNED, pattern)})" for pattern in found)


def straight(text: str) -> str:
    """The text with straight apostrophes. Its length does not change."""
    return text.translate(_APOSTROPHES)


def compiled(build: Callable[[], str], flags: re.RegexFlag = re.IGNORECASE) -> Callable[[], re.Pattern[str]]:
    """A function that builds and compiles a pattern at its first call."""

    @cache
    def pattern() -> re.Pattern[str]:
        return re.compile(build(), flags)

    return pattern
