"""Write the pages that follow from the code and from results.

docs/settings.md    from the settings' models
docs/commands.md    from the commands
docs/reasons.md     from the reasons that `eva-data explain` explains
docs/results.md     from the sweep files and the results in docs/results/
docs/notebook.md    from the cells and outputs of docs/first-hour.ipynb, with its pictures as docs/notebook-*.png

python docs/generate.py            # writes all of them
python docs/generate.py --check    # exits with 1 and names the file that is out of date
"""

from __future__ import annotations

import json
import re
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from eva_data.cli import main as eva_data
from eva_data.config import Config, Execution
from eva_data.config.choices import OWN_FUNCTION, OneOf
from eva_data.experiments.results import results_page
from eva_data.tables.reasons import GROUPS, REASONS

DOCS = Path(__file__).parent
WIDTH = 100
_BOUNDS = {
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "min_length": "at least {} of them",
}

_SETTINGS_HEAD = """# Settings

<!-- docs/generate.py writes this file: run `make docs` after a change of eva_data/config/. -->

These are all keys of `eva.yaml`. A key without a default must be given. An unknown key is an error.
`--set block.key=value` sets a key for one command.

The column *data* says what a key changes. **yes**: it changes what is built, and an iteration that was built with
another value is stale if the key counts for it; `eva-data status` names the key. **no**: it changes only how or where
the work is done.
"""

_COMMANDS_HEAD = """# Commands

<!-- docs/generate.py writes this file: run `make docs` after a change of eva_data/cli/. -->

Every command prints its part of this page with `--help`.
"""

_REASONS_HEAD = """# Reasons

<!-- docs/generate.py writes this file: run `make docs` after a change of eva_data/tables/reasons.py. -->

These are all reasons in the column `reason` of [`rejects`, `evolutions` and the other tables](tables.md). A reason may
have particulars after a colon, such as `contamination:gsm8k` or `call_failed: gave_up: HTTP 500`. `eva-data explain
REASON` prints the same sentences, and `eva-data explain` lists them all.
"""

_NOTEBOOK_HEAD = """<!-- docs/generate.py writes this file: run `make docs` after a change of docs/first-hour.ipynb. -->

The notebook is [first-hour.ipynb](first-hour.ipynb), and its table is [scored.jsonl](scored.jsonl).

"""


def settings_page() -> str:
    """Every block of the settings with its keys."""
    return "\n".join([_SETTINGS_HEAD, *(_section(block, places) for block, places in blocks().items())])


def blocks() -> dict[type[BaseModel], dict[str, bool]]:
    """Each block's model, the key paths where it may stand, and whether it changes what is built there."""
    found: dict[type[BaseModel], dict[str, bool]] = {}

    def visit(block: type[BaseModel], path: str, data: bool) -> None:
        places = found.setdefault(block, {})
        if path in places:
            return
        places[path] = data
        for key, field in block.model_fields.items():
            for inner in _models(field.annotation):
                below = f"{path}.{key}" if path else key
                visit(inner, f"{below}[]" if _is_list(field.annotation) else below, data and _is_data(field))

    visit(Config, "", True)
    return found


def _section(block: type[BaseModel], places: dict[str, bool]) -> str:
    rows = [_row(key, field, any(places.values())) for key, field in block.model_fields.items()]
    doc = " ".join((block.__doc__ or "").split())
    place = "" if block is Config else f"Stands at {', '.join(f'`{path}`' for path in sorted(places))}."
    text = "\n\n".join(part for part in (doc, place) if part)
    head = "| key | type | default | data | meaning |\n|---|---|---|---|---|"
    return f"## {title(block)}\n\n{text}\n\n{head}\n" + "\n".join(rows) + "\n"


def title(block: type[BaseModel]) -> str:
    """The heading of the block: its backend, or else the name of its class in words."""
    if block is Config:
        return "Top level"
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", block.__name__).lower()
    return f"Backend {backend}" if (backend := _backend(block)) else f"{words[0].upper()}{words[1:]}"


def meaning(key: str, field: FieldInfo) -> str:
    """The docstring under the field; what `backend` means is the same in every block."""
    if key == "backend":
        return "Tells this block from the other kinds of block at its place."
    return " ".join((field.description or "").split())


def _row(key: str, field: FieldInfo, block_is_data: bool) -> str:
    data = "yes" if block_is_data and _is_data(field) else "no"
    cells = (
        _choices(field) or type_text(field.annotation) + _bounds(field),
        _default(field),
        data,
        meaning(key, field),
    )
    return " | ".join([f"| `{key}`", *(cell.replace("|", "\\|") for cell in cells)]) + " |"


