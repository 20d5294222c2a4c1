"""The pictures of a card: the same bytes every time, from binned tables whose numbers are worked by hand."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import matplotlib
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from polars.testing import assert_frame_equal
from small_store import replace_table, small_store

from eva_data.dataset.evaluations import Compared, EvaluationRecord
from eva_data.errors import MissingExtraError
from eva_data.report.distributions import SHIFT, Axis, axis_of, correlations, grid, histogram, shift
from eva_data.report.numbers import measured
from eva_data.report.plots import plot_names, write_plots
from eva_data.tables.schemas import METRICS

NAN, INFINITE = math.nan, math.inf


def test_an_axis_goes_from_the_lowest_to_the_highest_finite_value() -> None:
    values = pl.LazyFrame({"a": [0.0, None, 2.0, NAN, 1.0, INFINITE, -INFINITE]})
    assert axis_of(values, "a", 4) == Axis(0.0, 2.0, 4)
    assert Axis(0.0, 2.0, 4).edges == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert axis_of(values.filter(pl.col("a") == 1.0), "a", 4) == Axis(0.5, 1.5, 1)
    assert axis_of(values.filter(pl.col("a").is_nan()), "a", 4) is None
    assert axis_of(values.clear(), "a", 4) is None


def test_an_axis_ends_where_99_of_100_values_do_if_the_rest_is_far_away() -> None:
    # 0, 1, ..., 99 and 1000: the quantile of 0.99 is the 100th of 101 values.
    assert axis_of(pl.LazyFrame({"a": [*map(float, range(100)), 1000.0]}), "a") == Axis(0.0, 99.0, 40, cut=True)
    assert axis_of(pl.LazyFrame({"a": [*map(float, range(100)), 150.0]}), "a") == Axis(0.0, 150.0, 40)


def test_a_histogram_counts_each_group_and_puts_what_lies_outside_into_the_end_bins() -> None:
    values = pl.LazyFrame(
        {"a": [0.0, 0.1, 0.25, 0.99, 1.0, 7.0, None, NAN, INFINITE], "group": ["x", "x", "x", "y", *("x",) * 5]}
    )
    expected = pl.DataFrame(
        [("x", 0, 2), ("x", 1, 1), ("x", 3, 2), ("y", 3, 1)],
        schema={"group": pl.String, "bin": pl.Int32, "count": pl.Int64},
        orient="row",
    )
    assert_frame_equal(histogram(values, "a", "group", Axis(0.0, 1.0, 4)), expected)


@given(st.lists(st.floats(-1e300, 1e300) | st.sampled_from([None, NAN, INFINITE, -INFINITE]), max_size=30))
def test_no_finite_value_is_lost_whatever_there_is(values: list[float | None]) -> None:
    frame = pl.LazyFrame({"a": values, "group": ["x"] * len(values)}, schema={"a": pl.Float64, "group": pl.String})
    finite = [value for value in values if value is not None and math.isfinite(value)]
    axis = axis_of(frame, "a", 5)
    assert (axis is None) == (not finite)
    if axis:
        assert all(map(math.isfinite, axis.edges))
        counts = histogram(frame, "a", "group", axis)
        assert counts["count"].sum() == len(finite)
        assert set(counts["bin"]) <= set(range(axis.bins))


def test_a_grid_counts_pairs_of_bins_where_both_values_are_there() -> None:
    values = pl.LazyFrame({"a": [0.0, 0.4, 1.0, 1.0, None], "b": [0.0, 0.1, 2.0, NAN, 1.0]})
    expected = pl.DataFrame(
        [(0, 0, 2), (1, 1, 1)], schema={"a": pl.Int32, "b": pl.Int32, "count": pl.Int64}, orient="row"
    )
    assert_frame_equal(grid(values, "a", "b", (Axis(0.0, 1.0, 2), Axis(0.0, 2.0, 2))), expected)


def test_correlations_are_pearsons_and_spearmans() -> None:
    # Means 2 and 5: the products of the deviations sum to 0 + 0 + 2 * 5, their squares to 2 + 4 and 1 + 16 + 25.
    values = pl.LazyFrame({"a": [1.0, 1.0, 4.0, None], "b": [4.0, 1.0, 10.0, 3.0]})
    rows, pearson, spearman = correlations(values, "a", "b")
    assert rows == 3
    assert pearson == pytest.approx((1 + 4 + 10) / math.sqrt(6 * 42))
    # Ranks 1.5 1.5 3 and 2 1 3.
    assert spearman == pytest.approx(1.5 / math.sqrt(1.5 * 2))
    assert correlations(values.filter(pl.col("a") == 1.0), "a", "b") == (2, None, None)
    assert correlations(values.clear(), "a", "b") == (0, None, None)


def test_the_shift_tells_gaps_and_lengths_of_each_iteration(tmp_path: Path) -> None:
    found = shift(small_store(tmp_path / "small"), [1, 2])
    rows = [
        # "good one" and "oak"; in iteration 2 only "good one".
        ("chosen_characters", 1, 2, 5.5, 3.25, 4.25, 5.5, 6.75, 7.75),
        ("chosen_characters", 2, 1, *[8.0] * 6),
        # "Say ab.", "Count to 2." and "Name a tree."; "Count to 2." and "Say ab and ba, twice."
        ("prompt_characters", 1, 3, 10.0, 7.4, 9.0, 11.0, 11.5, 11.9),
        ("prompt_characters", 2, 2, 16.0, 11.5, 13.5, 16.0, 18.5, 20.5),
        ("rejected_characters", 1, 2, 5.0, 3.2, 4.0, 5.0, 6.0, 6.8),
        ("rejected_characters", 2, 1, *[3.0] * 6),
        ("reward_gap", 1, 2, 0.75, 0.525, 0.625, 0.75, 0.875, 0.975),
        ("reward_gap", 2, 1, *[0.8] * 6),
    ]
    assert_frame_equal(found, pl.DataFrame(rows, schema=SHIFT, orient="row"))


def test_what_is_measured_of_a_prompt_comes_with_its_kind(tmp_path: Path) -> None:
    found = measured(small_store(tmp_path / "small"), 2).collect()
    assert found.columns == ["mix_role", *METRICS, "custom"]
    assert sorted(found.select("mix_role", "a_min", "avg").rows()) == [
        ("carried", 0.25, 0.375),
        ("evolved", 0.8, 0.5),
    ]


@pytest.mark.slow
def test_the_same_tables_give_the_same_bytes_whatever_the_users_own_settings_are(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    names = write_plots(store, [1, 2], tmp_path / "first")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 10, "text.usetex": True}):
        assert write_plots(store, [1, 2], tmp_path / "second") == names
    assert names == plot_names([1, 2])
    assert names == [
        "plots/metrics_iter_1.png",
        "plots/agreement_iter_1.png",
        "plots/metrics_iter_2.png",
        "plots/agreement_iter_2.png",
        "plots/draw_iter_2.png",
        "plots/shift.png",
        "plots/topics.png",
        "plots/yields.png",
    ]
    for folder in ("first", "second"):
        assert sorted(path.name for path in (tmp_path / folder / "plots").iterdir()) == sorted(
            Path(name).name for name in names
        )
    for name in names:
        first, second = ((tmp_path / folder / name).read_bytes() for folder in ("first", "second"))
        assert first == second
        assert len(first) < 60_000
        with Image.open(tmp_path / "first" / name) as image:
            # Wide enough for the Hub's column on a screen of twice as many dots; nothing but the picture is told.
            assert image.width == 1209
            assert set(image.info) <= {"dpi", "transparency"}


@pytest.mark.slow
def test_pictures_of_tables_without_a_single_value_say_so_and_do_not_fail(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    for iteration in (1, 2):
        for name in ("informativeness", "preferences"):
            metrics = pl.lit(None, pl.Float64).alias
            table = store.scan(name, iteration).collect().with_columns(metrics(metric) for metric in METRICS)
            replace_table(store, name, iteration, table.clear() if name == "preferences" else table)
    assert write_plots(store, [1, 2], tmp_path) == plot_names([1, 2])
    assert plot_names([]) == write_plots(store, [], tmp_path) == []


@pytest.mark.slow
def test_evaluations_are_a_picture_where_there_are_several_thetas(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")

    def compared(name: str, theta: int, against: str | None = None, unit: str = "right") -> Compared:
        return Compared(
            key=f"{name}{theta}{against}",
            set=name,
            rule="own",
            source="a source",
            solver=f"iter_{theta}@1",
            solver_name=f"theta_{theta}",
            theta=theta,
            against=against,
            against_name=against,
            judges=("judge@1",),
            prompts=50,
            prompts_hash="a",
            figures={"unit": unit, "judged": 50, "estimate": [0.5 + theta / 10, 0.45 + theta / 10, 0.6 + theta / 10]},
        )

    one = EvaluationRecord(eva_data="0", evaluations=(compared("sums", 0),))
    assert "plots/evaluations.png" not in plot_names([1, 2], one)
    # A name that a stranger chose is drawn as it is.
    hostile = "$\\frac{</svg>$\x1b[31m" + "x" * 60
    several = EvaluationRecord(
        eva_data="0",
        evaluations=(
            *(compared("sums", theta) for theta in range(3)),
            *(compared(hostile, theta, "theta_0", "win rate") for theta in (1, 2)),
            compared("single", 1),
        ),
    )
    names = write_plots(store, [1], tmp_path / "first", several)
    assert names == plot_names([1], several) and names[-1] == "plots/evaluations.png"
    write_plots(store, [1], tmp_path / "second", several)
    first, second = (tmp_path / each / names[-1] for each in ("first", "second"))
    assert first.read_bytes() == second.read_bytes() and 5_000 < first.stat().st_size < 60_000


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"`matplotlib`.*eva-data\[publish\]"):
        write_plots(store, [1, 2], tmp_path)
    assert not (tmp_path / "plots").exists()
