"""The picture files of a dataset's card: which there are, and what makes their bytes the same every time.

The same tables give the same bytes with the same versions, whatever this user's matplotlib settings are.
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
from eva_data.report.numbers import measured
from eva_data.report.topics.subjects import subjects

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHIFT, TOPICS, EVALUATIONS = "plots/shift.png", "plots/topics.png", "plots/evaluations.png"
DOTS_PER_INCH = 144
COLOURS = 64
"""In a file's palette: so few are a third of the bytes, and enough for smooth letters."""

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


def plot_names(iterations: Sequence[int], evaluations: EvaluationRecord | None = None) -> list[str]:
    """The pictures of these iterations; the first one has no draw. Evaluations have one if there are several thetas."""
    return [
        *(
            f"plots/{name}_iter_{iteration}.png"
            for iteration in iterations
            for name in ("metrics", "agreement", "draw")
            if name != "draw" or iteration > 1
        ),
        *([SHIFT, TOPICS] if iterations else []),
        *([EVALUATIONS] if has_lines(evaluations) else []),
    ]


def require_matplotlib() -> None:
    """Raise MissingExtraError without it."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError.of("matplotlib", "publish")


def write_plots(
    store: Store, iterations: Sequence[int], folder: Path, evaluations: EvaluationRecord | None = None
) -> list[str]:
    """Draw the pictures of these iterations below `folder`, and return their names, those of `plot_names`.

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
        if has_lines(evaluations):
            _write(folder, Path(EVALUATIONS).stem, 3.4, pictures.evaluations, evaluations)
    return plot_names(iterations, evaluations)


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
        # Neither a date nor the name of a program is written.
        Image.open(drawn).convert("RGB").quantize(COLOURS).save(temporary, format="PNG", optimize=True)
