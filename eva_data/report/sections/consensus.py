"""How often the consensus of responses is right, by anchors, agreement and depth, with the alarms."""

from __future__ import annotations

from eva_data.dataset.store import Store
from eva_data.report.measures.consensus import interval, precision_of, span
from eva_data.report.page.parts import Alarm, Figure, Section, Table


def consensus(store: Store) -> Section | None:
    """The figures of all iterations. None if no reward is a consensus."""
    found = precision_of(store, store.iterations())
    if found is None:
        return None
    overall = Table(
        ("iteration", "prompts", "with a consensus", "mean agreement", "anchors", "right responses", "consensus right"),
        tuple(
            (
                *(f"{row['iteration']}", row["prompts"], row["agreed"], row["agreement"], row["anchors"]),
                *(row["accuracy"], _figure(row["right"], row["labelled"])),
            )
            for row in found.voted.to_dicts()
        ),
        "Right responses are the share of right responses to anchors; the last column is about anchors too.",
    )
    by_agreement = Table(
        ("iteration", "depth", "agreement", "with a consensus", "anchors", "consensus right"),
        tuple(
            (
                *(f"{row['iteration']}", f"{row['depth']}", span(row["agreement"]), row["agreed"], row["labelled"]),
                _figure(row["right"], row["labelled"]),
            )
            for row in found.by_agreement.to_dicts()
        ),
    )
    lead = (
        "The reward is the answer that most responses give. Only prompts with a known answer (anchors) show how often "
        "that is right; elsewhere nobody knows."
    )
    alarms = tuple(Alarm(each) for each in found.alarms)
    return Section("consensus", "Consensus", lead, (*alarms, overall, by_agreement))


def _figure(right: int, labelled: int) -> Figure | None:
    return Figure(interval(right, labelled)) if labelled else None
