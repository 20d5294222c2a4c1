"""Computes the figures of evaluations from the kept rows: win rates, accuracies, and the influence of the order.

The prompt is the unit of every interval here: an interval is about *this checkpoint*, not about the method, for which
several trainings with different seeds are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any

import polars as pl

from eva_data.comparing.orders import flips
from eva_data.dataset.evaluations import Compared, EvaluationRecord
from eva_data.evaluation.contamination.flagged import Flagged, flagged_of, plain_flagged
from eva_data.evaluation.rates.comparability import reasons as incomparable
from eva_data.evaluation.rates.length import LengthInputs, at_equal_length
from eva_data.evaluation.rates.people import Agreement, agreement_of
from eva_data.evaluation.rates.weighing import KEYS, Styled, compared_scores, rate, single_scores, styled
from eva_data.evaluation.rule import JudgingRule, recorded_rule
from eva_data.own_code import is_own
from eva_data.statistics.bootstrap import mean_difference
from eva_data.statistics.differences import sign_flip_p
from eva_data.statistics.interval import Interval
from eva_data.statistics.judges import effective_judges
from eva_data.statistics.length_control import overlap
from eva_data.statistics.pass_at_k import pass_at_k
from eva_data.statistics.rates import bounded_mean
from eva_data.statistics.shares import share
from eva_data.tables.reasons import kind

SEED = 20411
"""The seed of every bootstrap draw. The same rows give the same figures."""

CONSISTENT = 0.6
"""A judge's verdicts say something only if it gives the same verdict in both orders on this share of prompts."""

FEWEST = 10
"""Decided verdicts of a judge below which it is no sign that all went to one place."""

LENGTHS_APART = 0.1
"""Difference between raw and length-controlled win rate from which a reader is warned."""

HARDLY_OVERLAP = 0.1
"""Overlap of the two sides' lengths under which a reader is warned."""


UNITS = {"compare": "win rate", "rate": "rating", "verify": "right", "score": "reward", "agree": "agreement"}
"""Kind of the rule -> unit of the figures."""


@dataclass(frozen=True)
class OrderFigures:
    """The influence of the order of the replies on one judge."""

    judge: str
    both: int
    """The number of prompts that it judged in both orders."""
    consistent: float | None
    """Share of these prompts with the same verdict in both orders. None without prompts, as under rules that ask in one
    order."""
    first: Interval | None
    """Share of its decided verdicts for the reply shown first. None without decided verdicts."""

    @property
    def only_place(self) -> str | None:
        """`first` or `second` if all its decided verdicts, ten at least, went to the reply shown there; else None."""
        if self.first is None or self.first.n < FEWEST or self.first.estimate not in (0.0, 1.0):
            return None
        return "first" if self.first.estimate else "second"

    @property
    def tells(self) -> bool:
        """Whether its verdicts follow the replies and not their order, so far as that can be seen."""
        return self.only_place is None and (self.consistent is None or self.consistent >= CONSISTENT)


@dataclass(frozen=True)
class Figures:
    """The figures of one comparison."""

    compared: Compared
    unit: str
    """`win rate`, `right`, `rating`, `reward`, or `agreement` of the judges with people."""
    judged: int
    """Prompts with a verdict."""
    estimate: Interval | None
    """In [0, 1], or on the scale of the rating or reward; None if nothing was judged."""
    scores: pl.DataFrame
    """One row per judged prompt: `prompt_id`, `category`, `score`, and the `weight` of its verdicts."""
    categories: Mapping[str, Interval]
    scale: tuple[float, float]
    """The lowest and the highest score that a prompt can have; infinite for a reward."""
    pass_at: Mapping[int, Interval]
    """k -> share of prompts that k answers solve; empty with one answer a prompt."""
    tokens: tuple[float | None, float | None]
    """Mean length of the answers in tokens, of the solver and of the other side; None where it is unknown."""
    truncated: tuple[float | None, float | None]
    """Share of the answers that were cut at `max_tokens`."""
    length_controlled: Interval | None
    orders: tuple[OrderFigures, ...]
    agreement: float | None
    """Mean share of the judges that agree with the panel; None with one judge."""
    effective_judges: float | None
    """How many independent judges the panel is worth; None with one judge, or where a judge never varies."""
    overlap: float | None
    """From 1, if each side is longer as often, to 0, if one side is always longer. None without a comparison."""
    reasons: Mapping[str, int]
    """Why rows have no score, or were decided without a judge -> rows."""
    length_name: str | None = None
    """`length_controlled_win_rate` with difficulties and gamed baselines, else `lc_simple`; None without the figure."""
    style_controlled: Styled | None = None
    """The rate with style held equal; None for rules without style control."""
    probabilities: float | None = None
    """Share of the judges' verdicts that are probabilities; None for rules that want none, or without verdicts."""
    people: Agreement | None = None
    """The judges against the people on reviewed pairs; None for every rule but `people`."""
    not_comparable: tuple[str, ...] = ()
    """Why the figures compare neither with the published ones nor, perhaps, the sides with each other."""
    warnings: tuple[str, ...] = ()
    contamination: Flagged | None = None
    """The prompts that repeat training texts, and the estimate without them; None if that was not checked."""


