"""The operations of the sandbox world: their English phrases, and their effect on a string."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "number"]
ARGUMENT_WORDS = (
    "box",
    "cat",
    "cup",
    "fog",
    "hat",
    "ice",
    "jam",
    "key",
    "map",
    "owl",
    "pen",
    "sky",
    "sun",
    "zip",
)


@dataclass(frozen=True)
class Rule:
    """One operation. In `phrases`, `{x}` stands for its operand and `{a}` for its argument, if it takes one."""

    name: str
    takes: Kind
    gives: Kind
    phrases: tuple[str, ...]
    apply: Callable[[str, str], str]
    arguments: tuple[str, ...] = ("",)


def _alphabetical(text: str) -> str:
    return "".join(sorted(text, key=lambda c: (c.lower(), c)))


def _starred(text: str) -> str:
    return "".join("*" if c in "aeiouAEIOU" else c for c in text)


def _ends_swapped(text: str) -> str:
    return text[-1] + text[1:-1] + text[0] if len(text) > 1 else text


def _text(name: str, apply: Callable[[str], str], *phrases: str) -> Rule:
    return Rule(name, "text", "text", phrases, lambda x, _: apply(x))


_RULES = (
    _text(
        "backwards",
        lambda x: x[::-1],
        "write {x} backwards",
        "reverse {x}",
        "spell {x} from back to front",
    ),
    _text(
        "capitals",
        str.upper,
        "put {x} in capital letters",
        "write {x} in upper case",
        "turn {x} into capitals",
    ),
    _text(
        "first_three",
        lambda x: x[:3],
        "keep the first three letters of {x}",
        "cut {x} down to its first three letters",
    ),
    _text(
        "last_three",
        lambda x: x[-3:],
        "keep the last three letters of {x}",
        "cut {x} down to its last three letters",
    ),
    _text(
        "drop_first",
        lambda x: x[1:],
        "drop the first letter of {x}",
        "remove the first letter from {x}",
    ),
    _text(
        "drop_last",
        lambda x: x[:-1],
        "drop the last letter of {x}",
        "remove the last letter from {x}",
    ),
    _text(
        "twice",
        lambda x: x + x,
        "write {x} twice in a row",
        "put two copies of {x} together",
    ),
    _text(
        "double_letters",
        lambda x: "".join(c + c for c in x),
        "write each letter of {x} twice",
        "double each letter of {x}",
    ),
    _text(
        "stars",
        _starred,
        "replace the vowels of {x} with *",
        "change each vowel in {x} to *",
    ),
    _text(
        "swap_ends",
        _ends_swapped,
        "swap the first and last letters of {x}",
        "exchange the two outer letters of {x}",
    ),
    _text(
        "sort",
        _alphabetical,
        "sort the letters of {x}",
        "put the letters of {x} in alphabetical order",
    ),
    _text(
        "every_other",
        lambda x: x[::2],
        "skip every second letter of {x}",
        "keep letters 1, 3, 5 and so on of {x}",
    ),
    _text(
        "rotate",
        lambda x: x[1:] + x[0],
        "move the first letter of {x} to the end",
        "carry the first letter of {x} to the back",
    ),
    Rule(
        "after",
        "text",
        "text",
        ("add the word {a} to the end of {x}", "attach the word {a} after {x}"),
        lambda x, a: x + a,
        ARGUMENT_WORDS,
    ),
    Rule(
        "before",
        "text",
        "text",
        ("add the word {a} to the front of {x}", "attach the word {a} before {x}"),
        lambda x, a: a + x,
        ARGUMENT_WORDS,
    ),
    Rule(
        "count",
        "text",
        "number",
        ("count the letters of {x}", "say how many letters {x} has"),
        lambda x, _: str(len(x)),
    ),
    Rule(
        "add",
        "number",
        "number",
        ("add {a} to {x}", "increase {x} by {a}"),
        lambda x, a: str(int(x) + int(a)),
        tuple(str(n) for n in range(1, 10)),
    ),
    Rule(
        "multiply",
        "number",
        "number",
        ("multiply {x} by {a}", "work out {a} times {x}"),
        lambda x, a: str(int(x) * int(a)),
        ("2", "3"),
    ),
)
RULES = {rule.name: rule for rule in _RULES}
