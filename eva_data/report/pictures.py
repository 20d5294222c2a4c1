"""Draws each picture from the binned tables of `distributions`, under a title that states what it shows.

The colours are by Okabe and Ito and can be distinguished with any colour vision. Outlines and filled bars in one
picture differ too, so colour is never the only difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from eva_data.foreign import visible
from eva_data.report.distributions import Axis, axis_of, correlations, grid, histogram
from eva_data.report.measures.evaluated import NO_SHARES, by_set, longest_lines, theta_lines, unit_of
from eva_data.tables.metrics import MEANING, column_of, meaning_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eva_data.dataset.evaluations import EvaluationRecord
    from eva_data.report.topics.subjects import Subjects

ROLES = {"evolved": "evolved", "carried": "carried over", "seed": "seeds"}
"""Kinds of prompts in words."""

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
ROLE_COLOURS = {"evolved": ORANGE, "carried": BLUE, "seed": GREEN}
_TOPIC_COLOURS = (BLUE, ORANGE, GREEN, "#A4508B", "#8A6508", "#2F7FB0", "#7A5195", "#8B5A2B", "#4B8B3B")
_LABELLED = 0.06
"""From this share on, a part of a bar has room for its number."""
_SMALL_BINS = 25
_FILL = 0.5


def metrics(figure: Figure, values: pl.LazyFrame, iteration: int) -> None:
    """As the paper's figure 9: the distribution of every metric, by kind of prompt."""
    prompts = dict(values.group_by("mix_role").len().collect().iter_rows())
    _title(figure, f"How informative the {sum(prompts.values()):,} prompts of iteration {iteration} are, by metric")
    shown = [name for name in MEANING if name != "uniform"]
    # The legend takes one place more.
    *places, last = figure.subplots(-(-(len(shown) + 1) // 4), 4).flat
    for axes in places[len(shown) :]:
        axes.set_axis_off()
    for name, axes in zip(shown, places, strict=False):
        axes.set_title(name, fontweight="bold", pad=14)
        axes.text(0, 1.02, MEANING[name], transform=axes.transAxes, fontsize=8.5, color="#404040")
        axes.tick_params(labelsize=8.5)
        axis = axis_of(values, name, _SMALL_BINS)
        if axis is None:
            _nothing(axes)
            continue
        counts = histogram(values, name, "mix_role", axis)
        for role, colour in ROLE_COLOURS.items():
            shares(axes, counts.filter(pl.col("mix_role") == role), axis, colour, fill=role != "evolved")
    for axes in places[::4]:
        axes.set_ylabel("share of its kind")
    _legend(last, prompts)


def agreement(figure: Figure, values: pl.LazyFrame, iteration: int) -> None:
    """As the paper's figure 10: a_min against the variance of the rewards."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.ticker import StrMethodFormatter

    rows, pearson, spearman = correlations(values, "a_min", "var")
    _title(
        figure,
        f"Iteration {iteration}: correlation of a_min and variance {_number(pearson)}, by rank {_number(spearman)}",
    )
    axes = figure.subplots()
    x, y = axis_of(values, "a_min"), axis_of(values, "var")
    if x is None or y is None:
        _nothing(axes)
        return
    counts = grid(values, "a_min", "var", (x, y))
    matrix = [[float("nan")] * x.bins for _ in range(y.bins)]
    for column, row, count in counts.iter_rows():
        matrix[row][column] = count
    # The palest quarter of the colours looks like the background.
    blues = ListedColormap([colormaps["YlGnBu"](shade / 255) for shade in range(64, 256)])
    most = max(counts["count"].to_list())
    drawn = axes.pcolormesh(x.edges, y.edges, matrix, cmap=blues, norm=LogNorm(1, max(most, 2)))
    figure.colorbar(drawn, ax=axes, label="prompts", format=StrMethodFormatter("{x:z,.0f}"))
    axes.set_title(f"{rows:,} prompts by the rewards of their answers")
    axes.set_xlabel(f"a_min: {MEANING['a_min']}")
    axes.set_ylabel(MEANING["var"])


def draw(figure: Figure, estimated: pl.LazyFrame, metric: str, iteration: int) -> None:
    """Where the prompts that were drawn for evolving lie among all of X_{t-1}."""
    column = column_of(metric)
    value, drawn = pl.col(column), pl.col("selected").fill_null(False)
    means = estimated.select(value.mean(), drawn=value.filter(drawn).mean(), all=pl.len(), chosen=drawn.sum())
    mean, mean_drawn, prompts, chosen = means.collect(engine="streaming").row(0)
    _title(
        figure,
        f"Iteration {iteration} evolved {chosen:,} of {prompts:,} prompts, with a mean {metric} of "
        f"{_number(mean_drawn)} where all have {_number(mean)}",
    )
    axes = figure.subplots()
    axis = axis_of(estimated, column)
    if axis is None:
        _nothing(axes)
        return
    counts = histogram(estimated.with_columns(drawn=drawn), column, "drawn", axis)
    everyone = counts.group_by("bin").agg(pl.col("count").sum())
    shares(axes, everyone, axis, BLUE, fill=True, label=f"all {prompts:,} prompts of iteration {iteration - 1}")
    shares(axes, counts.filter("drawn"), axis, ORANGE, fill=False, label=f"the {chosen:,} drawn for evolving")
    axes.set_xlabel(f"{metric}: {meaning_of(metric)}")
    axes.set_ylabel("share of each")
    axes.legend(frameon=False, loc="upper center")


def shift(figure: Figure, table: pl.DataFrame) -> None:
    """The change of rewards and lengths from iteration to iteration."""
    _title(
        figure,
        f"Medians by iteration: reward gap {_moves(table, 'reward_gap', '.2f')}, "
        f"prompt {_moves(table, 'prompt_characters', ',.0f')} characters",
    )
    gap, prompt, answer = figure.subplots(1, 3)
    boxes(gap, table, {"reward_gap": BLUE}, "Reward gap of the pairs", "chosen minus rejected")
    boxes(prompt, table, {"prompt_characters": BLUE}, "Prompt length", "characters")
    sides = {"chosen_characters": GREEN, "rejected_characters": ORANGE}
    boxes(answer, table, sides, "Answer length", "characters")
    figure.supxlabel(
        "box: middle half of the values; line: median; whiskers: 5 % to 95 %; dot: mean",
        fontsize=8.5,
        color="#404040",
    )


def topics(figure: Figure, found: Subjects | None) -> None:
    """As the paper's figure 6: shares of the numbered topics, and the effective number of prompts."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    _title(figure, "What the prompts are about, by topic, and how diverse they are")
    stack, line = figure.subplots(1, 2, width_ratios=(2, 1))
    if found is None:
        _nothing(stack)
        _nothing(line)
        return
    places = [str(iteration) for iteration in found.iterations]
    below = [0.0] * len(places)
    for number, colour in zip(range(len(found.topics.labels)), _TOPIC_COLOURS, strict=False):
        heights = [shares[number] for shares in found.shares]
        stack.bar(places, heights, bottom=below, color=colour, edgecolor="white", width=0.6)
        for place, (height, start) in enumerate(zip(heights, below, strict=True)):
            if height >= _LABELLED:
                middle = start + height / 2
                stack.text(place, middle, str(number + 1), ha="center", va="center", fontsize=8, color="white")
        below = [start + height for start, height in zip(below, heights, strict=True)]
    stack.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    stack.set_ylim(0, 1)
    stack.set_title("Shares of the topics, numbered as in the table")
    stack.set_xlabel("iteration")
    diverse = [(each.iteration, each.effective) for each in found.diversity if each.effective is not None]
    line.set_title("Effective number of prompts")
    line.set_xlabel("iteration")
    if not diverse:
        _nothing(line)
        return
    line.plot(*zip(*diverse, strict=True), color=BLUE, marker="o")
    line.set_ylim(0, 1.15 * max(value for _, value in diverse))
    line.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    line.set_xlim(diverse[0][0] - 0.5, diverse[-1][0] + 0.5)


def yields(figure: Figure, table: pl.DataFrame, metric: str) -> None:
    """What became of each strategy's attempts, and how informative its prompts are, in one iteration."""
    if table.is_empty():
        _title(figure, "Nothing was evolved")
        _nothing(figure.subplots())
        return
    _title(figure, f"What became of each strategy's attempts in iteration {table['iteration'][0]}")
    counts, means = figure.subplots(1, 2, width_ratios=(2, 1), sharey=True)
    rows = table.sort("attempts", "mutation", descending=[False, True]).to_dicts()
    names = [_short(row["mutation"]) for row in rows]
    places, below = range(len(rows)), [0] * len(rows)
    parts = {
        "in the prompt set": ([row["mixed"] for row in rows], BLUE, ""),
        "not needed": ([row["attempts"] - row["mixed"] - row["eliminated"] for row in rows], "#B8BDC6", ""),
        "eliminated": ([row["eliminated"] for row in rows], ORANGE, "///"),
    }
    for label, (widths, colour, hatch) in parts.items():
        counts.barh(places, widths, left=below, color=colour, hatch=hatch, edgecolor="white", height=0.7, label=label)
        below = [start + width for start, width in zip(below, widths, strict=True)]
    counts.set_yticks(places, names)
    counts.set_xlabel("attempts")
    counts.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8.5)
    known = [(place, row["mean"]) for place, row in enumerate(rows) if row["mean"] is not None]
    means.set_title(f"mean {metric if metric in MEANING else 'metric'}")
    if known:
        means.plot([value for _, value in known], [place for place, _ in known], color=BLUE, marker="o", linestyle="")
        means.set_xlim(min(0, *(value for _, value in known)), 1.1 * max(value for _, value in known) or 1)
    means.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.5)
    means.tick_params(axis="y", length=0)