@dataclass(frozen=True)
class JudgedRate:
    """The scores of the judged prompts, and the rate that they come to."""

    scores: pl.DataFrame
    agreement: float | None
    """Mean share of the judges that agree with the panel; None where answers are judged by themselves."""
    scale: tuple[float, float]
    estimate: Interval | None
    people: Agreement | None = None
    """The judges against people; None for every rule but `people`."""


@dataclass(frozen=True)
class Difference:
    """Two sides that were judged by themselves on the same prompts."""

    set: str
    solver: str
    against: str
    unit: str
    estimate: Interval
    """Mean of the solver's score minus the other's, prompt by prompt."""
    p: float
    """The p value of a paired sign-flip test."""


def figures_of(
    compared: Compared, rows: pl.DataFrame, gamed: LengthInputs | None = None, own_rules: Collection[str] = ()
) -> Figures:
    """The figures of one comparison from its EVALUATIONS rows.

    `gamed` is what length control needs beside them. The dataset does not hold it: without it, a comparison that was
    made with it keeps the length-controlled win rate of its record.

    A comparison may come with a pulled dataset, and the name of its rule is then no consent to run anything. Raise
    DataError if the rule is somebody's own function and not one of `own_rules`, which the user's settings name.
    """
    rule = recorded_rule(compared.rule, own_rules)
    own = rows.filter(pl.col("evaluation") == compared.key)
    judged = judged_rate(compared, own, rule)
    scores = judged.scores
    unit = UNITS[rule.kind]
    controlled, length_name = None, None
    if rule.kind == "compare" and scores.height:
        controlled, length_name = at_equal_length(compared, own, scores, gamed, SEED)
    probabilities = _probabilities(own) if rule.tokens else None
    orders = _orders(own) if rule.kind in ("compare", "agree") else ()
    made = Figures(
        compared=compared,
        unit=unit,
        judged=scores.height,
        estimate=judged.estimate,
        scores=scores,
        categories=_by_category(scores, rule, judged.scale),
        scale=judged.scale,
        pass_at=_passes(own, compared) if compared.samples > 1 else {},
        tokens=(_mean(own, "completion_tokens"), _mean(own, "completion_tokens_against")),
        truncated=(_cut(own, "finish_reason"), _cut(own, "finish_reason_against")),
        length_controlled=controlled,
        length_name=length_name,
        style_controlled=styled(own, rule, SEED) if rule.kind == "compare" else None,
        probabilities=probabilities,
        people=judged.people,
        not_comparable=tuple(incomparable(compared, rule, probabilities)),
        orders=orders,
        agreement=judged.agreement if len(compared.judges) > 1 else None,
        effective_judges=_worth(own) if len(compared.judges) > 1 and rule.kind == "compare" else None,
        overlap=_overlap(own) if rule.kind == "compare" else None,
        reasons=dict(
            own.filter(pl.col("reason").is_not_null()).group_by(kind(pl.col("reason"))).len().sort("reason").iter_rows()
        ),
    )
    return replace(made, warnings=tuple(_warnings(made)), contamination=_contamination(compared, own))


def _contamination(compared: Compared, own: pl.DataFrame) -> Flagged | None:
    check = compared.contamination
    if check is None:
        return None
    clean = own.filter(pl.col("contaminated").is_null())
    unchecked = compared.model_copy(update={"contamination": None})
    rest = figures_of(unchecked, clean).estimate if 0 < clean.height < own.height else None
    return flagged_of(check, own, rest)


