"""Everything that `eva.yaml` may say, in one model, with the rules that concern several blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, model_validator

from eva_data.config.base import Execution, Settings
from eva_data.config.evaluation import Evaluate, PromptScorer
from eva_data.config.introduced import RECORDED
from eva_data.config.machines.computing import Engine, LocalEngine
from eva_data.config.machines.launching import Launching
from eva_data.config.models import AnyModel, Embedding, Model, Solver, TableModel, TransformersModel, VllmModel
from eva_data.config.rewards import Code, Consensus, Pairwise, Reward, Several, Tournament, Verifier
from eva_data.config.stages import (
    Estimate,
    Evolve,
    Mix,
    OnlineTraining,
    Pair,
    Publish,
    Review,
    Sample,
    Seeds,
    Train,
)
from eva_data.own_code import is_own

ONLINE = "online"
"""Key of pydantic's validation context: true if the values are for `eva-data online`, which draws no share."""


def is_set(values: Mapping[str, Any], key: str) -> bool:
    """Whether plain values have a key, such as `train.recipe`."""
    block: Any = values
    for part in key.split("."):
        if not isinstance(block, Mapping) or part not in block:
            return False
        block = block[part]
    return True


def _usual_judges(block: Any) -> Any:
    """A block with `transformers` as the backend of each model in `judge`, `judges` and `rewards` that names none."""
    if not isinstance(block, dict):
        return block
    found = dict(block)
    for key in ("judge", "judges"):
        held = block.get(key)
        if isinstance(held, dict):
            found[key] = {"backend": "transformers"} | held
        elif isinstance(held, list | tuple):
            found[key] = [{"backend": "transformers"} | each if isinstance(each, dict) else each for each in held]
    if isinstance(block.get("rewards"), list | tuple):
        found["rewards"] = [_usual_judges(each) for each in block["rewards"]]
    return found


