"""Puts figures into plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

from eva_data.evaluation.contamination.flagged import sentence
from eva_data.evaluation.figures import Difference, Figures
from eva_data.evaluation.rates.comparability import sides_apart
from eva_data.evaluation.rates.people import Agreement
from eva_data.statistics.interval import Interval
from eva_data.statistics.power import LARGEST_DEVIATION, prompts_needed

ON_A_SCALE = ("rating", "reward")
"""Units that are no shares."""


def percent(interval: Interval) -> str:
    """An interval of shares, such as `57.3 % [52.1, 62.3]`."""
    return f"{100 * interval.estimate:z.1f} % [{100 * interval.low:z.1f}, {100 * interval.high:z.1f}]"


def rating(interval: Interval) -> str:
    """An interval of ratings, such as `6.41 [6.20, 6.63]`."""
    return f"{interval.estimate:z.2f} [{interval.low:z.2f}, {interval.high:z.2f}]"


def shown(made: Figures) -> str:
    """The estimate of a comparison with its interval and unit."""
    if made.estimate is None:
        return "nothing was judged"
    return f"{made.unit} {rating(made.estimate) if made.unit in ON_A_SCALE else percent(made.estimate)}"


def sentence_of(made: Figures) -> str:
    """The sentence on a comparison: better, worse, not distinguishable, or that its judge cannot tell."""
    compared = made.compared
    where = f"on {compared.set} ({made.judged} of {compared.prompts} prompts)"
    if made.estimate is None:
        why = ", ".join(f"{reason} {count}" for reason, count in made.reasons.items()) or "there are no verdicts"
        return f"Nothing can be said of {compared.solver_name} {where}: {why}."
    if made.people is not None:
        return _of_people(made, made.people)
    if made.unit != "win rate":
        return f"{compared.solver_name}: {shown(made)} {where}."
    unable = [judge for judge in made.orders if not judge.tells]
    if unable and len(unable) * 2 > len(made.orders):
        first = unable[0]
        why = f"it said the same in both orders on {100 * (first.consistent or 0):z.0f} % of the prompts"
        if first.consistent is None:
            why = f"it always preferred the reply shown {first.only_place}"
        return f"This judge cannot tell {compared.solver_name} from {compared.against_name} {where}: {why}."
    if (apart := sides_apart(compared)) is not None:
        sides = f"{compared.solver_name} and {compared.against_name}"
        return f"{sides} are not compared {where}, since {apart}: {shown(made)}."
    panel = _panel(made) + _styled(made)
    verdict = _verdict(made.estimate, 0.5)
    if verdict:
        return f"{compared.solver_name} is {verdict} than {compared.against_name} {where}: {shown(made)}{panel}."
    off = abs(made.estimate.estimate - 0.5)
    needed = prompts_needed(off, _deviation(made)) if off > 1e-9 else None
    more = f" A difference of this size would need about {needed:,} prompts." if needed else ""
    return (
        f"{compared.solver_name} and {compared.against_name} are not distinguishable at this size {where}: "
        f"{shown(made)}{panel}.{more}"
    )


def _of_people(made: Figures, found: Agreement) -> str:
    assert made.estimate is not None
    judges = "the judge" if len(made.compared.judges) == 1 else f"the panel of {len(made.compared.judges)} judges"
    kappa = "" if found.kappa is None else f"; Cohen's kappa, ties included, is {found.kappa:z.2f}"
    left = "" if not found.undecided else f"; of {found.undecided} more {judges} preferred neither"
    return (
        f"On reviewed pairs {judges} agrees with people in {percent(made.estimate)} of {made.estimate.n} on which both "
        f"prefer a response{left}{kappa}."
    )


def contamination_sentence(made: Figures) -> str | None:
    """The sentence on prompts that repeat training texts; None if that was not checked."""
    found = made.contamination
    if found is None:
        return None
    rest = found.without
    written = None if rest is None else f"{made.unit} {rating(rest) if made.unit == 'rating' else percent(rest)}"
    return sentence(found, written)


def difference_sentence(found: Difference, adjusted_p: float) -> str:
    """The sentence on a difference of two sides that were judged by themselves; `adjusted_p` is Holm's p value."""
    apart = found.estimate
    shape = (
        f"{apart.estimate:+z.2f} [{apart.low:+z.2f}, {apart.high:+z.2f}]"
        if found.unit in ON_A_SCALE
        else f"{100 * apart.estimate:+z.1f} points [{100 * apart.low:+z.1f}, {100 * apart.high:+z.1f}]"
    )
    verdict = _verdict(apart, 0.0) if adjusted_p < 0.05 else None
    what = f"{verdict} than" if verdict else "not distinguishable at this size from"
    size = f"over {apart.n} prompts, p = {adjusted_p:z.2g}"
    return f"{found.solver} is {what} {found.against} on {found.set}: {shape} {size}."


def _verdict(interval: Interval, even: float) -> str | None:
    if interval.low > even:
        return "better"
    return "worse" if interval.high < even else None


def _panel(made: Figures) -> str:
    """Sentences on several judges. With one judge there are none."""
    if made.agreement is None:
        return ""
    worth = "" if made.effective_judges is None else f", worth {made.effective_judges:z.1f} independent ones"
    return f" by {len(made.compared.judges)} judges{worth}, who agree {100 * made.agreement:z.0f} % of the time"


def _styled(made: Figures) -> str:
    """The rate with style held equal; nothing without one."""
    return "" if made.style_controlled is None else f", at equal style {percent(made.style_controlled.rate)}"


def _deviation(made: Figures) -> float:
    """The standard deviation of the scores of prompts; where it is 0, the largest that scores in [0, 1] can have."""
    found = made.scores["score"].std(ddof=0)
    return float(found) if isinstance(found, float) and found > 0 else LARGEST_DEVIATION


def checkpoint_note(made: Sequence[Figures]) -> str:
    """A sentence for every report, so that nobody reads too much into the figures."""
    return (
        "These intervals are about these checkpoints: other trainings of the same method would differ, and their "
        "spread is not in them."
        if made
        else ""
    )
