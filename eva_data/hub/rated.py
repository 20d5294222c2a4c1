"""Ratings of prompts by a fixed model on the Hub: the rows by iteration, and the record that names them."""

from __future__ import annotations

from eva_data.dataset.records.prompt_scores import RECORD, ScoreRecord, parse_score_record, read_scores
from eva_data.hub.beside import Beside
from eva_data.hub.repo import HubRepo


def _lost(hub: HubRepo, theirs: ScoreRecord, ours: ScoreRecord) -> str | None:
    """A sentence if the published ratings are by another model, or of more prompts or iterations than ours."""
    if theirs.scorer == ours.scorer and theirs.sample <= ours.sample and theirs.files.keys() <= ours.files.keys():
        return None
    return (
        f"{hub.name} holds ratings by {theirs.scorer} of {theirs.sample} prompts of {len(theirs.files)} iterations, "
        f"and those here are by {ours.scorer} of {ours.sample} prompts of {len(ours.files)}, so some would be lost: "
        "score as there with `score.model` and `score.sample`, or publish to another repo with `--repo`"
    )


RATED = Beside(RECORD, "prompt-scores", parse_score_record, read_scores, _lost)
"""The ratings of a dataset's prompts, as they are published and pulled."""
