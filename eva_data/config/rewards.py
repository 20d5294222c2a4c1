"""Blocks that name what scores a response."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from eva_data.config.base import Execution, Settings
from eva_data.config.models import Model, Serving


class Answers(Settings):
    """Reference answers of prompts, for verifiers that need one."""

    path: Path = Field(json_schema_extra=Execution)
    """A parquet, jsonl or csv file with one row per prompt. Its content, not its name, is what counts."""
    prompt: str = "prompt"
    """Column of the prompt's text."""
    answer: str = "answer"
    """Column of what the function is given as `answer`."""


class Verifier(Settings):
    """A Python callable `function(prompt, response) -> float | None`; None means it cannot be scored."""

    backend: Literal["verifier"] = "verifier"
    function: str
    """`package.module:function`, or `scores.py:function` by its file; both are looked for beside eva.yaml first. Ready
    ones are in `eva_data.rewards.answers`."""
    version: str = ""
    """Change it when the function's verdicts change: it is part of the key under which a reward is kept."""
    answers: Answers | None = None
    """Reference answers: the function is then called as `function(prompt, response, answer)`, and a prompt that has
    none, such as an evolved one, is unverifiable."""

    @field_validator("function")
    @classmethod
    def _named(cls, value: str) -> str:
        module, _, function = value.rpartition(":")
        if not module or not function:
            raise ValueError(f"a verifier is named `package.module:function` or `scores.py:function`, found `{value}`")
        return value


class LocalReward(Settings):
    """What reward models have in common that transformers runs on this machine."""

    model: str
    """A local folder or a Hub id."""
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    device: str = Field("cpu", json_schema_extra=Execution)
    max_tokens: int = Field(4096, gt=0)
    """Longest conversation, in tokens; a longer one has no reward, and its row goes to `rejects`."""
    batch_tokens: int = Field(16384, gt=0)
    """Tokens computed together, padding included. It is data: scores differ in the last bits with the company."""
    threads: int | None = Field(None, gt=0)
    trust_remote_code: bool = False
    """ArmoRM and the like bring their own code; it runs only where this is true."""
    invariance: float | None = Field(None, gt=0)
    """How far scores of the same text alone and in a mixed batch may lie apart, relative to scores beyond 1; when not
    given 1e-4 in float32, 0.1 in bfloat16 and 0.02 in float16."""


class Classifier(LocalReward):
    """A sequence-classification reward model with one logit, or one that brings a `score` of its own (ArmoRM)."""

    backend: Literal["classifier"]


class Pairwise(LocalReward):
    """A model that compares two responses; the reward is the mean win probability against the others (SPPO)."""

    backend: Literal["pairwise"]
    kind: Literal["causal", "pairrm"] = "causal"
    """`causal`: a language model that answers A or B (RLHFlow's pair-preference model). `pairrm`: PairRM, a DeBERTa
    that scores both responses (llm-blender)."""


class RewardServer(Serving):
    """A sequence-classification reward model that vLLM serves, as in `classifier`."""

    backend: Literal["server"]
    model: str
    """A local folder or a Hub id; where the server runs already, as it calls the model."""
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_tokens: int = Field(4096, gt=0)
    tokenizer: str | None = None
    """Folder or Hub id of the tokenizer whose chat template writes the conversation; `model` when not given."""
    trust_remote_code: bool = False


class Judge(Settings):
    """A language model that rates a response with a number."""

    backend: Literal["judge"]
    judge: Model
    """Who judges: a block like `solver`."""
    template: str | None = None
    """The question to the judge, with `{prompt}` and `{response}` where they go, and `{lowest}` and `{highest}` if you
    like; it must ask for `Rating: <number>` on the last line (`**Score:** 7/10` and the like are read too). A general
    one when not given."""
    lowest: float = 1
    highest: float = 10

    @model_validator(mode="after")
    def _a_scale(self) -> Judge:
        if self.lowest >= self.highest:
            raise ValueError(f"`lowest` = {self.lowest:g} must be below `highest` = {self.highest:g}")
        missing = [field for field in ("{prompt}", "{response}") if self.template and field not in self.template]
        if missing:
            raise ValueError(f"`template` lacks {' and '.join(missing)}: say where they go")
        return self


OneReward: TypeAlias = Annotated[
    Verifier | Classifier | Pairwise | RewardServer | Judge, Field(discriminator="backend")
]


class Several(Settings):
    """Several rewards, each standardised by its mean and deviation in iteration 1, then averaged."""

    backend: Literal["several"]
    rewards: tuple[OneReward, ...] = Field(min_length=2)


Reward: TypeAlias = Annotated[
    Verifier | Classifier | Pairwise | RewardServer | Judge | Several, Field(discriminator="backend")
]
