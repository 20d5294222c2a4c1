"""Prints the lines and errors of the commands, so that no text of others can control the terminal."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from types import TracebackType

import click

from eva_data.foreign import shown

_enders: list[Callable[[], None]] = []


def end_before_printing(end: Callable[[], None]) -> None:
    """Call `end` once, before anything else is printed or the command ends: it takes a live display away."""
    _enders.append(end)


def end_displays() -> None:
    """End every live display, so that what is printed next stays on the screen."""
    while _enders:
        _enders.pop()()


def say(text: str, *, err: bool = False) -> None:
    """Print a text with its control characters as escapes."""
    end_displays()
    click.echo(shown(text), err=err)


def sentence(text: str) -> str:
    """The text as one message. Its further lines are indented, so that none can pose as a message of its own."""
    return text.replace("\r\n", "\n").replace("\n", "\n  ")


def say_traceback(error: BaseException) -> None:
    """Print an error with its traceback to standard error, as `python` does."""
    say("".join(traceback.format_exception(error)).rstrip("\n"), err=True)


def print_defect(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    """The `sys.excepthook` while a command runs, since the text of an unexpected error may quote others too."""
    say_traceback(error)
