"""Blocks that say how solvers are compared, and how prompts are rated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field, model_validator

from eva_data.config.base import Execution, Settings
from eva_data.config.choices import OneOf, modules_of
from eva_data.config.models import Model
from eva_data.config.rewards import Consensus, OneReward, Pairwise, Tournament, Verifier

EvaluationRule: TypeAlias = Annotated[str, OneOf(modules_of("evaluation/rules"))]

HELDOUT = "heldout"
"""Name of the set of prompts that were set aside before iteration 1."""


REVIEWS, PEOPLE = "reviews", "people"
"""Name and rule of the set of reviewed pairs, on which judges are compared with people."""


class EvaluationSet(Settings):
    """Prompts on which solvers are compared, and the rule of the comparison."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """The set's name in tables and reports: letters, digits, `.`, `_` and `-`."""
    rule: EvaluationRule = "own"
    """How answers are judged: `own` compares both orders by the judges; `alpaca_eval`, `arena_hard`, `mt_bench`,
    `wildbench` and `wildbench_score` follow the published rules; `verifier` calls a function; `reward` and
    `second_reward` take the scores of `reward` and `evaluate.second_reward`; `people` asks the judges about the pairs
    that people reviewed, in the set `reviews`."""
    path: Path | None = Field(None, json_schema_extra=Execution)
    """A parquet, jsonl or csv file with one row per prompt."""
    dataset: str | None = None
    """A Hub dataset id."""
    config: str | None = None
    """Config name of the Hub dataset."""
    split: str = "train"
    """Split of the Hub dataset."""
    revision: str | None = None
    """Commit, tag or branch of the Hub dataset."""
    sandbox: int | None = Field(None, gt=0)
    """How many held-out prompts of each depth of the sandbox's world to take, instead of a file."""
    depths: tuple[Annotated[int, Field(ge=1, le=5)], ...] = (1, 2, 3, 4, 5)
    """Numbers of operations of the prompts that `sandbox` takes."""
    column: str = "prompt"
    """Column of the prompt: text or messages."""
    turn_2: str | None = None
    """Column of the second user turn, for rules with two turns; null takes `turn_2` if the file has it."""
    reference: str | None = None
    """Column of a reference answer for the judge; null takes `reference` if the file has it."""
    category: str | None = None
    """Column of the prompt's category; null takes `category` if the file has it."""
    checklist: str | None = None
    """Column of the points that a judge of `wildbench` checks; null takes `checklist` if the file has it."""
    baseline: Path | None = Field(None, json_schema_extra=Execution)
    """A file of answers for `--against reference`, with the columns `prompt` and `response`."""
    gamed_baselines: Path | None = Field(None, json_schema_extra=Execution)
    """AlpacaEval's `df_gamed.csv`, from the Hub dataset `tatsu-lab/alpaca_eval`. With it, a set of the rule
    `alpaca_eval` has AlpacaEval's length-controlled win rate; without it, the figure at equal length is `lc_simple`."""
    function: Verifier | None = None
    """The function of the rule `verifier`; null takes `reward` if that is a verifier."""
    right: float = 1.0
    """Least score of a right answer, for the rule `verifier`."""
    samples: int = Field(1, ge=1)
    """Answers to each prompt, for pass@k and mean@k; above 1 they are sampled at the solver's own temperature."""
    judge_template: Path | None = Field(None, json_schema_extra=Execution)
    """A text file with the question to the judge, instead of the rule's own words. It holds the same places in braces,
    such as `{prompt}`, `{first}` and `{second}`."""

    @model_validator(mode="after")
    def _one_place(self) -> EvaluationSet:
        given = [key for key in ("path", "dataset", "sandbox") if getattr(self, key) is not None]
        if (self.name == REVIEWS) != (self.rule == PEOPLE):
            raise ValueError(
                f"the set `{self.name}` has the rule `{self.rule}`, but the set `{REVIEWS}` and the rule `{PEOPLE}` "
                "belong together, for the pairs that people reviewed: give both names, or neither"
            )
        if self.name not in (HELDOUT, REVIEWS) and len(given) != 1:
            raise ValueError(
                f"the set `{self.name}` needs exactly one of `path`, `dataset` and `sandbox`, found "
                f"{' and '.join(given) or 'none of them'}"
            )
        if self.name in (HELDOUT, REVIEWS) and given:
            held = "the prompts that `evaluate.heldout` sets aside"
            what = held if self.name == HELDOUT else "the pairs that people reviewed"
            raise ValueError(f"the set `{self.name}` is {what}, and has no `{given[0]}`: give the set another name")
        if self.gamed_baselines is not None and self.rule != "alpaca_eval":
            raise ValueError(
                f"`gamed_baselines` belongs to the rule `alpaca_eval`, and the rule of the set `{self.name}` is "
                f"`{self.rule}`: leave it out"
            )
        if self.samples > 1 and self.rule != "verifier":
            raise ValueError(f"`samples` is {self.samples}, but only the rule `verifier` takes several: set it to 1")
        return self


