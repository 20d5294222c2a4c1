"""What a game has ahead by the settings and the folder: thetas to train, and stages. No prompt is read."""

from __future__ import annotations

from collections.abc import Sequence

from eva_data.config import Config, Consensus, EvaluationSet, Judge, OneReward, Several, Tournament
from eva_data.dataset.evaluations import read_record
from eva_data.evaluation.evaluate import sets_of, settings_of
from eva_data.evaluation.rule import rule_called
from eva_data.iteration.run import Run

Stages = list[tuple[str, int]]
"""Name and iteration of each stage, in order."""


def stages_ahead(run: Run, iteration: int, *, train_last: bool) -> Stages:
    """The stages of `play`: what is built, trained and evaluated, in order. Finished iterations have none."""
    built, config = run.store.iterations(), run.config
    found: Stages = []
    trained = {number for number in built if run.store.solver_folder(number).exists()}
    for number in range(1, iteration + 1):
        for theta in to_train(run, number):
            if theta not in trained:
                found.append(("train", theta))
                trained.add(theta)
        if number not in built:
            found += _stages(config, number)
    if train_last and config.trains and iteration >= config.first_answered and iteration not in trained:
        found.append(("train", iteration))
        trained.add(iteration)
    return found + _evaluated(run, sorted(trained))


def to_train(run: Run, iteration: int) -> list[int]:
    """The thetas that still have to be trained for the solver of iteration t, in order; the last is theta_{t-1}."""
    if run.solver_override is not None or iteration in run.store.iterations():
        return []
    return untrained(run, iteration - 1)


def untrained(run: Run, theta: int) -> list[int]:
    """The given theta and the thetas that it is trained from, as far as they are missing, in order.

    theta_t is trained from the solver that answered in iteration t. If that was theta_{t-1}, and it is not on this
    machine (a pulled dataset comes without solvers), it has to be trained first. With `train.mode: scratch`, theta_t is
    trained from theta_0.
    """
    missing: list[int] = []
    while run.config.trains and theta >= run.config.first_answered and not run.store.solver_folder(theta).exists():
        missing.insert(0, theta)
        if from_scratch(run) or (theta in run.store.iterations() and run.store.manifest(theta).theta is None):
            break
        theta -= 1
    return missing


def from_scratch(run: Run) -> bool:
    return run.config.train.mode == "scratch"


def alone(sets: Sequence[EvaluationSet]) -> tuple[EvaluationSet, ...]:
    """The sets on which a solver is judged by itself."""
    return tuple(block for block in sets if rule_called(block.rule).kind != "compare")


def _scoring(reward: OneReward | None) -> list[str]:
    if isinstance(reward, Tournament):
        return ["judge"] * len(reward.judges)
    judged = isinstance(reward, Judge) or (isinstance(reward, Consensus) and reward.judge is not None)
    return ["judge" if judged else "reward"]


def _stages(config: Config, iteration: int) -> Stages:
    if iteration < config.first_answered:
        return []
    rewards = config.reward.rewards if isinstance(config.reward, Several) else (config.reward,)
    scoring = [name for reward in rewards for name in _scoring(reward)]
    names: list[str] = []
    if iteration > 1 and config.mix.draws and config.estimate.source == "fresh":
        names += ["estimate", *scoring]
    if iteration > 1 and config.mix.evolves:
        names.append("evolve")
    names += ["respond", *scoring]
    if config.contrast is not None:
        names += ["contrast", *scoring]
    if config.pair.rewrite:
        names += ["rewrite", *scoring]
    return [(name, iteration) for name in names]


def _evaluated(run: Run, thetas: list[int]) -> Stages:
    """The answers of each theta to each set on which it is not evaluated yet."""
    sets = sets_of(run)
    if not sets or not settings_of(run.config).after_training or run.config.model_solver is None:
        return []
    record = read_record(run.store)
    known = {(each.theta, each.set) for each in (record.evaluations if record else ())}
    return [
        (f"theta_{theta} answers {block.name}", 0)
        for theta in (0, *thetas)
        for block in (sets if theta else alone(sets))
        if (theta, block.name) not in known
    ]
