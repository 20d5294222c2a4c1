"""The settings of a dataset: one frozen model per stage, one `Config` holding them.

Fields marked `Execution` change how or where the work is done; all others are *data*: they change what is
built, enter a stage's hash and make what was built before them stale. YAML only sets values; reading files
and the command line is `settings.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Metric = Literal["a_min", "a_avg", "a_dis", "var", "avg", "inv_avg", "inv_a_min", "uniform"]
Share = Annotated[float, Field(gt=0, le=1)]

_EXECUTION = "execution"
Execution: dict[str, Any] = {_EXECUTION: True}
"""`json_schema_extra` of a field that does not change what is built."""


class Settings(BaseModel):
    """Base of every block: frozen, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        protected_namespaces=(),
        populate_by_name=True,
    )

    def data(self) -> dict[str, Any]:
        """The fields that change what is built, as plain values; what a stage's hash is taken of."""
        values: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if (field.json_schema_extra or {}) == Execution:
                continue
            value = getattr(self, name)
            if isinstance(value, Settings):
                value = value.data()
            elif isinstance(value, tuple):
                value = [item.data() if isinstance(item, Settings) else item for item in value]
            values[name] = str(value) if isinstance(value, Path) else value
        return values


class Seeds(Settings):
    """Where the human prompts come from: a file, a Hub dataset, or the sandbox's own world."""

    path: Path | None = Field(None, json_schema_extra=Execution)
    """A parquet, jsonl or csv file. Its content, not its name, is what counts."""
    dataset: str | None = None
    """A Hub dataset id."""
    sandbox: int | None = Field(None, gt=0)
    """How many prompts to draw from the sandbox's world, of one and two operations."""
    config: str | None = None
    """Config name of the Hub dataset."""
    split: str = "train"
    revision: str | None = None
    """Commit, tag or branch of the Hub dataset."""
    column: str = "prompt"
    """A column of text (one user turn) or of messages (lists of role and content)."""
    per_iteration: int | None = Field(None, gt=0)
    """Seeds drawn for iteration 1, and for each later one where it needs new ones; all of them when not given."""

    @model_validator(mode="after")
    def _one_source(self) -> Seeds:
        given = [name for name in ("path", "dataset", "sandbox") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"`seeds` needs exactly one of `path`, `dataset` and `sandbox`, found {given or 'none of them'}"
            )
        return self


class Generation(Settings):
    """What every model block shares: how it samples."""

    responses: int = Field(6, ge=2)
    """Responses per prompt, n. The paper uses 6."""
    temperature: float = Field(0.7, ge=0)
    top_p: float = Field(0.9, gt=0, le=1)
    max_tokens: int = Field(1024, gt=0)
    """Longest response, in tokens; one that was cut there is never chosen."""
    max_prompt_tokens: int = Field(1024, gt=0)
    """Longer prompts go to `rejects` before anyone pays for them."""
    system: Literal["keep", "merge_into_user", "reject"] = "keep"
    """What to do with a system message where the model's chat template has no such role."""


class TransformersModel(Generation):
    """A model folder or Hub id, run in this machine's memory by transformers."""

    backend: Literal["transformers"] = "transformers"
    model: str
    """A local folder, a Hub id, or `sandbox` for the model that comes with eva-data."""
    revision: str | None = None
    """Commit, tag or branch of a Hub id."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    device: str = Field("cpu", json_schema_extra=Execution)
    batch_size: int = Field(64, gt=0)
    """Samples computed together. It is data: logits differ in the last bits with the company a row keeps."""
    threads: int | None = Field(None, gt=0)
    """Processor threads; data too, because sums in another order differ in the last bits. All when not given."""
    trust_remote_code: bool = False


class TableModel(Settings):
    """Responses that already exist, with their rewards; no model runs."""

    backend: Literal["table"]
    path: Path | None = Field(None, json_schema_extra=Execution)
    """A parquet, jsonl or csv file with one row per response."""
    dataset: str | None = None
    """A Hub dataset id with one row per response."""
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    prompt: str = "prompt"
    """Column of the prompt: text or messages."""
    response: str = "response"
    """Column of the response's text."""
    reward: str = "reward"
    """Column of its reward; higher is better."""
    model: str | None = None
    """Column that names the model that gave the response, if there is one."""
    responses: int | None = Field(None, ge=2)
    """Responses per prompt to use, drawn by hash where there are more; all of them when not given."""
    then: TransformersModel | None = None
    """The model that answers from iteration 2 on."""

    @model_validator(mode="after")
    def _one_source(self) -> TableModel:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("`solver` with `backend: table` needs either `path` or `dataset`")
        return self


Model: TypeAlias = TransformersModel
Solver: TypeAlias = Annotated[TransformersModel | TableModel, Field(discriminator="backend")]


class Verifier(Settings):
    """A Python callable `function(prompt, response) -> float | None`; None means it cannot be scored."""

    backend: Literal["verifier"] = "verifier"
    function: str
    """`package.module:function`."""
    version: str = ""
    """Change it when the function's verdicts change: it is part of the key under which a reward is kept."""

    @field_validator("function")
    @classmethod
    def _named(cls, value: str) -> str:
        module, _, function = value.partition(":")
        if not module or not function:
            raise ValueError(f"a verifier is named `package.module:function`, found `{value}`")
        return value


Reward: TypeAlias = Verifier


class Estimate(Settings):
    metric: Metric = "a_min"
    """The informativeness that sampling uses (paper, tables 3 and 4); all metrics are stored."""
    source: Literal["fresh", "previous"] = "fresh"
    """`fresh` asks the new solver again; `previous` takes the rewards that the last iteration already holds."""
    count_truncated: bool = False
    """Whether responses cut at `max_tokens` count in the metric; they are never chosen."""
    unequal: Literal["draw", "refuse"] = "draw"
    """Where prompts have unequal numbers of usable responses: draw n of them by hash, or refuse the input."""


