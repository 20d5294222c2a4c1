"""Blocks that name what scores a response."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from eva_data.config.base import Execution, Settings
from eva_data.config.introduced import RECORDED
from eva_data.config.models import Model, Serving

_ROUNDS = 3
"""Rounds of a tournament by the Swiss system unless the settings say otherwise."""


class Answers(Settings):
    """Reference answers of prompts, for verifiers that need one."""

    path: Path = Field(json_schema_extra=Execution)
    """A parquet, jsonl or csv file with one row per prompt. Its content, not its name, is what counts."""
    prompt: str = "prompt"
    """Column of the prompt's text."""
    answer: str = "answer"
    """Column of the reference answer, which the function receives as `answer`."""


class Verifier(Settings):
    """A Python function `function(prompt, response) -> float | None`; None means that the response cannot be scored."""

    backend: Literal["verifier"] = "verifier"
    function: str
    """`package.module:function`, or `file.py:function` with a path from the folder of eva.yaml. The modules
    `eva_data.rewards.answers`, `eva_data.rewards.instructions` and `eva_data.rewards.environment` have ready
    functions."""
    version: str = ""
    """Your own version of the function; change it when the rewards change. Empty takes the hash of the source file."""
    answers: Answers | Literal["carried"] | None = None
    """Reference answers. The function is then called as `function(prompt, response, answer)`. A prompt without an
    answer, such as an evolved prompt, cannot be verified. `carried` takes what each prompt of an environment carries in
    its columns, evolved prompts too: the call is `function(prompt, response, answer, info)`."""

    @property
    def reference(self) -> Answers | None:
        """The file of reference answers; None if there is none."""
        return None if isinstance(self.answers, str) else self.answers

    @property
    def carried(self) -> bool:
        """Whether the prompts carry their answers."""
        return self.answers == "carried"

    @field_validator("function")
    @classmethod
    def _named(cls, value: str) -> str:
        place, _, function = value.rpartition(":")
        if not place or not function:
            raise ValueError(f"a verifier is named `package.module:function` or `file.py:function`, found `{value}`")
        return value


class LocalReward(Settings):
    """What the reward models share that transformers runs on this machine."""

    model: str
    """A local folder or a Hub id."""
    revision: str | None = None
    """Commit, tag or branch of a Hub id."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """Number format of the weights."""
    device: str = Field("cpu", json_schema_extra=Execution)
    """Where the reward model runs, such as `cpu` or `cuda`."""
    max_tokens: int = Field(4096, gt=0)
    """Longest conversation, in tokens. A longer conversation has no reward, and its row goes to `rejects`."""
    batch_tokens: int = Field(16384, gt=0)
    """Tokens computed together, with padding. This is data, because scores differ in the last bits with the rest of the
    batch."""
    threads: int | None = Field(None, gt=0)
    """Processor threads; null takes all."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run. ArmoRM, for example, brings its own code."""
    invariance: float | None = Field(None, gt=0)
    """How far the scores of a text alone and in a mixed batch may differ, relative to scores beyond 1. Null means 1e-4
    in float32, 0.1 in bfloat16 and 0.02 in float16."""


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
    """A local folder or a Hub id. For a server that runs already: the model's name at the server."""
    revision: str | None = None
    """Commit, tag or branch of a Hub id."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights."""
    max_tokens: int = Field(4096, gt=0)
    """Longest conversation, in tokens. A longer conversation has no reward, and its row goes to `rejects`."""
    tokenizer: str | None = None
    """Folder or Hub id of the tokenizer whose chat template writes the conversation; null takes `model`."""
    trust_remote_code: bool = False
    """Whether code that comes with the model may run."""