class Config(Settings):
    """Everything that `eva.yaml` may say."""

    name: str
    """The dataset's name, `owner/name` or `name`."""
    folder: Path = Field(Path(), json_schema_extra=Execution)
    """The dataset's folder; the default is `data/<last part of name>`."""
    ledger: Path | None = Field(None, json_schema_extra=Execution)
    """The ledger's file; null means `<folder>/.eva/ledger.sqlite`. Several folders may share a ledger."""
    stalled_minutes: float = Field(30, gt=0, json_schema_extra=Execution)
    """Minutes without progress after which a job is ended with an error."""
    seed: int = Field(42, ge=0)
    """The seed of every draw and of every sampled response."""
    seeds: Seeds | None = None
    """The human prompts to begin with. Must be given, unless the solver's backend is `table`."""
    solver: Solver
    """Who answers, and is trained."""
    creator: Literal["shared"] | Model = "shared"
    """Who rewrites prompts: the solver itself, or a model block of its own."""
    contrast: Model | None = None
    """A weaker model that answers every prompt of X_t too. With it, a chosen response is the solver's and a rejected
    response is this model's, as in delta learning; null pairs the solver's own. `solver.contrast` means the same."""
    reward: Reward | None = None
    """What scores a response. Must be given, unless the solver's backend is `table`."""
    estimate: Estimate = Estimate()
    """How informative a prompt is for the solver."""
    sample: Sample = Sample()
    """Which prompts the creator rewrites."""
    evolve: Evolve = Evolve()
    """How the creator rewrites them."""
    mix: Mix = Mix()
    """What X_t consists of."""
    pair: Pair = Pair()
    """Which responses become a pair."""
    train: Train = Train()
    """How the solver is trained."""
    online: OnlineTraining = OnlineTraining()
    """How prompts grow while the solver is trained, for `eva-data online`."""
    evaluate: Evaluate | None = None
    """How solvers are compared; null evaluates nothing, and sets no prompts aside."""
    publish: Publish = Field(Publish(), json_schema_extra=Execution)
    """Where the dataset goes on the Hub."""
    review: Review = Field(Review(), json_schema_extra=Execution)
    """The Argilla server on which people review pairs."""
    score: PromptScorer | None = Field(None, json_schema_extra=Execution)
    """Who rates how complex and how good the prompts of all iterations are, for `eva-data score`."""
    servers: Launching | None = Field(None, json_schema_extra=Execution)
    """Where vLLM is started for the models without `base_url`, and how many servers of a model there are; null starts
    one on this machine."""
    execution: Engine = Field(LocalEngine(), json_schema_extra=Execution)
    """Where the models compute that are not behind a server: on this machine, or on a Ray cluster."""
    embedding: Embedding = Field(Embedding(), json_schema_extra=Execution)
    """Which model finds texts of the same meaning."""
    undecided: tuple[str, ...] = Field((), json_schema_extra=Execution)
    """Keys that `pull` left commented out. No command starts until each of them is set, or taken out of this list."""

    @model_validator(mode="before")
    @classmethod
    def _decided(cls, values: Any) -> Any:
        listed = values.get("undecided") if isinstance(values, dict) else None
        if not isinstance(listed, list | tuple):
            return values
        waiting = [key for key in listed if isinstance(key, str) and not is_set(values, key)]
        if waiting:
            raise ValueError(
                f"{', '.join(f'`{key}`' for key in waiting)} came with a pulled dataset and "
                f"{'waits' if len(waiting) == 1 else 'wait'} for you: read what it would do, then uncomment it, write "
                "your own, or take its name out of `undecided`"
            )
        return values

    @model_validator(mode="before")
    @classmethod
    def _usual_backends(cls, values: Any) -> Any:
        # The tag of a tagged union has no default of its own.
        if not isinstance(values, dict):
            return values
        if isinstance(values.get("solver"), dict) and "contrast" in values["solver"]:
            if values.get("contrast") is not None:
                raise ValueError("`contrast` and `solver.contrast` mean the same: say it once")
            solver = dict(values["solver"])
            values = values | {"contrast": solver.pop("contrast"), "solver": solver}
        usual = dict.fromkeys(("solver", "creator", "contrast"), "transformers") | {"reward": "verifier"}
        found = {
            key: {"backend": backend} | values[key]
            for key, backend in usual.items()
            if isinstance(values.get(key), dict)
        }
        solver = found.get("solver", {})
        if isinstance(solver.get("then"), dict):
            found["solver"] = solver | {"then": {"backend": "transformers"} | solver["then"]}
        found |= {key: _usual_judges((values | found)[key]) for key in ("reward", "evaluate") if key in values}
        return values | found

    @model_validator(mode="after")
    def _defaults(self) -> Config:
        if self.folder == Path():
            object.__setattr__(self, "folder", Path("data") / self.name.rpartition("/")[2])
        return self

    @model_validator(mode="after")
    def _models_have_what_they_need(self) -> Config:
        if isinstance(self.solver, TableModel):
            if self.seeds is not None:
                raise ValueError(
                    "`seeds` and `solver` with `backend: table` exclude each other: "
                    "the table's prompts are the seeds; remove one of the two"
                )
            return self
        if self.seeds is None:
            raise ValueError("`seeds` is missing: name the prompts to begin with, `seeds: {path: prompts.parquet}`")
        if self.reward is None:
            raise ValueError("`reward` is missing: name what scores a response, for example a verifier")
        return self

    @model_validator(mode="after")
    def _rewards_that_compare(self) -> Config:
        rewards = self.reward.rewards if isinstance(self.reward, Several) else (self.reward,)
        compared = [each.backend for each in rewards if isinstance(each, Pairwise | Tournament)]
        if self.pair.rewrite and compared:
            raise ValueError(
                "`pair.rewrite` compares the reward of a response with that of its rewritten one, and a "
                f"`{compared[0]}` reward is about the responses that are scored together: use another reward, or turn "
                "it off"
            )
        if self.pair.rewrite and isinstance(self.reward, Consensus):
            raise ValueError(
                "`pair.rewrite` asks for one more response, which has no other responses to agree with under "
                "`reward.backend: consensus`: use another reward, or turn it off"
            )
        return self

    @model_validator(mode="after")
    def _another_model_can_be_compared(self) -> Config:
        if self.contrast is None:
            return self
        rewards = self.reward.rewards if isinstance(self.reward, Several) else (self.reward,)
        if any(isinstance(reward, Pairwise | Consensus | Tournament) for reward in rewards):
            raise ValueError(
                "`contrast` needs a reward that scores a response by itself, and a `pairwise` reward, a tournament or "
                "a consensus is about the responses of one model: use another reward, or leave `contrast` out"
            )
        if self.estimate.adjust_length:
            raise ValueError(
                "`estimate.adjust_length` compares the responses of one model, and `contrast` pairs those of two: turn "
                "one of the two off; `pair.max_length_gap` works with both"
            )
        return self

    @model_validator(mode="after")
    def _rewards_have_a_length(self) -> Config:
        if not self.estimate.adjust_length:
            return self
        rewards = self.reward.rewards if isinstance(self.reward, Several) else (self.reward,)
        if any(isinstance(reward, Verifier | Code | Consensus) for reward in rewards):
            raise ValueError(
                "`estimate.adjust_length` takes from a reward what it gives for length, and a verifier, tests of "
                "code or a consensus say what is right, long or short: turn it off, or use another reward"
            )
        if any(isinstance(reward, Pairwise) for reward in rewards):
            raise ValueError(
                "`estimate.adjust_length` would make of a `pairwise` reward what is no probability of winning: turn it "
                "off, or use another reward"
            )
        if self.pair.rewrite:
            raise ValueError(
                "`pair.rewrite` compares rewards as they are given, and `estimate.adjust_length` changes them: turn "
                "one of the two off"
            )
        return self

    @model_validator(mode="after")
    def _a_consensus_can_be_found(self, info: ValidationInfo) -> Config:
        reward, solver = self.reward, self.model_solver
        if not isinstance(reward, Consensus):
            if self.sample.agreement_band is not None:
                raise ValueError(
                    "`sample.agreement_band` needs the agreement of responses, which only `reward.backend: consensus` "
                    "counts: use that reward, or `sample.band`"
                )
            return self
        if solver is not None and solver.responses < reward.min_votes:
            raise ValueError(
                f"`solver.responses` is {solver.responses} and `reward.min_votes` {reward.min_votes}, so no prompt can "
                "have a consensus: raise the first, or lower the second"
            )
        if (info.context and info.context.get(ONLINE)) or reward.answers is None or not reward.anchors:
            return self
        if self.mix.evolves and 1 - self.mix.evolved < reward.anchors - 1e-9:
            raise ValueError(
                f"`reward.anchors` is {reward.anchors:g}, and with `mix.evolved` {self.mix.evolved:g} only "
                f"{1 - self.mix.evolved:.2g} of X_t are prompts with a known answer: lower one of the two"
            )
        if self.mix.topic_cap is not None:
            raise ValueError(
                "`mix.topic_cap` leaves out prompts of frequent topics and `reward.anchors` keeps prompts with a known "
                "answer, which can contradict each other: set `mix.topic_cap: null`, or `reward.anchors: 0`"
            )
        return self

    @model_validator(mode="after")
    def _answers_are_carried(self) -> Config:
        """What needs the answers that prompts carry, and what would lose them."""
        posed = self.seeds is not None and self.seeds.environment is not None
        rewards = self.reward.rewards if isinstance(self.reward, Several) else (self.reward,)
        carried = any(isinstance(reward, Verifier) and reward.carried for reward in rewards)
        evolves = self.mix.evolves and not is_own(self.evolve.method)
        if carried and not posed:
            raise ValueError(
                "`reward.answers` is carried, but only prompts of `seeds.environment` carry their answers: name an "
                "environment, or a file in `reward.answers`"
            )
        if self.mix.evolves and self.evolve.method == "environment" and not posed:
            raise ValueError(
                "`evolve.method` is environment, which makes harder tasks of the environment in `seeds.environment`, "
                "and there is none: name one, or use another method"
            )
        own = self.seeds is not None and self.seeds.environment is not None and is_own(self.seeds.environment)
        ready = "eva_data.rewards.environment:score_answer"
        if own and any(isinstance(reward, Verifier) and reward.function == ready for reward in rewards):
            raise ValueError(
                f"`reward.function` is `{ready}`, which scores tasks of reasoning-gym, and `seeds.environment` is a "
                "task set: name the same task set in `reward.function`"
            )
        if own and evolves and (carried or self.evolve.method == "environment"):
            raise ValueError(
                "`seeds.environment` is a task set, which has no harder tasks to evolve to, and a prompt that a model "
                "writes has no answer there: use `mix: {source: new_seeds}` with `seeds.per_iteration`"
            )
        if carried and evolves and (self.evolve.method != "environment" or self.evolve.strategies):
            method = self.evolve.method
            what = "evolve.strategies" if method == "environment" else f"evolve.method: {method}"
            raise ValueError(
                f"with `{what}` a model writes prompts to which nobody knows the answer, and `reward.answers` is "
                "carried: use `evolve.method: environment` alone, or another reward"
            )
        return self

    @model_validator(mode="after")
    def _tests_for_new_prompts(self, info: ValidationInfo) -> Config:
        rewards = self.reward.rewards if isinstance(self.reward, Several) else (self.reward,)
        if info.context and (info.context.get(RECORDED) or info.context.get(ONLINE)):
            return self
        if self.mix.evolves and not is_own(self.evolve.method) and any(isinstance(each, Code) for each in rewards):
            raise ValueError(
                "`reward.backend: code` scores by the tests of a prompt, and a prompt that is evolved has none: use "
                "`mix: {source: new_seeds}`, or another reward"
            )
        programs = self.reward.programs if isinstance(self.reward, Consensus) else None
        if self.mix.evolves and not is_own(self.evolve.method) and programs is not None and not programs.calls:
            raise ValueError(
                "`reward.programs.inputs` has no inputs of a prompt that is evolved, so that no program could be run "
                "for it: list `reward.programs.calls` for such prompts, or use `mix: {source: new_seeds}`"
            )
        return self

    @model_validator(mode="after")
    def _answers_to_go_on_from(self, info: ValidationInfo) -> Config:
        if self.evolve.adds_turn and info.context and info.context.get(ONLINE):
            raise ValueError(
                "`evolve.method` is self_talk, which goes on from answers that were scored before the prompts are "
                "drawn, and an online run has none then: use another method, or `eva-data run`"
            )
        return self

    @model_validator(mode="after")
    def _enough_evolutions(self, info: ValidationInfo) -> Config:
        if info.context and (info.context.get(RECORDED) or info.context.get(ONLINE)):
            # A manifest's iteration is there, and online the recipe says how many prompts are evolved.
            return self
        key = "band" if self.sample.band is not None else "agreement_band"
        if getattr(self.sample, key) is not None and not self.mix.draws:
            raise ValueError(
                f"`sample.{key}` is set, but nothing is drawn with `mix.source` {self.mix.source} and `mix.evolved` "
                f"{self.mix.evolved:g}: set `sample.{key}: null`"
            )
        fraction, share = self.sample.fraction, self.mix.evolved
        if self.mix.source == "evolved" and fraction * self.evolve.evolutions < share - 1e-9:
            raise ValueError(
                f"`sample.fraction` x `evolve.evolutions` = {fraction * self.evolve.evolutions:g} is below "
                f"`mix.evolved` = {share:g}: there would be too few evolved prompts; raise one of the two, "
                f"`evolve.evolutions` to {math.ceil(share / fraction - 1e-9)}, or `sample.fraction`"
            )
        if self.mix.source == "sampled" and fraction > share > 0:
            raise ValueError(
                f"`mix.source: sampled` takes all drawn prompts, and `sample.fraction` {fraction:g} is above "
                f"`mix.evolved` {share:g}: lower `sample.fraction`, or raise `mix.evolved`"
            )
        return self

    @property
    def model_solver(self) -> AnyModel | None:
        """The model that answers; None if the solver is only a table of responses."""
        return self.solver.then if isinstance(self.solver, TableModel) else self.solver

    @property
    def trains(self) -> bool:
        """Whether the solver is a model that can be trained here, neither a table nor a model that runs elsewhere."""
        model = self.model_solver
        return isinstance(model, TransformersModel) or (isinstance(model, VllmModel) and not model.urls)

    @property
    def first_answered(self) -> int:
        """The first iteration in which a model answers."""
        return 2 if isinstance(self.solver, TableModel) else 1
