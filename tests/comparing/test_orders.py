"""Both orders of a comparison, and a panel of judges."""

from __future__ import annotations

import polars as pl

from eva_data.comparing.orders import FIRST, SECOND, by_panel, flips, for_solver, in_both_orders

KEYS = ["prompt_id"]


def verdicts(*rows: tuple[str, str, str, float | None]) -> pl.DataFrame:
    schema = {"prompt_id": pl.String, "judge": pl.String, "order": pl.String, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_each_pair_is_shown_in_both_orders_and_a_score_is_the_solvers() -> None:
    both = in_both_orders(pl.DataFrame({"prompt_id": ["a", "b"]}))
    assert both.rows() == [("a", FIRST), ("b", FIRST), ("a", SECOND), ("b", SECOND)]
    scored = both.with_columns(first=pl.Series([1.0, 0.5, 1.0, 0.5]))
    assert scored.select(for_solver(pl.col("first"))).to_series().to_list() == [1.0, 0.5, 0.0, 0.5]


def test_one_judge_gives_the_mean_of_its_orders_and_half_a_comparison_gives_nothing() -> None:
    rows = verdicts(
        ("won", "x", FIRST, 1.0),
        ("won", "x", SECOND, 1.0),
        ("place", "x", FIRST, 1.0),
        ("place", "x", SECOND, 0.0),
        ("half", "x", FIRST, 1.0),
        ("half", "x", SECOND, None),
        ("leans", "x", FIRST, 0.5),
        ("leans", "x", SECOND, 0.0),
    )
    assert by_panel(rows, KEYS).rows() == [
        ("leans", 0.25, 1.0, 1),
        ("place", 0.5, 1.0, 1),
        ("won", 1.0, 1.0, 1),
    ]


def test_a_panel_goes_by_its_majority_and_says_how_many_agree() -> None:
    rows = verdicts(
        *(
            ("two of three", judge, order, score)
            for judge, score in (("x", 1.0), ("y", 1.0), ("z", 0.0))
            for order in (FIRST, SECOND)
        ),
        *(
            ("undecided", judge, order, score)
            for judge, score in (("x", 1.0), ("y", 0.5), ("z", 0.0))
            for order in (FIRST, SECOND)
        ),
    )
    assert by_panel(rows, KEYS).rows() == [("two of three", 1.0, 2 / 3, 3), ("undecided", 0.5, 1 / 3, 3)]


def test_flips_and_first_places_are_counted_for_each_judge() -> None:
    rows = verdicts(
        ("a", "always first", FIRST, 1.0),
        ("a", "always first", SECOND, 0.0),
        ("b", "always first", FIRST, 1.0),
        ("b", "always first", SECOND, 0.0),
        ("a", "steady", FIRST, 1.0),
        ("a", "steady", SECOND, 1.0),
        ("b", "steady", FIRST, 0.5),
        ("b", "steady", SECOND, 0.5),
        ("a", "silent", FIRST, None),
        ("a", "silent", SECOND, None),
    )
    assert flips(rows, KEYS).rows() == [
        ("always first", 2, 2, 4, 4),
        ("silent", 0, 0, 0, 0),
        ("steady", 2, 0, 2, 1),
    ]
