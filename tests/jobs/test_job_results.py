"""The results of a job are read from its file, a part at a time, and are the same each time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from eva_data.errors import JobError
from eva_data.jobs.job import INPUT, OUTPUT, Job, is_done, run_job
from eva_data.jobs.results import READ_ROWS, InputRows, Parted, Results, write_results, write_rows

ROWS = pl.DataFrame(
    {"prompt_id": [f"{number:05}" for number in range(2 * READ_ROWS + 1)], "text": '"\u00e9\U0001f600\n'}
)


NUMBERS = """
def numbers(job, rows):
    return [int(row["prompt_id"]) for row in rows]
"""


def written(folder: Path, results: Sequence[str | None], rows: pl.DataFrame = ROWS) -> Path:
    """The output file of a job on the first of these rows."""
    path = folder / OUTPUT
    texts = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows.head(len(results)).to_dicts()]
    pl.DataFrame({"row": texts, "result": results}, schema={"row": pl.String, "result": pl.String}).write_parquet(path)
    return path


@pytest.mark.slow
def test_every_row_comes_with_its_result_in_order_however_often_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numbers_for_test.py").write_text(NUMBERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    job = Job(tmp_path / "job", "evaluate", function="numbers_for_test:numbers")
    results = run_job(job, ROWS, log=tmp_path / "log", stalled_seconds=60)
    expected = [(row, int(row["prompt_id"])) for row in ROWS.to_dicts()]
    assert len(results) == 2 * READ_ROWS + 1
    assert list(results) == expected
    (tmp_path / "job" / OUTPUT).unlink()
    assert list(results) == expected


def test_the_rows_of_a_job_are_written_as_json_texts(tmp_path: Path) -> None:
    write_rows(tmp_path / INPUT, ROWS)
    texts = pl.read_parquet(tmp_path / INPUT)
    assert texts.schema == {"row": pl.String}
    assert [json.loads(text) for text in texts["row"]] == ROWS.to_dicts()


def test_a_row_that_differs_anywhere_is_another_row(tmp_path: Path) -> None:
    results = Results(written(tmp_path, ["1"] * ROWS.height))
    last = pl.int_range(pl.len()) == ROWS.height - 1
    changed = ROWS.with_columns(text=pl.when(last).then(pl.lit("x")).otherwise("text"))
    assert results.are_of(ROWS)
    assert not results.are_of(changed)
    assert not results.are_of(ROWS.reverse())
    assert not results.are_of(ROWS.head(3))
    assert not results.are_of(pl.concat([ROWS, ROWS.head(1)]))


def test_a_job_with_a_call_that_was_given_up_is_not_done(tmp_path: Path) -> None:
    job = Job(tmp_path, "evaluate")
    job.save()
    written(tmp_path, ["1"] * ROWS.height)
    assert is_done(job, ROWS)
    written(tmp_path, ["1"] * (ROWS.height - 1) + ['[{"error": "gave_up: HTTP 503"}]'])
    assert not is_done(job, ROWS)


def test_a_result_that_is_missing_is_an_error_that_counts(tmp_path: Path) -> None:
    job = Job(tmp_path, "evaluate")
    job.save()
    written(tmp_path, ["1"] * (ROWS.height - 2) + [None, None])
    with pytest.raises(JobError, match="2 rows of the evaluate stage came back empty"):
        run_job(job, ROWS, log=tmp_path / "log", stalled_seconds=60)


def test_a_job_without_rows_has_no_results() -> None:
    results = Results(None)
    assert (len(results), list(results), results.are_of(ROWS.clear())) == (0, [], True)
    assert (results.given_up(), results.unanswered()) == (False, 0)


def test_rows_made_in_parts_are_the_same_rows(tmp_path: Path) -> None:
    parted = Parted(ROWS.height, lambda: iter([ROWS.head(3), ROWS.head(0), ROWS.slice(3)]))
    write_rows(tmp_path / "parted", parted)
    write_rows(tmp_path / "whole", ROWS)
    assert pl.read_parquet(tmp_path / "parted").equals(pl.read_parquet(tmp_path / "whole"))
    results = Results(written(tmp_path, ["1"] * ROWS.height))
    assert results.are_of(parted)
    assert results.are_of_file(tmp_path / "parted")
    assert not results.are_of(Parted(ROWS.height, lambda: iter([ROWS.slice(3), ROWS.head(3)])))


def test_results_are_written_as_they_come_and_not_at_all_if_one_is_missing(tmp_path: Path) -> None:
    write_rows(tmp_path / INPUT, ROWS)
    rows = InputRows(tmp_path / INPUT)
    assert len(rows) == ROWS.height
    assert [*rows] == [*rows] == ROWS.to_dicts()
    write_results(tmp_path / OUTPUT, rows, (int(row["prompt_id"]) for row in rows))
    assert [result for _, result in Results(tmp_path / OUTPUT)] == [*range(ROWS.height)]
    with pytest.raises(ValueError, match="zip"):
        write_results(tmp_path / "other", rows, iter([1, 2]))
    assert not (tmp_path / "other").exists()
