"""No text of a server, a model, a dataset or a reviewer controls the terminal of the real command, piped or not."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sandbox_runs import command
from serving import Quiet, serving
from small_store import SETTINGS, small_store

import eva_data.cli
from eva_data.cli.text.progress import ConsoleReporter
from eva_data.cli.text.terminal import Terminal

KINDS = {
    "ESC": "\x1b[31m",
    "OSC": "\x1b]0;ours\x07",
    "C1": "\x9b2J",
    "NUL": "\x00",
    "carriage return": "\rError: not ours",
    "bidi": "\u202eoverride\u2066",
    "tags": "\U000e0041",
}
HOSTILE = "<" + "".join(f"{kind}:{text}" for kind, text in KINDS.items()) + "[bold]mark[/nothing] :fire:>"
ESCAPED = (
    "<ESC:\\x1b[31mOSC:\\x1b]0;ours\\x07C1:\\x9b2JNUL:\\x00carriage return:\\x0dError: not oursbidi:\\u202eoverride"
    "\\u2066tags:\\U000e0041[bold]mark[/nothing] :fire:>"
)
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\??\d*[hlKAG]|\r")
"""What rich itself writes to a terminal: colours, the cursor, lines written anew."""


def piped(line: list[str], folder: Path, **environment: str) -> tuple[int, str]:
    """The status, and standard output and error in one text."""
    done = subprocess.run(
        line,
        cwd=folder,
        env=os.environ | {"COLUMNS": "400"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout.decode()


def in_terminal(line: list[str], folder: Path, **environment: str) -> tuple[int, str]:
    """Like `piped`, in a pseudo-terminal."""
    parent, child = pty.openpty()
    settings = os.environ | {"COLUMNS": "400", "TERM": "xterm-256color"} | environment
    process = subprocess.Popen(line, cwd=folder, env=settings, stdin=child, stdout=child, stderr=child)
    os.close(child)
    told = b""
    while True:
        if not select.select([parent], [], [], 300)[0]:
            process.kill()
            raise AssertionError(told)
        try:
            part = os.read(parent, 65536)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        told += part
    os.close(parent)
    return process.wait(), told.decode().replace("\r\n", "\n")


def assert_inert(told: str, *, terminal: bool, escaped: str = ESCAPED) -> None:
    """Fail if a part of HOSTILE acts or cannot be read."""
    assert escaped in OURS.sub("", told) if terminal else escaped in told
    left = OURS.sub("", told) if terminal else told
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]", left)
    for text in ("\x1b[31m", "\x1b]0;", "\x9b", "\x00", "🔥"):
        assert text not in told


@pytest.fixture(params=[False, True], ids=["piped", "in a terminal"])
def terminal(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def run(terminal: bool, folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """The command line for the small dataset of a folder, with its eva.yaml."""
    settings = ("--config", str(folder / "eva.yaml"))
    (folder / "eva.yaml").write_text(yaml.safe_dump(SETTINGS))
    line = command(folder / "small", *arguments, settings=settings)
    return (in_terminal if terminal else piped)(line, folder, **environment)


@pytest.mark.slow
def test_show_prints_prompts_and_responses_of_others_as_text(tmp_path: Path, terminal: bool) -> None:
    small_store(tmp_path / "small", evolved=f"Say {HOSTILE}", chosen=f"chosen {HOSTILE}", rejected="bad\nNote: ours")
    status, told = run(terminal, tmp_path, "show", "--iter", "2")
    assert status == 0, told
    assert_inert(told, terminal=terminal)
    assert OURS.sub("", told).count(ESCAPED) == 2
    assert "    | Note: ours" in OURS.sub("", told)


@pytest.mark.slow
def test_show_cuts_long_texts_unless_all_is_asked_for(tmp_path: Path) -> None:
    lines = "\n".join(f"line {number}" for number in range(100))
    small_store(tmp_path / "small", evolved=f"Say {'x' * 2000}.", chosen="y" * 3000, rejected=lines)
    _, told = run(False, tmp_path, "show", "--iter", "2")
    assert "x" * 501 not in told and "y" * 501 not in told and "line 12" not in told and "line 11" in told
    assert "(2,005 characters in all, `--full` prints them)" in told
    assert "(3,000 characters in all, `--full` prints them)" in told
    _, told = run(False, tmp_path, "show", "--iter", "2", "--full")
    assert "x" * 2000 in told and "y" * 3000 in told and "    | line 99\n" in told
    assert "characters in all" not in told


def change_manifest(folder: Path, iteration: int, **fields: Any) -> None:
    path = folder / "manifests" / f"iter_{iteration}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.slow
def test_status_and_verify_print_what_a_foreign_dataset_says_as_text(tmp_path: Path, terminal: bool) -> None:
    folder = small_store(tmp_path / "small").folder
    files = json.loads((folder / "manifests" / "iter_1.json").read_text())["files"]
    entry = {"sha256": "0" * 64, "rows": 0, "bytes": 0}
    change_manifest(folder, 1, files=files | {f"rejects/{HOSTILE}.parquet": entry})
    # A file's name that no manifest may hold is cut.
    cut = ESCAPED.partition("tags:")[0]
    status, told = run(terminal, tmp_path, "status")
    assert status == 0, told
    assert_inert(told, terminal=terminal, escaped=cut)
    status, told = run(terminal, tmp_path, "verify", "--iter", "1")
    assert status == 1
    assert_inert(told, terminal=terminal, escaped=cut)


class _Hostile(Quiet):
    """A server that refuses every request with a hostile text."""

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"error": {"message": HOSTILE}, "detail": HOSTILE}, ensure_ascii=False).encode()
        if "version" in self.path:
            body = json.dumps({"version": HOSTILE}).encode()
        self.send_response(200 if "version" in self.path else 400)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Error-Message", "ESC:\x1b[31m C1:\x9b")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_HEAD = _refuse


@pytest.fixture
def hostile() -> Iterator[str]:
    with serving(_Hostile) as address:
        yield address


def acts(told: str, *, terminal: bool) -> list[str]:
    left = OURS.sub("", told) if terminal else told
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", left)


@pytest.mark.slow
def test_the_refusals_of_servers_are_printed_as_text(tmp_path: Path, terminal: bool, hostile: str) -> None:
    small_store(tmp_path / "small")
    argilla = {"ARGILLA_API_URL": hostile, "ARGILLA_API_KEY": "a.key"}
    hub = {"HF_ENDPOINT": hostile, "HF_TOKEN": "hf_abc", "HF_HUB_OFFLINE": "0"}
    for arguments, environment in (
        (("review", "push", "--iter", "2"), argilla),
        (("review", "status"), argilla),
        (("publish", "--iter", "2", "--repo", "alice/game"), hub),
        (("verify", "alice/game", "--iter", "2"), hub),
    ):
        status, told = run(terminal, tmp_path, *arguments, **environment)
        assert status == 1 and "Error: " in told, told
        assert acts(told, terminal=terminal) == [], told
        assert "Traceback" not in told
    model = ("--set", "solver={backend: api, model: some-model, base_url: '" + hostile + "/v1', responses: 2}")
    status, told = run(terminal, tmp_path, "build", "--iter", "1", *model, "--set", f"name={tmp_path.name}")
    assert acts(told, terminal=terminal) == [], told


@pytest.mark.slow
def test_debug_prints_the_traceback_and_no_other_run_does(tmp_path: Path, terminal: bool) -> None:
    missing = ("--config", f"no{HOSTILE.replace(chr(0), '')}.yaml")
    for debug in ([], ["--debug"]):
        line = [sys.executable, "-m", "eva_data.cli", *debug, "status", *missing]
        status, told = (in_terminal if terminal else piped)(line, tmp_path)
        assert status == 1
        assert ("Traceback (most recent call last)" in told) == bool(debug), told
        assert ("eva_data.errors.ConfigError: " in told) == bool(debug)
        assert "NoneType: None" not in told
        assert "Error: " in told and acts(told, terminal=terminal) == []


DEFECT = """
import sys
from eva_data.cli import main
import eva_data.cli.options
import eva_data.config.reading
def load_config(*_):
    raise RuntimeError(sys.argv.pop())
