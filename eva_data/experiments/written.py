"""Writes what a sweep came to: tables as files, a report in Markdown, and one page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from eva_data.experiments.arms import OUTCOMES_FILE, Ended
from eva_data.experiments.design import Design
from eva_data.experiments.verdicts import FEWEST_SEEDS, Contrast, Spread
from eva_data.files import write_parquet, write_text
from eva_data.report.page.charts import chart
from eva_data.report.page.parts import Alarm, Charts, Part, Section, Table, Words
from eva_data.report.page.render import page
from eva_data.statistics.differences import t_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORES_FILE = "scores.parquet"
MADE_FILE = "iterations.csv"
SUMMARY_FILE = "summary.json"


def write_tables(folder: Path, scores: pl.DataFrame, values: pl.DataFrame, made: pl.DataFrame) -> None:
    """Write the score of every prompt, the outcome of every arm and seed, and the counts of every iteration."""
    write_parquet(folder / SCORES_FILE, scores.to_arrow())
    write_text(folder / OUTCOMES_FILE, values.write_csv())
    write_text(folder / MADE_FILE, made.write_csv())


def arms_table(design: Design, values: pl.DataFrame, before: pl.DataFrame) -> list[dict[str, object]]:
    """One record per arm, in the order of the file: seeds, mean outcome, its interval, and theta_0's outcome.

    Numbers are in the units of the score. The interval is None for fewer than five seeds.
    """
    records: list[dict[str, object]] = []
    for arm in design.arms:
        found = values.filter(pl.col("arm") == arm)["value"].to_numpy()
        start = before.filter(pl.col("arm") == arm)["value"]
        interval = t_interval(found) if found.size >= FEWEST_SEEDS else None
        records.append(
            {
                "arm": arm,
                "seeds": int(found.size),
                "mean": float(found.mean()) if found.size else None,
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "theta_0": start.mean(),
                "published": design.published.get(arm),
            }
        )
    return records


def markdown(
    design: Design,
    command: Sequence[str],
    arms: Sequence[dict[str, object]],
    made: pl.DataFrame,
    verdicts: Sequence[Contrast],
    spreads: Sequence[Spread | None],
    failed: Sequence[Ended],
) -> str:
    """The report as Markdown: question, command, arms, differences and what went wrong."""
    lines = [f"# {design.name}", "", design.question, ""]
    lines += [f"{outcome_in_words(design)}{f' Published: {design.source}.' if design.source else ''}", ""]
    lines += ["```bash", shlex.join(command), "```", ""]
    columns, rows = arm_rows(design, arms, made)
    lines += [*table(columns, rows), ""]
    columns, rows = _verdict_rows(verdicts, spreads)
    lines += [*table(columns, rows), "", *(f"- {verdict.sentence}" for verdict in verdicts), ""]
    lines += [_explained(design), ""]
    lines += [f"- {each.play.arm}, seed {each.play.seed}, was not played to the end: {each.error}" for each in failed]
    return "\n".join(lines).rstrip() + "\n"


def outcome_in_words(design: Design) -> str:
    """What is compared, in a sentence."""
    category = f", {design.primary.category}" if design.primary.category else ""
    last = "the last theta" if design.arm_iterations or design.online else f"theta_{design.iterations}"
    what = {
        "score": f"the mean score of {last} on the set {design.primary.set}{category}",
        "regret": "the mean difference of best and mean reward of a prompt's responses, over the last prompt set",
        "reward": "the mean reward over the last prompt set",
        "unpaired": "the share of the prompts of the last prompt set that gave no pair",
        "diversity": "the mean distance, by words, of a prompt of the last prompt set to the nearest of another seed",
    }
    return f"Outcome, named before the first arm ran: {what[design.primary.measure]}."


def measure_in_words(design: Design) -> str:
    """The heading of the outcome."""
    return f"{design.primary.measure}, %"


def start_in_words(design: Design) -> str:
    """The heading of the outcome at the start."""
    return "theta_0, %" if design.primary.measure == "score" else "iteration 1, %"


def arms_in_words(design: Design) -> dict[str, str]:
    """Arm -> how it is played, where this is not `run` with the sweep's iterations, and its settings."""
    words = {}
    for arm, own in design.arms.items():
        played = f"{' '.join(design.played_by(arm))}; " if arm in design.online or arm in design.arm_iterations else ""
        words[arm] = played + (" ".join(own) or "the shared settings")
    return words