def ratings(figure: Figure, table: pl.DataFrame) -> None:
    """As the paper's table 7: how complex and how good one model says that the prompts are, with 95 % intervals."""
    from matplotlib.ticker import MaxNLocator

    _title(figure, "How complex and how good the prompts of each iteration are, from 1 to 5, with 95 % intervals")
    for axes, aspect in zip(figure.subplots(1, 2), ("complexity", "quality"), strict=True):
        rows = table.filter(pl.col(aspect).is_not_null()).to_dicts()
        axes.set_title(aspect)
        axes.set_xlabel("iteration")
        if not rows:
            _nothing(axes)
            continue
        x, y = [row["iteration"] for row in rows], [row[aspect] for row in rows]
        errors = [row[f"{aspect}_error"] or 0.0 for row in rows]
        axes.errorbar(x, y, yerr=errors, color=BLUE, marker="o", markersize=5, capsize=3)
        axes.set_ylim(1, 5)
        axes.set_xlim(x[0] - 0.5, x[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))


MOST_SETS = 3
"""Sets that the picture of evaluations shows side by side; the table has all."""
SHORT = 30
"""Characters of a name in a picture."""


def evaluations(figure: Figure, record: EvaluationRecord) -> None:
    """How the solvers do on each set, theta by theta, with 95 % intervals."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    colours = (BLUE, ORANGE, GREEN)
    drawn = {
        name: (unit_of(made[0]), *longest_lines(made, len(colours)))
        for name, made in by_set(record).items()
        if theta_lines(made)
    }
    more = f", of {len(drawn)} sets the first {MOST_SETS}" if len(drawn) > MOST_SETS else ""
    _title(figure, f"How each solver does on prompts that none was trained on, with 95 % intervals{more}")
    places = list(drawn.items())[:MOST_SETS]
    for axes, (name, (unit, series, of_all)) in zip(
        figure.subplots(1, len(places), squeeze=False).flat, places, strict=True
    ):
        for (label, points), colour, marker in zip(series.items(), colours, "osD", strict=False):
            x, y = [point[0] for point in points], [point[1] for point in points]
            ends = [[point[1] - point[2] for point in points], [point[3] - point[1] for point in points]]
            style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5, "capsize": 3}
            axes.errorbar(x, y, yerr=ends, label=_short(label), **style)
        axes.set_title(f"{_short(name)}: {_short(unit)}{of_all}")
        axes.set_xlabel("theta")
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        thetas = [point[0] for points in series.values() for point in points]
        axes.set_xlim(min(thetas) - 0.5, max(thetas) + 0.5)
        if unit not in NO_SHARES:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        if unit == "win rate":
            axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle="--")
        if len(series) > 1 or "by itself" not in series:
            axes.legend(frameon=False, fontsize=8.5)


def _short(name: str) -> str:
    """The beginning of a name that somebody chose."""
    shown = visible(name)
    return shown if len(shown) <= SHORT else f"{shown[:SHORT]}…"


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")


def shares(axes: Axes, counts: pl.DataFrame, axis: Axis, colour: str, *, fill: bool, label: str = "") -> None:
    """The shares of one group's rows that lie in each bin, as bars or as an outline."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if counts.is_empty():
        return
    found, whole = dict(counts.select("bin", "count").iter_rows()), counts["count"].sum()
    heights = [found.get(place, 0) / whole for place in range(axis.bins)]
    style: dict[str, Any] = {"alpha": _FILL, "linewidth": 0} if fill else {"linewidth": 1.5}
    axes.stairs(heights, axis.edges, fill=fill, color=colour, label=label, **style)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if axis.cut:
        beyond = f"last bar:\n{axis.edges[-2]:z.3g} and above"
        axes.text(1, 0.85, beyond, transform=axes.transAxes, ha="right", va="top", fontsize=8, color="#404040")


