"""Prints the lines and errors of the commands, so that no text of others can control the terminal."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from types import TracebackType

import click

from eva_data.foreign import shown

_areas: list[Callable[[], None]] = []


def settled_by(settle: Callable[[], None]) -> None:
    """Call this function before anything is printed: it takes a live area off the terminal, or has nothing to do."""
    _areas.append(settle)


def settle() -> None:
    """Take every live area off the terminal, so that what is printed next stays there."""
    for each in _areas:
        each()


def say(text: str, *, err: bool = False) -> None:
    """Print a text with its control characters as escapes."""
    settle()
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
