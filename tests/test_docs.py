"""What README and CONTRIBUTING name exists, and what exists is named there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import yaml

from eva_data.cli import main
from eva_data.config import Config
from eva_data.config.reading import parse_config
from eva_data.tables.schemas import TABLES

CHECKOUT = Path(__file__).parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCUMENTED = ("eva_data", "pipelines", "train", "cards", "benchmarks")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str, program: str) -> list[list[str]]:
    """The words after `program` in shell blocks and in inline code that starts with it."""
    lines = [line for block in blocks(text, "bash") for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    found = [re.search(rf"(?:^|=\S+ ){program} (.*)", line.partition("#")[0]) for line in lines + inline]
    return [match[1].split() for match in found if match]


def tree(text: str) -> dict[str, str]:
    """Path -> annotation of the file tree, whose folders are indented by two spaces per level."""
    (block,) = [block for block in blocks(text, "text") if "eva_data/" in block]
    paths: dict[str, str] = {}
    folders: list[str] = []
    for line in block.splitlines():
        indent, name, note = re.fullmatch(r"( *)(\S+) *(.*)", line).groups()  # type: ignore[union-attr]
        folders = folders[: len(indent) // 2]
        paths["".join(folders) + name] = note
        if name.endswith("/"):
            folders.append(name)
    return paths


def called(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a command line runs, one of a group perhaps, and the words after it."""
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        name, *words = words
        assert name in command.commands, name
        command = command.commands[name]
    return command, words


def test_every_eva_data_command_in_the_docs_exists_with_its_options() -> None:
    found = commands(README, "eva-data") + commands(CONTRIBUTING, "eva-data")
    assert found
    for words in found:
        command, arguments = called(words)
        options = {option for parameter in command.params for option in parameter.opts}
        for argument in arguments:
            assert not argument.startswith("--") or argument in options, f"eva-data {' '.join(words)}"


def test_every_command_is_in_the_readme_and_explains_itself_and_its_options() -> None:
    assert {name for name, *_ in commands(README, "eva-data")} == set(main.commands)
    groups = [command for command in main.commands.values() if isinstance(command, click.Group)]
    for name, command in [*main.commands.items(), *(pair for group in groups for pair in group.commands.items())]:
        assert command.get_short_help_str(), name
        for option in command.params:
            explained = isinstance(option, click.Argument) or (isinstance(option, click.Option) and option.help)
            assert explained, f"eva-data {name} {option.name}"


def test_every_make_target_in_the_docs_exists() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    found = {target for target, *_ in commands(README, "make") + commands(CONTRIBUTING, "make")}
    assert {"demo", "test"} <= found <= targets


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_in_its_table_of_the_readme_and_no_other(table: str) -> None:
    section = re.search(rf"^### `{table}`.*?(?=^##)", README, re.MULTILINE | re.DOTALL)
    assert section, f"the README has no section on `{table}`"
    cells = re.findall(r"^\| (`.*?) \|", section[0], re.MULTILINE)
    documented = [column for cell in cells for column in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(TABLES[table])


@pytest.mark.parametrize("text", blocks(README, "yaml"))
def test_every_config_in_the_readme_is_valid(text: str) -> None:
    assert isinstance(parse_config(yaml.safe_load(text), "README.md"), Config)


def test_the_readme_loads_tables_and_splits_that_there_are() -> None:
    calls = re.findall(r'load_dataset\("[^"]+", "(\w+)", split="([^"]+)"\)', README)
    assert calls
    for table, split in calls:
        assert table in TABLES
        assert re.fullmatch(r"iter_\d+(\+iter_\d+)*", split)


def test_the_file_tree_in_the_readme_is_the_one_that_is_there() -> None:
    listed = tree(README)
    assert [path for path in listed if not (CHECKOUT / path).exists()] == []
    scripts = [path for folder in DOCUMENTED for path in (CHECKOUT / folder).rglob("*.*")]
    there = {
        str(path.relative_to(CHECKOUT))
        for path in scripts
        if path.suffix in {".py", ".yaml", ".jinja"}
        and path.name != "__init__.py"
        and "eva_data/sandbox/model" not in str(path)
    }
    assert there - set(listed) == set()
    assert [path for path, note in listed.items() if not note] == []


def test_every_path_in_contributing_exists() -> None:
    paths = re.findall(r"`([\w.]+/[\w./]*)`", CONTRIBUTING)
    assert paths
    assert [path for path in paths if not (CHECKOUT / path).exists()] == []
