"""Whether a newly trained theta may play: the bounds of `train.accept`, by its evaluation against the theta before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from eva_data.config import Accept
from eva_data.dataset.evaluations import Compared, read_record, read_rows
from eva_data.errors import AcceptanceError, ConfigError
from eva_data.evaluation.evaluate import Asked, evaluate, sets_of
from eva_data.evaluation.figures import Figures, figures_of
from eva_data.files import write_json
from eva_data.iteration.run import Run

REASON = "not_accepted.json"


def refuse_unacceptable(run: Run, theta: int) -> None:
    """Evaluate theta_t against theta_{t-1}, and raise AcceptanceError where it is outside the bounds of the settings.

    It is then kept aside as `iter_t.rejected`, so that theta_{t-1} stays the newest. Does nothing without bounds.
    Raises ConfigError where there are bounds and no set to evaluate on.
    """
    accept = run.config.train.accept
    if not accept.bounds:
        return
    sets = sets_of(run)
    if not sets:
        raise ConfigError(
            "`train.accept` sets bounds, but there is nothing to evaluate on: name prompts in `evaluate.sets`, or hold "
            "seeds out with `evaluate.heldout`"
        )
    before = f"theta_{theta - 1}"
    made = evaluate(run, Asked(f"theta_{theta}", (before,), sets[:1]))
    rule = sets[0].rule
    why = broken(accept, _figures(run, made, f"theta_{theta}", rule), _figures(run, made, before, rule))
    if why:
        _put_aside(run, theta, why)
        raise AcceptanceError(_sentence(run, theta, why))


def refuse_rejected(run: Run, theta: int) -> None:
    """Raise AcceptanceError where theta_t was trained before and not accepted: training it again gives the same."""
    reason = rejected_folder(run, theta) / REASON
    if run.config.train.accept.bounds and reason.exists():
        raise AcceptanceError(_sentence(run, theta, list(json.loads(reason.read_text(encoding="utf-8"))["why"])))


def rejected_folder(run: Run, theta: int) -> Path:
    """Where a theta_t lies that was not accepted."""
    return run.store.solver_folder(theta).with_name(f"iter_{theta}.rejected")


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


def _put_aside(run: Run, theta: int, why: list[str]) -> None:
    folder, aside = run.store.solver_folder(theta), rejected_folder(run, theta)
    shutil.rmtree(aside, ignore_errors=True)
    write_json(folder / REASON, {"why": why})
    folder.rename(aside)


def _sentence(run: Run, theta: int, why: list[str]) -> str:
    return (
        f"theta_{theta} is not accepted by `train.accept` ({'; '.join(why)}), so theta_{theta - 1} stays the newest: "
        "train otherwise (`train.recipe`, `train.mode`) or change the bounds, then remove "
        f"{rejected_folder(run, theta)}"
    )


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
