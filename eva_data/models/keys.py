"""Keys of paid servers: read from the environment where they are used, and kept out of everything that is written."""

from __future__ import annotations

import os

from eva_data.errors import ConfigError


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


def without_keys(text: str, key: str | None) -> str:
    """The text without the key, and without any other in the environment: servers and libraries quote them."""
    found = {key} if key else set()
    found |= {
        value for name, value in os.environ.items() if len(value) >= 8 and name.endswith(("_KEY", "_TOKEN", "_SECRET"))
    }
    for secret in sorted(found, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
