"""Keys of paid servers: read from the environment where they are used, and kept out of everything that is written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from eva_data.errors import ConfigError
from eva_data.secrets import SHOWN, secret_values


def read_key(variable: str | None, model: str) -> str | None:
    """The key in an environment variable; None where no variable is named.

    Raises ConfigError where it is not set.
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


def redactor(key: str | None) -> Callable[[str], str]:
    """A function that takes the key, and every other secret of the environment, out of a text.

    Whatever a server or a library says goes through it before it is kept, named or shown: servers quote keys in their
    answers.
    """
    found = {*secret_values(), *([key] if key else [])}
    if not found:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(secret) for secret in sorted(found, key=len, reverse=True)))
    return lambda text: pattern.sub(SHOWN, text)


def without_keys(text: str, key: str | None) -> str:
    """The text without the key, and without any other in the environment."""
    return redactor(key)(text)