eva_data.config.reading.load_config = load_config
main(["status"])
"""


@pytest.mark.slow
def test_an_error_that_nobody_foresaw_keeps_its_traceback_and_acts_no_more(tmp_path: Path, terminal: bool) -> None:
    line = [sys.executable, "-c", DEFECT, HOSTILE.replace("\0", "\\x00")]
    status, told = (in_terminal if terminal else piped)(line, tmp_path)
    assert status == 1 and "Traceback (most recent call last)" in told
    assert_inert(told, terminal=terminal)


def test_notes_labels_and_what_was_heard_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter()
    reporter.note(f"{HOSTILE}\nError: not ours")
    reporter.stage(HOSTILE, 1)(0, 2)
    reporter.waiting("training")(1.0, HOSTILE)
    told = capsys.readouterr().err
    # The last 120 characters of what was heard.
    assert told.count(ESCAPED) >= 2 and ESCAPED[-80:] in told.splitlines()[-1]
    assert acts(told, terminal=False) == []
    assert "\n  Error: not ours\n" in told


def test_a_console_takes_markup_and_emoji_of_a_string_as_text() -> None:
    assert Terminal().render_str("[red]a[/] :fire: \x1b[1m", highlight=False).plain == "[red]a[/] :fire: \\x1b[1m"


def test_every_command_prints_through_the_two_that_make_text_inert() -> None:
    """A new command that prints in another way fails this test."""
    folder = Path(eva_data.cli.__file__).parent
    found = []
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in ("print", "click.echo", "click.secho", "Console", "Text.from_markup"):
                    found.append((path.name, name))
    assert found == [("say.py", "click.echo")]


@pytest.mark.slow
def test_a_reader_that_has_ended_ends_the_command_without_a_word(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "eva_data.cli", "explain"]
    done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
