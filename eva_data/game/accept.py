"""Whether a newly trained theta may play: the bounds of `train.accept`, by an evaluation and by log-probabilities."""

from __future__ import annotations

import shutil

from eva_data.config import Accept
from eva_data.dataset.evaluations import Compared, read_record, read_rows
from eva_data.dataset.records.acceptance import Acceptance, Moved, read_acceptance, rejected_folder, write_acceptance
from eva_data.errors import AcceptanceError, ConfigError
from eva_data.evaluation.evaluate import Asked, evaluate, sets_of
from eva_data.evaluation.figures import Figures, figures_of
from eva_data.evaluation.likelihood.moved import measure
from eva_data.iteration.run import Run
from eva_data.models.resolve import folder_fingerprint


def refuse_unmeasurable(run: Run) -> None:
    """Raise ConfigError where a bound needs what the settings cannot give: the weights, or prompts to evaluate on."""
    accept, solver = run.config.train.accept, run.config.model_solver
    if accept.measured and not run.config.trains:
        what = "is a table of responses" if solver is None else f"`{solver.model}` runs behind a URL"
        raise ConfigError(
            f"`train.accept` bounds `max_chosen_drop` or `max_kl`, which need the solver's weights, but `solver` {what}"
            ": leave these two bounds out, or use `backend: transformers` or `vllm` with a model folder or Hub id"
        )
    if accept.evaluated and run.config.trains and not sets_of(run):
        raise ConfigError(
            "`train.accept` sets bounds, but there is nothing to evaluate on: name prompts in `evaluate.sets`, or hold "
            "seeds out with `evaluate.heldout`"
        )


def refuse_unacceptable(run: Run, theta: int) -> None:
    """Raise AcceptanceError where theta_t is outside the bounds of the settings.

    It is evaluated against theta_{t-1} and measured first, as far as the bounds need it. Outside them it is kept aside
    as `iter_t.rejected`, so that theta_{t-1} stays the newest. Does nothing without bounds, and where theta_t kept the
    same bounds before. Raises ConfigError where a bound cannot be checked.
    """
    accept = run.config.train.accept
    if not accept.bounds:
        return
    refuse_unmeasurable(run)
    fingerprint, bounds = folder_fingerprint(run.store.solver_folder(theta)), accept.model_dump(mode="json")
    kept = read_acceptance(run.store, theta)
    if kept is not None and kept.fingerprint != fingerprint:
        kept = None
    if kept is not None and kept.bounds == bounds and not kept.why:
        return
    moved = kept.moved if kept else None
    if moved is None and accept.measured:
        moved = measure(run, theta)
    why = tuple([*_broken_in_evaluation(run, theta), *too_far(accept, moved)])
    write_acceptance(run.store, theta, Acceptance(fingerprint=fingerprint, bounds=bounds, why=why, moved=moved))
    if why:
        _put_aside(run, theta)
        raise AcceptanceError(_sentence(run, theta, why))


def refuse_rejected(run: Run, theta: int) -> None:
    """Raise AcceptanceError where theta_t was trained before and not accepted: training it again gives the same."""
    if not run.config.train.accept.bounds or run.store.solver_folder(theta).exists():
        return
    kept = read_acceptance(run.store, theta)
    if kept is not None and kept.why and rejected_folder(run.store, theta).exists():
        raise AcceptanceError(_sentence(run, theta, kept.why))


def _broken_in_evaluation(run: Run, theta: int) -> list[str]:
    """The bounds that theta_t breaks in its evaluation against theta_{t-1}, which is made if a bound needs it."""
    accept = run.config.train.accept
    if not accept.evaluated:
        return []
    before = f"theta_{theta - 1}"
    sets = sets_of(run)[:1]
    made = evaluate(run, Asked(f"theta_{theta}", (before,), sets))
    ours, theirs = (_figures(run, made, name, sets[0].rule) for name in (f"theta_{theta}", before))
    return broken(accept, ours, theirs)


def too_far(accept: Accept, moved: Moved | None) -> list[str]:
    """The bounds that theta_t breaks by its log-probabilities, in words. An unknown figure breaks its bound."""
    found = []
    if accept.max_chosen_drop is not None:
        change = moved.chosen_per_token if moved else None
        if change is None or -change > accept.max_chosen_drop:
            found.append(
                f"the log-probability of the chosen responses changed by {_shown(change)} nats per token, a fall of "
                f"more than {accept.max_chosen_drop:g}"
            )
    if accept.max_kl is not None:
        kl = moved.kl_per_token if moved else None
        if kl is None or kl > accept.max_kl:
            found.append(f"its KL divergence from theta_0 is {_shown(kl)} nats per token, above {accept.max_kl:g}")
    return found


def broken(accept: Accept, ours: Figures | None, theirs: Figures | None) -> list[str]:
    """The bounds that theta_t breaks, in words. An unknown figure breaks its bound: unknown is never success."""
    found = []
    if accept.min_win_rate is not None:
        rate = ours.estimate.estimate if ours and ours.estimate and ours.unit == "win rate" else None
        if rate is None or rate < accept.min_win_rate:
            found.append(f"its win rate is {_shown(rate)}, below {accept.min_win_rate:g}")
    if accept.max_drop is not None:
        drop = None
        if ours and theirs and ours.estimate and theirs.estimate and ours.unit != "win rate":
            drop = theirs.estimate.estimate - ours.estimate.estimate
        if drop is None or drop > accept.max_drop:
            found.append(f"it is {_shown(drop)} below the theta before, more than {accept.max_drop:g}")
    if accept.max_length_ratio is not None:
        own, other = _tokens(ours, theirs)
        ratio = own / other if own is not None and other else None
        if ratio is None or ratio > accept.max_length_ratio:
            found.append(f"its answers are {_shown(ratio)} times as long, more than {accept.max_length_ratio:g}")
    if accept.max_truncated is not None:
        cut = ours.truncated[0] if ours else None
        if cut is None or cut > accept.max_truncated:
            found.append(f"{_shown(cut)} of its answers are cut at `max_tokens`, more than {accept.max_truncated:g}")
    return found


def _tokens(ours: Figures | None, theirs: Figures | None) -> tuple[float | None, float | None]:
    """Mean length of the answers of both sides."""
    if ours is None:
        return None, None
    return ours.tokens[0], ours.tokens[1] if ours.unit == "win rate" else (theirs.tokens[0] if theirs else None)


def _figures(run: Run, made: list[Compared], name: str, rule: str) -> Figures | None:
    found = next((each for each in made if each.solver_name == name), None)
    rows = read_rows(run.store, read_record(run.store))
    return None if found is None else figures_of(found, rows, own_rules=(rule,))


def _put_aside(run: Run, theta: int) -> None:
    aside = rejected_folder(run.store, theta)
    shutil.rmtree(aside, ignore_errors=True)
    run.store.solver_folder(theta).rename(aside)


def _sentence(run: Run, theta: int, why: tuple[str, ...]) -> str:
    return (
        f"theta_{theta} is not accepted by `train.accept` ({'; '.join(why)}), so theta_{theta - 1} stays the newest: "
        "train otherwise (`train.recipe`, `train.mode`) or change the bounds, then remove "
        f"{rejected_folder(run.store, theta)}"
    )


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:z.3g}"
