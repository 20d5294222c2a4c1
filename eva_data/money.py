"""What a person reads about money: what an iteration will take, and what was spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from eva_data.pilot import Piloted
from eva_data.plan import Line, Plan

_SOURCES = {
    "ledger": "the means of what the ledger holds of that stage",
    "bound": "nothing is measured: at most `max_tokens` per answer, and prompts at 4 characters a token",
    "reused": "the ledger has the answers already",
    "computed": "scored here, by no language model; how long that takes is not foreseen",
}


def print_plan(plan: Plan, piloted: Piloted, budget: float | None) -> None:
    """The table of a plan, where its numbers come from, and whether the budget is enough."""
    console = Console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    if plan.lines:
        console.print(_plan_table(plan))
        for source in dict.fromkeys(line.source for line in plan.lines):
            say(f"{source}: {_SOURCES[source]}")
    count, known = plan.start.count, plan.start.known
    say(f"Prompts to begin with: {count:,}, from {known}")
    for note in plan.notes:
        say(f"Note: {note}")
    if piloted.prompts:
        unknown = f", unknown for {piloted.unpriced} replies" if piloted.unpriced else ""
        say(f"The pilot of {piloted.prompts} prompts cost {dollars(piloted.cost)}{unknown}")
    else:
        say("Nothing was asked and nothing paid; `--pilot 8` asks a few prompts and plans from what they take")
    if budget is not None and plan.lines:
        say(_verdict(plan, budget))


def _plan_table(plan: Plan) -> Table:
    table = Table(title=f"Iteration {plan.iteration}: what it will take", title_justify="left")
    for column in ("stage", "model"):
        table.add_column(column, overflow="fold")
    for column in ("calls", "completions", "tokens in", "tokens out", "cost", "time"):
        table.add_column(column, justify="right")
    table.add_column("from")
    for line in plan.lines:
        table.add_row(line.stage, line.model, *_cells(line), line.source)
    table.add_section()
    table.add_row("total", "", *_total(plan.lines), "")
    return table


def _cells(line: Line) -> list[str]:
    if line.completions is None:
        return [f"{line.calls:,}", "-", "-", "-", "-", "-"]
    most = "<= " if line.source == "bound" else ""
    price = "-" if line.own_hardware else "unknown" if line.cost is None else f"{most}{dollars(line.cost)}"
    time = "unknown" if line.seconds is None else duration(line.seconds)
    counts = [f"{line.calls:,}", f"{line.completions:,}"]
    return [*counts, *(f"{most}{tokens:,}" for tokens in (line.tokens_in, line.tokens_out)), price, time]


def _total(lines: Sequence[Line]) -> list[str]:
    asked = [line for line in lines if line.completions is not None]
    most = "<= " if any(line.source == "bound" for line in asked) else ""
    sums = [
        f"{mark}{sum(numbers):,}"
        for mark, numbers in (
            ("", [line.calls for line in lines]),
            ("", [line.completions or 0 for line in asked]),
            (most, [line.tokens_in or 0 for line in asked]),
            (most, [line.tokens_out or 0 for line in asked]),
        )
    ]
    priced = [line for line in asked if line.cost is not None]
    mark = "<= " if any(line.source == "bound" and not line.own_hardware for line in priced) else ""
    price = f"{mark}{dollars(sum(line.cost or 0.0 for line in priced))}"
    if all(line.own_hardware for line in asked):
        price = "-"
    timed = [line.seconds for line in asked if line.seconds is not None]
    return [
        *sums,
        _beside_unknown(price, len(priced) < len(asked)),
        _beside_unknown(duration(sum(timed)), len(timed) < len(asked)),
    ]


def _beside_unknown(known: str, unknown: bool) -> str:
    return f"unknown (+ {known})" if unknown else known


def _verdict(plan: Plan, budget: float) -> str:
    """Whether a budget is enough, by what is known."""
    left = budget - plan.spent
    begun = f"Of the budget of {dollars(budget)}, {dollars(max(left, 0.0))} are left"
    if plan.cost > left:
        measured = all(line.source != "bound" for line in plan.lines)
        return f"{begun}: " + ("not enough" if measured else "perhaps not enough") + " for this iteration"
    return f"{begun}: " + ("whether that is enough is unknown" if plan.unpriced else "enough for this iteration")


def spent_table(bills: Sequence[Mapping[str, Any]]) -> Table:
    """What the ledger holds, per iteration, stage and model (rows of Ledger.bills()), and in all."""
    table = Table(title="Spent", title_justify="left")
    for column in ("iteration", "stage", "model"):
        table.add_column(column, overflow="fold")
    numbers = ("replies", "completions", "prompt_tokens", "completion_tokens")
    for column in ("replies", "completions", "tokens in", "tokens out", "cost"):
        table.add_column(column, justify="right")
    for bill in bills:
        counts = (f"{bill[number]:,}" for number in numbers)
        table.add_row(str(bill["iteration"]), bill["stage"], bill["model"], *counts, _price(bill))
    table.add_section()
    total = {key: sum(bill[key] for bill in bills) for key in (*numbers, "cost", "unpriced")}
    table.add_row("total", "", "", *(f"{total[number]:,}" for number in numbers), _price(total))
    return table


def _price(bill: Mapping[str, Any]) -> str:
    """What replies cost, as far as their prices are known."""
    if not bill["unpriced"]:
        return dollars(bill["cost"])
    unknown = f"unknown for {bill['unpriced']:,} replies"
    return f"{unknown} (+ {dollars(bill['cost'])})" if bill["cost"] else unknown


def dollars(amount: float) -> str:
    """`$12.35`; small amounts with as many places as it takes to see them."""
    places = 2 if amount >= 1 or amount == 0 else 4 if amount >= 0.01 else 6
    return f"${amount:,.{places}f}"


def duration(seconds: float) -> str:
    """`1 h 02 min`, `3 min`, `12 s`: two digits are as much as a plan knows."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 or not seconds else "< 1 s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