def _legend(axes: Axes, prompts: dict[str, int]) -> None:
    from matplotlib.patches import Patch

    def patch(role: str, colour: str) -> Patch:
        label = f"{ROLES[role]} ({prompts[role]:,})"
        if role == "evolved":
            return Patch(facecolor="none", edgecolor=colour, linewidth=1.5, label=label)
        return Patch(color=colour, alpha=_FILL, linewidth=0, label=label)

    handles = [patch(role, colour) for role, colour in ROLE_COLOURS.items() if role in prompts]
    axes.axis("off")
    axes.legend(handles=handles, loc="center", frameon=False, title="Prompts", alignment="left")


def boxes(axes: Axes, table: pl.DataFrame, series: dict[str, str], title: str, unit: str) -> None:
    """One box per iteration and series; a second series is hatched."""
    from matplotlib.patches import Patch

    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.set_xlabel("iteration")
    axes.set_xticks(table["iteration"].unique().sort().to_list())
    width, handles = 0.55 / len(series), []
    for number, (what, colour) in enumerate(series.items()):
        rows = table.filter((pl.col("what") == what) & (pl.col("count") > 0)).to_dicts()
        hatch = "///" if number else ""
        box = {"facecolor": colour, "alpha": _FILL, "hatch": hatch}
        handles.append(Patch(**box, label=what.partition("_")[0]))  # type: ignore[arg-type]
        axes.bxp(
            [_statistics(row) for row in rows],
            positions=[row["iteration"] + (number - (len(series) - 1) / 2) * width * 1.2 for row in rows],
            widths=width,
            showmeans=True,
            showfliers=False,
            manage_ticks=False,
            patch_artist=True,
            boxprops=box | {"edgecolor": colour},
            medianprops={"color": "black", "linewidth": 1.6},
            meanprops={"marker": "o", "markerfacecolor": "white", "markeredgecolor": "black", "markersize": 4.5},
            whiskerprops={"color": colour},
            capprops={"color": colour},
        )
    low, high = axes.get_ylim()
    axes.set_ylim(min(0, low), high)
    if len(series) > 1:
        axes.set_ylim(top=1.2 * high)
        axes.legend(handles=handles, frameon=False, ncols=2, loc="upper center")


def _statistics(row: dict[str, Any]) -> dict[str, float]:
    """A row of SHIFT as matplotlib calls it."""
    names = {"med": "median", "q1": "q25", "q3": "q75", "whislo": "q05", "whishi": "q95", "mean": "mean"}
    return {name: row[column] for name, column in names.items()}


def _moves(table: pl.DataFrame, what: str, form: str) -> str:
    """The first and the last median of a series, as in `0.40 to 0.58`."""
    rows = table.filter((pl.col("what") == what) & pl.col("median").is_not_null()).sort("iteration")
    ends = [format(value, form) for value in (rows["median"].to_list())[:: max(rows.height - 1, 1)]]
    return " to ".join(ends) or "none"


def _nothing(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=GREY)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:z.2f}"
