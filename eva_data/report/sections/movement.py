"""How far each training moved the solver: on the responses that it was to prefer, and away from theta_0."""

from __future__ import annotations

from eva_data.dataset.records.acceptance import Acceptance, read_acceptance
from eva_data.dataset.store import Store
from eva_data.report.page.parts import Cell, Figure, Section, Table

_LEAD = (
    "Measured where `train.accept` bounds it, in nats. The log-probability of the chosen responses is compared with "
    "that under the model before; the KL divergence is from theta_0, in answers that the theta sampled."
)


def movement(store: Store) -> Section | None:
    """A row for each measured theta, accepted or not; None if none was measured."""
    rows = tuple(
        _row(iteration, kept)
        for iteration in store.iterations()
        if (kept := read_acceptance(store, iteration)) is not None and kept.moved is not None
    )
    if not rows:
        return None
    columns = ("theta", "chosen, per token", "per response", "KL, per token", "per answer", "answers to", "accepted")
    return Section("movement", "How far training moved the solver", _LEAD, (Table(columns, rows),))


def _row(iteration: int, kept: Acceptance) -> tuple[Cell, ...]:
    moved = kept.moved
    assert moved is not None
    return (
        f"theta_{iteration}",
        _figure(moved.chosen_per_token, "+.3g", moved.pairs),
        _figure(moved.chosen_per_response, "+.3g", moved.pairs),
        _figure(moved.kl_per_token, ".3g", moved.prompts),
        _figure(moved.kl_per_answer, ".3g", moved.prompts),
        f"{moved.prompts:,} prompts of {moved.asked}",
        "; ".join(kept.why) or "yes",
    )


def _figure(value: float | None, form: str, count: int) -> Figure | None:
    return None if value is None else Figure(f"{value:{form}} (n {count:,})")
