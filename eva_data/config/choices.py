"""Settings whose choices stand elsewhere: in a registry of this package, or in a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from eva_data.own_code import is_own

_PACKAGE = Path(__file__).parent.parent

OWN_FUNCTION = "my_module:function"
"""How a user's own function is named."""


@dataclass(frozen=True)
class OneOf:
    """Marks a text as one of `names`, or as the name of a user's own function."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        check: Callable[[str], str] = self._checked
        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        own = {"type": "string", "pattern": ".+:.+", "description": f"`{OWN_FUNCTION}`"}
        return {"anyOf": [{"enum": list(self.names)}, own]}

    def _checked(self, value: str) -> str:
        place, _, function = value.rpartition(":")
        if value in self.names or (is_own(value) and place and function):
            return value
        raise PydanticCustomError(
            "one_of",
            "expected one of {names}, or a function of your own as {own}",
            {"names": _listed(self.names), "own": f"`{OWN_FUNCTION}`"},
        )


def modules_of(folder: str) -> tuple[str, ...]:
    """The names of the modules in a folder of this package, sorted. The folder is the registry of the choices.

    Nothing is imported. A module whose name begins with `_` is not a choice.
    """
    files = (_PACKAGE / folder).glob("[!_]*.py")
    return tuple(sorted(file.stem for file in files))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
