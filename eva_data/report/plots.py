"""The picture files of a dataset's card: their names, and the settings that make their bytes reproducible.

The same tables and versions give the same bytes, with any matplotlib settings of the user.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from eva_data.dataset.evaluations import EvaluationRecord
from eva_data.dataset.store import Store
from eva_data.errors import MissingExtraError
from eva_data.files import replacing
from eva_data.report import pictures
from eva_data.report.distributions import shift
from eva_data.report.measures.evaluated import has_lines
from eva_data.report.measures.ratings import rating_summary
from eva_data.report.numbers import measured
from eva_data.report.sections.yields import strategies
from eva_data.report.topics.subjects import subjects
from eva_data.tables.metrics import column_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHIFT, TOPICS, YIELDS = "plots/shift.png", "plots/topics.png", "plots/yields.png"
EVALUATIONS, RATINGS = "plots/evaluations.png", "plots/ratings.png"
DOTS_PER_INCH = 144
COLOURS = 64
"""The number of colours in a file's palette: enough for smooth letters, with a third of the bytes."""

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": pictures.GREY,
    "axes.linewidth": 0.8,
    "xtick.color": "#404040",
    "ytick.color": "#404040",
    "figure.facecolor": "white",
    "text.parse_math": False,
}


def plot_names(
    iterations: Sequence[int], evaluations: EvaluationRecord | None = None, *, rated: bool = False
) -> list[str]:
    """The names of the pictures of these iterations. The first iteration has no draw.

    Evaluations have a picture if there are several thetas, and ratings if prompts were `rated`.
    """
    return [
        *(
            f"plots/{name}_iter_{iteration}.png"
            for iteration in iterations
            for name in ("metrics", "agreement", "draw")
            if name != "draw" or iteration > 1
        ),
        *([SHIFT, TOPICS] if iterations else []),
        *([YIELDS] if len(iterations) > 1 else []),
        *([EVALUATIONS] if has_lines(evaluations) else []),
        *([RATINGS] if iterations and rated else []),
    ]


def require_matplotlib() -> None:
    """Raise MissingExtraError without the extra."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError.of("matplotlib", "publish")


def write_plots(
    store: Store,
    iterations: Sequence[int],
    folder: Path,
    evaluations: EvaluationRecord | None = None,
    *,
    rated: bool = False,
) -> list[str]:
    """Draw the pictures of these iterations below `folder`, and return their names, as in `plot_names`.

    Raises MissingExtraError without matplotlib or scikit-learn.
    """
    require_matplotlib()
    with _own_style():
        for iteration in iterations:
            values = measured(store, iteration)
            _write(folder, f"metrics_iter_{iteration}", 4.6, pictures.metrics, values, iteration)
            _write(folder, f"agreement_iter_{iteration}", 3.6, pictures.agreement, values, iteration)
            if iteration > 1:
                metric = store.manifest(iteration).config["estimate"]["metric"]
                estimated = store.scan("informativeness", iteration).filter(pl.col("stage") == "estimate")
                _write(folder, f"draw_iter_{iteration}", 3.0, pictures.draw, estimated, metric, iteration)
        if iterations:
            _write(folder, Path(SHIFT).stem, 3.4, pictures.shift, shift(store, iterations))
            _write(folder, Path(TOPICS).stem, 3.2, pictures.topics, subjects(store, iterations))
        if len(iterations) > 1:
            metric = store.manifest(iterations[-1]).config["estimate"]["metric"]
            table = strategies(store, iterations[-1:], column_of(metric))
            _write(folder, Path(YIELDS).stem, 1.4 + 0.26 * max(table.height, 4), pictures.yields, table, metric)
        if has_lines(evaluations):
            _write(folder, Path(EVALUATIONS).stem, 3.4, pictures.evaluations, evaluations)
        if iterations and rated:
            _write(folder, Path(RATINGS).stem, 3.0, pictures.ratings, rating_summary(store, iterations))
    return plot_names(iterations, evaluations, rated=rated)


@contextmanager
def _own_style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _write(folder: Path, name: str, inches_high: float, draw: Callable[..., None], *of: object) -> None:
    from matplotlib.figure import Figure
    from PIL import Image

    figure: Figure = Figure(figsize=(8.4, inches_high), layout="constrained")
    draw(figure, *of)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH)
    with replacing(folder / "plots" / f"{name}.png") as temporary:
        # The file gets no date and no name of a program.
        Image.open(drawn).convert("RGB").quantize(COLOURS).save(temporary, format="PNG", optimize=True)
