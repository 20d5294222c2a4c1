"""The way of all rows through the stages of each iteration, in words."""

from __future__ import annotations

from eva_data.dataset.store import Store
from eva_data.report.page.parts import Heading, Section, Share, Table
from eva_data.tables.flow import Flow

WORDS = {
    "seeds": "human prompts are read",
    "table": "scored responses are read",
    "estimate": "the solver answers the prompts of the iteration before",
    "reward (estimate)": "these answers are scored",
    "sample": "informative prompts are drawn",
    "evolve": "the creator rewrites the drawn prompts",
    "respond": "the solver answers the new prompts",
    "reward": "answers are scored",
    "reward (respond)": "these answers are scored",
    "contrast": "a weaker model answers all prompts",
    "reward (contrast)": "its answers are scored",
    "pair": "best and worst answers make pairs",
    "rewrite": "the solver rewrites chosen answers",
    "reward (rewrite)": "the rewritten answers are scored",
    "pair (rewrite)": "better ones take the place of the chosen answers",
    "review": "people judge pairs",
}
"""Explanations of the stages."""


def funnel(store: Store) -> Section | None:
    """One table per iteration: the rows that each stage got and the rows that it passed on."""
    parts: list[Heading | Table] = []
    for iteration in store.iterations():
        flows = store.manifest(iteration).flow
        if not flows:
            continue
        rows = tuple(_row(flow) for flow in flows)
        columns = ("stage", "what happens", "of", "in", "out", "", "rejected", "set aside")
        parts += [Heading(f"Iteration {iteration}"), Table(columns, rows)]
    if not parts:
        return None
    lead = (
        "Every row that enters a stage comes out, is rejected with a reason, or is set aside: it was not drawn, or "
        "was more than was needed. The bar is what comes out."
    )
    return Section("funnel", "Where every row went", lead, tuple(parts))


def _row(flow: Flow) -> tuple[str | int | Share | None, ...]:
    out = Share(flow.rows_out / flow.rows_in) if flow.rows_in else None
    words = WORDS.get(flow.stage, "")
    return (flow.stage, words, flow.unit, flow.rows_in, flow.rows_out, out, flow.rejected, flow.set_aside)
