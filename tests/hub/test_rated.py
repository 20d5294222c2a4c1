"""Ratings of prompts on the Hub: published beside the iterations, tagged, pulled, loaded and verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from hub_server import WRITE, Hub
from reviewing import NAMED, store_of_pairs

from eva_data.dataset.records.prompt_scores import RECORD, keep_scores, read_score_record, read_scores
from eva_data.dataset.store import Store
from eva_data.files import write_json
from eva_data.hub.checks.ratings_again import verify_ratings
from eva_data.tables.schemas import PROMPT_SCORES

REPO = "alice/game"
SCORER = "tiny@scorer"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as running:
        yield running


def rated(store: Store, sample: int, *, complexity: float | None = 2.0, why: str | None = None) -> pl.DataFrame:
    """Keep ratings of the `sample` prompts of iteration 1 that have the lowest ids."""
    ids = store.scan("prompts", 1).select("prompt_id").sort("prompt_id").head(sample).collect()["prompt_id"]
    rows = pl.DataFrame([(1, each, complexity, 4.0, why, SCORER) for each in ids], schema=PROMPT_SCORES, orient="row")
    keep_scores(store, rows, scorer=SCORER, sample=sample)
    return rows


@pytest.mark.slow
def test_ratings_are_published_pulled_loaded_and_verified(hub: Hub, tmp_path: Path) -> None:
    store = store_of_pairs(tmp_path / "small", 3)
    rated(store, 2)
    where = ("--repo", REPO, *NAMED, "--set", f"folder={store.folder}")

    def publish(*more: str) -> tuple[int, str]:
        done = hub.run(tmp_path, "publish", "--iter", "1", *where, *more, token=WRITE)
        return done.returncode, done.stdout + done.stderr

    said = "ratings of prompts to alice/game (private), tagged prompt-scores-1"
    assert f"Would publish {said}" in publish("--dry-run")[1]
    assert f"Published {said}" in publish()[1]
    assert "ratings" not in publish()[1]
    assert list(hub.repos[REPO].tags) == ["iter-1", "prompt-scores-1"]
    card = hub.repos[REPO].commits[-1].files["README.md"].decode()
    assert "config_name: prompt_scores" in card and "| 1 | 2 | 2 ± 0.00 | 4 ± 0.00 |" in card

    home = tmp_path / "home"
    home.mkdir()
    pulled = hub.run(home, "pull", REPO)
    assert pulled.returncode == 0, pulled.stdout + pulled.stderr
    here = Store(home / "data" / "game")
    assert read_score_record(here) == read_score_record(store)
    assert read_scores(here).equals(read_scores(store))
    loaded = hub.python(home, "-c", LOAD, REPO)
    assert loaded.stdout.split() == ["2", "2.0"], loaded.stderr
    verified = hub.run(home, "verify", REPO, "--iter", "1", "--revision", "prompt-scores-1")
    assert verified.returncode == 0, verified.stdout + verified.stderr

    # More prompts are an addition; fewer would take what is published away.
    rated(store, 3)
    assert "tagged prompt-scores-2" in publish()[1]
    rated(store, 2)
    code, told = publish()
    assert code == 1 and "alice/game holds ratings by tiny@scorer of 3 prompts of 1 iterations" in told
    assert list(hub.repos[REPO].tags) == ["iter-1", "prompt-scores-1", "prompt-scores-2"]


@pytest.mark.slow
def test_replies_of_the_scorer_are_looked_through_before_they_are_sent(hub: Hub, tmp_path: Path) -> None:
    store = store_of_pairs(tmp_path / "small", 3)
    rated(store, 2, complexity=None, why="complexity: unparsable: write ann.lee@acme-mail.org")
    where = ("--repo", REPO, *NAMED, "--set", f"folder={store.folder}")
    done = hub.run(tmp_path, "publish", "--iter", "1", *where, token=WRITE)
    assert done.returncode == 1 and REPO not in hub.repos
    assert "ratings of prompts hold 1 e-mail address" in done.stderr


def with_rows(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Store], None]:
    def tamper(store: Store) -> None:
        rows = change(rated(store, 2))
        keep_scores(store, rows, scorer=SCORER, sample=2)

    return tamper


def lose_a_file(store: Store) -> None:
    rated(store, 2)
    (store.folder / "prompt_scores" / "iter_1.parquet").unlink()


def say_another_sample(store: Store) -> None:
    rated(store, 2)
    record = read_score_record(store)
    assert record is not None
    write_json(store.folder / RECORD, record.model_dump(mode="json") | {"sample": 3})


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (with_rows(lambda rows: rows), None),
        (with_rows(lambda rows: rows.with_columns(scorer=pl.lit("big@1"))), "2 ratings are by another model"),
        (with_rows(lambda rows: rows.with_columns(quality=pl.lit(7.0))), "2 values of `quality` are not from 1 to 5"),
        (
            with_rows(lambda rows: rows.with_columns(complexity=pl.lit(None, pl.Float64))),
            "2 prompts lack a rating without a reason in `unscored`",
        ),
        (with_rows(lambda rows: rows.head(1)), "the rated prompts are not the 2 with the lowest ids of iteration 1"),
        (with_rows(lambda rows: rows.with_columns(iteration=pl.lit(7, pl.Int32))), "there is no iteration 7"),
        (say_another_sample, "the rated prompts are not the 3 with the lowest ids of iteration 1"),
        (lose_a_file, "is not the file that its record names"),
    ],
)
def test_verify_finds_ratings_that_are_not_what_they_claim(
    tamper: Callable[[Store], None], said: str | None, tmp_path: Path
) -> None:
    store = store_of_pairs(tmp_path / "small", 3)
    tamper(store)
    problems, _ = verify_ratings(store)
    assert (problems == []) if said is None else (len(problems) == 1 and said in problems[0])


LOAD = """
import sys
from datasets import load_dataset
rows = load_dataset(sys.argv[1], "prompt_scores", split="iter_1")
print(len(rows), rows[0]["complexity"])
"""
