"""Ready verifiers: whether a response comes to the reference answer. Each gives 1 or 0.

None means that the reference itself cannot be read, or that there is no telling: never that a response is wrong.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from itertools import product
from types import FrameType
from typing import Any

from eva_data.calls import Unparsable, without_thoughts
from eva_data.errors import MissingExtraError


def final_number(prompt: str, response: str, answer: object) -> float | None:
    """1 if the response's final number is that of the reference answer, exactly; else 0 (GSM8K).

    The final number is the last that is announced: by `####`, by `\\boxed{}`, or by "answer is" or "answer:";
    where none is, the last number there is. Of `5 + 3 = 8` it is the 8. Read as one number are `1,000`, `-$1.50`,
    `3/4`, `1 1/2`, `\\frac{1}{2}` and `2e3`; `%` and units count for nothing. A reasoning model's thoughts are not
    read. None where the reference answer, read likewise, holds no number.
    """
    reference = _final_number(str(answer))
    if reference is None:
        return None
    spoken = without_thoughts(response)
    return float(not isinstance(spoken, Unparsable) and _final_number(spoken) == reference)


_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)\]}])-)?(?:[$€£¥₹]\s?)?(?P<inner>-)?"
    r"(?<!\w)(?<!\d\.)(?:(?P<whole>\d+)\s{1,3}(?=\d+/\d))?"
    r"(?P<above>(?>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?+(?:[eE][+-]?\d{1,3}(?!\w))?+|\.\d++)(?![eE][+-]?\d)"
    r"(?:\s?/\s?(?P<below>\d+(?:\.\d+)?))?"
)
_LONGEST_NUMBER = 1000
"""Characters. Python refuses to read much longer ones, and no answer is one."""

_ANNOUNCED = re.compile(r"(?P<hashes>####)|(?P<boxed>\\boxed\s*\{)|\banswer(?:\W{0,6}\bis\b|\W{0,4}[:=])", re.I)
_WINDOW = 300
"""Characters after an announcement in which its number must stand."""
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
_HEADING = re.compile(r"[.):]\s+[^\W\d]")


def _final_number(text: str) -> Fraction | None:
    text = _without_latex(text)
    for announced in reversed(list(_ANNOUNCED.finditer(text))):
        following = text[announced.end() : announced.end() + _WINDOW]
        if announced["hashes"]:
            found = _after_hashes(following)
        elif announced["boxed"]:
            found = _first_number(_up_to_brace(following))
        else:
            found = _first_number(_SENTENCE_END.split(following.lstrip(" \t\n*_:$[(\\"), maxsplit=1)[0])
        if found is not None:
            return found
    numbers = [value for _, value in _numbers(text)]
    return numbers[-1] if numbers else None


def _without_latex(text: str) -> str:
    text = text.replace("\u2212", "-").replace("\\$", "$").replace("\\%", "%")
    text = re.sub(r"(?<=\d)(?:\{,\}|\\[,!;:]|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))", ",", text)
    text = re.sub(r"(?<=\d)(?=\\[dtc]?frac\{)", " ", text)
    return re.sub(r"\\[dtc]?frac\{\s*([\d.,]+)\s*\}\s*\{\s*([\d.,]+)\s*\}", r"\1/\2", text)


def _numbers(text: str) -> Iterator[tuple[re.Match[str], Fraction]]:
    for match in _NUMBER.finditer(text):
        if len(match[0]) <= _LONGEST_NUMBER:
            value = Fraction(match["above"].replace(",", ""))
            below = Fraction(match["below"] or 1)
            if below:
                value = Fraction(match["whole"] or 0) + value / below
                yield match, -value if match["sign"] or match["inner"] else value


def _first_number(text: str) -> Fraction | None:
    """The first number after the last equals sign, or at all."""
    for part in (text.rpartition("=")[2], text):
        for _, value in _numbers(part):
            return value
    return None


def _after_hashes(following: str) -> Fraction | None:
    """GSM8K's own mark; `#### Step 2` and `#### 2. Then ...` are headings."""
    line = following.split("\n", 1)[0].rpartition("=")[2]
    for match, value in _numbers(line):
        heading = any(map(str.isalpha, line[: match.start()])) or _HEADING.match(line, match.end())
        return None if heading else value
    return None


def _up_to_brace(text: str) -> str:
    """What stands before the brace that closes an opened one."""
    depth = 1
    for place, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:place]
    return text


SECONDS = 3.0
"""For one verdict of math_equal: reading and comparing."""


def math_equal(prompt: str, response: str, answer: object) -> float | None:
    """1 if the response's final expression equals the reference answer's in value, else 0, by math-verify.

    The reference is one expression in LaTeX or plain, or a text that ends in `#### <expression>`; of a response the
    library takes what is boxed, else the last expression. None where the reference holds no expression, or where
    there is no telling in time. The time limit is an alarm signal: RuntimeError outside the main thread.
    """
    try:
        import math_verify.grader
        import math_verify.parser  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError.of("math-verify", "math") from None
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("math_equal limits its time by an alarm signal, which only a main thread gets")
    # It warns that its own time limit is off.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    spoken = without_thoughts(response)
    try:
        with _limited(SECONDS):
            references = _references(str(answer))
            if not references:
                return None
            expressions = () if isinstance(spoken, Unparsable) else _expressions(spoken)
            return float(any(_equal(*pair) for pair in product(references, expressions)))
    except _TimeIsUp:
        return None


class _TimeIsUp(BaseException):
    """No Exception, since the library catches those."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raises _TimeIsUp inside after so many seconds, and once more every second.

    The library's own limit rings once, and is lost where that happens in a callback of the garbage collector, which
    lets no exception out.
    """
    is_over = False

    def ring(number: int, frame: FrameType | None) -> None:
        if not is_over:
            raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        try:
            yield
        finally:
            is_over = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@lru_cache(maxsize=1024)
def _references(answer: str) -> tuple[Any, ...]:
    expression = answer.rpartition("####")[2].strip()
    marked = not expression or "\\boxed" in expression or "$" in expression.replace("\\$", "")
    return _expressions(expression if marked else f"\\boxed{{{expression}}}")


def _expressions(text: str) -> tuple[Any, ...]:
    """What a text's final expression can be read as."""
    from math_verify.parser import parse

    try:
        return tuple(parse(text, parsing_timeout=0, raise_on_error=True))
    except Exception:
        # Whatever the parser stumbles over in a model's text.
        return ()


def _equal(reference: Any, expression: Any) -> bool:
    from math_verify.grader import verify

    try:
        return bool(verify(reference, expression, timeout_seconds=0, raise_on_error=True))
    except Exception:
        # sympy raises what it runs into: ValueError at 1/0, KeyError at x != 2. Equal they are not.
        return False
