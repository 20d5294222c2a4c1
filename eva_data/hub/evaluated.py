"""Evaluations on the Hub: the rows by solver, and the record that names them."""

from __future__ import annotations

from eva_data.dataset.evaluations import RECORD, EvaluationRecord, parse_record, read_rows
from eva_data.hub.beside import Beside
from eva_data.hub.repo import HubRepo


def _lost(hub: HubRepo, theirs: EvaluationRecord, ours: EvaluationRecord) -> str | None:
    known = {each.key for each in ours.evaluations}
    lost = [each for each in theirs.evaluations if each.key not in known]
    if not lost:
        return None
    return (
        f"{hub.name} holds {len(lost)} comparisons that are not here, such as {lost[0].solver_name} on {lost[0].set}, "
        f"and they would be lost: get them with `eva-data pull {hub.name}`, or publish to another repo with `--repo`"
    )


EVALUATED = Beside(RECORD, "evaluations", parse_record, read_rows, _lost)
"""The evaluations of a dataset, as they are published and pulled."""
