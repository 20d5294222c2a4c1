"""Everything that the README and the docs name exists, their snippets work, and the generated pages are current."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest
import yaml

from eva_data.cli import main
from eva_data.config import Config
from eva_data.config.reading import parse_config
from eva_data.evolve import Method
from eva_data.experiments.design import Design
from eva_data.tables.schemas import TABLES

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
PAGES = {
    str(path.relative_to(CHECKOUT)): path.read_text(encoding="utf-8")
    for path in (
        CHECKOUT / "README.md",
        CHECKOUT / "CONTRIBUTING.md",
        CHECKOUT / "AGENTS.md",
        CHECKOUT / "SECURITY.md",
        *sorted(DOCS.glob("*.md")),
    )
}
README = PAGES["README.md"]
MINIMAL: dict[str, Any] = {
    "name": "acme/minimal",
    "seeds": {"path": "prompts.parquet"},
    "solver": {"model": "sandbox"},
    "reward": {"function": "my_rewards:score"},
}
"""What a config says at least; a block on a page stands in the place of its own."""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[Any]:
    """All code blocks of a language, with their pages."""
    found = [(page, text) for page, whole in PAGES.items() for text in blocks(whole, language)]
    return [pytest.param(text, id=f"{page}-{number}") for number, (page, text) in enumerate(found)]


def command_lines(program: str) -> list[list[str]]:
    """The words after `program` in all shell blocks and in the examples of each command's help."""
    pages = [block for text in PAGES.values() for block in blocks(text, "bash")]
    helps = [
        line
        for block in blocks(PAGES["docs/commands.md"], "text")
        for line in re.findall(r"^ +(eva-data .*)", block, re.M)
    ]
    return [words for line in chain(helps, *(block.splitlines() for block in pages)) for words in runs(line, program)]


def runs(line: str, program: str) -> Iterator[list[str]]:
    """The words after `program`, for each run of it in a line of shell."""
    words = shlex.split(line, comments=True)
    while words:
        end = next((place for place, word in enumerate(words) if word in ("&&", "||", ";", "|")), len(words))
        simple, words = words[:end], words[end + 1 :]
        while simple and re.fullmatch(r"[A-Z_]+=.*", simple[0]):
            del simple[0]
        if simple[:1] == [program]:
            yield simple[1:]


def inline_commands() -> list[list[str]]:
    """The words after `eva-data` in inline code, placeholders included."""
    found: list[list[str]] = []
    for text in PAGES.values():
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        found += [code.split()[1:] for code in re.findall(r"`(eva-data [^`\n]+)`", prose)]
    return found