def judged_rate(compared: Compared, own: pl.DataFrame, rule: JudgingRule) -> JudgedRate:
    """The scores of the prompts and their mean, from the EVALUATIONS rows of one comparison alone."""
    if rule.kind == "agree":
        return _with_people(own)
    if rule.kind == "compare":
        per_prompt, agreement = compared_scores(own, rule)
    else:
        per_prompt, agreement = single_scores(own, compared.right), None
    scale = {"rate": (rule.lowest, rule.highest), "score": (-inf, inf)}.get(rule.kind, (0.0, 1.0))
    scores = per_prompt.select("prompt_id", "category", "score", "weight").sort("prompt_id")
    return JudgedRate(scores, agreement, scale, rate(scores, rule, scale, SEED))


def _with_people(own: pl.DataFrame) -> JudgedRate:
    """The agreement of the judges with people; a score of 1 where both prefer the same response."""
    found = agreement_of(own)
    same = (pl.col("people") == pl.col("judge")).cast(pl.Float64)
    scores = found.decided.select("prompt_id", category=pl.lit(None, pl.String), score=same, weight=pl.lit(1.0)).sort(
        "prompt_id"
    )
    return JudgedRate(scores, None, (0.0, 1.0), found.agrees, found)


def all_figures(record: EvaluationRecord, rows: pl.DataFrame, own_rules: Collection[str]) -> list[Figures]:
    """The figures of every comparison of a record, in its order, without those by rules of others (`figures_of`)."""
    known = (each for each in record.evaluations if not is_own(each.rule) or each.rule in own_rules)
    return [figures_of(compared, rows, own_rules=own_rules) for compared in known]


def differences_of(made: Sequence[Figures], solver: str, others: Sequence[str]) -> list[Difference]:
    """How a solver differs from others on the sets on which each was judged by itself, prompt by prompt."""
    alone = [each for each in made if each.unit not in ("win rate", "agreement")]
    found = []
    for ours in (each for each in alone if each.compared.solver_name == solver):
        for theirs in alone:
            if _asked_alike(ours.compared) != _asked_alike(theirs.compared) or theirs is ours:
                continue
            if theirs.compared.solver_name not in others:
                continue
            both = ours.scores.join(theirs.scores, on="prompt_id", suffix="_against").sort("prompt_id")
            if both.is_empty():
                continue
            apart = (both["score"] - both["score_against"]).to_numpy()
            width = ours.scale[1] - ours.scale[0]
            if isfinite(width):
                estimate = bounded_mean(apart, -width, width)
            elif apart.size > 1:
                estimate = mean_difference(apart, 0 * apart, seed=SEED)
            else:
                continue
            p = sign_flip_p(apart, SEED) if len(apart) > 1 else 1.0
            found.append(Difference(ours.compared.set, solver, theirs.compared.solver_name, ours.unit, estimate, p))
    return found


def _asked_alike(compared: Compared) -> tuple[object, ...]:
    """What two sides must share that were judged by themselves."""
    return compared.set, compared.rule, compared.prompts_hash, compared.references_hash, compared.judges


def _by_category(scores: pl.DataFrame, rule: JudgingRule, scale: tuple[float, float]) -> dict[str, Interval]:
    parts = scores.filter(pl.col("category").is_not_null()).sort("category", "prompt_id")
    groups = parts.partition_by("category", as_dict=True, maintain_order=True)
    rates = {str(category): rate(part, rule, scale, SEED) for (category,), part in groups.items()}
    return {category: found for category, found in rates.items() if found is not None}


def _probabilities(own: pl.DataFrame) -> float | None:
    """The share of the judges' verdicts that are probabilities; None without verdicts."""
    judged = own.filter(pl.col("label").is_not_null())
    return judged["preference"].count() / judged.height if judged.height else None


def _passes(own: pl.DataFrame, compared: Compared) -> dict[int, Interval]:
    """pass@k for k = 1, 2, 4, ... up to the number of samples; prompts with a sample that has no score are left out."""
    right = pl.col("score") >= (compared.right or 1.0)
    counts = (
        own.group_by("prompt_id")
        .agg(samples=pl.len(), scored=pl.col("score").count(), right=right.sum())
        .filter(pl.col("scored") == pl.col("samples"))
    )
    powers = [2**power for power in range(compared.samples.bit_length()) if 2**power <= compared.samples]
    return {k: pass_at_k(counts["samples"].to_numpy(), counts["right"].to_numpy(), k) for k in powers}


def _orders(own: pl.DataFrame) -> tuple[OrderFigures, ...]:
    asked = own.filter(pl.col("label").is_not_null())
    return tuple(
        OrderFigures(
            row["judge"],
            row["both"],
            1 - row["flipped"] / row["both"] if row["both"] else None,
            share(row["first"], row["decided"]) if row["decided"] else None,
        )
        for row in flips(asked, KEYS).iter_rows(named=True)
    )


