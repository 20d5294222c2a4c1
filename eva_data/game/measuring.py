"""Plans what evaluating a new theta and rating the prompts of its iteration will take, before any model is asked.

The sets on this machine are read, and nothing is downloaded. Answers and verdicts that the record of evaluations holds
are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eva_data.config import HELDOUT, EvaluationSet, Verifier
from eva_data.dataset.evaluations import EvaluationRecord, read_record
from eva_data.dataset.seeds import read_seeds
from eva_data.evaluation.asked import visible_difference
from eva_data.evaluation.evaluate import prompts_of, sets_of, settings_of, usual_opponents
from eva_data.evaluation.judging import verifier_of
from eva_data.evaluation.rule import JudgingRule, rule_called
from eva_data.evolve.scorer import ASPECTS, QUESTIONS
from eva_data.game.play import trained_thetas
from eva_data.game.starting import CHARACTERS_PER_TOKEN, Start, measure
from eva_data.game.workload import Computed, PlannedModel, Work, name_of_model, planned_solver, work_of
from eva_data.iteration.heldout import heldout_size
from eva_data.iteration.run import Run


@dataclass(frozen=True)
class Measuring:
    """The work of measuring what an iteration made."""

    works: tuple[tuple[str, Work | Computed], ...]
    """Of each the set that it is about, empty for ratings."""
    notes: tuple[str, ...]
    """What each set can tell, and what is not foreseen."""


@dataclass(frozen=True)
class _Size:
    """How many prompts a set has, and their mean length in tokens; None if it is unknown."""

    prompts: int
    tokens: int | None
    second: int = 0
    """Mean length of the second user turns."""


def measuring(run: Run, iteration: int, start: Start) -> Measuring:
    """What evaluating theta_t and `eva-data score` will ask once iteration t is built and trained."""
    works: list[tuple[str, Work | Computed]] = []
    notes: list[str] = []
    if run.config.model_solver is not None and iteration >= run.config.first_answered:
        for block in sets_of(run):
            more, said = _on_set(run, iteration, block)
            works += [(block.name, work) for work in more]
            notes += said
    rated, said = _rating(run, start)
    return Measuring((*works, *(("", work) for work in rated)), (*notes, *said))


def _on_set(run: Run, iteration: int, block: EvaluationSet) -> tuple[list[Work | Computed], list[str]]:
    size, rule = _size(run, block), rule_called(block.rule)
    if size is None:
        return [], [f"how many prompts the set `{block.name}` has is not known here, so its evaluation is left out"]
    thetas = _to_evaluate(run, iteration, block, read_record(run.store))
    if rule.kind == "compare":
        # theta_0 answers, and is compared with nobody.
        comparisons = sum(len(usual_opponents(f"theta_{theta}")) for theta in thetas)
        thetas = thetas if comparisons else []
    notes = [f"the set `{block.name}` ({block.rule}, {size.prompts:,} prompts){visible_difference(rule, size.prompts)}"]
    if not thetas:
        return [], notes
    answers = size.prompts * block.samples * rule.turns * len(thetas)
    asked = planned_solver(run, iteration + 1)
    evaluate = run.config.evaluate
    longest = (evaluate.max_tokens if evaluate else None) or asked.block.max_tokens
    length = asked.block.max_prompt_tokens if size.tokens is None else size.tokens
    # A second turn is asked with the first one and its answer before it.
    shown = rule.turns * length + (rule.turns - 1) * (longest + size.second)
    works: list[Work | Computed] = [
        work_of(
            "evaluate",
            asked,
            requests=answers,
            completions=answers,
            tokens_in=size.prompts * block.samples * len(thetas) * shown,
            tokens_out=answers * longest,
            in_turn=rule.turns,
        )
    ]
    if rule.kind == "verify":
        return [*works, Computed("reward (evaluate)", _function(run, block), answers)], notes
    judges = settings_of(run.config).judges
    if not judges:
        return works, [*notes, f"the set `{block.name}` needs a judge and `evaluate.judges` names none"]
    verdicts = _verdicts(rule, size.prompts, thetas)
    sides = 2 if rule.kind == "compare" else 1
    template = math.ceil(_template(rule, block) / CHARACTERS_PER_TOKEN)
    for judge in judges:
        reply = max(rule.max_tokens, judge.max_tokens)
        player = PlannedModel(judge, (name_of_model(judge),))
        works.append(
            work_of(
                "compare",
                player,
                requests=verdicts,
                completions=verdicts,
                tokens_in=verdicts * (template + math.ceil(shown / rule.turns) + sides * longest),
                tokens_out=verdicts * reply,
            )
        )
    return works, notes


def _function(run: Run, block: EvaluationSet) -> str:
    """The name of the function that judges the answers. Raise ConfigError if there is none."""
    function = verifier_of(run, block).block
    assert isinstance(function, Verifier)
    return function.function


def _to_evaluate(run: Run, iteration: int, block: EvaluationSet, record: EvaluationRecord | None) -> list[int]:
    """theta_t, and the earlier thetas that are there, as far as the record does not hold them on the set."""
    of_set = [each for each in (record.evaluations if record else ()) if each.set == block.name]
    known = {name for each in of_set for name in (each.solver_name, each.against_name)}
    trained = [theta for theta in trained_thetas(run) if theta < iteration]
    begins = trained or iteration == run.config.first_answered
    newest = [iteration] if run.config.trains else []
    return [theta for theta in ([0] if begins else []) + trained + newest if f"theta_{theta}" not in known]


def _verdicts(rule: JudgingRule, prompts: int, thetas: Sequence[int]) -> int:
    """How often each judge is asked."""
    if rule.kind == "rate":
        return prompts * rule.turns * len(thetas)
    orders = 2 if rule.orders == "both" else 1
    return prompts * orders * sum(len(usual_opponents(f"theta_{theta}")) for theta in thetas)


def _template(rule: JudgingRule, block: EvaluationSet) -> int:
    """Characters of the question to a judge, without what is put into it."""
    return len(rule.template) if block.judge_template is None else block.judge_template.stat().st_size


def _size(run: Run, block: EvaluationSet) -> _Size | None:
    """None if the set, or the seeds that it is a part of, would have to be downloaded."""
    if block.dataset is not None:
        return None
    if block.name == HELDOUT:
        return _size_of_heldout(run)
    prompts = prompts_of(run, block, lambda text: None)
    second = prompts["turn_2"].str.len_chars().mean()
    turns = math.ceil(second / CHARACTERS_PER_TOKEN) if isinstance(second, float) else 0
    return _Size(*measure(prompts.lazy()), turns)


def _size_of_heldout(run: Run) -> _Size | None:
    """What is set aside, at most: seeds that nearly repeat a training seed are trained on after all."""
    config = run.config
    if config.seeds is None or config.evaluate is None:
        return None
    if config.seeds.dataset is not None:
        return _Size(config.evaluate.heldout, None) if config.evaluate.heldout else None
    seeds, _ = read_seeds(config.seeds, config.seed)
    held = seeds.tail(heldout_size(config.evaluate, seeds.height))
    return _Size(*measure(held.lazy())) if held.height else None


def _rating(run: Run, start: Start) -> tuple[list[Work | Computed], list[str]]:
    """`eva-data score` on a set of as many prompts as the iteration starts from."""
    block = run.config.score
    if block is None:
        return [], []
    asked = min(block.sample, start.count)
    length = block.model.max_prompt_tokens if start.tokens is None else start.tokens
    question = math.ceil(sum(map(len, QUESTIONS.values())) / len(ASPECTS) / CHARACTERS_PER_TOKEN)
    requests = asked * len(ASPECTS)
    work = work_of(
        "score",
        PlannedModel(block.model, (name_of_model(block.model),)),
        requests=requests,
        completions=requests,
        tokens_in=requests * (length + question),
        tokens_out=requests * block.model.max_tokens,
    )
    return [work], ["`eva-data score` rates prompts once each iteration is there; it asks once more without a rating"]
