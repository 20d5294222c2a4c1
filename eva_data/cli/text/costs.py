"""Texts about money: what an iteration will cost, and what was spent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from eva_data.cli.text.terminal import Terminal
from eva_data.foreign import visible
from eva_data.game.pilot import Piloted
from eva_data.game.plan import Plan, PlanLine
from eva_data.report.figures import dollars, duration, replies, rounded

_SOURCES = {
    "ledger": "the means of what the ledger holds of that stage",
    "bound": "nothing is measured: at most `max_tokens` per answer, and prompts at 4 characters a token",
    "reused": "the ledger has the answers already",
    "computed": "scored here, by no language model; how long that takes is not foreseen",
}


def print_plan(plan: Plan, piloted: Piloted, budget: float | None) -> None:
    """Print the table of a plan, the sources of its numbers, and whether the budget is enough."""
    console = Terminal()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    if plan.lines:
        console.print(_plan_table(f"Iteration {plan.iteration}: what it will take", plan.lines))
        say(_models(plan.lines))
    if plan.measuring:
        console.print(_plan_table("Afterwards: what measuring it will take", plan.measuring))
        say(_models(plan.measuring))
    for source in dict.fromkeys(line.source for line in plan.everything):
        say(f"From {source}: {_SOURCES[source]}")
    if any(line.own_hardware for line in plan.everything):
        say("Cost -: own hardware, or a price of 0")
    say(f"Prompts to begin with: {plan.start.count:,} ({plan.start.known})")
    for note in (*plan.notes, *plan.measured):
        say(f"Note: {visible(note)}")
    if plan.paid and plan.lines:
        say(f"Note: {dollars(plan.paid)} of this iteration are spent already; what they bought is not paid again")
    if piloted.prompts:
        unknown = f", unknown for {replies(piloted.unpriced)}" if piloted.unpriced else ""
        say(f"The pilot of {piloted.prompts} prompts cost {dollars(piloted.cost)}{unknown}")
    else:
        say("Nothing was asked and nothing paid; `--pilot 8` asks a few prompts and plans from what they take")
    if budget is not None and plan.everything:
        say(_verdict(plan, budget))


def _plan_table(title: str, lines: Sequence[PlanLine]) -> Table:
    table = _table(title)
    table.add_column("stage", min_width=10)
    for column in ("calls", "answers", "tokens in", "tokens out", "cost", "time"):
        # A number that is cut would be another number.
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("from", no_wrap=True)
    for label, line in zip(_labels(lines), lines, strict=True):
        table.add_row(label, *_cells(line), line.source)
    table.add_section()
    table.add_row("total", *_total(lines), "")
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _labels(lines: Sequence[PlanLine]) -> list[str]:
    """The names of the stages; numbered if several rewards make several lines of a stage."""
    stages = [line.stage for line in lines]
    return [
        stage if stages.count(stage) == 1 else f"{stage} {stages[: place + 1].count(stage)}"
        for place, stage in enumerate(stages)
    ]


def _models(lines: Sequence[PlanLine]) -> str:
    """A line on which model works in which stage."""
    stages_of: dict[str, list[str]] = {}
    for label, line in zip(_labels(lines), lines, strict=True):
        stages_of.setdefault(line.model, []).append(label)
    return "; ".join(f"{', '.join(stages)}: {model}" for model, stages in stages_of.items())


def _brief(count: int) -> str:
    return f"{count:,}" if count < 10_000 else rounded(count)


def _cells(line: PlanLine) -> list[str]:
    if line.completions is None:
        return [_brief(line.calls), "-", "-", "-", "-", "-"]
    most = "<= " if line.source == "bound" else ""
    price = "-" if line.own_hardware else "unknown" if line.cost is None else f"{most}{dollars(line.cost)}"
    time = "unknown" if line.seconds is None else duration(line.seconds)
    counts = [_brief(line.calls), _brief(line.completions)]
    return [*counts, *(f"{most}{rounded(tokens or 0)}" for tokens in (line.tokens_in, line.tokens_out)), price, time]


def _total(lines: Sequence[PlanLine]) -> list[str]:
    asked = [line for line in lines if line.completions is not None]
    most = "<= " if any(line.source == "bound" for line in asked) else ""
    sums = [
        _brief(sum(line.calls for line in lines)),
        _brief(sum(line.completions or 0 for line in asked)),
        f"{most}{rounded(sum(line.tokens_in or 0 for line in asked))}",
        f"{most}{rounded(sum(line.tokens_out or 0 for line in asked))}",
    ]
    priced = [line for line in asked if line.cost is not None]
    cost = sum(line.cost or 0.0 for line in priced)
    mark = "<= " if any(line.source == "bound" and not line.own_hardware for line in priced) else ""
    price = "-" if all(line.own_hardware for line in asked) else f"{mark}{dollars(cost)}"
    timed = [line.seconds for line in asked if line.seconds is not None]
    return [
        *sums,
        _with_unknown(price, cost) if len(priced) < len(asked) else price,
        _with_unknown(duration(sum(timed)), sum(timed)) if len(timed) < len(asked) else duration(sum(timed)),
    ]


def _with_unknown(shown: str, known: float) -> str:
    """A sum with an unknown part."""
    return f"unknown (+ {shown})" if known else "unknown"


def _verdict(plan: Plan, budget: float) -> str:
    """A sentence on whether a budget is enough, as far as is known."""
    left, needed = budget - plan.spent, max(plan.cost - plan.paid, 0.0)
    if needed > left:
        # An upper bound above the budget does not tell.
        answer = "perhaps not enough" if any(line.source == "bound" for line in plan.everything) else "not enough"
    else:
        answer = "unknown whether that is enough" if plan.unpriced else "enough"
    also = " and what measures it" if plan.measuring else ""
    return f"Of the budget of {dollars(budget)}, {dollars(max(left, 0.0))} are left: {answer} for this iteration{also}"


def _short(model: str) -> str:
    """A model's fingerprint with eight digits of its hash or commit. `--json` has it whole."""
    return re.sub(r"(@[0-9a-f]{8})[0-9a-f]+$", r"\1", model)


def spent_table(bills: Sequence[Mapping[str, Any]]) -> Table:
    """A table of the rows of Ledger.bills(), per iteration, stage and model, with the sum."""
    table = _table("Spent")
    table.add_column("iter", no_wrap=True)
    table.add_column("stage", no_wrap=True)
    table.add_column("model", overflow="fold")
    numbers = ("replies", "completions", "prompt_tokens", "completion_tokens")
    for column in ("replies", "answers", "tokens in", "tokens out", "cost"):
        table.add_column(column, justify="right", overflow="fold")
    for bill in bills:
        counts = (f"{bill[number]:,}" for number in numbers)
        table.add_row(str(bill["iteration"]), bill["stage"], _short(bill["model"]), *counts, _price(bill))
    table.add_section()
    total = {key: sum(bill[key] for bill in bills) for key in (*numbers, "cost", "unpriced")}
    table.add_row("total", "", "", *(f"{total[number]:,}" for number in numbers), _price(total))
    return table


def _price(bill: Mapping[str, Any]) -> str:
    """The cost of replies, as far as their prices are known."""
    if not bill["unpriced"]:
        return dollars(bill["cost"])
    unknown = f"unknown for {replies(bill['unpriced'])}"
    return f"{unknown} (+ {dollars(bill['cost'])})" if bill["cost"] else unknown
