"""Every error that eva-data raises on purpose.

    EvaError
    ├── ConfigError       a setting is unknown, contradictory or out of range
    │   └── ForeignCodeError  a manifest names a function that the user's settings do not name
    ├── DataError         a table, seeds file or published revision is not what its contract says
    ├── ModelError        a model, tokenizer or chat template cannot do what is asked of it
    ├── EndpointError     a server refuses the key or the model, or does nothing but fail
    ├── HubError          the Hub refuses, cannot be reached, or holds something else than it should
    ├── ReviewError       the Argilla server refuses, cannot be reached, or holds something else than it should
    ├── BudgetError       the next call could cost more than the budget allows
    ├── JobError          a child process died, stalled or returned other rows than it was asked for
    ├── AcceptanceError   a trained solver is outside the bounds that the user set
    ├── LockedError       another build holds this folder
    ├── StaleError        what exists was made with another config, or something needed is missing
    └── MissingExtraError an optional dependency is not installed

A message says what was found, what was expected and what to do. The command line prints it and exits
with status 1; every other exception is a defect and keeps its traceback.
"""

from __future__ import annotations


class EvaError(Exception):
    """Base of all errors whose message is meant for the user."""


class ConfigError(EvaError):
    """A setting is unknown, contradictory or out of range."""


class ForeignCodeError(ConfigError):
    """A manifest names a function that the user's settings do not name, so it is not loaded."""


class DataError(EvaError):
    """A table, seeds file or published revision is not what its contract says."""


class ModelError(EvaError):
    """A model, tokenizer or chat template cannot do what is asked of it."""


class EndpointError(EvaError):
    """A server refuses the key or the model, or does nothing but fail."""


class HubError(EvaError):
    """The Hub refuses, cannot be reached, or holds something else than it should."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status of the Hub's answer; None if it did not answer."""


class ReviewError(EvaError):
    """The Argilla server refuses, cannot be reached, or holds something else than it should."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status of the server's answer; None if it did not answer."""


class BudgetError(EvaError):
    """The next call could cost more than the budget allows; everything paid so far is kept."""


class JobError(EvaError):
    """A child process died, stalled or returned other rows than it was asked for."""


class AcceptanceError(EvaError):
    """A trained solver is outside the bounds that the user set."""


class LockedError(EvaError):
    """Another build holds this folder."""


class StaleError(EvaError):
    """What exists was made with another config, or something needed is missing."""


class MissingExtraError(EvaError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtraError:
        """The error that names the extra by which the package is installed."""
        return cls(
            f"this needs the package `{package}` of the extra `{extra}`, which is not installed: install it with "
            f"`pip install '.[{extra}]'` in a clone of eva-data, or `pip install 'eva-data[{extra}]'` from an index"
        )
