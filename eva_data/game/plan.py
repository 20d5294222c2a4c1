"""Plans what an iteration will take and cost, stage by stage, before any model is asked.

The number of calls follows from the settings (`workload`). What a call takes is the mean over the calls of that stage
in the ledger, or else the most that it can take. This module asks no model, looks none up and downloads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from eva_data.config import Config, Endpoint, Judge, Several, Tournament
from eva_data.config.machines.computing import RayEngine
from eva_data.config.machines.launching import LocalServers
from eva_data.config.models import AnyModel, Serving
from eva_data.game.ahead import to_train
from eva_data.game.measuring import measuring
from eva_data.game.starting import Start, starting_prompts
from eva_data.game.workload import Computed, PlannedModel, Work, is_known, survival, workload
from eva_data.iteration.ready import refuse_unready
from eva_data.iteration.run import Run
from eva_data.iteration.stale import refuse_stale
from eva_data.ledger import Ledger
from eva_data.models.remote.budget import Price, cost
from eva_data.models.remote.litellm_provider import price_of
from eva_data.models.vllm.hosts import gpus_here

_SIBLINGS = {"estimate": "respond", "judge (estimate)": "judge (respond)"}
_SIBLINGS |= {sibling: stage for stage, sibling in _SIBLINGS.items()}
"""Stage -> another stage that asks the same model in the same way."""

Billed = Mapping[str, Any]
"""A row of Ledger.bills()."""

Source = Literal["ledger", "bound", "reused", "computed"]
"""Where the numbers of a line come from. `ledger`: they were measured. `bound`: they are the most that is possible.
`reused`: there is nothing to ask. `computed`: responses are scored without a language model."""


@dataclass(frozen=True)
class Rates:
    """What a completion of a stage takes on average."""

    calls: float
    tokens_in: float | None
    tokens_out: float | None
    """None if the servers did not say it."""
    seconds: float | None
    """The completion's share of the time from a request to its reply; None if only other models were measured."""


@dataclass(frozen=True)
class PlanLine:
    """What a stage will take in all."""

    stage: str
    model: str
    """The model's name in the settings."""
    calls: int
    completions: int | None
    tokens_in: int | None
    tokens_out: int | None
    """None if no language model is asked."""
    cost: float | None
    """Dollars; None if the price is unknown."""
    seconds: float | None
    """None if nothing was measured."""
    source: Source
    own_hardware: bool


@dataclass(frozen=True)
class Plan:
    """What an iteration will take."""

    iteration: int
    start: Start
    lines: tuple[PlanLine, ...]
    notes: tuple[str, ...]
    """Further sentences for the user."""
    spent: float
    """Dollars that the ledger holds for all iterations."""
    paid: float
    """The part of `spent` for this iteration, from a pilot or an interrupted build."""
    measuring: tuple[PlanLine, ...] = ()
    """What evaluating theta_t and rating the prompts will take afterwards."""
    measured: tuple[str, ...] = ()
    """What that can tell, one sentence for each set."""

    @property
    def everything(self) -> tuple[PlanLine, ...]:
        """The lines of the iteration, then of what measures it."""
        return (*self.lines, *self.measuring)

    @property
    def cost(self) -> float:
        """The dollars of all lines whose price is known."""
        return sum(line.cost or 0.0 for line in self.everything)

    @property
    def unpriced(self) -> bool:
        """Whether the price of any line is unknown."""
        return any(line.cost is None for line in self.everything)


def pilot_ledger(run: Run) -> Path:
    """The ledger of a pilot for models whose answers the build must compute again (see `pilot`)."""
    return run.store.state / "pilot" / "ledger.sqlite"


def plan_iteration(run: Run, iteration: int) -> Plan:
    """Plan iteration t by the settings and the present ledger.

    Raise StaleError if an iteration was made with other settings, and DataError if the prompts are on this machine and
    cannot be used.
    """
    for earlier in range(1, iteration + 1):
        refuse_stale(run, earlier)
    refuse_unready(run, iteration, download=False)
    start = starting_prompts(run, iteration)
    bills = [bill for path in (run.ledger, pilot_ledger(run)) if path.exists() for bill in _bills(path)]
    spent = sum(bill["cost"] for bill in bills)
    paid = sum(bill["cost"] for bill in bills if bill["iteration"] == iteration)
    found = measuring(run, iteration, start)
    after = tuple(_of_set(_either(work, bills, run.config), name) for name, work in found.works)
    if iteration in run.store.iterations():
        done = f"iteration {iteration} is built, and building it again asks nothing: `eva-data status` has what it took"
        return Plan(iteration, start, (), (done,), spent, paid, after, found.notes)
    works = workload(run, iteration, start)
    lines = tuple(_either(work, bills, run.config) for work in works)
    return Plan(iteration, start, lines, tuple(_notes(run, iteration, works)), spent, paid, after, found.notes)


def _bills(path: Path) -> list[dict[str, Any]]:
    with Ledger(path) as ledger:
        return ledger.bills()


def _either(work: Work | Computed, bills: Sequence[Billed], config: Config) -> PlanLine:
    return _computed(work) if isinstance(work, Computed) else _line(_shared(work, config), bills)


def _shared(work: Work, config: Config) -> Work:
    """The work, done by all servers or actors that hold its model at the same time."""
    at_once = min(work.at_once * copies(config, work.player.block), max(1, work.calls))
    return replace(work, at_once=at_once)


