"""The page of results: one section per sweep file, with what came out beside what the source reports.

docs/results/<sweep>/summary.json     the design that was played, its hash, and the command
docs/results/<sweep>/outcomes.csv     the outcome of every arm and seed
docs/results/<sweep>/iterations.csv   what every iteration made

`eva-data sweep` writes all three. Everything on the page is computed from them, so a result that is added there changes
the page, and a number that is changed there changes its verdict.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import polars as pl
from pydantic import ValidationError

from eva_data.errors import DataError
from eva_data.experiments.arms import OUTCOMES_FILE
from eva_data.experiments.design import SWEEPS, Design, read_sweep
from eva_data.experiments.gold import EXAMPLES, GOLD_FILE
from eva_data.experiments.outcomes import MADE, OUTCOMES
from eva_data.experiments.verdicts import Contrast, compare, is_descriptive, smallest_p
from eva_data.experiments.written import (
    MADE_FILE,
    SUMMARY_FILE,
    arm_rows,
    arms_in_words,
    arms_table,
    ends,
    outcome_in_words,
    points,
    table,
)

Verdict = Literal[
    "opposite",
    "not distinguishable",
    "equivalent within a margin",
    "reproduced",
    "better",
    "worse",
    "higher",
    "lower",
    "descriptive only",
    "not run",
]
"""In the order in which they are listed: what does not reproduce comes first."""

_HEAD = """# Results

<!-- docs/generate.py writes this file from the sweep files and from docs/results/: run `make docs`. -->

One section per ready sweep, whatever came out, and what does not reproduce first. A sweep is played by its command. Its
`summary.json`, `outcomes.csv` and `iterations.csv` are copied to `docs/results/<sweep>/`; this page is computed from
them. [Sweeps](sweeps.md) says how arms are compared. The numbers of the paper are facts about other models and another
benchmark: only their order is compared, and they came without intervals.

