"""The length-controlled win rate of AlpacaEval 2: the win rate if both sides wrote equally long responses.

Dubois, Galambosi, Liang and Hashimoto 2024, arXiv 2404.04475, with the particulars of alpaca_eval 0.6.6
(`metrics/glm_winrate.py`): the judge's preference for the own response is

    logistic(theta + phi * tanh((baseline's length - own length) / deviation of that difference) + psi * difficulty),

with lengths in characters and without a further intercept. The fit is L1-penalised. The strength of the penalty is
chosen from ten candidates by five folds of cross-validation. Rows of gamed baselines (the baseline was told to be
verbose or concise) are in the fit without theta. Each has a tenth of a row's weight. They keep phi from taking up
quality. The win rate is the mean prediction with the length term at 0.

Difficulties and gamed rows exist only for AlpacaEval's own prompts and baseline. Without them the model consists of
theta and phi, and its figure is called `lc_simple`. It is never the leaderboard's figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eva_data.errors import DataError
from eva_data.statistics.bootstrap import DRAWS, drawn_counts, rate_of_draws
from eva_data.statistics.interval import LEVEL, Floats, Interval, numbers, paired
from eva_data.statistics.logistic import cross_entropy, fit, probability

PENALTIES = 1 / np.logspace(-4, 4, 10)
"""The candidates for the weight of the L1 penalty: 1 / C in scikit-learn."""

FOLDS = 5
GAMED_WEIGHT = 0.2 / 2
"""The weight of a gamed row. Each prompt has two gamed rows, so together they weigh a fifth of a row."""

AT_ONCE = 200
"""The number of draws that are refitted at once. More draws need more memory and are not faster."""

FEWEST = 10
"""With fewer prompts, no effect of length is fitted without difficulties and gamed rows."""

FULL, SIMPLE = "length_controlled_win_rate", "lc_simple"


@dataclass(frozen=True)
class GamedBaselines:
    """The rows of gamed baselines, one number per row. A preference is for the gamed baseline, in [0, 1]."""

    preference: npt.ArrayLike
    length_difference: npt.ArrayLike
    """(Baseline's length - gamed length) / deviation: the column `std_delta_len` of the file."""
    difficulty: npt.ArrayLike


@dataclass(frozen=True)
class LengthControlled:
    """The length-controlled win rate with the parameters of the model."""

    name: str
    """`length_controlled_win_rate`, or `lc_simple` without difficulties or gamed rows."""
    rate: Interval
    standard_error: float
    """The standard error of the predictions, as in alpaca_eval. Only the interval holds the uncertainty of the fit."""
    theta: float
    length: float
    difficulty: float | None
    penalty: float


def length_controlled(
    preferences: npt.ArrayLike,
    own_lengths: npt.ArrayLike,
    baseline_lengths: npt.ArrayLike,
    difficulty: npt.ArrayLike | None = None,
    gamed: GamedBaselines | None = None,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> LengthControlled:
    """The win rate at equal lengths, from a preference in [0, 1] for the own response and two lengths per prompt.

    Every draw of the bootstrap standardises the lengths and fits the model anew. The strength of the penalty and the
    gamed rows stay the same, because they are no sample of prompts. The order of rows only decides the fold of a
    prompt. Raises DataError if all differences in length are equal and not 0, because then nothing can tell length from
    quality.
    """
    scores = numbers(preferences, "preferences", 0, 1)
    delta = numbers(baseline_lengths, "lengths", 0) - numbers(own_lengths, "lengths", 0)
    full = difficulty is not None and gamed is not None
    hard = numbers(difficulty, "difficulties") if full and difficulty is not None else np.zeros(0)
    if scores.size < FOLDS or delta.shape != scores.shape or (full and hard.shape != scores.shape):
        raise DataError(
            f"{scores.size} preferences and {delta.size} lengths were found, as many of each and at least {FOLDS} were "
            "expected: join them by prompt"
        )
    if np.ptp(delta) == 0 and delta[0] != 0:
        raise DataError(
            f"all responses differ from the baseline's by {-delta[0]:g} characters, different lengths were expected: "
            "nothing can tell length from quality here, report the raw win rate alone"
        )
    extra = _gamed_rows(gamed) if full and gamed is not None else (np.zeros((0, 2)), np.zeros(0))
    model = _Model(scores, delta, hard if full else None, *extra)
    penalty = model.best_penalty()
    (found,) = model.fits(np.ones((1, scores.size)), penalty, None)
    predicted = model.predicted(found[None])[0]
    counts = drawn_counts(scores.size, draws, seed).astype(float)
    again = [
        (part * model.predicted(model.fits(part, penalty, found))).mean(axis=1)
        for part in np.array_split(counts, max(1, -(-draws // AT_ONCE)))
    ]
    rate = float(predicted.mean())
    return LengthControlled(
        name=FULL if full else SIMPLE,
        rate=rate_of_draws(rate, np.clip(np.concatenate(again), 0, 1), scores.size, level),
        standard_error=float(predicted.std(ddof=1) / np.sqrt(scores.size)),
        theta=float(found[1]),
        length=float(found[0]),
        difficulty=float(found[2]) if full else None,
        penalty=penalty,
    )


def lc_simple(
    scores: npt.ArrayLike, ours: npt.ArrayLike, theirs: npt.ArrayLike, *, seed: int, draws: int = DRAWS
) -> Interval | None:
    """The rate of the model without difficulties and gamed rows.

    None with fewer than 10 prompts, or if all differences in length are equal: then the raw win rate is enough.
    """
    found = numbers(scores, "preferences", 0, 1)
    if found.size < FEWEST or np.ptp(np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)) == 0:
        return None
    return length_controlled(found, ours, theirs, seed=seed, draws=draws).rate


def overlap(ours: npt.ArrayLike, theirs: npt.ArrayLike) -> float:
    """The overlap of the lengths of both sides: 1 if each side is longer as often, 0 if one side is always longer.

    It is twice the smaller of two shares: prompts with a longer own response, and prompts with a longer baseline
    response. Equal lengths count half. Near 0 the win rate at equal lengths is an extrapolation, because no such pair
    was seen.
    """
    one, other = paired(ours, theirs, "lengths")
    longer = float((np.sign(one - other).mean() + 1) / 2)
    return 2 * min(longer, 1 - longer)


def _gamed_rows(gamed: GamedBaselines) -> tuple[Floats, Floats]:
    """The columns length and difficulty, and the targets. Rows without an answer of the judge are left out."""
    columns = [np.asarray(each, dtype=float) for each in (gamed.length_difference, gamed.difficulty, gamed.preference)]
    if len({each.shape for each in columns}) != 1:
        raise DataError("the columns of the gamed baselines differ in length: give the file's columns as they are")
    kept = ~np.isnan(columns[2])
    return np.stack([columns[0][kept], columns[1][kept]], axis=1), numbers(columns[2][kept], "preferences", 0, 1)


@dataclass(frozen=True)
class _Model:
    """Columns: length, theta, and difficulty if it is known. Rows: the gamed rows, then the prompts."""

    scores: Floats
    delta: Floats
    difficulty: Floats | None
    gamed: Floats
    gamed_scores: Floats

    @property
    def targets(self) -> Floats:
        return np.concatenate([self.gamed_scores, self.scores])

    def weights(self, counts: Floats) -> Floats:
        own = np.full((counts.shape[0], self.gamed.shape[0]), GAMED_WEIGHT)
        return np.concatenate([own, counts], axis=1)

    def features(self, counts: Floats) -> list[Floats]:
        """Length, theta and difficulty, by fits and rows. The lengths are standardised within each draw."""
        n = counts.sum(axis=1)
        mean = counts @ self.delta / n
        square = (counts * np.square(self.delta - mean[:, None])).sum(axis=1)
        deviation = np.sqrt(square / (n - 1))
        standard = self.delta / np.where(deviation == 0, 1, deviation)[:, None]
        gamed = np.broadcast_to(self.gamed[:, 0], (counts.shape[0], self.gamed.shape[0]))
        theta = np.concatenate([np.zeros(self.gamed.shape[0]), np.ones(self.scores.size)])
        columns = [np.tanh(np.concatenate([gamed, standard], axis=1)), theta]
        if self.difficulty is not None:
            columns.append(np.concatenate([self.gamed[:, 1], self.difficulty]))
        return columns

    def fits(self, counts: Floats, penalty: float, start: Floats | None) -> Floats:
        return fit(self.features(counts), self.targets, self.weights(counts), l1=penalty, start=start)

    def predicted(self, found: Floats) -> Floats:
        """Fits by prompts: the chance that the own response is preferred, at equal lengths."""
        logits = found[:, 1:2] + np.zeros(self.scores.size)
        if self.difficulty is not None:
            logits = logits + found[:, 2:3] * self.difficulty
        return probability(logits)

    def best_penalty(self) -> float:
        """The candidate with the smallest mean held-out loss. Of equally good candidates, the strongest penalty."""
        ones = np.ones((1, self.scores.size))
        (weights,) = self.weights(ones)
        features = [np.ravel(each) for each in self.features(ones)]
        fold = np.arange(weights.size) % FOLDS
        kept = np.arange(FOLDS)[:, None] != fold
        losses = []
        for penalty in PENALTIES:
            found = fit(features, self.targets, weights * kept, l1=float(penalty))
            rows = cross_entropy(found @ np.stack(features), self.targets) * weights
            losses.append(np.mean([rows[one][~kept[one]].mean() for one in range(FOLDS)]))
        return float(PENALTIES[int(np.argmin(losses))])
