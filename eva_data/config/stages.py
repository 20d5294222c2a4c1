"""The blocks of the method's stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from eva_data.config.base import Execution, Settings

Metric = Literal["a_min", "a_avg", "a_dis", "var", "avg", "inv_avg", "inv_a_min", "uniform"]
METRICS: tuple[str, ...] = get_args(Metric)
Share = Annotated[float, Field(gt=0, le=1)]


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
    candidates: int = Field(1, ge=1)
    """Rewrites tried in each step, by different strategies; the one that the creator rates best goes on (the paper's
    tree, appendix F). From 2 on every survivor costs two more calls, its ratings."""
    score: bool = False
    """Have the creator rate the complexity and quality of its prompts with one candidate too (the paper's table 7)."""
    reply: Literal["plain", "delimited", "json"] = "plain"
    """How the creator is asked to reply: `plain`, by the method's published template; `delimited`, which adds a
    sentence that asks for the new prompt between two markers; `json`, which asks for a JSON object, guided by its
    schema where a server does that. With the last two, what is in the delimiters is the prompt, character for
    character."""
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
        if self.reply == "json" and self.rated:
            raise ValueError(
                "`evolve.reply` is json, but with `evolve.candidates` above 1 or `evolve.score` the creator also "
                "gives ratings, which are no JSON: use `delimited`"
            )
        return self

    def data(self) -> dict[str, Any]:
        """See Settings.data. A plain reply is left out, so that iterations made before there was a choice stay as they
        are."""
        values = super().data()
        if self.reply == "plain":
            del values["reply"]
        return values

    @property
    def rated(self) -> bool:
        """Whether the creator rates what it wrote."""
        return self.score or self.candidates > 1


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
    rewrite: bool = False
    """Have the solver rewrite every chosen response to a better one of the same length (the paper's H.2.1). That one is
    chosen instead where its reward is not lower; one more response, and reward, for every pair."""
    rewrite_length: float = Field(0.1, ge=0)
    """What counts as the same length: the share of its characters by which it may be longer or shorter (our choice; the
    paper gives none)."""


class Train(Settings):
    recipe: str = "dpo"
    """A recipe of `train/recipes`, such as `dpo`, `sppo`, `simpo` or `orpo`, or the path of your own."""
    mode: Literal["incremental", "scratch"] = "incremental"
    """`incremental`: theta_t is theta_{t-1} trained on iteration t; `scratch`: theta_0 on iterations 1 to t (the
    paper's table 6)."""
    accelerate: Path | None = Field(None, json_schema_extra=Execution)
    """A config file of `accelerate launch`, for several GPUs, FSDP or DeepSpeed; one process when not given."""
    report_to: tuple[str, ...] = Field((), json_schema_extra=Execution)
    """Trackers that are told of a training, such as `wandb` or `tensorboard`; each must be installed."""
    heldout: int = Field(0, ge=0)
    """Sandbox only: held-out prompts per depth on which each solver is tested after a build; 0 for none."""


class Publish(Settings):
    """Where the dataset goes on the Hub. Nothing here changes what is built."""

    repo: str | None = None
    """`owner/name` of the dataset repo, which is created where it does not exist."""
    private: bool = True
    """Whether only those see the repo who may; false needs a `licence`."""
    licence: str | None = None
    """The dataset's licence by the Hub's name, such as `cc-by-4.0`; it is yours to choose."""


class Review(Settings):
    """The Argilla server on which people judge pairs. Nothing here changes what is built."""

    api_url: str | None = None
    """Where it is; default the environment variable ARGILLA_API_URL."""
    api_key_env: str = "ARGILLA_API_KEY"
    """The environment variable that holds the key of an owner, or an admin of the workspace."""
    workspace: str | None = None
    """Whose members review; default the first that the key may use."""
    min_submitted: int | None = Field(None, ge=1)
    """Answers after which a pair is done, each by another reviewer; default 1, or what the server's dataset has."""
    markdown: bool = True
    """Whether prompts and responses are Markdown, rendered for the reviewer; false shows them character by character.
    """
