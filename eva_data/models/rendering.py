"""Renders conversations by a model's own chat template, within a time limit, since a stranger may have written it.

A template is a program. transformers runs it in a sandbox that keeps it from files and from Python, but not from
looping: two nested loops may take hours. So a rendering that takes too long is ended, in whichever thread it runs.
Only between two steps of Python can it be ended, so that a single step has a bound of its own: in this process the
sandbox of jinja refuses products of more than a template needs.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from jinja2 import Environment
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from eva_data.calls import Message
from eva_data.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LIMIT_SECONDS = 10.0
"""The longest time that a template may take for one conversation; a usual template takes a millisecond."""
_SECONDS_OF_MANY = 0.1
"""Seconds that each conversation beyond the first hundred adds to the limit, if many are rendered at once."""
_POLL_SECONDS = 0.1
_LARGEST = 1_000_000
"""Most bits of a number, or characters or items of a sequence, that one multiplication of a template may give."""


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, ask: bool = True) -> str:
    """A conversation as the model's chat template writes it. With `ask` it ends where the assistant begins to speak.

    Raise jinja2's TemplateError if the template refuses the conversation, and ModelError if the template takes too
    long or computes powers, which no time limit can end.
    """
    with bounded(tokenizer):
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask)
    assert isinstance(text, str)
    return text


@cache
def bound_every_rendering() -> None:
    """Bound all that this process renders by tokenizers of transformers: for programs whose libraries render."""
    from transformers import PreTrainedTokenizerBase

    rendering: Any = PreTrainedTokenizerBase.apply_chat_template

    @wraps(rendering)
    def apply_chat_template(self: PreTrainedTokenizerBase, conversation: Any, *more: Any, **named: Any) -> Any:
        many = len(conversation) > 0 and isinstance(conversation[0], list | tuple)
        with bounded(self, len(conversation) if many else 1):
            return rendering(self, conversation, *more, **named)

    setattr(PreTrainedTokenizerBase, rendering.__name__, apply_chat_template)


@contextmanager
def bounded(tokenizer: PreTrainedTokenizerBase, conversations: int = 1) -> Iterator[None]:
    """End a rendering in this context, and raise ModelError, once it takes longer than the limit."""
    seconds = max(LIMIT_SECONDS, _SECONDS_OF_MANY * conversations)
    name = f"the chat template of {PurePath(str(tokenizer.name_or_path)).name}"
    remedy = "use another model, or put a chat_template.jinja that you trust beside its tokenizer"
    templates = tokenizer.chat_template
    for template in templates.values() if isinstance(templates, dict) else (templates,):
        if isinstance(template, str) and "**" in template and _computes_powers(template):
            raise ModelError(f"{name} computes powers, which can take for ever: {remedy}")
    try:
        with _ended_after(seconds):
            yield
    except _TooLongError:
        of = "one conversation" if conversations == 1 else f"{conversations} conversations"
        raise ModelError(f"{name} took more than {seconds:g} s for {of}: {remedy}") from None


def _computes_powers(template: str) -> bool:
    try:
        return any(kind == "operator" and value == "**" for _, kind, value in Environment().lex(template))
    except TemplateError:
        # The rendering itself will say what is wrong.
        return False


def _product(left: Any, right: Any) -> Any:
    """What `*` is in a template: numbers grow until a single multiplication takes hours, in which nothing is ended."""
    if isinstance(left, int) and isinstance(right, int):
        size = left.bit_length() + right.bit_length()
    elif isinstance(left, int) and isinstance(right, Sized):
        size = left * len(right)
    elif isinstance(left, Sized) and isinstance(right, int):
        size = len(left) * right
    else:
        size = 0
    if size > _LARGEST:
        raise SecurityError(f"a multiplication gives more than {_LARGEST:,} bits, characters or items")
    return left * right


SandboxedEnvironment.intercepted_binops |= {"*"}
SandboxedEnvironment.default_binop_table["*"] = _product


class _TooLongError(Exception):
    """The time of this thread is up."""


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    thread = threading.get_ident()
    try:
        _watch.begin(thread, time.monotonic() + seconds)
        yield
    finally:
        _watch.end(thread)


class _Watch:
    """One thread that raises _TooLongError in other threads when their time is up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._deadlines: dict[int, float] = {}
        self._raised: set[int] = set()
        self._thread: threading.Thread | None = None

    def begin(self, thread: int, deadline: float) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="chat templates", daemon=True)
            self._thread.start()
        self._deadlines[thread] = deadline
        self._some.set()

    def end(self, thread: int) -> None:
        with self._lock:
            self._deadlines.pop(thread, None)
            if thread in self._raised:
                self._raised.discard(thread)
                # An error that was raised too late must not come up elsewhere.
                _raise_in(thread, None)

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(_POLL_SECONDS)
            with self._lock:
                now = time.monotonic()
                for thread in [thread for thread, deadline in self._deadlines.items() if deadline < now]:
                    del self._deadlines[thread]
                    self._raised.add(thread)
                    _raise_in(thread, _TooLongError)
                if not self._deadlines:
                    self._some.clear()


def _raise_in(thread: int, error: type[Exception] | None) -> None:
    """Raise an error in another thread before its next step in Python; None takes back an error not yet raised."""
    raised: Any = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


_watch = _Watch()


def _new_watch() -> None:
    global _watch
    _watch = _Watch()


# A fork copies this module, but not the thread.
os.register_at_fork(after_in_child=_new_watch)
