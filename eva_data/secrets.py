"""Keeps the values of secret environment variables out of everything that is written; servers and libraries quote them.

A variable is secret by its name, or because the settings name it as the variable of a key (`watch`). Its value is read
when a text is redacted, and it is kept nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SHOWN = "***"
"""What stands in the place of a secret."""
SHORTEST = 8
"""Characters. A shorter value, such as `EMPTY` for a server without keys, is a word and not a secret."""
WATCHED = "EVA_DATA_SECRET_VARIABLES"
"""A variable that names further secret variables, so that child processes know them too."""

_SECRET_ENDS = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_CREDENTIALS")


def watch(names: Iterable[str]) -> None:
    """Count these variables as secret from now on, in this process and its children."""
    os.environ[WATCHED] = " ".join(sorted({*_watched(), *names}))


def secret_names() -> set[str]:
    """Names of the watched variables, and of the variables that have a secret name."""
    return {*_watched(), *(name for name in os.environ if name.upper().endswith(_SECRET_ENDS))}


def secret_values(names: Iterable[str] = ()) -> list[str]:
    """Values of the named variables, the watched variables, and the variables with secret names; the longest first."""
    values = {os.environ.get(name, "") for name in {*names, *secret_names()}}
    return sorted(filter(_is_secret, values), key=lambda value: (-len(value), value))


def redact(text: str, names: Iterable[str] = ()) -> str:
    """The text with `***` in the place of every secret value."""
    return _without(text, secret_values(names))


def redacted(value: Any) -> Any:
    """Plain values, such as JSON holds, with every text in them redacted; other values stay as they are."""
    secrets = secret_values()
    return _each_without(value, secrets) if secrets else value


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, SHOWN)
    return text


def _each_without(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        return _without(value, secrets)
    if isinstance(value, dict):
        return {_each_without(key, secrets): _each_without(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_each_without(item, secrets) for item in value]
    return value


def redact_file(path: Path) -> None:
    """Redact a text file in place; a file without a secret is not written."""
    content = path.read_bytes()
    clean = content
    for value in secret_values():
        clean = clean.replace(value.encode(), SHOWN.encode())
    if clean != content:
        with path.open("rb+") as file:
            file.write(clean)
            file.truncate()


def _watched() -> list[str]:
    return os.environ.get(WATCHED, "").split()


def _is_secret(value: str) -> bool:
    # A variable such as SSL_KEY may name a file. The path is not a secret, and it stands in many places.
    return len(value) >= SHORTEST and not Path(value[:255]).exists()
