"""Ready verifiers that compare a response with a reference answer. Each gives 1 or 0.

None means that the reference cannot be read, or that the verifier cannot tell. It never means that a response is wrong.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from types import FrameType
from typing import Any

from eva_data.calls import Unparsable
from eva_data.errors import MissingExtraError
from eva_data.rewards.final_numbers import final_number
from eva_data.thoughts import without_thoughts

__all__ = ["final_number", "math_equal"]


SECONDS = 3.0
"""Time limit of math_equal for one verdict, reading and comparing together."""


def math_equal(prompt: str, response: str, answer: object) -> float | None:
    """1 if the response's final expression has the value of the reference answer, else 0, by math-verify.

    The reference is one expression in LaTeX or plain text, or a text that ends in `#### <expression>`. The library
    takes the boxed expression of a response, else the last expression. The result is None if the reference holds no
    expression, or if there is no result within the time limit. The limit is an alarm signal, so the function raises
    RuntimeError outside the main thread.
    """
    try:
        import math_verify.grader
        import math_verify.parser  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError.of("math-verify", "math") from None
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("math_equal limits its time by an alarm signal, which only a main thread gets")
    # The library would warn that its own time limit is off.
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
    """The time is up. It is not an Exception, since the library catches every Exception."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise _TimeIsUp in this context after `seconds`, and again every second.

    The library's own limit raises only once. It is lost if that happens in a callback of the garbage collector, which
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
    """The possible readings of a text's final expression."""
    from math_verify.parser import parse

    try:
        return tuple(parse(text, parsing_timeout=0, raise_on_error=True))
    except Exception:
        # The parser may raise anything on a model's text.
        return ()


def _equal(reference: Any, expression: Any) -> bool:
    from math_verify.grader import verify

    try:
        return bool(verify(reference, expression, timeout_seconds=0, raise_on_error=True))
    except Exception:
        # sympy may raise ValueError (1/0), KeyError (x != 2) and others. Such expressions are not equal.
        return False