class Sample(Settings):
    fraction: Share = 0.25
    method: Literal["weighted", "greedy", "uniform", "stratified"] = "weighted"
    weights: Literal["proportional", "minmax"] = "proportional"
    """`proportional` to the metric (the paper's text), or `minmax` (the authors' code: the least gets 0)."""
    strata: int = Field(4, ge=2)
    """Number of equal-frequency strata of the metric for `method: stratified`."""


class Strategy(Settings):
    """A way of rewriting prompts that the user adds."""

    name: str
    template: str
    """The instruction to the creator, with `{prompt}` where the prompt goes."""
    kind: Literal["in_depth", "in_breadth"] = "in_depth"


class BenchmarkSet(Settings):
    """Prompts that evolved ones must not repeat."""

    name: str
    path: Path = Field(json_schema_extra=Execution)
    column: str = "prompt"


class Evolve(Settings):
    method: Literal["evol_instruct", "evol_quality", "evol_complexity", "self_instruct", "eva"] = "evol_instruct"
    strategies: tuple[Strategy, ...] = ()
    """Strategies of your own, beside the method's."""
    only_own: bool = False
    """Use only `strategies`, none of the method's."""
    evolutions: int = Field(4, ge=1)
    """Rewrites of each sampled prompt, in sequence; all are kept."""
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(512, gt=0)
    min_chars: int = Field(10, ge=0)
    max_chars: int = Field(8000, gt=0)
    near_duplicate: float | None = Field(0.9, gt=0, le=1)
    """Jaccard similarity from which a prompt counts as repeated; null turns it off."""
    benchmarks: tuple[BenchmarkSet, ...] = ()
    ngram: int = Field(13, gt=0)
    """Words in a row shared with a benchmark prompt that make an evolved one contaminated."""

    @model_validator(mode="after")
    def _some_strategy(self) -> Evolve:
        if self.only_own and not self.strategies:
            raise ValueError("`evolve.only_own` is set but `evolve.strategies` is empty: add one or unset it")
        return self


class Mix(Settings):
    evolved: Share = 0.8
    """Share of X_t that is evolved; the rest are originals."""
    source: Literal["evolved", "new_seeds"] = "evolved"
    """`new_seeds` fills the share with new human prompts instead: the paper's baseline of table 2."""
    original: Literal["previous", "seeds"] = "previous"
    """Where the originals come from: X_{t-1}, or the seeds."""
    shortfall: Literal["shrink", "fill_original", "error"] = "shrink"
    """When too few evolved prompts survive: a smaller X_t of the same ratio, more originals, or an error."""


class Pair(Settings):
    margin: float | None = Field(None, ge=0)
    """Least difference in reward between chosen and rejected; null keeps every pair."""
    min_chosen: float | None = None
    """Least reward of a chosen response; null takes the best one, however bad. Where rewards say right and wrong,
    this keeps a solver from being trained on the better of two wrong answers."""


class Train(Settings):
    recipe: str = "dpo"
    """A recipe of `train/recipes`, or the path of your own."""
    heldout: int = Field(0, ge=0)
    """Sandbox only: held-out prompts per depth on which each solver is tested after a build; 0 for none."""


class Config(Settings):
    """Everything that `eva.yaml` may say."""

    name: str
    """What the dataset is called, `owner/name` or `name`."""
    folder: Path = Field(Path(), json_schema_extra=Execution)
    """Where the dataset lies; default `data/<last part of name>`."""
    ledger: Path | None = Field(None, json_schema_extra=Execution)
    """The ledger's file; default `<folder>/.eva/ledger.sqlite`. Several folders may share one."""
    stalled_minutes: float = Field(30, gt=0, json_schema_extra=Execution)
    """A job that makes no progress for so long is ended with an error."""
    seed: int = Field(42, ge=0)
    seeds: Seeds | None = None
    solver: Solver
    creator: Literal["shared"] | TransformersModel = "shared"
    """Who rewrites prompts: the solver itself, or a model block of its own."""
    reward: Reward | None = None
    estimate: Estimate = Estimate()
    sample: Sample = Sample()
    evolve: Evolve = Evolve()
    mix: Mix = Mix()
    pair: Pair = Pair()
    train: Train = Train()

    @model_validator(mode="before")
    @classmethod
    def _solver_is_transformers_unless_said(cls, values: Any) -> Any:
        # The tag of a tagged union has no default of its own.
        if isinstance(values, dict) and isinstance(values.get("solver"), dict):
            return values | {"solver": {"backend": "transformers"} | values["solver"]}
        return values

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
    def _enough_evolutions(self) -> Config:
        if self.mix.source == "evolved" and self.sample.fraction * self.evolve.evolutions < self.mix.evolved - 1e-9:
            raise ValueError(
                f"`sample.fraction` x `evolve.evolutions` = {self.sample.fraction * self.evolve.evolutions:g} is below "
                f"`mix.evolved` = {self.mix.evolved:g}: there would be too few evolved prompts; raise one of the two"
            )
        return self

    @property
    def model_solver(self) -> TransformersModel | None:
        """The model that answers; None where only a table of responses is configured."""
        return self.solver.then if isinstance(self.solver, TableModel) else self.solver

    @property
    def first_answered(self) -> int:
        """The first iteration in which a model answers."""
        return 2 if isinstance(self.solver, TableModel) else 1


METRICS: tuple[str, ...] = get_args(Metric)