| verdict | what it says |
|---|---|
| reproduced | significant after Holm's correction, and in the order that the source reports |
| opposite | significant, and in the other order |
| equivalent within a margin | surely apart by less than the margin that was named beforehand |
| not distinguishable | neither of these: this many seeds could not tell |
| better, worse, higher, lower | significant, where the source reports no order; the first arm against the second |
| descriptive only | so few seeds that no result could have been significant |
| not run | nobody has played it |
"""


_FILE = pl.Schema([*OUTCOMES.items(), ("theta", pl.Int32())])


@dataclass(frozen=True)
class Played:
    """The result of a sweep, as it lies in a folder."""

    design: Design
    command: str
    values: pl.DataFrame
    """OUTCOMES at the end of every arm and seed."""
    before: pl.DataFrame
    """OUTCOMES at the start."""
    made: pl.DataFrame


def summary(design: Design, command: Sequence[str], *, failed: int) -> dict[str, object]:
    """What `summary.json` says of a sweep; `failed` plays are left out of its tables."""
    return {
        "sha256": design.digest,
        "design": design.model_dump(mode="json"),
        "command": shlex.join(command),
        "failed": failed,
    }


def read_result(folder: Path) -> Played | None:
    """The result in a folder; None without a `summary.json`. Raise DataError if its files do not belong together."""
    path = folder / SUMMARY_FILE
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        design, command, digest = Design.model_validate(said["design"]), str(said["command"]), said["sha256"]
    except (ValueError, KeyError, TypeError, ValidationError):
        raise DataError(f"{path} is no summary of a sweep: copy the file that `eva-data sweep` wrote") from None
    if design.digest != digest:
        raise DataError(f"{path}: the hash is not that of the design: copy the file that `eva-data sweep` wrote")
    outcomes = _read(folder / OUTCOMES_FILE, _FILE)
    unknown = sorted(set(outcomes["arm"]) - set(design.arms))
    if unknown:
        raise DataError(f"{folder / OUTCOMES_FILE} has the arm `{unknown[0]}`, which the design does not name")
    made = _read(folder / MADE_FILE, MADE)
    values = outcomes.filter(pl.col("theta") > 0).drop("theta")
    return Played(design, command, values, outcomes.filter(pl.col("theta") == 0).drop("theta"), made)


def _read(path: Path, schema: pl.Schema) -> pl.DataFrame:
    try:
        found = pl.read_csv(path, schema_overrides=schema)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: copy all three files of a sweep") from None
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if set(found.columns) != set(schema):
        raise DataError(f"{path} has the columns {', '.join(found.columns)}, expected {', '.join(schema)}")
    return found.select(list(schema))


def against_source(design: Design, contrast: Contrast) -> Verdict:
    """The verdict on a comparison: its own word, or whether the order is that of the source."""
    reported = reported_difference(design, contrast.first, contrast.second)
    if contrast.word == "equivalent":
        return "equivalent within a margin"
    if contrast.word not in ("better", "worse") or not reported:
        return contrast.word
    return "reproduced" if (contrast.word == "better") == (reported > 0) else "opposite"


def reported_difference(design: Design, first: str, second: str) -> float | None:
    """First minus second, in the units of the source; None if it does not report both."""
    if first not in design.published or second not in design.published:
        return None
    return design.published[first] - design.published[second]


def results_page(results: Path) -> str:
    """The page, from the ready sweeps and the results in a folder."""
    ready = {path.stem: read_sweep(path.stem).design for path in sorted(SWEEPS.glob("*.yaml"))}
    played = {name: read_result(results / name) for name in ready}
    others = sorted(path.parent.name for path in results.glob(f"*/{SUMMARY_FILE}") if path.parent.name not in ready)
    for name in others:
        played[name] = read_result(results / name)
    verdicts = {name: _verdicts(found) for name, found in played.items()}
    names = sorted(played, key=lambda name: (_rank(verdicts[name]), _place(name)))
    overview = [
        [f"[`{name}`](#{name})", _design(name, ready, played).question, _counted([word for word, _ in verdicts[name]])]
        for name in names
    ]
    lines = [_HEAD, *table(["sweep", "question", "verdicts"], overview), ""]
    for name in names:
        lines += _section(name, _design(name, ready, played), played[name], ready.get(name))
    if (results / GOLD_FILE).exists():
        lines += _gold(pl.read_csv(results / GOLD_FILE))
    return "\n".join(lines).rstrip() + "\n"


def _gold(rows: pl.DataFrame) -> list[str]:
    """What supervision of theta_0 reaches, from the rows of `experiments.gold`."""
    means = rows.group_by("depth").agg(pl.col("before", "after").mean(), pl.col("seed").n_unique()).sort("depth")
    columns = ["held-out puzzles of depth", "theta_0, %", "taught, %", "seeds"]
    shown = [
        [str(row["depth"]), points(row["before"]), points(row["after"]), str(row["seed"])]
        for row in means.iter_rows(named=True)
    ]
    return [
        "## Right answers instead of a game",
        "",
        f"theta_0 of the world `steps` is taught the right answers to {EXAMPLES:,} puzzles of depth 3, at the learning",
        "rate, the epochs and the batch of the recipe `sandbox_steps`. No prompt evolves, and the solver's own answers",
        "are not used.",
        "",
        *table(columns, shown),
        "",
        "```bash",
        "python -m eva_data.experiments.gold eva_data/sandbox/model_steps --out docs/results/gold.csv",
        "```",
        "",
    ]


def _place(name: str) -> tuple[str, int]:
    """Tables and figures by their number, everything else by name."""
    word, _, number = name.partition("-")
    return (word, int(number)) if number.isdigit() else (name, 0)


def _rank(verdicts: Sequence[tuple[Verdict, Contrast]]) -> int:
    """The place of the first verdict among all; sweeps that were not played go last."""
    return get_args(Verdict).index(verdicts[0][0] if verdicts else "not run")


def _design(name: str, ready: dict[str, Design], played: dict[str, Played | None]) -> Design:
    found = played[name]
    return ready[name] if found is None else found.design


def _verdicts(played: Played | None) -> list[tuple[Verdict, Contrast]]:
    """What does not reproduce first; else in the order of the file."""
    if played is None:
        return []
    found = [(against_source(played.design, each), each) for each in compare(played.design, played.values)]
    return sorted(found, key=lambda pair: get_args(Verdict).index(pair[0]))


def _counted(words: Sequence[Verdict]) -> str:
    return ", ".join(f"{count} {word}" for word, count in Counter(words).items()) or "not run"


def _section(name: str, design: Design, played: Played | None, ready: Design | None) -> list[str]:
    lines = [f"## {name}", "", design.question, "", f"{outcome_in_words(design)}{_margin(design)}", ""]
    lines += [_reported(design), ""]
    if played is None:
        lines += [*table(["arm", "how it is played"], [list(pair) for pair in arms_in_words(design).items()]), ""]
        lines += ["```bash", f"eva-data sweep {name} --jobs 2", "```", "", f"Verdict: not run. {_planned(design)}", ""]
        return lines
    if ready is not None and ready.digest != design.digest:
        lines += ["It was played by an earlier version of the file, which `summary.json` holds.", ""]
    columns, rows = arm_rows(design, arms_table(design, played.values, played.before), played.made)
    lines += [*table(columns, rows), "", "```bash", played.command, "```", ""]
    verdicts = _verdicts(played)
    columns = ["comparison", "the source", "here", "95 % interval", "p (Holm)", "seeds", "verdict"]
    lines += [*table(columns, [_compared(design, word, each) for word, each in verdicts]), ""]
    return [*lines, *(f"- {each.sentence}" for _, each in verdicts), ""]


def _compared(design: Design, word: Verdict, each: Contrast) -> list[str]:
    reported = reported_difference(design, each.first, each.second)
    interval = each.interval
    return [
        f"{each.first} - {each.second}",
        "-" if reported is None else f"{reported:+z.1f}",
        points(each.difference, signed=True),
        ends(interval.low, interval.high, signed=True) if interval else "-",
        "-" if each.p is None else f"{each.p:z.4f}",
        str(each.seeds),
        word,
    ]


def _margin(design: Design) -> str:
    return f" Equivalent means a difference below {100 * design.margin:g} of 100." if design.margin else ""


def _reported(design: Design) -> str:
    """The order that the source reports, in a sentence."""
    if not design.published:
        return f"{design.source or 'The paper'} gives no numbers for these arms."
    order = sorted(design.published.items(), key=lambda pair: -pair[1])
    return f"{design.source}: {', '.join(f'{arm} {value:g}' for arm, value in order)} ({design.published_as})."


def _planned(design: Design) -> str:
    seeds, comparisons = design.seeds, len(design.compare)
    smallest = smallest_p(seeds, comparisons)
    many = f"{len(design.arms)} arms, {seeds} seeds and {comparisons} comparison{'s' if comparisons != 1 else ''}"
    if is_descriptive(seeds, comparisons):
        return f"Of {many}, it would be descriptive only: no p value could be below {smallest:z.2g}."
    return f"With {many}, the smallest p value that it can give is {smallest:z.2g}."
