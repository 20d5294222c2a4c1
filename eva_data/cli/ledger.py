"""`eva-data ledger`: what the ledger holds, and how it is copied, merged and made smaller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eva_data.cli.options import config_options, look_at, reporter
from eva_data.cli.output import report, reports

if TYPE_CHECKING:
    from eva_data.calls import StageProgress
    from eva_data.ledger import Ledger
    from eva_data.ledger.segments import Transferred


@click.group()
def ledger() -> None:
    """Look at the ledger of finished calls, copy it as segments, merge others into it, or make it smaller.

    \b
    eva-data ledger stats
    eva-data ledger export segments/     # only what the folder does not hold yet
    eva-data ledger import segments/     # what other ledgers have exported there

    A ledger is an SQLite file, which is safe on a local disk alone. To share one between machines, or to keep it where
    jobs lose their disk, export it after every stage and import it at the beginning.
    """


@ledger.command()
@reports("file", "bytes", "completions", "rewards", "repeated", "prompt_tokens", "completion_tokens", "bills", "in_use")
@config_options
def stats(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Say how many calls the ledger holds, what they cost, and which jobs use it."""
    from eva_data.cli.text.ledgers import print_stats
    from eva_data.ledger.owners import living

    with _opened(config_path, overrides) as opened:
        totals, bills, use = opened.totals(), opened.bills(), living(opened)
    size = _bytes(opened.path)
    report(
        lambda: print_stats(opened.path, size, totals, bills, use),
        file=opened.path,
        bytes=size,
        completions=totals["generations"],
        **{name: number for name, number in totals.items() if name != "generations"},
        bills=bills,
        in_use=[{"stage": stage, "pid": pid} for stage, pid in use],
    )


@ledger.command()
@reports("file", "bytes_before", "bytes")
@config_options
def vacuum(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Compress the texts that an older version kept plain, and give what the ledger does not need back to the disk.

    No job may use it meanwhile. It needs as much free space as the ledger has bytes, and the same again for temporary
    files, and says so at once if there is less. It is safe to repeat after a kill.
    """
    from eva_data.errors import DataError
    from eva_data.ledger.owners import living
    from eva_data.ledger.shrinking import vacuum as shrink

    with _opened(config_path, overrides) as opened:
        before = _bytes(opened.path)
        if alive := living(opened):
            stage, pid = alive[0]
            raise DataError(
                f"the stage {stage} of process {pid} uses the ledger {opened.path}: wait for it, or end it, and repeat"
            )
        tell = _telling("vacuum, megabytes")
        shrink(opened, lambda done, total: tell(-(-done // 10**6), -(-total // 10**6)))
    after = _bytes(opened.path)
    said = f"{opened.path} has {after:,} bytes, before it had {before:,}."
    report(said, file=opened.path, bytes_before=before, bytes=after)


_MOVED = ("folder", "segments", "completions", "rewards", "bills")


@ledger.command()
@reports(*_MOVED)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@config_options
def export(folder: Path, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Write to FOLDER, as parquet segments, what it does not hold yet. Several ledgers may write to one folder.

    It is safe to repeat after a kill. The segments hold prompts' answers: keep them as private as the ledger.
    """
    from eva_data.ledger.segments import export_ledger

    with _opened(config_path, overrides) as opened:
        moved = export_ledger(opened, folder, _telling("export"))
    said = f"{folder} got {_counted(moved)} in {moved.segments:,} segments." if moved.segments else f"{folder} has all."
    report(said, folder=folder, **{name: getattr(moved, name) for name in _MOVED[1:]})


@ledger.command("import")
@reports(*_MOVED, "conflicting")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@config_options
def import_(folder: Path, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Add what other ledgers have exported to FOLDER, with what it cost. Nothing is added twice.

    A call that this ledger holds already keeps its answer. It is safe to repeat after a kill. Import only what you or
    your machines exported: a build takes the answers as its own models'.
    """
    from eva_data.ledger.segments import import_ledger

    with _opened(config_path, overrides) as opened:
        moved = import_ledger(opened, folder, _telling("import"))
    said = f"{opened.path} got {_counted(moved)} from {moved.segments:,} segments."
    if moved.conflicting:
        said += f" Note: {moved.conflicting:,} calls have another answer there; the one of this ledger is kept."
    report(said, folder=folder, **{name: getattr(moved, name) for name in (*_MOVED[1:], "conflicting")})


def _opened(config_path: Path | None, overrides: tuple[str, ...]) -> Ledger:
    from eva_data.errors import DataError
    from eva_data.ledger import Ledger

    path = look_at(config_path, overrides).ledger
    if not path.exists() and click.get_current_context().info_name != "import":
        raise DataError(f"there is no ledger {path} yet: `eva-data build --iter 1` makes one")
    return Ledger(path)


def _telling(name: str) -> Callable[[int, int], None]:
    """Shows how far a command is, once there is something to tell."""
    begun: list[StageProgress] = []

    def tell(done: int, total: int) -> None:
        begun[:] = begun or [reporter().stage(name, 0)]
        begun[0](done, total)

    return tell


def _bytes(path: Path) -> int:
    """The size of the file with its journals."""
    files = (path, Path(f"{path}-wal"), Path(f"{path}-shm"))
    return sum(file.stat().st_size for file in files if file.exists())


def _counted(moved: Transferred) -> str:
    return f"{moved.completions:,} completions, {moved.rewards:,} rewards and {moved.bills:,} bills"
