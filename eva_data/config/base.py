"""The base of every block of the settings, and the mark of the fields that do not change what is built.

What a key can do beyond setting a value (run code, read a path, send requests) is marked in `config.marks`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

from eva_data.config.introduced import INTRODUCED, RECORDED, RENAMED

_EXECUTION = "execution"
Execution: dict[str, Any] = {_EXECUTION: True}
"""`json_schema_extra` of a field that does not change what is built."""


class Settings(BaseModel):
    """Base of every block: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        protected_namespaces=(),
        populate_by_name=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _as_of_its_time(cls, values: Any, info: ValidationInfo) -> Any:
        """Read old names of keys, and give every key that a manifest lacks the meaning that it had at that time."""
        if not isinstance(values, Mapping):
            return values
        renamed = {old: new for old, new in RENAMED.get(cls.__name__, {}).items() if old in values}
        for old, new in renamed.items():
            warnings.warn(
                f"the key `{old}` is called `{new}` now: rename it, the old name will go", FutureWarning, stacklevel=2
            )
        values = {renamed.get(key, key): value for key, value in values.items()}
        if info.context and info.context.get(RECORDED):
            values = dict(INTRODUCED.get(cls.__name__, {})) | values
        return values

    def data(self) -> dict[str, Any]:
        """The fields that change what is built, as plain values, for a manifest."""
        return self._data(whole=True)

    def identity(self) -> dict[str, Any]:
        """The same without later keys at their earlier meaning; fingerprints and keys of the ledger hash this."""
        return self._data(whole=False)

    def _data(self, *, whole: bool) -> dict[str, Any]:
        earlier = {} if whole else INTRODUCED.get(type(self).__name__, {})
        values: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if (field.json_schema_extra or {}) == Execution:
                continue
            value = getattr(self, name)
            if isinstance(value, Settings):
                value = value._data(whole=whole)
            elif isinstance(value, tuple):
                value = [item._data(whole=whole) if isinstance(item, Settings) else item for item in value]
            value = str(value) if isinstance(value, Path) else value
            if name not in earlier or value != earlier[name]:
                values[name] = value
        return values