class Judge(Settings):
    """A language model that rates a response with a number."""

    backend: Literal["judge"]
    judge: Model
    """The model that judges: a block like `solver`."""
    template: str | None = None
    """The question to the judge. It holds `{prompt}` and `{response}`, and may hold `{lowest}` and `{highest}`. It must
    ask for `Rating: <number>` on the last line; `**Score:** 7/10` and the like are read too. Null takes a general
    question."""
    lowest: float = 1
    """The lowest rating."""
    highest: float = 10
    """The highest rating."""

    @model_validator(mode="after")
    def _a_scale(self) -> Judge:
        if self.lowest >= self.highest:
            raise ValueError(f"`lowest` = {self.lowest:g} must be below `highest` = {self.highest:g}")
        missing = [field for field in ("{prompt}", "{response}") if self.template and field not in self.template]
        if missing:
            raise ValueError(f"`template` lacks {' and '.join(missing)}: say where they go")
        return self


class Sandboxed(Settings):
    """What code that a model wrote may do, and how it is bounded, where it runs in a sandbox."""

    CALLED: ClassVar[str]
    """What error messages call the block."""

    allow: bool
    """Whether code that a model wrote may run on this machine. Only `true` is accepted; see `SECURITY.md` first."""
    seconds: float = Field(10, gt=0, le=600)
    """Seconds for all tests, or all inputs, of a response."""
    memory_mb: int = Field(512, ge=64)
    """MiB of each process."""
    processes: int = Field(8, ge=4)
    """Most processes and threads of a sandbox, with the two that make it."""
    python: str = "/usr/bin/python3"
    """The Python that runs the code: one under `/usr`, which is all that the sandbox sees."""
    workers: int = Field(2, ge=1, json_schema_extra=Execution)
    """Responses whose code runs at the same time."""

    @field_validator("allow")
    @classmethod
    def _asked_for(cls, value: bool) -> bool:
        if not value:
            raise ValueError(f"{cls.CALLED} runs what a model wrote: set `allow: true` if you want that")
        return value


class Code(Sandboxed):
    """Tests of the code in a response, which runs in a sandboxed process; the reward is the share of tests passed."""

    CALLED = "`backend: code`"

    backend: Literal["code"]
    answers: Answers
    """The tests: `answer` names a column of Python sources, one text or a list of texts per prompt, such as MBPP's
    `test_list`. Each text is a test, and it passes if it raises nothing."""
    score: Literal["share", "all"] = "share"
    """`share`: the share of the tests that pass. `all`: 1 if all pass, else 0."""


class Programs(Sandboxed):
    """How programs in responses are run, so that those with the same outputs count as equal answers."""

    CALLED = "`equal: outputs`"

    inputs: Answers | None = None
    """The inputs of each prompt: `answer` names a column of Python expressions that call a function of the program, one
    text or a list of texts per prompt, such as `solve([3, 1])`."""
    calls: tuple[str, ...] = ()
    """The same for prompts that `inputs` does not have, such as evolved prompts."""

    @model_validator(mode="after")
    def _some_inputs(self) -> Programs:
        if self.inputs is None and not self.calls:
            raise ValueError(
                "`programs` has neither `inputs` nor `calls`, so that no program can be run: name a file of inputs, or "
                "list calls such as `solve(3)`"
            )
        return self


class Tournament(Settings):
    """Language models compare the responses to a prompt two by two, in both orders; the reward is the strength of a
    response by Bradley and Terry's model, as log odds against the mean of the prompt's responses."""

    backend: Literal["tournament"]
    judges: tuple[Model, ...] = Field(min_length=1)
    """The models that compare: blocks like `solver`. All their verdicts count alike."""
    schedule: Literal["swiss", "round_robin"] = "swiss"
    """Who meets whom. `round_robin`: every two responses. `swiss`: responses with equal points, for `rounds` rounds."""
    rounds: int = Field(_ROUNDS, ge=1)
    """Rounds of `swiss`. Each response is compared at most once in a round."""
    template: str | None = None
    """The question to the judges. It holds `{prompt}`, `{first}` and `{second}`. It must ask for `Verdict: first`,
    `Verdict: second` or `Verdict: tie` on the last line. Null takes a general question."""

    @model_validator(mode="after")
    def _rounds_of_swiss(self, info: ValidationInfo) -> Tournament:
        recorded = bool(info.context and info.context.get(RECORDED))
        if self.schedule == "round_robin" and self.rounds != _ROUNDS and not recorded:
            raise ValueError(
                f"`rounds` is {self.rounds}, and with `schedule: round_robin` every two responses meet, in as many "
                "rounds as that takes: leave `rounds` out, or use `schedule: swiss`"
            )
        return self

    @field_validator("template")
    @classmethod
    def _places(cls, value: str | None) -> str | None:
        missing = [place for place in ("{prompt}", "{first}", "{second}") if value is not None and place not in value]
        if missing:
            raise ValueError(f"`template` lacks {' and '.join(missing)}: say where they go")
        return value

    @field_validator("judges")
    @classmethod
    def _different(cls, value: tuple[Model, ...]) -> tuple[Model, ...]:
        names = [(judge.model, getattr(judge, "revision", None)) for judge in value]
        if len(set(names)) < len(names):
            raise ValueError("`judges` names a model twice, whose second verdict would be its first: name each once")
        return value