def _overlap(own: pl.DataFrame) -> float | None:
    lengths = own.select(
        ours=pl.col("response").str.len_chars(), theirs=pl.col("response_against").str.len_chars()
    ).drop_nulls()
    return overlap(lengths["ours"].to_numpy(), lengths["theirs"].to_numpy()) if lengths.height else None


def _worth(own: pl.DataFrame) -> float | None:
    """The effective number of judges, over the prompts that all of them judged."""
    scores = own.group_by("prompt_id", "judge").agg(score=pl.col("score").mean())
    table = scores.pivot(on="judge", index="prompt_id", values="score").drop_nulls().sort("prompt_id")
    judged = table.drop("prompt_id")
    return effective_judges(judged.to_numpy().T) if judged.width > 1 and judged.height > 1 else None


def _mean(own: pl.DataFrame, name: str) -> float | None:
    value = own.unique(KEYS, maintain_order=True)[name].mean()
    return float(value) if isinstance(value, int | float) else None


def _cut(own: pl.DataFrame, name: str) -> float | None:
    known = own.unique(KEYS, maintain_order=True)[name].drop_nulls()
    return float((known == "length").sum()) / known.len() if known.len() else None


def _warnings(made: Figures) -> list[str]:
    compared, found = made.compared, []
    if compared.partial:
        found.append(f"partial: {made.judged} of {compared.prompts} prompts were judged, since {compared.partial}")
    if made.probabilities is not None and made.probabilities < 1:
        found.append(
            f"the judge gave log-probabilities for {100 * made.probabilities:z.0f} % of its verdicts; the others count "
            "as 0, 0.5 or 1"
        )
    for judge in made.orders:
        if judge.only_place is not None:
            found.append(f"{judge.judge} always preferred the reply shown {judge.only_place}: its verdicts say nothing")
        elif judge.consistent is not None and judge.consistent < CONSISTENT:
            found.append(
                f"{judge.judge} said the same in both orders on {100 * judge.consistent:z.0f} % of the prompts: this "
                "judge cannot tell"
            )
    if made.length_controlled is not None and made.estimate is not None:
        apart = made.length_controlled.estimate - made.estimate.estimate
        if abs(apart) >= LENGTHS_APART:
            found.append(
                f"with length controlled the win rate is {100 * made.length_controlled.estimate:z.1f} %, "
                f"{100 * abs(apart):z.0f} points {'above' if apart > 0 else 'below'} the raw one: length explains much"
            )
    if made.overlap is not None and made.overlap < HARDLY_OVERLAP and made.length_controlled is not None:
        found.append(
            "one side's answers are nearly always the longer ones, so the win rate at equal length is an extrapolation"
        )
    if compared.relatives:
        found.append(f"a judge is of the family of {', '.join(compared.relatives)}, and models prefer their family")
    return found


def plain(made: Figures, sentence: str, contamination: str | None = None) -> dict[str, Any]:
    """Figures as values for the record: an interval is [estimate, low, high]. `contamination` is its sentence."""
    return {
        "unit": made.unit,
        "judged": made.judged,
        "estimate": _ends(made.estimate),
        "length_controlled": _ends(made.length_controlled),
        "length_name": made.length_name,
        "style_controlled": _ends(made.style_controlled.rate) if made.style_controlled else None,
        "style": dict(made.style_controlled.influence) if made.style_controlled else None,
        "probabilities": made.probabilities,
        "people": _told_of_people(made.people),
        "not_comparable": list(made.not_comparable) or None,
        "categories": {name: _ends(interval) for name, interval in made.categories.items()},
        "pass_at": {str(k): _ends(interval) for k, interval in made.pass_at.items()},
        "tokens": list(made.tokens),
        "truncated": list(made.truncated),
        "consistent": {judge.judge: judge.consistent for judge in made.orders},
        "first": {judge.judge: _ends(judge.first) for judge in made.orders},
        "agreement": made.agreement,
        "effective_judges": made.effective_judges,
        "overlap": made.overlap,
        "reasons": dict(made.reasons),
        "sentence": sentence,
        "warnings": list(made.warnings),
        "contamination": plain_flagged(made.contamination, contamination),
    }


def _told_of_people(found: Agreement | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"pairs": found.pairs.height, "decided": found.decided.height, "kappa": found.kappa}


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.estimate, interval.low, interval.high]
