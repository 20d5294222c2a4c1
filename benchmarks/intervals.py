"""How much faster the bootstrap is than a loop in Python, which draws and fits one sample at a time.

    python benchmarks/intervals.py --prompts 805

Two figures of synthetic verdicts: the mean of 2,000 draws of the prompts, and the length-controlled win rate of which
every draw fits the model anew. The loops do the same with the standard library and with scipy's optimiser, on fewer
draws, and are scaled up. Both print the processor time, since wall times also hold what else the machine does.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

import numpy as np

from eva_data.statistics.bootstrap import DRAWS, drawn_means
from eva_data.statistics.interval import Floats, package
from eva_data.statistics.length_control import length_controlled
from eva_data.statistics.logistic import cross_entropy, probability
from eva_data.statistics.rates import win_rate

LOOPED = 50
"""Draws of the loops."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=805)
    n = parser.parse_args().prompts
    draw = np.random.Generator(np.random.PCG64(1))
    baseline = draw.integers(500, 3000, n).astype(float)
    own = np.maximum(0, baseline + draw.normal(400, 400, n))
    delta = baseline - own
    scores = (draw.random(n) < probability(0.5 - 1.5 * np.tanh(delta / delta.std(ddof=1)))).astype(float)
    package("scipy.optimize")  # imported before anything is timed
    win_rate(scores)
    print(f"{n} prompts, {DRAWS} draws; seconds of processor time")
    compare("means of draws", lambda: drawn_means(scores), lambda: looped_means(scores.tolist()))
    penalty = length_controlled(scores, own, baseline, draws=2).penalty
    compare(
        "length-controlled win rate",
        lambda: length_controlled(scores, own, baseline),
        lambda: looped_fits(scores, delta, penalty),
    )
    print(f"tilted interval of a win rate   {timed(lambda: win_rate(scores)):8.4f}")


def compare(what: str, ours: Callable[[], object], looped: Callable[[], object]) -> None:
    mine, theirs = timed(ours), timed(looped) * DRAWS / LOOPED
    print(f"{what:30}  {mine:8.3f}   a loop {theirs:8.2f}   {theirs / mine:6.0f} times")


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def looped_means(scores: list[float]) -> list[float]:
    chance = random.Random(1)
    return [sum(chance.choices(scores, k=len(scores))) / len(scores) for _ in range(LOOPED)]


def looped_fits(scores: Floats, delta: Floats, penalty: float) -> list[float]:
    """The same model by a general optimiser, the absolute value of the penalty smoothed a little."""
    chance = np.random.Generator(np.random.PCG64(1))
    minimize = package("scipy.optimize").minimize
    found = []
    for _ in range(LOOPED):
        place = chance.integers(0, scores.size, scores.size)
        term = np.tanh(delta[place] / delta[place].std(ddof=1))

        def loss(at: Floats, term: Floats = term, own: Floats = scores[place]) -> float:
            return float(cross_entropy(at[0] + at[1] * term, own).sum() + penalty * np.sqrt(at**2 + 1e-8).sum())

        found.append(float(probability(minimize(loss, np.zeros(2), method="BFGS").x[0])))
    return found


if __name__ == "__main__":
    main()
