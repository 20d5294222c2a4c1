"""Evaluations on the report page, also those that a stranger wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pages import dangers
from pydantic import ValidationError
from small_store import small_store

from eva_data.dataset.evaluations import RECORD, Compared, EvaluationRecord
from eva_data.errors import DataError
from eva_data.files import write_text
from eva_data.report.page.parts import Charts, Figure, Table, Words
from eva_data.report.page.render import page
from eva_data.report.sections.evaluations import evaluations


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
    charts, table, note = section.parts
    assert isinstance(charts, Charts) and charts.legend == (("by itself", 0),)
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
