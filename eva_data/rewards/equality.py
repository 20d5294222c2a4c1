"""Reads the answers of responses and says which are equal, for votes on the right answer.

Equal answers of a prompt get one text, so that the tables alone tell who voted for what.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

from eva_data.calls import Unparsable
from eva_data.errors import MissingExtraError

# The ledger knows `math_equal` by the hash of its file, so the file stays as it is and lends what it has.
from eva_data.rewards.answers import SECONDS, _equal, _expressions, _limited, _references, _TimeIsUp
from eva_data.rewards.final_numbers import read_final_number
from eva_data.thoughts import without_thoughts

LONGEST = 2000
"""Most characters of an answer. A longer text is a response, and counts as unreadable."""

Read = tuple[list[str | None], str | None]
"""The answer of each response, and the known answer; None where there is none that can be read."""


def read_number(responses: Sequence[str], known: object = None) -> Read:
    """Final numbers as fractions, such as `42` or `3/4`, by the rules of `final_number`."""
    return [_number(_spoken(each)) for each in responses], None if known is None else _number(str(known))


def read_text(responses: Sequence[str], known: object = None) -> Read:
    """Final answers as normalised texts (`final_text`)."""
    return [final_text(_spoken(each)) for each in responses], None if known is None else final_text(str(known))


def read_math(responses: Sequence[str], known: object = None) -> Read:
    """Final expressions by math-verify; of equal expressions, the known one or the first in the order of texts.

    A text that takes longer than the time limit has no answer. Raise MissingExtraError without math-verify, and
    RuntimeError outside the main thread, as `math_equal` does.
    """
    refuse_missing("math")
    classes: list[tuple[str, tuple[Any, ...]]] = []
    reference = None
    if known is not None and (read := _limited_to(lambda: _references(str(known)))):
        reference = str(read[0])
        classes.append((reference, read))
    names = {text: _class_of(_spoken(text), classes) for text in sorted(set(responses))}
    return [names[text] for text in responses], reference


READERS: Mapping[str, Callable[..., Read]] = {"number": read_number, "math": read_math, "text": read_text}
"""`reward.equal` -> what reads the answers of one prompt, all together."""


def _spoken(response: str) -> str:
    """The response without a reasoning model's thoughts; empty if nothing is left."""
    spoken = without_thoughts(response)
    return "" if isinstance(spoken, Unparsable) else spoken


def _number(text: str) -> str | None:
    found = read_final_number(text)
    if found is None:
        return None
    # Python refuses to print much longer integers.
    longest = max(found.numerator.bit_length(), found.denominator.bit_length())
    return str(found) if longest < 3 * LONGEST else None


_MARKED = re.compile(
    r"\\boxed\s*\{(?P<boxed>[^{}]*(?:\{[^{}]*\}[^{}]*)*)\}"
    r"|<(?P<tag>(?:final[_ ]?)?answer|result)>(?P<tagged>.*?)</(?P=tag)>"
    r"|####(?P<hashes>[^\n]*)"
    r"|\b(?:final\s+)?answer(?:\s+is\b\W{0,3}|\s*[:=])(?P<said>[^\n]*)",
    re.IGNORECASE | re.DOTALL,
)
_ENDS = " \t\n.,;:!?*_`\"'\u201c\u201d\u2018\u2019()[]{}$"


def final_text(text: str) -> str | None:
    """The final answer of a text, normalised: NFKC, case folded, blanks single, without marks at its ends.

    The final answer is what the last `\\boxed{}`, `<answer>`, `####`, "answer is" or "answer:" announces, else the
    whole text. None if nothing is left of it, or more than LONGEST characters.
    """
    announced = [found for found in _MARKED.finditer(text) if _inside(found).strip(_ENDS)]
    answer = _inside(announced[-1]) if announced else text
    plain = " ".join(unicodedata.normalize("NFKC", answer).casefold().split()).strip(_ENDS)
    return plain if plain and len(plain) <= LONGEST else None


def _inside(found: re.Match[str]) -> str:
    return next(text for name in ("boxed", "tagged", "hashes", "said") if (text := found[name]) is not None)


def refuse_missing(equal: str) -> None:
    """Raise MissingExtraError if the library is missing by which such answers are read."""
    if equal != "math":
        return
    try:
        import math_verify.grader
        import math_verify.parser  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError.of("math-verify", "math") from None


def _class_of(text: str, classes: list[tuple[str, tuple[Any, ...]]]) -> str | None:
    """The name of the class of a text's final expression, which is added if it is new; None without an expression."""
    read = _limited_to(lambda: _expressions(text))
    if not read or len(name := str(read[0])) > LONGEST:
        return None
    for known, expressions in classes:
        if name == known or _limited_to(partial(_any_equal, expressions, read)):
            return known
    classes.append((name, read))
    return name


def _any_equal(ones: Sequence[Any], others: Sequence[Any]) -> bool:
    return any(_equal(one, other) for one, other in product(ones, others))


def _limited_to(work: Callable[[], Any]) -> Any:
    """The result of the work; None if it takes longer than SECONDS."""
    try:
        with _limited(SECONDS):
            return work()
    except _TimeIsUp:
        return None