class Consensus(Settings):
    """The answer that most of the prompt's other responses give, for prompts whose right answer nobody knows."""

    backend: Literal["consensus"]
    equal: Literal["number", "math", "text", "judge", "outputs"] = "number"
    """When two answers are equal. `number`: the final numbers are equal; `math`: the final expressions have the same
    value by math-verify; `text`: the final answers are the same text but for case, blanks and marks at their ends;
    `judge`: that, or `judge` finds that they say the same; `outputs`: the programs give the same outputs on the same
    inputs, in a sandbox."""
    judge: Model | None = None
    """The model that compares answers with `equal: judge`: a block like `solver`."""
    programs: Programs | None = None
    """How programs are run with `equal: outputs`."""
    min_votes: int = Field(4, ge=2)
    """Least number of responses that vote. A response votes if its answer can be read and it is complete."""
    min_agreement: float = Field(0.5, gt=0, le=1)
    """Least share of the votes that the most frequent answer must have."""
    answers: Answers | None = None
    """Known answers. The prompts that have one are anchors: they are scored by it, and the consensus is compared with
    it. Null means that nothing shows how often the consensus is right."""
    anchors: float = Field(0.1, ge=0, le=1)
    """Least share of anchors in each X_t, as far as X_{t-1} or the seeds have so many. Without `answers` there are
    none."""

    @model_validator(mode="after")
    def _a_judge_where_one_compares(self) -> Consensus:
        if (self.equal == "judge") != (self.judge is not None):
            raise ValueError("`equal: judge` and `judge`, the model that compares answers, need each other: give both")
        if (self.equal == "outputs") != (self.programs is not None):
            raise ValueError("`equal: outputs` and `programs`, which says how they run, need each other: give both")
        return self


AnyReward: TypeAlias = Verifier | Code | Classifier | Pairwise | RewardServer | Judge | Tournament | Consensus
"""Every block of one reward; each has a module of its `backend`'s name in `rewards/backends`."""
REWARD_BACKENDS: tuple[str, ...] = tuple(
    get_args(block.model_fields["backend"].annotation)[0] for block in get_args(AnyReward)
)
OneReward: TypeAlias = Annotated[AnyReward, Field(discriminator="backend")]


class Several(Settings):
    """Several rewards, each standardised by its mean and deviation in iteration 1, then averaged."""

    backend: Literal["several"]
    rewards: tuple[OneReward, ...] = Field(min_length=2)
    """The rewards to average."""

    @model_validator(mode="after")
    def _each_scores_by_itself(self) -> Several:
        if any(isinstance(reward, Consensus) for reward in self.rewards):
            raise ValueError(
                "`reward.rewards` has a `consensus`, whose 0 and 1 are not averaged with other rewards: use it alone, "
                "as `reward`"
            )
        if any(isinstance(reward, Tournament) for reward in self.rewards):
            raise ValueError(
                "`reward.rewards` has a `tournament`, whose strengths are about the responses to one prompt alone and "
                "are not averaged with other rewards: use it alone, as `reward`"
            )
        return self


Reward: TypeAlias = Annotated[AnyReward | Several, Field(discriminator="backend")]