def _choices(field: FieldInfo) -> str:
    """What the key may be where a registry names it; empty elsewhere."""
    return " or ".join(
        f"`{name}`" for mark in field.metadata if isinstance(mark, OneOf) for name in (*mark.names, OWN_FUNCTION)
    )


def _is_data(field: FieldInfo) -> bool:
    return (field.json_schema_extra or {}) != Execution


def type_text(annotation: Any) -> str:
    """The type as a reader of YAML knows it; a block is a link to its section."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        kinds = [type_text(argument) for argument in arguments if argument is not NoneType]
        return " or ".join(kinds) + (" or null" if NoneType in arguments else "")
    if origin is tuple:
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        name = title(annotation)
        return f"[{name.removeprefix('Backend ').lower()}](#{anchor(name)})"
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return "path"
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[annotation]


def anchor(heading: str) -> str:
    """The id that GitHub and MkDocs both give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _bounds(field: FieldInfo) -> str:
    limits = [
        words.format(value)
        for bound in field.metadata
        for name, words in _BOUNDS.items()
        if (value := getattr(bound, name, None)) is not None
    ]
    return f", {', '.join(limits)}" if limits else ""


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is PydanticUndefined:
        return "must be given"
    if default is None:
        return "null"
    if isinstance(default, BaseModel):
        return "its own defaults"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if default == PurePath():
        return "see the meaning"
    if default in ((), {}, ""):
        return "empty"
    return f"`{default}`"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(_is_list(argument) for argument in get_args(annotation))


def _backend(block: type[BaseModel]) -> str | None:
    field = block.model_fields.get("backend")
    return str(get_args(field.annotation)[0]) if field else None


def commands_page() -> str:
    """The help of every command and of every command in a group."""
    sections = [f"## `{name}`\n\n```text\n{text}\n```\n" for name, text in helps(eva_data, "eva-data", None)]
    return "\n".join([_COMMANDS_HEAD, *sections])


def helps(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    """Full name and help text of a command and of all commands below it."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, parent=parent, info_name=name, **settings)
    yield context.command_path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from helps(command.commands[inner], inner, context)


def reasons_page() -> str:
    """Every reason with its meaning, in groups."""
    lines = [_REASONS_HEAD]
    for reason, meaning in REASONS.items():
        if reason in GROUPS:
            lines += ["", f"## {GROUPS[reason]}", "", "| reason | meaning |", "|---|---|"]
        lines.append(f"| `{reason}` | {meaning} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def sweeps_page() -> str:
    """Every sweep with its result, if there is one."""
    return results_page(DOCS / "results")


def notebook_page() -> str:
    """The notebook with its outputs, as a page."""
    parts, pictures = [], 0
    for cell in _cells():
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```py\n{source}\n```")
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                pictures += 1
                parts.append(f"![Output of the cell above](notebook-{pictures}.png)")
            else:
                said = "".join(output["text"] if "text" in output else output["data"]["text/plain"])
                parts.append(f"```text\n{said.rstrip()}\n```")
    title, _, rest = "\n\n".join(parts).partition("\n\n")
    return f"{title}\n\n{_NOTEBOOK_HEAD}{rest}\n"


def notebook_pictures() -> dict[str, bytes]:
    """The pictures of the notebook by the names of their files."""
    outputs = (output.get("data", {}) for cell in _cells() for output in cell.get("outputs", ()))
    pictures = [b64decode("".join(data["image/png"])) for data in outputs if "image/png" in data]
    return {f"notebook-{number}.png": picture for number, picture in enumerate(pictures, 1)}


def _cells() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads((DOCS / "first-hour.ipynb").read_text(encoding="utf-8"))["cells"]
    return cells


def pages() -> dict[str, bytes]:
    """The content of every generated file by its name."""
    texts = {
        "settings.md": settings_page,
        "commands.md": commands_page,
        "reasons.md": reasons_page,
        "results.md": sweeps_page,
        "notebook.md": notebook_page,
    }
    return {name: page().encode() for name, page in texts.items()} | notebook_pictures()


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check compare them; returns the exit status."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = {name: content for name, content in pages().items() if not _is_current(DOCS / name, content)}
    if arguments:
        for name in stale:
            print(f"docs/{name} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for name, content in stale.items():
        (DOCS / name).write_bytes(content)
        print(f"docs/{name} was written")
    return 0


def _is_current(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
