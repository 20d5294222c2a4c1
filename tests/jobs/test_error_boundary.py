"""An error for the user crosses the process boundary unchanged."""

from __future__ import annotations

import resource
from pathlib import Path

import polars as pl
import pytest

from eva_data import errors
from eva_data.jobs.job import Job, name_of, run_job
from eva_data.rewards import score_rows

KINDS = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.EvaError)),
    key=lambda kind: kind.__name__,
)

RAISES = """
from eva_data import errors

def raise_it(job, rows):
    [row] = rows
    raise getattr(errors, row["kind"])(f"what was found; what to do: {row['kind']}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_arrives_with_its_class_and_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[errors.EvaError]
) -> None:
    (tmp_path / "raises_for_test.py").write_text(RAISES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    job = Job(tmp_path / "job", "evaluate", function="raises_for_test:raise_it")
    rows = pl.DataFrame({"kind": [kind.__name__]})
    with pytest.raises(kind) as raised:
        run_job(job, rows, log=tmp_path / "log", stalled_seconds=60)
    assert type(raised.value) is kind
    assert str(raised.value) == f"what was found; what to do: {kind.__name__}"


def test_a_missing_extra_names_the_extra() -> None:
    assert str(errors.MissingExtraError.of("trl", "train")) == (
        "this needs the package `trl` of the extra `train`, which is not installed: install it with "
        "`pip install '.[train]'` in a clone of eva-data, or `pip install 'eva-data[train]'` from an index"
    )


@pytest.fixture
def defective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job whose function raises KeyError."""
    (tmp_path / "raises_for_test.py").write_text("def raise_it(job, rows):\n    raise KeyError('a defect')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Job(tmp_path / "job", "evaluate", function="raises_for_test:raise_it")


@pytest.mark.slow
def test_an_unexpected_error_is_told_with_its_class_and_the_log(tmp_path: Path, defective: Job) -> None:
    with pytest.raises(errors.JobError, match="the evaluate stage failed: KeyError: 'a defect'; the whole"):
        run_job(defective, pl.DataFrame({"kind": ["x"]}), log=tmp_path / "log", stalled_seconds=60)


@pytest.mark.slow
def test_a_child_that_cannot_write_its_error_is_told_by_the_disk_that_is_full(tmp_path: Path, defective: Job) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(errors.JobError) as raised:
            run_job(defective, pl.DataFrame({"kind": ["x"]}), log=tmp_path / "log", stalled_seconds=60)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(raised.value) == (
        f"the evaluate stage failed, and nothing more can be written to {tmp_path / 'job'}: File too large; what was "
        "finished is kept: make room, then run the same command again"
    )
    assert not (tmp_path / "job" / ".room").exists()


def test_a_function_is_named_as_it_is_imported() -> None:
    assert name_of(score_rows) == "eva_data.rewards:score_rows"
