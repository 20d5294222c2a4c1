"""Measures the progress of a review: how much each reviewer has answered, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from eva_data.dataset.ordered import in_memory
from eva_data.errors import ReviewError
from eva_data.iteration.run import Run
from eva_data.review.agreement import figures
from eva_data.review.answers import answers, reviewers_key
from eva_data.review.connection import connect
from eva_data.review.dataset import dataset_name, find_dataset
from eva_data.review.pull import reviewable
from eva_data.review.record import records_by_pair

STATUSES = ("submitted", "draft", "discarded")


@dataclass(frozen=True)
class ReviewProgress:
    """The progress of one iteration's review."""

    iteration: int
    name: str
    records: int
    completed: int
    """Number of records with as many answers as the dataset asks for."""
    reviewers: Mapping[str, Mapping[str, int]]
    """Name of a reviewer on the server -> status -> number of answers."""
    figures: Mapping[str, Any]
    """The numbers of `agreement.figures` over all answers, also those that were not pulled yet."""
    outdated: int


def review_progress(run: Run, iterations: Sequence[int]) -> list[ReviewProgress]:
    """The progress of these iterations' reviews. Iterations without a dataset on the server are left out.

    Nothing is written. Raise ReviewError if no iteration has a dataset, and the errors of `connect`.
    """
    key = reviewers_key(run.store, make=False)
    with connect(run.config.review) as argilla:
        found = []
        for iteration in iterations:
            name = dataset_name(run.config, iteration)
            dataset = find_dataset(argilla, name)
            if dataset is None:
                continue
            records = argilla.records(dataset["id"])
            users = argilla.get(f"datasets/{dataset['id']}/users/progress")["users"]
            # Answers that were pulled before may be to pairs that are not on the server any more.
            pulled = in_memory(run.store.scan("reviews", iteration).select("pair_id")).to_series()
            pairs, spare = reviewable(run.store, iteration, {*records_by_pair(records), *pulled})
            known = pl.concat([pairs, spare])
            config = run.store.at(iteration, run.store.built(iteration)).manifest(iteration).config
            said = answers(run.store, iteration, known, records, name=config["name"], key=key)
            found.append(
                ReviewProgress(
                    iteration=iteration,
                    name=name,
                    records=len(records),
                    completed=sum(record["status"] == "completed" for record in records),
                    reviewers={
                        user["username"]: {
                            status: user["completed"][status] + user["pending"][status] for status in STATUSES
                        }
                        for user in users
                    },
                    figures=figures(pairs, spare, said.reviews, config["estimate"]["metric"]),
                    outdated=said.outdated,
                )
            )
        if not found:
            numbers = ", ".join(map(str, iterations)) or "none is built"
            raise ReviewError(
                f"nothing is in review in the workspace {argilla.workspace} of {argilla.url} (iterations: {numbers}): "
                "push an iteration with `eva-data review push`, or name its `--workspace`",
                404,
            )
        return found