def called(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command of a command line (a subcommand if it is a group), and the words after it."""
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        name, *words = words
        assert name in command.commands, name
        command = command.commands[name]
    return command, words


def test_every_command_line_is_one_that_eva_data_accepts() -> None:
    lines = command_lines("eva-data")
    assert lines
    for words in lines:
        command, arguments = called(words)
        # Parses and checks every option and value, and runs nothing.
        command.make_context("eva-data", list(arguments))


def test_every_command_in_the_text_exists_with_its_options() -> None:
    found = inline_commands()
    assert found
    for words in found:
        command, arguments = called(words)
        options = {option for parameter in command.params for option in parameter.opts}
        for argument in arguments:
            assert not argument.startswith("--") or argument in options, f"eva-data {' '.join(words)}"


def test_every_command_has_an_example_and_explains_itself_and_its_options() -> None:
    shown = {called(words)[0] for words in command_lines("eva-data")}
    groups = [command for command in main.commands.values() if isinstance(command, click.Group)]
    inner = [pair for group in groups for pair in group.commands.items()]
    for name, command in [*main.commands.items(), *inner]:
        assert command in shown or command in groups or ["review", name] in inline_commands(), name
        assert command.get_short_help_str(), name
        for option in command.params:
            explained = isinstance(option, click.Argument) or (isinstance(option, click.Option) and option.help)
            assert explained, f"eva-data {name} {option.name}"


def test_every_make_target_in_the_docs_exists() -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    found = {target for target, *_ in command_lines("make")}
    found |= {target for text in PAGES.values() for target in re.findall(r"`make ([a-z-]+)[^`]*`", text)}
    assert {"demo", "test", "docs"} <= found <= targets


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_described_in_its_table_and_no_other(table: str) -> None:
    section = re.search(rf"^## `{table}`.*?(?=^## )", PAGES["docs/tables.md"], re.MULTILINE | re.DOTALL)
    assert section, f"docs/tables.md has no section on `{table}`"
    cells = re.findall(r"^\| (`.*?) \|", section[0], re.MULTILINE)
    documented = [column for cell in cells for column in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(TABLES[table])


@pytest.mark.parametrize("text", snippets("yaml"))
def test_every_yaml_block_is_a_config_or_blocks_of_one_or_a_sweep(text: str) -> None:
    values = yaml.safe_load(text)
    if "arms" in values:
        assert Design.model_validate(values).compare
        return
    if "name" not in values:
        values = MINIMAL | values
    assert isinstance(parse_config(values, "the page"), Config)


@pytest.mark.parametrize("text", snippets("python"))
def test_every_python_block_runs_or_loads_tables_and_splits_that_there_are(text: str) -> None:
    loads = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    loads = [node for node in loads if isinstance(node.func, ast.Name) and node.func.id == "load_dataset"]
    for call in loads:
        table, split = ast.literal_eval(call.args[1]), ast.literal_eval(call.keywords[0].value)
        assert table in TABLES
        assert call.keywords[0].arg == "split" and re.fullmatch(r"iter_\d+(\+iter_\d+)*", split)
    # tests/api/test_exports.py runs the examples of the Python face, as far as they ask no model.
    is_face = "ed." in text or "import eva_data as ed" in text or "DPOTrainer" in text
    # verifiers is not installed here.
    is_foreign = "import verifiers" in text
    if not loads and not is_face and not is_foreign:
        names: dict[str, Any] = {}
        exec(compile(text, "the page", "exec"), names)
        # The pages show a reward, a number for a response and None for an empty one; a method; signals; and a metric.
        if "score" in names:
            assert isinstance(names["score"]("Say hello.", "Hello."), float)
            assert names["score"]("Say hello.", "") is None
        elif "latin" in names:
            assert isinstance(names["latin"](), Method)
        elif "sums" in names:
            (strategy,) = names["sums"]().strategies
            assert strategy.compose("Add 3 and 4.", 0.25) == "Add 3 and 4 and 25."
            assert strategy.compose("Name a river.", 0.25) is None
        elif "signals" in names:
            assert names["signals"]["disagreement"].to_list() == pytest.approx([2 / 3])
        else:
            rewards = pl.DataFrame({"rewards": [[0.0, 1.0, 5.0]]})
            assert rewards.select(names["above_median"](pl.col("rewards"))).item() == 4.0


@pytest.mark.parametrize("text", snippets("json"))
def test_every_json_block_is_prompts_one_a_line(text: str) -> None:
    assert all(list(json.loads(line)) == ["prompt"] for line in text.splitlines())


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`", "", PAGES[page])):
        path, _, anchor = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        linked = (CHECKOUT / page).parent / path if path else CHECKOUT / page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings], (
                target
            )


def test_every_page_is_in_the_navigation() -> None:
    (nav,) = (yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"],)
    named = [page for page in re.findall(r"[\w-]+\.md", json.dumps(nav))]
    assert sorted(named) == sorted(path.name for path in DOCS.glob("*.md"))


@pytest.mark.slow
def test_the_generated_pages_are_current_and_an_old_one_is_named(tmp_path: Path) -> None:
    def check(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(folder / "generate.py"), "--check"]
        return subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)

    assert (check(DOCS).returncode, check(DOCS).stderr) == (0, "")
    older = shutil.copytree(DOCS, tmp_path / "docs")
    text = PAGES["docs/settings.md"].replace("| `seed` | integer, at least 0 | `42` |", "| `seed` | integer | `41` |")
    (older / "settings.md").write_text(text, encoding="utf-8")
    found = check(older)
    assert (found.returncode, found.stderr) == (1, "docs/settings.md is out of date: run `make docs`\n")


def test_the_notebook_is_kept_as_it_ran_and_holds_nothing_of_a_machine() -> None:
    text = (DOCS / "first-hour.ipynb").read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "display_data", "execute_result"}
    # No warning and no error: everything that was printed was meant.
    assert {output["name"] for output in outputs if output["output_type"] == "stream"} == {"stdout"}
    said = json.dumps([output for output in outputs if "image/png" not in output.get("data", {})])
    assert not re.search(r"/tmp|/home|/root|/work|\\u001b", said)
    # A figure, and the pairs of two iterations that `datasets` loads at the end.
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    assert re.search(r"\d+ pairs with prompt, chosen, rejected", "".join(outputs[-1]["text"]))


def test_the_pictures_of_the_readme_are_small_and_load_nothing() -> None:
    pictures = [CHECKOUT / name for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)]
    assert {"docs/build-live.svg", "docs/build-end.svg", "docs/show-page.png"} <= {
        str(path.relative_to(CHECKOUT)) for path in pictures
    }
    for path in pictures:
        assert path.stat().st_size < 200_000, path
        if path.suffix == ".svg":
            text = path.read_text(encoding="utf-8")
            assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("https://www.textualize.io", "")
    # The live lines and the next command, in the words of the terminal.
    for name, words in (("build-live.svg", "allstages"), ("build-end.svg", "Next:eva-data")):
        text = re.sub(r"<[^>]+>|&#160;|\s", "", (DOCS / name).read_text(encoding="utf-8"))
        assert words in text, name


def test_every_key_of_the_settings_has_a_meaning() -> None:
    rows = re.findall(r"^\| `\w+` \|.*$", PAGES["docs/settings.md"], re.MULTILINE)
    assert len(rows) > 100
    assert [row for row in rows if not row.removesuffix(" |").rpartition(" | ")[2].strip()] == []


def test_every_folder_is_named_in_the_architecture() -> None:
    named = re.findall(r"^\| `([\w./]+/)` \| \S", PAGES["docs/architecture.md"], re.MULTILINE)
    assert [folder for folder in named if not (CHECKOUT / folder).is_dir()] == []
    package = {path.parent for path in (CHECKOUT / "eva_data").rglob("*") if path.suffix in {".py", ".yaml"}}
    assert {f"{folder.relative_to(CHECKOUT)}/" for folder in package} - set(named) == set()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "AGENTS.md"])
def test_every_path_for_contributors_exists(page: str) -> None:
    paths = re.findall(r"`([\w.]+/[\w./]*)`", PAGES[page])
    assert paths
    assert [path for path in paths if not (CHECKOUT / path).exists()] == []


def test_the_citation_names_the_paper_and_its_authors() -> None:
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "license"} <= set(citation)
    paper = citation["references"][0]
    assert [author["family-names"] for author in paper["authors"]] == (
        ["Ye", "Agarwal", "Liu", "Joshi", "Velury", "Le", "Tan", "Liu"]
    )
    assert "2411.00062" in str(paper)
