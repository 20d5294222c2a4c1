"""Reads keys of paid servers from the environment and keeps them out of everything that is written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from eva_data.errors import ConfigError
from eva_data.secrets import SHOWN, secret_values


def read_key(variable: str | None, model: str) -> str | None:
    """The key in an environment variable; None if no variable is named.

    Raise ConfigError if the variable is not set.
    """
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise ConfigError(
            f"the environment variable {variable}, which holds the key of `{model}`, is not set: export it, or name "
            "another in `api_key_env`"
        )
    return key


def redactor(*keys: str | None) -> Callable[[str], str]:
    """A function that takes the keys, and every other secret of the environment, out of a text.

    Every message of a server or a library goes through it before it is kept or shown, because servers quote keys in
    their answers. A value of letters alone counts as a key only if the variable's name clearly says that it is one.
    """
    found = {*secret_values(), *filter(None, keys)}
    if not found:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(secret) for secret in sorted(found, key=len, reverse=True)))
    return lambda text: pattern.sub(SHOWN, text)


def without_keys(text: str, key: str | None) -> str:
    """The text without the key and without any other key in the environment."""
    return redactor(key)(text)


def key_headers(key: str | None) -> dict[str, str]:
    """The headers of a request that a key signs; none without a key."""
    return {"Authorization": f"Bearer {key}"} if key else {}
