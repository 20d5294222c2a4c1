"""The calls to models in each iteration: replies, tokens and dollars."""

from __future__ import annotations

from eva_data.dataset.store import Store
from eva_data.report.figures import dollars, replies, rounded
from eva_data.report.page.parts import Cell, Figure, Section, Table


def costs(store: Store) -> Section | None:
    """One row per iteration, stage and model, from the manifests."""
    rows: list[tuple[Cell, ...]] = []
    paid, tokens, unpriced = 0.0, 0, 0
    for iteration in store.iterations():
        for bill in store.manifest(iteration).spent:
            paid, unpriced = paid + bill.cost, unpriced + bill.unpriced
            tokens += bill.prompt_tokens + bill.completion_tokens
            price = Figure(dollars(bill.cost) if not bill.unpriced else f"{dollars(bill.cost)} + unknown")
            counts = (bill.completions, bill.prompt_tokens, bill.completion_tokens)
            rows.append((f"{iteration}", bill.stage, bill.model, *counts, price))
    if not rows:
        return None
    lead = f"In all {rounded(tokens)} tokens were read and written, for {dollars(paid)}."
    if unpriced:
        lead += f" The price of {replies(unpriced)} is not known, so more may have been paid."
    columns = ("iteration", "stage", "model", "completions", "prompt tokens", "written tokens", "paid")
    return Section("costs", "Tokens and costs", lead, (Table(columns, tuple(rows)),))