class Contamination(Settings):
    """How the prompts of a set, and its reference answers, are compared with what a theta was trained on."""

    check: bool = True
    """Whether they are compared at all."""
    ngram: int = Field(13, ge=1)
    """Words in a row that two texts must share. A text with fewer words is only found whole."""
    changed_numbers: float = Field(0.5, gt=0, le=1)
    """Least share of the three-word runs of two texts that are the same once all numbers are taken out (Jaccard)."""
    embeddings: bool = True
    """Whether texts of the same meaning are looked for, by the block `embedding`."""


class Evaluate(Settings):
    """How each theta is compared with earlier ones. Only `heldout` changes what is built."""

    heldout: int | None = Field(None, ge=0)
    """Seeds that are set aside before iteration 1 and never trained on; 0 sets none aside. Null takes 5 % of the seeds,
    at least 500, and never more than 20 %. Prompts that nearly repeat a training prompt are not taken."""
    sets: tuple[EvaluationSet, ...] = Field((), json_schema_extra=Execution)
    """Sets of prompts. The set `heldout` need not be named."""
    judges: tuple[Model, ...] = Field((), json_schema_extra=Execution)
    """The models that judge: one, or an odd number whose majority counts. None of them may be of the family of a model
    that plays, unless `allow_same_judge`."""
    allow_same_judge: bool = Field(False, json_schema_extra=Execution)
    """Whether a judge may be of the family of the solver, the creator or the reward. Report and card say so."""
    second_reward: OneReward | None = Field(None, json_schema_extra=Execution)
    """A reward that trains nothing. It and `reward` score each theta's answers to the held-out prompts; an alarm says
    where `reward` rose from one theta to another and this one did not."""
    max_tokens: int | None = Field(None, gt=0, json_schema_extra=Execution)
    """Longest answer of a solver, in tokens; null takes `solver.max_tokens`."""
    temperature: float = Field(0, ge=0, json_schema_extra=Execution)
    """Sampling temperature of a solver that gives one answer; 0 takes the likeliest token."""
    contamination: Contamination = Field(Contamination(), json_schema_extra=Execution)
    """How sets are compared with what a theta was trained on."""
    after_training: bool = Field(True, json_schema_extra=Execution)
    """Whether `run` evaluates each theta as soon as it is trained."""

    @model_validator(mode="after")
    def _distinct(self) -> Evaluate:
        names = [each.name for each in self.sets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sets of `evaluate.sets` are called `{twice[0]}`: give each a name of its own")
        if isinstance(self.second_reward, Pairwise | Tournament | Consensus):
            raise ValueError(
                f"`evaluate.second_reward` is {self.second_reward.backend}, which gives one answer no score: name a "
                "classifier, a verifier or a judge"
            )
        if self.judges and len(self.judges) % 2 == 0:
            raise ValueError(
                f"`evaluate.judges` names {len(self.judges)} judges, whose votes can be even: name an odd number"
            )
        return self


class PromptScorer(Settings):
    """Who rates how complex and how good prompts are, for `eva-data score`. Nothing here changes what is built."""

    model: Model
    """The model that rates. It stays the same for all iterations, so that their ratings compare; `temperature: 0` makes
    it give the same ratings wherever it can."""
    sample: int = Field(500, ge=2)
    """Prompts of each iteration that are rated, drawn by lot. Each is asked about twice, once for each rating."""
