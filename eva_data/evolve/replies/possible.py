"""Searches a text for the patterns of all languages, but tries only those that the text can match.

Most patterns need certain pieces: "would you like" stands in every match of its pattern. The pieces are read from the
patterns, and a text is asked for all of them at once. A pattern without its pieces cannot match, so it is not tried.
What is found is the same as with one alternation of all patterns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib import import_module
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from eva_data.evolve.replies.words import alternatives, folded

Searched: TypeAlias = Literal[
    "asks_for_task",
    "casting",
    "declines",
    "elsewhere",
    "follows",
    "instead",
    "offers",
    "opinions",
    "own_task",
    "promises",
    "requests",
    "speaks_of_rewriting",
    "to_you",
    "undecided",
    "wants_advice",
    "without_mark",
]
"""Keys whose patterns are searched for anywhere in a sentence."""

# The parser of `re` is the only one that reads patterns exactly as `re` does. It has no public name.
_parser: Any = import_module("re._parser")
_MOST = 100
"""So many pieces may stand for one part of a pattern."""
_Gram: TypeAlias = tuple[str, str, str] | str
"""What pieces are looked up by."""
SENTENCES = 512
"""The last so many sentences are remembered, since several rules look at each of them."""


def has(key: Searched, text: str) -> bool:
    """Whether a pattern of the key matches anywhere in the text."""
    return any(pattern.find(text) is not None for pattern in _possible(text).get(key, ()))


def first_match(key: Searched, text: str) -> re.Match[str] | None:
    """The first match in the text; of several at one place, that of the first pattern."""
    found = (pattern.find(text) for pattern in _possible(text).get(key, ()))
    return min((each for each in found if each is not None), key=lambda each: each.start(), default=None)


@dataclass(frozen=True, eq=False)
class Pattern:
    """One pattern of a key."""

    key: Searched
    place: int
    """Its place among the patterns of the key."""
    source: str

    @cached_property
    def needs(self) -> tuple[frozenset[str], ...]:
        """Sets of pieces. Every text that matches has, when it is folded, a piece of each set."""
        needed = _of_sequence(_parser.parse(self.source, re.IGNORECASE)).needs
        return tuple(sorted(needed, key=lambda pieces: (-min(map(len, pieces)), len(pieces), sorted(pieces))))

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.source, re.IGNORECASE)

    def find(self, text: str) -> re.Match[str] | None:
        return self._compiled.search(text)


class _Piece(NamedTuple):
    text: str
    pattern: Pattern
    others: tuple[frozenset[str], ...]
    """What the pattern needs besides."""


@dataclass(frozen=True)
class _Index:
    grams: dict[_Gram, list[_Piece]]
    """Part of a piece -> the pieces with it."""
    known: frozenset[_Gram]
    always: tuple[Pattern, ...]
    """Patterns that need nothing."""


@cache
def _index() -> _Index:
    everything = list(every_pattern())
    sought = [piece for pattern in everything if pattern.needs for piece in pattern.needs[0]]
    often = Counter(gram for piece in sought for gram in _grams(piece))
    grams: dict[_Gram, list[_Piece]] = {}
    for pattern in everything:
        for piece in sorted(pattern.needs[0]) if pattern.needs else ():
            rarest = min(_grams(piece), key=lambda gram: often[gram])
            grams.setdefault(rarest, []).append(_Piece(piece, pattern, pattern.needs[1:]))
    return _Index(grams, frozenset(grams), tuple(pattern for pattern in everything if not pattern.needs))


def every_pattern() -> Iterator[Pattern]:
    """All patterns that are searched for."""
    for key in get_args(Searched):
        for place, source in enumerate(alternatives(key)):
            yield Pattern(key, place, source)


def _grams(text: str) -> list[_Gram]:
    """Three neighbouring characters at each place. A text of fewer has its single characters instead."""
    return list(zip(text, text[1:], text[2:], strict=False)) or list(text)


@lru_cache(SENTENCES)
def _possible(text: str) -> dict[Searched, tuple[Pattern, ...]]:
    """Key -> its patterns that the text may match, in their order."""
    index, plain = _index(), folded(text)
    met = {*_grams(plain), *plain}
    found = set(index.always)
    for gram in met & index.known:
        for piece, pattern, others in index.grams[gram]:
            if piece in plain and pattern not in found and all(any(map(plain.__contains__, each)) for each in others):
                found.add(pattern)
    result: dict[Searched, tuple[Pattern, ...]] = {}
    for pattern in sorted(found, key=lambda each: each.place):
        result[pattern.key] = (*result.get(pattern.key, ()), pattern)
    return result


class _Part(NamedTuple):
    """What is known of the texts that a part of a pattern matches, when they are folded."""

    exact: frozenset[str] | None
    """All of them. None if they are too many."""
    needs: tuple[frozenset[str], ...]
    """Of each set, they hold a piece."""


_NOTHING = _Part(frozenset({""}), ())
_ANYTHING = _Part(None, ())


def _of_sequence(items: Iterable[Any]) -> _Part:
    """What follows from parts one after another: neighbouring parts that are known exactly make longer pieces."""
    run, needs, whole = frozenset({""}), [], True
    for item in items:
        part = _of_item(*item)
        if part.exact is not None and len(run) * len(part.exact) <= _MOST:
            run = frozenset(before + after for before in run for after in part.exact)
            continue
        whole = False
        needs += [run] if part.exact is not None else [run, *part.needs]
        run = part.exact if part.exact is not None and len(part.exact) <= _MOST else frozenset({""})
    needs.append(run)
    return _Part(run if whole else None, tuple(pieces for pieces in needs if "" not in pieces))


def _of_item(operation: Any, value: Any) -> _Part:
    """What is known of one item of a parsed pattern."""
    match str(operation):
        case "LITERAL":
            return _Part(frozenset({folded(chr(value))}), ())
        case "IN":
            return _of_set(value)
        case "AT" | "ASSERT" | "ASSERT_NOT":
            return _NOTHING
        case "SUBPATTERN":
            return _of_sequence(value[3])
        case "BRANCH":
            return _of_branches([_of_sequence(branch) for branch in value[1]])
        case "MAX_REPEAT" | "MIN_REPEAT":
            return _repeated(_of_sequence(value[2]), value[0], value[1])
    return _ANYTHING


def _of_set(members: Sequence[tuple[Any, Any]]) -> _Part:
    characters: set[str] = set()
    for operation, value in members:
        low, high = {"LITERAL": (value, value), "RANGE": value}.get(str(operation), (0, _MOST))
        if high - low >= _MOST:
            return _ANYTHING
        characters |= {folded(chr(code)) for code in range(low, high + 1)}
    return _Part(frozenset(characters), ())


def _of_branches(parts: Sequence[_Part]) -> _Part:
    exact = frozenset[str]().union(*(part.exact or () for part in parts))
    if all(part.exact is not None for part in parts) and len(exact) <= _MOST:
        return _Part(exact, ())
    chosen: set[str] = set()
    for part in parts:
        if not part.needs:
            return _ANYTHING
        chosen |= max(part.needs, key=lambda pieces: min(map(len, pieces)))
    return _Part(None, (frozenset(chosen),))


def _repeated(part: _Part, least: int, most: int) -> _Part:
    if part.exact == frozenset({""}) or (least, most) == (1, 1):
        return part
    if (least, most) == (0, 1) and part.exact is not None:
        return _Part(part.exact | {""}, ())
    if least == 0:
        return _ANYTHING
    return _Part(None, part.needs)
