"""The command line. A command parses its options, calls one function, and prints where the result is."""

from __future__ import annotations

import io
import os
import re
import select
import sys
from typing import Any

import click

from eva_data import __version__
from eva_data.cli import hub, judge, look, measure, play, sweep
from eva_data.cli.ledger import ledger
from eva_data.cli.review import review
from eva_data.cli.say import end_displays, print_defect, say, say_traceback, sentence
from eva_data.errors import EvaError
from eva_data.secrets import redact

_DEBUG = "--debug"

INTERRUPTED = 130
"""The exit code after Ctrl-C, as of a process that the signal ended: 128 + SIGINT."""


class Commands(click.Group):
    """Prints an error that is meant for the user as one sentence. Every other error keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        sys.excepthook = print_defect
        # The clients of the Hub would print each of their retries. Our errors tell the result.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        for stream in (sys.stdout, sys.stderr):
            # A terminal or a file that is not UTF-8 gets an escape instead of a character that it cannot hold.
            if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except EvaError as error:
            raised: Exception = error
            message = str(error)
        except KeyboardInterrupt:
            say("\nInterrupted: what was finished is kept; repeat the command, and it goes on from there.", err=True)
            sys.exit(INTERRUPTED)
        except Exception as error:
            of_machine = _of_machine(error)
            if of_machine is None or _nobody_reads():
                # Click ends a command without a word when its reader, such as `head`, has ended.
                raise
            raised = error
            # The machine is at fault (no space, no permission, a file-size limit). Everything finished is kept.
            where = f" ({of_machine.filename})" if of_machine.filename else ""
            what = of_machine.strerror or of_machine
            message = f"{what}{where}; what was finished is kept: make room or mend it, then repeat"
        finally:
            end_displays()
        if ctx.params.get("debug"):
            say_traceback(raised)
        say(f"Error: {sentence(redact(message))}", err=True)
        sys.exit(1)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their whole first sentences."""
        commands = [(name, self.commands[name].get_short_help_str(limit=300)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(commands)


def _nobody_reads() -> bool:
    """Whether the standard output is a pipe whose reader has ended."""
    try:
        look = select.poll()
        look.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        # It is no file, as in a test or a notebook.
        return False
    return any(event & select.POLLERR for _, event in look.poll(0))


def _of_machine(error: Exception) -> OSError | None:
    """The error of the operating system behind an error; None if it is another one.

    Polars writes files by itself, and its errors name the system's by number alone.
    """
    if isinstance(error, OSError):
        return error
    number = re.search(r"\(os error (\d+)\)", str(error)) if type(error).__module__.startswith("polars.") else None
    return None if number is None else OSError(int(number[1]), os.strerror(int(number[1])))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(_DEBUG, is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__)
def main(debug: bool) -> None:
    """Grow a training curriculum for language models by creator/solver self-play.

    Each iteration picks the prompts whose responses differ most in reward and rewrites them. A model answers the new
    prompts, a reward scores the answers, and the best and the worst answer become a pair (arXiv 2411.00062). The result
    is a folder that `datasets.load_dataset` reads.

    \b
    Without an eva.yaml, everything runs in a small built-in sandbox, without a network, a key or a GPU:
        eva-data build --iter 2
    To start with your own prompts and model:
        eva-data init && $EDITOR eva.yaml && eva-data build --iter 1
    """


for command in (
    *(play.init, play.build, play.plan, play.preview, play.train, play.online, play.run),
    *(judge.evaluate, judge.export, measure.score, sweep.sweep),
    *(look.status, look.show, look.explain, look.report, look.verify, look.doctor),
    *(hub.publish, hub.pull),
    review,
    ledger,
):
    main.add_command(command)