def copies(config: Config, block: AnyModel) -> int:
    """How many servers or actors that eva-data starts hold a model at the same time, as far as the settings tell.

    A number that the settings leave to the cluster counts as 1.
    """
    if isinstance(block, Serving):
        if block.urls or config.servers is None:
            return 1
        # A server takes all GPUs of its group, however many: they make it faster, and do not make it more.
        group = block.tensor_parallel * block.data_parallel
        here = len(gpus_here()) // group if isinstance(config.servers, LocalServers) else 1
        return config.servers.replicas or max(1, here)
    if not isinstance(block, Endpoint) and isinstance(config.execution, RayEngine):
        return config.execution.actors or 1
    return 1


def _of_set(line: PlanLine, name: str) -> PlanLine:
    """The line with the name of the set that it is about, if there is a set."""
    return replace(line, stage=f"{line.stage.partition(' (')[0]} ({name})") if name else line


def _computed(work: Computed) -> PlanLine:
    return PlanLine(work.stage, work.model, work.calls, None, None, None, 0.0, None, "computed", own_hardware=True)


def _line(work: Work, bills: Sequence[Billed]) -> PlanLine:
    return foresee(work, rates_of(bills, work.stage, work.player), price_of(work.player.block))


def rates_of(bills: Sequence[Billed], stage: str, player: PlannedModel) -> Rates | None:
    """The means over a stage's bills: of the same model if it has any, else of any model; None without bills.

    *estimate* and *respond* ask in the same way, so bills of one stage also count for the other.
    """
    for same_model in (True, False):
        for name in (stage, _SIBLINGS.get(stage)):
            found = [bill for bill in bills if bill["stage"] == name and bill["completions"]]
            if same_model:
                found = [bill for bill in found if player.is_called(bill["model"])]
            if found:
                return _means(found, same_model)
    return None


def _means(bills: Sequence[Billed], same_model: bool) -> Rates:
    replies, completions, tokens_in, tokens_out, seconds = (
        sum(bill[key] for bill in bills)
        for key in ("replies", "completions", "prompt_tokens", "completion_tokens", "seconds")
    )
    return Rates(
        calls=replies / completions,
        # No text has no tokens, so 0 means that they were not counted.
        tokens_in=tokens_in / completions or None,
        tokens_out=tokens_out / completions or None,
        seconds=seconds / completions if same_model else None,
    )


def foresee(work: Work, rates: Rates | None, price: Price | None) -> PlanLine:
    """The line of a stage, by what its completions took so far, or else by the most that they can take."""
    block, own = work.player.block, price == (0.0, 0.0)
    if not work.completions:
        return PlanLine(work.stage, block.model, 0, 0, 0, 0, 0.0, 0.0, "reused", own)
    calls, tokens_in, tokens_out, seconds = work.calls, work.tokens_in, work.tokens_out, None
    if rates is not None:
        if isinstance(block, Endpoint):
            calls = round(rates.calls * work.completions)
        if rates.tokens_in is not None:
            tokens_in = round(rates.tokens_in * work.completions)
        if rates.tokens_out is not None:
            tokens_out = round(rates.tokens_out * work.completions)
        if rates.seconds is not None:
            seconds = rates.seconds * work.completions / work.at_once
    counted = rates is not None and rates.tokens_in is not None and rates.tokens_out is not None
    return PlanLine(
        stage=work.stage,
        model=block.model,
        calls=calls,
        completions=work.completions,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=cost(price, tokens_in, tokens_out),
        seconds=seconds,
        source="ledger" if counted else "bound",
        own_hardware=own,
    )


def _notes(run: Run, iteration: int, works: Sequence[Work | Computed]) -> list[str]:
    config, before = run.config, iteration - 1
    if not works:
        return ["its responses come from a table, so nothing is asked"]
    notes = []
    if config.servers is not None:
        number = "one server for each group of GPUs" if config.servers.replicas is None else config.servers.replicas
        notes.append(
            f"`servers` starts {number} by `launch: {config.servers.launch}`: the times count on all of them at work, "
            "and leave out their start"
        )
    if isinstance(config.execution, RayEngine) and config.execution.actors is None:
        notes.append("the times count one actor of the Ray cluster: `execution.actors` says how many there will be")
    if iteration > 1:
        if before not in run.store.iterations():
            notes.append(f"iteration {before} is not built: `eva-data plan --iter {before}` says what it takes")
        if missing := to_train(run, iteration):
            thetas = " and ".join(f"theta_{theta}" for theta in missing)
            notes.append(f"{thetas} {'have' if len(missing) > 1 else 'has'} to be trained first, which this leaves out")
        if is_known(run, iteration):
            notes.append(f"the solver is that of iteration {before}: what it said to those prompts is kept")
    if any(work.stage == "evolve" for work in works):
        share = config.mix.evolved / (config.sample.fraction * config.evolve.evolutions)
        survived = survival(run, iteration)
        notes.append(
            f"more prompts are evolved where fewer than {share:.0%} of the evolutions survive"
            + ("" if survived is None else f"; in iteration {before} {survived:.0%} did")
        )
    rewards = config.reward.rewards if isinstance(config.reward, Several) else (config.reward,)
    if any(isinstance(reward, Judge) for reward in rewards):
        notes.append("a judge that gives no rating is asked once more, which this leaves out")
    if any(isinstance(reward, Tournament) for reward in rewards):
        notes.append("a judge that gives no verdict is asked once more, which this leaves out")
    if config.evolve.rated and any(work.stage == "evolve" for work in works):
        notes.append("the creator rates every candidate that survives, and once more where it gives no rating")
    return notes