def html(
    design: Design,
    arms: Sequence[dict[str, object]],
    values: pl.DataFrame,
    made: pl.DataFrame,
    verdicts: Sequence[Contrast],
    spreads: Sequence[Spread | None],
    failed: Sequence[Ended],
) -> str:
    """The report as one page that loads nothing."""
    parts: list[Part] = [
        Alarm(f"{e.play.arm}, seed {e.play.seed}, was not played to the end: {e.error}") for e in failed
    ]
    parts += [Words(verdict.sentence) for verdict in verdicts]
    drawn = chart(
        "arms",
        f"Each dot is one seed, the line is the mean of an arm; the dotted line is {start_in_words(design)[:-3]}.",
        _dots(values, arms, measure_in_words(design)),
    )
    parts.append(Charts((drawn,)))
    columns, rows = arm_rows(design, arms, made)
    parts.append(Table(tuple(columns), tuple(map(tuple, rows))))
    outcome = Section("outcome", "What came out", outcome_in_words(design), tuple(parts))
    columns, rows = _verdict_rows(verdicts, spreads)
    compared = Section(
        "differences", "Differences", _explained(design), (Table(tuple(columns), tuple(map(tuple, rows))),)
    )
    settings = Section(
        "arms",
        "Arms",
        f"All arms share the settings of {Path(design.config).name}"
        + (f" and {', '.join(design.set)}." if design.set else "."),
        (Table(("arm", "settings"), tuple(arms_in_words(design).items())),),
    )
    return page("report.html.jinja", title=design.name, lead=design.question, sections=[outcome, compared, settings])


def _dots(values: pl.DataFrame, arms: Sequence[dict[str, object]], measure: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        from eva_data.report.page.charts import SERIES

        for place, record in enumerate(arms):
            found = 100 * values.filter(pl.col("arm") == record["arm"])["value"].to_numpy()
            axes.plot([place] * len(found), found, "o", color=SERIES[0], markersize=4, alpha=0.7)
            if len(found):
                axes.plot([place - 0.25, place + 0.25], [found.mean()] * 2, color=SERIES[0], linewidth=2)
        starts = [100 * float(record["theta_0"]) for record in arms if record["theta_0"] is not None]  # type: ignore[arg-type]
        if starts:
            axes.axhline(sum(starts) / len(starts), color=SERIES[0], linewidth=1, linestyle=":")
        axes.set_xticks(range(len(arms)), [str(record["arm"]) for record in arms])
        axes.set_xlim(-0.6, len(arms) - 0.4)
        axes.set_ylabel(measure)

    return draw


def arm_rows(
    design: Design, arms: Sequence[dict[str, object]], made: pl.DataFrame
) -> tuple[list[str], list[list[str]]]:
    """The arms as a table: its columns, and one row per arm."""
    columns = ["arm", "seeds", measure_in_words(design), "95 % interval", start_in_words(design), "pairs per seed"]
    if design.published:
        columns.append(design.published_as or "published")
    pairs = dict(made.group_by("arm").agg(pl.col("pairs").sum() / pl.col("seed").n_unique()).iter_rows())
    rows = []
    for record in arms:
        mean, low, high, start = (record[name] for name in ("mean", "low", "high", "theta_0"))
        row = [str(record["arm"]), str(record["seeds"]), points(mean), ends(low, high), points(start)]
        row.append(f"{pairs[record['arm']]:z,.0f}" if record["arm"] in pairs else "-")
        if design.published:
            row.append("-" if record["published"] is None else f"{record['published']:g}")
        rows.append(row)
    return columns, rows


def _verdict_rows(verdicts: Sequence[Contrast], spreads: Sequence[Spread | None]) -> tuple[list[str], list[list[str]]]:
    columns = ["comparison", "seeds", "difference", "95 % interval", "p (Holm)", "p (equivalence)"]
    columns += ["visible at 80 %", "SD: seeds, prompts", "verdict"]
    rows = []
    for verdict, found in zip(verdicts, spreads, strict=True):
        interval = verdict.interval
        rows.append(
            [
                f"{verdict.first} - {verdict.second}",
                str(verdict.seeds),
                points(verdict.difference, signed=True),
                ends(interval.low, interval.high, signed=True) if interval else "-",
                "-" if verdict.p is None else f"{verdict.p:z.4f}",
                "-" if verdict.equivalence is None else f"{verdict.equivalence:z.4f}",
                points(verdict.visible),
                "-" if found is None else f"{100 * found.seeds:z.2f}, {100 * found.prompts:z.2f}",
                verdict.word,
            ]
        )
    return columns, rows


def _explained(design: Design) -> str:
    margin = (
        f" Equivalent means: surely less than {100 * design.margin:g} points apart (two one-sided t tests)."
        if design.margin
        else ""
    )
    return (
        "Differences are paired by seed, in points; the interval is Student's and needs five seeds, p is of exact sign "
        f"flips after Holm's correction over {len(design.compare)} comparisons.{margin}"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def points(value: object, *, signed: bool = False) -> str:
    """A share or a difference in points of a hundred; a dash for None."""
    return "-" if value is None else f"{100 * float(value):{'+' if signed else ''}.1f}"  # type: ignore[arg-type]


def ends(low: object, high: object, *, signed: bool = False) -> str:
    """An interval in points of a hundred; a dash for None."""
    return "-" if low is None else f"{points(low, signed=signed)} to {points(high, signed=signed)}"
