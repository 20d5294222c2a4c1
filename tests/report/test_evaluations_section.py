"""Evaluations on the report page, a stranger's evaluations too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pages import dangers
from pydantic import ValidationError
from small_store import small_store

from eva_data.dataset.evaluations import RECORD, Compared, EvaluationRecord
from eva_data.dataset.manifest import FileEntry
from eva_data.errors import DataError
from eva_data.files import write_text
from eva_data.report.measures.by_topic import by_topic
from eva_data.report.page.parts import Alarm, Charts, Figure, Table, Words
from eva_data.report.page.render import page
from eva_data.report.sections.evaluations import evaluations
from eva_data.tables.schemas import MESSAGES


def compared(theta: int, estimate: object, **fields: object) -> Compared:
    values = {
        "key": f"k{theta}",
        "set": "puzzles",
        "rule": "verifier",
        "source": "a function",
        "solver": f"iter_{theta}@1",
        "solver_name": f"theta_{theta}",
        "theta": theta,
        "judges": ("verifier:score@1",),
        "prompts": 10,
        "prompts_hash": "a",
        "figures": {"unit": "right", "judged": 10, "estimate": estimate, "tokens": [6.4, None], "warnings": []},
    }
    return Compared.model_validate(values | fields)


def written(folder: Path, *made: Compared) -> None:
    write_text(folder / RECORD, EvaluationRecord(eva_data="0", evaluations=made).model_dump_json())


def test_thetas_are_a_line_and_a_table(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    assert evaluations(store) is None
    written(store.folder, compared(0, [0.4, 0.1, 0.7]), compared(1, [0.5, 0.2, 0.8]))
    section = evaluations(store)
    assert section is not None
    charts, table, without, note = section.parts
    assert isinstance(without, Words) and "no categories and are too few for topics" in without.text
    assert isinstance(charts, Charts) and charts.legend == (("by itself", 0),)
    assert ">40%</text>" in charts.charts[0].svg and ">0.4</text>" not in charts.charts[0].svg
    assert isinstance(table, Table) and table.columns == ("solver", "right", "judged", "tokens")
    assert table.rows == (
        ("theta_0", Figure("40.0 % [10.0, 70.0]"), "10 of 10", Figure("6")),
        ("theta_1", Figure("50.0 % [20.0, 80.0]"), "10 of 10", Figure("6")),
    )
    assert isinstance(note, Words)


def test_what_a_stranger_wrote_is_text(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    hostile = "</script><img src=http://x/y onerror=alert(1)>\u202e\x1b[31m"
    figures = {"unit": hostile, "estimate": [0, 1, 2], "warnings": [hostile], "categories": {hostile: None, "b": None}}
    written(store.folder, compared(0, None, set=hostile, rule=hostile, solver_name=hostile, figures=figures))
    section = evaluations(store)
    assert section is not None
    html = page("report.html.jinja", title="t", lead="l", sections=[section])
    assert dangers(html) == []


@pytest.mark.parametrize(
    "figures",
    [
        {"estimate": ["a", 1, 2]},
        {"estimate": [0, 1]},
        {"categories": ["a", "b"]},
        {"categories": {"a": 3}},
        {"tokens": 3},
        {"warnings": "all is well"},
        {"judged": -1},
        {"agreement": "high"},
    ],
)
def test_figures_of_other_types_are_refused_in_a_sentence(tmp_path: Path, figures: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        compared(0, None, figures=figures)
    store = small_store(tmp_path / "small")
    written(store.folder, compared(0, None))
    path = store.folder / RECORD
    record = json.loads(path.read_text())
    record["evaluations"][0]["figures"] = figures
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"is no record of evaluations \(`evaluations\.0\.figures"):
        evaluations(store)


KINDS = ("writing", "coding", "math")


def by_kind(theta: int, *values: float, kinds: tuple[str, ...] = KINDS) -> Compared:
    named = {kind: [value, value - 0.1, value + 0.1] for kind, value in zip(kinds, values, strict=True)}
    return compared(theta, [0.5, 0.4, 0.6], figures={"unit": "right", "estimate": [0.5, 0.4, 0.6], "categories": named})


def test_categories_are_a_picture_of_up_to_three_thetas_with_a_table(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    thetas = (by_kind(theta, 0.2, 0.4, 0.6 + theta / 10) for theta in range(4))
    written(store.folder, *thetas)
    section = evaluations(store)
    assert section is not None
    _, _, radar, table, _ = section.parts
    assert isinstance(radar, Charts) and radar.legend == (("theta_0", 0), ("theta_2", 1), ("theta_3", 2))
    assert radar.charts[0].caption == "right on puzzles by category, numbered as in the table"
    drawn = str(radar.charts[0].svg)
    assert "theta_0: 1 0.20, 2 0.40, 3 0.60; theta_2: 1 0.20, 2 0.40, 3 0.80; theta_3: 1 0.20, 2 0.40, 3 0.90" in drawn
    assert all(f"var(--c{colour})" in drawn for colour in (0, 1, 2)) and "writing" not in drawn
    assert isinstance(table, Table) and table.columns == ("", "category", "theta_0", "theta_1", "theta_2", "theta_3")
    assert table.rows[2][:3] == (Figure("3"), "math", Figure("60.0 % [50.0, 70.0]"))


def test_two_categories_or_very_many_are_a_table_with_a_sentence(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    written(store.folder, by_kind(0, 0.2, 0.4, kinds=KINDS[:2]))
    section = evaluations(store)
    assert section is not None
    _, said, table, _ = section.parts
    assert said == Words("2 category values make no picture; 3 to 12 do.", soft=True)
    assert isinstance(table, Table) and len(table.rows) == 2


def test_prompts_without_categories_are_shown_by_topic() -> None:
    subjects = ("Cook rice with onions in a pan", "Sail a boat in the wind", "Integrate a fraction by parts")
    texts = [(f"{kind}{place}", f"{subjects[kind]} {place}", kind) for kind in range(3) for place in range(10)]
    # The first kind is always right, the second never, and of the third one half.
    values = {0: [1.0] * 10, 1: [0.0] * 10, 2: [1.0, 0.0] * 5}
    rows = pl.DataFrame(
        [
            ("k0", name, [{"role": "user", "content": text}], 1, values[kind][int(name[1])])
            for name, text, kind in texts
        ],
        schema={
            "evaluation": pl.String,
            "prompt_id": pl.String,
            "prompt": MESSAGES,
            "turn": pl.Int32,
            "score": pl.Float64,
        },
        orient="row",
    )
    found = by_topic([compared(0, None, right=1.0)], rows)["k0"]
    estimates = {word: ends[0] for label, ends in found.items() for word in ("rice", "boat", "parts") if word in label}
    assert estimates == {"rice": 1.0, "boat": 0.0, "parts": 0.5}
    assert by_topic([compared(0, None, right=1.0)], rows.head(20)) == {}
    rating = compared(0, None, figures={"unit": "rating"})
    assert by_topic([rating], rows) == {}


def test_verdicts_that_were_changed_are_an_alarm_and_not_the_end_of_the_page(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    entry = FileEntry(sha256="0" * 64, rows=1, bytes=1)
    record = EvaluationRecord(
        eva_data="0", evaluations=(compared(0, [0.4, 0.1, 0.7]),), files={"evaluations/theta_0.parquet": entry}
    )
    write_text(store.folder / RECORD, record.model_dump_json())
    section = evaluations(store)
    assert section is not None
    assert isinstance(section.parts[0], Alarm) and "is not the file that its record names" in section.parts[0].text
