"""Charts as SVG inside a page. Matplotlib draws them with the page's own fonts and colours, in light and dark.

The same numbers always give the same text. A chart contains only eva-data's own words and numbers. Names from the data
are in the page's legends and tables.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from markupsafe import Markup

from eva_data.report.page.parts import Chart
from eva_data.report.pictures import BLUE, GREEN, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point: TypeAlias = tuple[int, float, float | None, float | None]
"""Iteration, value, and the low and high end of its interval. The ends are None without an interval."""

WIDTH, HEIGHT = 4.2, 2.7
"""The size of a chart in inches. It is narrow, so that a telephone can show it."""
INK, SOFT, PAPER = "#010203", "#404040", "#ffffff"

SERIES = (BLUE, ORANGE, GREEN)
"""Colours of series, in the order of the page's `--c0`, `--c1`, `--c2`."""

_VARIABLES = {
    BLUE: "--c0",
    ORANGE: "--c1",
    GREEN: "--c2",
    GREY: "--c9",
    INK: "--ink",
    SOFT: "--soft",
    PAPER: "--paper",
    "#000000": "--ink",
}

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "svg.fonttype": "none",
}

_HEAD = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_SVG = re.compile(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>")
_FONT = re.compile(r"font: ([0-9.]+px) [^;\"]*|font-family: [^;\"]*")
_UNUSED_ID = re.compile(r"<g id=\"[^\"]*\">")
_COLOUR = re.compile("|".join(_VARIABLES), re.IGNORECASE)


def chart(
    name: str, caption: str, draw: Callable[[Axes], None], *, spoken: str | None = None, polar: bool = False
) -> Chart:
    """The drawing of `draw`. `name` is unique in a page. `spoken` describes the chart for the blind; by default the
    caption does."""
    import matplotlib
    from matplotlib.figure import Figure

    with _own_style(name):
        figure: Figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        draw(figure.add_subplot(projection="polar" if polar else None))
        drawn = io.StringIO()
        absent = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(drawn, format="svg", metadata=absent, dpi=matplotlib.rcParamsDefault["figure.dpi"])
    return Chart(Markup(_inline(drawn.getvalue(), spoken or caption)), caption)


@contextmanager
def _own_style(name: str) -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": name})
        yield


def _inline(svg: str, spoken: str) -> str:
    """An SVG file as an element of the page: without head, date, remote names and fixed colours."""
    svg = _HEAD.sub("", svg, count=1)
    label = Markup.escape(spoken)
    svg = _SVG.sub(lambda found: f'<svg viewBox="{found[1]}" role="img" aria-label="{label}">', svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = _UNUSED_ID.sub("<g>", svg)
    svg = _FONT.sub(lambda found: f"font-size: {found[1]}" if found[1] else "font-family: inherit", svg)
    svg = svg.replace("xlink:href", "href")
    return _COLOUR.sub(lambda found: f"var({_variable(found[0])})", svg).strip()


def _variable(colour: str) -> str:
    return next(variable for hex_code, variable in _VARIABLES.items() if hex_code.lower() == colour.lower())


def lines(
    name: str,
    caption: str,
    series: Mapping[str, Sequence[Point]],
    *,
    x: str = "iteration",
    y: str,
    low: float | None = None,
    share: bool = False,
) -> Chart:
    """One line per series over the iterations: (iteration, value, low end, high end). The ends are bars.

    The n-th series has the n-th colour of SERIES, and a marker of its own. `x` and `y` name the axes. `low` is where
    the axis of the values begins. The values of a `share` are from 0 to 1, and the axis has them in percent.
    """

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import PercentFormatter

        for points, colour, marker in zip(series.values(), SERIES, "osD", strict=False):
            places = [point[0] for point in points]
            axes.plot(places, [point[1] for point in points], color=colour, marker=marker, markersize=5, linewidth=1.6)
            banded = [point for point in points if point[2] is not None and point[3] is not None]
            if banded:
                ends = [[point[1] - point[2] for point in banded], [point[3] - point[1] for point in banded]]  # type: ignore[operator]
                at = [point[0] for point in banded]
                axes.errorbar(at, [point[1] for point in banded], yerr=ends, fmt="none", ecolor=colour, capsize=3)
        iterations_axis(axes, sorted({point[0] for points in series.values() for point in points}))
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if low is not None:
            top = axes.get_ylim()[1]
            axes.set_ylim(low, top + 0.08 * (top - low))
        if share:
            axes.yaxis.set_major_formatter(PercentFormatter(1))

    return chart(name, caption, draw)


def radar(name: str, caption: str, series: Sequence[Sequence[float]], *, spoken: str, share: bool) -> Chart:
    """One closed line per series over numbered spokes, from 0 at the centre; `share` ends at 1.

    The n-th series has the n-th colour of SERIES, and a marker of its own.
    """
    spokes = len(series[0])
    angles = [2 * math.pi * place / spokes for place in range(spokes)]

    def draw(axes: Axes) -> None:
        from matplotlib.projections.polar import PolarAxes
        from matplotlib.ticker import MaxNLocator, PercentFormatter

        assert isinstance(axes, PolarAxes)
        axes.set_theta_offset(math.pi / 2)
        axes.set_theta_direction(-1)
        for values, colour, marker in zip(series, SERIES, "osD", strict=False):
            closed = [*values, values[0]]
            axes.plot([*angles, angles[0]], closed, color=colour, marker=marker, markersize=4.5, linewidth=1.6)
        axes.set_xticks(angles, [str(place + 1) for place in range(spokes)])
        axes.set_ylim(0, 1 if share else 1.05 * max(max(values) for values in series) or 1)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if share:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_rlabel_position(180 / spokes)
        axes.tick_params(axis="y", labelsize=7.5)
        axes.grid(color=GREY, linewidth=0.5, alpha=0.5)

    return chart(name, caption, draw, spoken=spoken, polar=True)


def iterations_axis(axes: Axes, iterations: Sequence[int]) -> None:
    """The iterations along the bottom."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    if iterations:
        axes.set_xlim(iterations[0] - 0.5, iterations[-1] + 0.5)
