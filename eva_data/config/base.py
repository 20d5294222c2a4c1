"""The base of every block of the settings, and the mark of the fields that do not change what is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

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
    )

    def data(self) -> dict[str, Any]:
        """The fields that change what is built, as plain values; what a stage's hash is taken of."""
        values: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if (field.json_schema_extra or {}) == Execution:
                continue
            value = getattr(self, name)
            if isinstance(value, Settings):
                value = value.data()
            elif isinstance(value, tuple):
                value = [item.data() if isinstance(item, Settings) else item for item in value]
            values[name] = str(value) if isinstance(value, Path) else value
        return values
