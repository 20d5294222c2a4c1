"""Plays every arm once per seed, each in a folder of its own, over one ledger.

<folder>/design.json              what the sweep asks, with its hash, written before the first arm begins
<folder>/ledger.sqlite            every finished call of all arms, unless another ledger is named
<folder>/<arm>/seed_<n>/          a dataset like any other
<folder>/logs/<arm>_<n>.log       what its commands wrote
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eva_data.errors import DataError, StaleError
from eva_data.experiments.design import Design, Sweep
from eva_data.files import write_json
from eva_data.ledger import Ledger
from eva_data.supervise import Supervised, ending, last_lines

DESIGN = "design.json"
LEDGER = "ledger.sqlite"
OUTCOMES_FILE = "outcomes.csv"
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Play:
    """One arm with one seed."""

    arm: str
    seed: int

    def folder(self, sweep_folder: Path) -> Path:
        return sweep_folder / self.arm / f"seed_{self.seed}"

    def dataset(self, design: Design, sweep_folder: Path) -> Path:
        """The folder of the dataset that is evaluated; `eva-data online` appends the algorithm."""
        folder = self.folder(sweep_folder)
        return folder.with_name(folder.name + design.suffix(self.arm))

    def log(self, sweep_folder: Path) -> Path:
        return sweep_folder / "logs" / f"{self.arm}_{self.seed}.log"


@dataclass(frozen=True)
class Ended:
    """How a play ended."""

    play: Play
    seconds: float
    """Since its commands were started; 0 if there was nothing left to do."""
    error: str | None
    """The last words of a command that failed; None for a play that is complete."""


def plays_of(sweep: Sweep) -> tuple[Play, ...]:
    """All plays, seed by seed, so that the early ones compare all arms."""
    return tuple(Play(arm, seed) for seed in sweep.design.seed_numbers for arm in sweep.design.arms)


def begin(sweep: Sweep, folder: Path, ledger: Path) -> None:
    """Write the design to the folder and to the ledger. Raise StaleError if the folder holds another sweep."""
    path = folder / DESIGN
    design = sweep.design
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["sha256"]
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path} is damaged: restore it, or begin the sweep in another `--folder`") from None
        if found != design.digest:
            raise StaleError(
                f"{folder} was begun with another design: arms, seeds, comparisons and outcome are fixed before the "
                "first arm runs, so bring the sweep file back as it was, or name another `--folder`"
            )
    folder.mkdir(parents=True, exist_ok=True)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with Ledger(ledger) as opened:
        opened.register(f"sweep {design.name}", design.digest, json.dumps(design.model_dump(mode="json")))
    write_json(path, {"sha256": design.digest, "design": design.model_dump(mode="json")})


def take_over(sweep: Sweep, folder: Path, plays: Sequence[Play], other: Path) -> list[Play]:
    """Copy the plays that another sweep has finished with the same settings, seed and commands; return them.

    `other` is that sweep's folder. Plays that have begun here stay. The commands of a copied play run as for any other,
    and refuse it if it is not what the settings say. Raise DataError if there is no finished sweep in `other`.
    """
    try:
        design = Design.model_validate(json.loads((other / DESIGN).read_text(encoding="utf-8"))["design"])
        done = pl.read_csv(other / OUTCOMES_FILE).filter(pl.col("theta") > 0).select("arm", "seed").rows()
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"`--take-over` is {other}, which holds no finished sweep ({type(error).__name__}): name a sweep's folder"
        ) from None
    if design.config != sweep.design.config:
        return []
    theirs = Sweep(design=design, config=sweep.config, place=sweep.place)
    taken = []
    for play in plays:
        same = [arm for arm in design.arms if (arm, play.seed) in done and _plays_alike(sweep, play.arm, theirs, arm)]
        if same and not play.folder(folder).exists():
            there = Play(same[0], play.seed)
            for source, target in {
                (there.folder(other), play.folder(folder)),
                (there.dataset(design, other), play.dataset(sweep.design, folder)),
            }:
                if source.exists():
                    _copy_whole(source, target)
            taken.append(play)
    return taken


def _plays_alike(ours: Sweep, arm: str, theirs: Sweep, other: str) -> bool:
    """Whether an arm of another sweep plays and is evaluated as one of ours is."""
    first, second = ours.design, theirs.design
    commands = (first.played_by(arm), first.evaluated_by(arm)), (second.played_by(other), second.evaluated_by(other))
    return commands[0] == commands[1] and ours.load(arm) == theirs.load(other)


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a folder, so that it is there as a whole or not at all."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, part, symlinks=True)
    part.rename(target)


def play_all(
    sweep: Sweep,
    folder: Path,
    plays: Sequence[Play],
    *,
    ledger: Path,
    jobs: int,
    budget: float | None,
    ended: Callable[[Ended], None],
) -> list[Ended]:
    """Play all of them, `jobs` at a time, and return how each ended, in the order of `plays`.

    A play that fails does not stop the others. After a kill or Ctrl-C, the same call goes on where it was.
    """
    waiting, found = list(plays), dict[Play, Ended]()
    with ExitStack() as stack:
        running: list[_Running] = []
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(stack.enter_context(_Running(sweep, folder, ledger, waiting.pop(0), budget)))
            for each in [each for each in running if not each.goes_on()]:
                running.remove(each)
                found[each.play] = each.ended()
                ended(found[each.play])
            if running:
                time.sleep(_POLL_SECONDS)
    return [found[play] for play in plays]


class _Running:
    """The commands of a play, one after the other."""

    def __init__(self, sweep: Sweep, folder: Path, ledger: Path, play: Play, budget: float | None) -> None:
        self.play = play
        self._log = play.log(folder.resolve())
        self._commands = _commands(sweep, folder.resolve(), ledger.resolve(), play, budget)
        self._process: Supervised | None = None
        self._error: str | None = None
        self._started = time.monotonic()
        self._where = sweep.place

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()

    def goes_on(self) -> bool:
        """Start the next command when the last one has ended well; False when nothing is left to do."""
        status = 0
        if self._process is not None:
            found = self._process.poll()
            if found is None:
                return True
            self._process.stop()
            status = found
        if status != 0:
            self._error = last_lines(self._log, 1) or f"it {ending(status)} and wrote nothing"
            return False
        command = next(self._commands, None)
        if command is None:
            return False
        self._process = Supervised(command, log=self._log, cwd=self._where)
        return True

    def ended(self) -> Ended:
        return Ended(self.play, time.monotonic() - self._started, self._error)


def _commands(sweep: Sweep, folder: Path, ledger: Path, play: Play, budget: float | None) -> Iterator[list[str]]:
    """Play up to the last theta, then evaluate theta_0 and the last theta on the outcome's set."""
    design = sweep.design
    for command, suffix in ((design.played_by(play.arm), ""), (design.evaluated_by(play.arm), design.suffix(play.arm))):
        settings = sweep.settings(play.arm, play.seed, play.folder(folder), ledger, suffix)
        shared = ["--config", str(sweep.config), *(part for line in settings for part in ("--set", line))]
        if budget is not None:
            shared += ["--budget", str(budget)]
        if command:
            yield [sys.executable, "-m", "eva_data.cli", *command, *shared]
