"""The blocks of the method's stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from eva_data.config.base import Execution, Settings
from eva_data.config.choices import OneOf, modules_of
from eva_data.own_code import is_own
from eva_data.tables.metrics import METRICS

Metric: TypeAlias = Annotated[str, OneOf(tuple(METRICS))]
EvolvingMethod: TypeAlias = Annotated[str, OneOf(modules_of("evolve/methods"))]
Share = Annotated[float, Field(gt=0, le=1)]
ENVIRONMENTS = ("reasoning_gym",)
"""The libraries that pose prompts with known answers."""
World: TypeAlias = Literal["careless", "steps", "crowded"]


class Seeds(Settings):
    """Where the first prompts come from: a file, a Hub dataset, an environment, or the sandbox's own world."""

    path: Path | None = Field(None, json_schema_extra=Execution)
    """A file, a folder of shards or a glob: parquet, arrow, jsonl, json, csv, tsv, or txt with a prompt per line.
    Its content, not its name, is what counts."""
    encoding: str | None = Field(None, json_schema_extra=Execution)
    """Encoding of a text file, such as `latin-1`; null takes it from a byte order mark, else UTF-8."""
    dataset: str | None = None
    """A Hub dataset id."""
    sandbox: int | None = Field(None, gt=0)
    """How many prompts to draw from the sandbox's world, of one and two operations."""
    world: World = "careless"
    """The sandbox's world: in `steps` an answer shows its steps, and a third step is what static prompts cannot teach;
    `crowded` is the same, and most of its prompts are solved already or beyond reach; in `careless` an answer is one
    word, and theta_0 is careless more than it is ignorant."""
    environment: str | None = None
    """An environment that poses the prompts and knows their answers: `reasoning_gym/<data set>`, such as
    `reasoning_gym/chain_sum`, or what verifiers has: the class of a task set of 0.4, `my_tasks.py:Tasks` or
    `package.module:Tasks`, or the function `my_env:load_environment` of an environment of 0.1 to 0.3. Each prompt
    carries its answer in the columns `answer` and `info`."""
    size: int | None = Field(None, gt=0)
    """How many prompts the environment poses; must be given with `environment`."""
    seed: int | None = Field(None, ge=0)
    """The seed of the environment's prompts; null takes the seed of the settings."""
    config: str | dict[str, Any] | None = None
    """Config name of the Hub dataset, or the settings of the environment's data set or task set."""
    split: str = "train"
    """Split of the Hub dataset, or of a folder that holds several."""
    revision: str | None = None
    """Commit, tag or branch of the Hub dataset."""
    column: str = "prompt"
    """A column of text (one user turn) or of messages (lists of role and content, or of from and value)."""
    input: str | bool | None = None
    """Column of text that goes under the prompt, after an empty line. Null takes `input` if `column` is `instruction`;
    false takes none."""
    per_iteration: int | None = Field(None, gt=0)
    """Prompts drawn for iteration 1, and for each later iteration that needs new prompts; null draws all of them."""

    @model_validator(mode="after")
    def _one_source(self) -> Seeds:
        given = [name for name in ("path", "dataset", "environment", "sandbox") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "`seeds` needs exactly one of `path`, `dataset`, `environment` and `sandbox`, found "
                f"{given or 'none of them'}"
            )
        return self

    @model_validator(mode="after")
    def _environment_has_what_it_needs(self) -> Seeds:
        if self.environment is None:
            others = [key for key in ("size", "seed") if getattr(self, key) is not None]
            if others or isinstance(self.config, dict):
                raise ValueError(f"`seeds.{(*others, 'config')[0]}` is for `seeds.environment`, which is missing")
            return self
        library, _, name = self.environment.partition("/")
        if not is_own(self.environment) and (library not in ENVIRONMENTS or not name):
            raise ValueError(
                f"`seeds.environment` is `{self.environment}`: expected `reasoning_gym/<data set>`, such as "
                "`reasoning_gym/chain_sum`, a task set of verifiers, such as `my_tasks.py:Tasks`, or an older "
                "environment of verifiers, `my_env:load_environment`"
            )
        if is_own(self.environment) and self.seed is not None:
            raise ValueError(
                f"`seeds.seed` is for `{ENVIRONMENTS[0]}`, and the tasks of `{self.environment}` have an order of "
                "their own: leave it out"
            )
        if self.size is None:
            raise ValueError("`seeds.environment` needs `seeds.size`, the number of prompts that it poses")
        if isinstance(self.config, str):
            raise ValueError(
                f"`seeds.config` is `{self.config}`: with `seeds.environment` it is a mapping, such as {{max_terms: 3}}"
            )
        return self


class Estimate(Settings):
    """How informative a prompt is for the solver."""

    metric: Metric = "a_min"
    """The informativeness that sampling uses (paper, tables 3 and 4); all metrics are stored. A function of your own,
    `my_module:function`, is given the sorted rewards of a prompt as a polars expression and returns another; its values
    are in the column `custom`."""
    source: Literal["fresh", "previous"] = "fresh"
    """`fresh` asks the new solver again; `previous` takes the rewards that the last iteration already holds."""
    count_truncated: bool = False
    """Whether responses cut at `max_tokens` count in the metric; they are never chosen."""
    min_best: float | Literal["auto"] | None = "auto"
    """Reward that a prompt's responses must reach for the prompt to be evolved. Below it, the differences between the
    rewards are noise and no regret that training can lower; the prompt is `unsolved`. `auto` takes `pair.min_chosen`,
    or without it the 10 % quantile of the best rewards of iteration 1 (online: of the seeds so far). Null evolves
    unsolved prompts too. A folder that has iterations from before this key goes on with null."""
    min_right: int | None = Field(None, ge=1)
    """How many responses must reach `min_best`. Null takes 2 if all rewards are 0 or 1, since one right answer of
    several may be a guess, and 1 otherwise; with two responses always 1."""
    adjust_length: bool = False
    """Whether informativeness, draw and pairs use rewards without what they give for length alone, as a regression on
    log length within prompts estimates it. `score_chosen` and `score_rejected` are such rewards; `responses` keeps the
    given ones, and the manifest has the coefficients. `min_best`, `pair.min_chosen` and `pair.margin` are then bounds
    on adjusted rewards."""
    unequal: Literal["draw", "refuse"] = "draw"
    """What happens if prompts have unequal numbers of usable responses: draw n of them by hash, or refuse the input."""


class Sample(Settings):
    """Which prompts the creator rewrites."""

    fraction: Share = 0.25
    """Share of the prompts that is drawn."""
    method: Literal["weighted", "greedy", "uniform", "stratified"] = "weighted"
    """`weighted` draws without replacement by the metric; `greedy` takes the highest; `uniform` ignores the metric;
    `stratified` draws the same share of each stratum of the metric."""
    weights: Literal["proportional", "minmax", "inverted"] = "proportional"
    """`proportional` to the metric (the paper's text), `minmax` (the authors' code: the lowest metric weighs 0), or
    `inverted`, 1 - minmax (the inverse arms of table 4 in the authors' code: the highest metric weighs 0)."""
    power: float = Field(1.0, ge=0)
    """Exponent on the weights of `method: weighted`, divided by the largest: 0 draws every prompt with a metric alike,
    1 by its weight, and the larger the exponent, the nearer the draw is to `method: greedy`."""
    strata: int = Field(4, ge=2)
    """Number of equal-frequency strata of the metric for `method: stratified`."""
    band: tuple[float, float] | None = None
    """Bounds between which a prompt must lie to be drawn, such as [0.3, 0.8]; null sets none. If rewards are 0 or 1,
    they are bounds on the pass rate, the mean of its posterior under a uniform prior: (right + 1) / (responses + 2).
    For other rewards they are quantiles of the prompts' mean rewards, so that the band is relative; online such rewards
    are refused. Prompts outside are `too_easy` or `too_hard`, and online they have no children."""
    agreement_band: tuple[float, float] | None = None
    """Bounds on the agreement of a prompt's responses, such as [0.5, 0.9], with `reward.backend: consensus`; null sets
    none. The agreement is the share of the votes that the most frequent answer has. Prompts outside are `too_easy` or
    `too_hard`, and prompts without a consensus are `no_consensus`, anchors too; none of them is drawn."""
    by_topic: bool = False
    """Whether the same share of each topic is drawn, by `method` among the prompts of a topic. Topics are clusters of
    the prompts of iteration 1 by their words."""

    @model_validator(mode="after")
    def _band_has_an_inside(self) -> Sample:
        for key, band in (("band", self.band), ("agreement_band", self.agreement_band)):
            if band is not None and not 0 <= band[0] < band[1] <= 1:
                raise ValueError(
                    f"`sample.{key}` is [{band[0]:g}, {band[1]:g}]: expected two rising numbers from 0 to 1, such as "
                    "[0.3, 0.8]"
                )
        if self.band is not None and self.agreement_band is not None:
            raise ValueError(
                "`sample.band` and `sample.agreement_band` exclude each other, since both say which prompts are too "
                "easy or too hard: set one of them to null"
            )
        return self


class Strategy(Settings):
    """A way of rewriting prompts that the user adds."""

    name: str
    """The strategy's name, which the column `mutation` holds."""
    template: str
    """The instruction to the creator, with `{prompt}` in the place of the prompt."""
    kind: Literal["in_depth", "in_breadth"] = "in_depth"
    """Whether the new prompt is a harder form of the old prompt, or another prompt of its kind."""

    @model_validator(mode="after")
    def _usable(self) -> Strategy:
        if not self.name.strip():
            raise ValueError("a strategy of `evolve.strategies` has no name: give it one, it becomes `mutation`")
        if "{prompt}" not in self.template:
            raise ValueError(
                f"the template of the strategy `{self.name}` has no {{prompt}}: write {{prompt}} where the prompt to "
                "rewrite belongs"
            )
        return self


class BenchmarkSet(Settings):
    """Prompts of a benchmark, which evolved prompts must not repeat."""

    name: str
    """The benchmark's name, which appears in the reason of a reject."""
    path: Path = Field(json_schema_extra=Execution)
    """A parquet, jsonl or csv file with one row per prompt."""
    column: str = "prompt"
    """Column of the prompt's text."""


class Evolve(Settings):
    """How the creator rewrites prompts, and which attempts are eliminated."""

    method: EvolvingMethod = "evol_instruct"
    """The method whose strategies are used; `eva` is the paper's appendix F, and `one_constraint` is for creators of
    less than about a billion parameters. `self_talk` adds a user turn after the solver's best answer, and
    `synthetic_context` puts a text before the prompt. `environment` asks no creator: the environment of
    `seeds.environment` poses a harder task. A function of your own, `my_module:function`, returns an
    `eva_data.evolve.strategy.Method`."""
    strategies: tuple[Strategy, ...] = ()
    """Strategies of your own, beside the method's."""
    only_own: bool = False
    """Use only `strategies`, none of the method's."""
    evolutions: int = Field(4, ge=1)
    """Rewrites of each sampled prompt; all are kept. Online, the recipe's `n_new` says how many there are."""
    candidates: int = Field(1, ge=1)
    """Rewrites tried in each step, by different strategies. The creator rates them, and the best rewrite goes on (the
    paper's tree, appendix F). With 2 or more, the ratings cost two more calls for every survivor."""
    score: bool = False
    """Whether the creator rates complexity and quality even with a single candidate (the paper's table 7)."""
    shape: Literal["chain", "siblings"] | None = None
    """What the rewrites of a prompt start from: in a `chain`, each from the last rewrite; `siblings` all start from the
    prompt itself, by different strategies, and the best of them go on in the next generation (the paper's appendices
    A and F). Null means `chain` offline and `siblings` online."""
    max_depth: int | None = Field(None, ge=1)
    """Number of rewrites that may lie between a seed and a prompt; deeper prompts are not made. Null sets no bound."""
    self_check: bool = False
    """Whether the creator is asked of every new prompt if it is one. This finds answers and refusals that no rule
    knows, and costs one more call for every survivor; a prompt without a verdict is eliminated."""
    reply: Literal["plain", "delimited", "json"] = "plain"
    """How the creator is asked to reply: `plain`, by the method's published template; `delimited`, which adds a
    sentence that asks for the new prompt between two markers; `json`, which asks for a JSON object, guided by its
    schema where a server does that. With the last two, what is in the delimiters is the prompt, character for
    character."""
    temperature: float = Field(1.0, ge=0)
    """Sampling temperature of the creator."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Probability mass from which the creator samples a token."""
    max_tokens: int = Field(512, gt=0)
    """Longest reply of the creator, in tokens."""
    min_chars: int = Field(10, ge=0)
    """Shortest new prompt, in characters."""
    max_chars: int = Field(8000, gt=0)
    """Longest new prompt, in characters."""
    near_duplicate: float | None = Field(0.9, gt=0, le=1)
    """Jaccard similarity from which a prompt counts as repeated; null turns the check off. With `method: environment`
    the default is null, since all tasks of a data set are worded alike."""
    benchmarks: tuple[BenchmarkSet, ...] = ()
    """Benchmarks that evolved prompts must not repeat."""
    ngram: int = Field(13, gt=0)
    """Number of consecutive words that an evolved prompt must not share with a benchmark prompt. A benchmark prompt of
    fewer words, at least five, must not stand whole in the evolved prompt. Where a script has no spaces, 1.6 Chinese
    characters count as a word, 2 Japanese kana, 4 Thai letters."""

    @model_validator(mode="before")
    @classmethod
    def _tasks_are_worded_alike(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("method") == "environment" and "near_duplicate" not in values:
            return {**values, "near_duplicate": None}
        return values

    @model_validator(mode="after")
    def _some_strategy(self) -> Evolve:
        if self.only_own and not self.strategies:
            raise ValueError("`evolve.only_own` is set but `evolve.strategies` is empty: add one or unset it")
        if self.reply == "json" and (self.rated or self.self_check):
            raise ValueError(
                "`evolve.reply` is json, but with `evolve.candidates` above 1, `evolve.score` or `evolve.self_check` "
                "the creator also gives ratings, which are no JSON: use `delimited`"
            )
        return self

    @property
    def asks(self) -> bool:
        """Whether a creator writes the new prompts, and not an environment."""
        return self.method != "environment" or bool(self.strategies)

    @property
    def adds_turn(self) -> bool:
        """Whether new prompts continue a conversation after the solver's best answer."""
        return self.method == "self_talk" and not self.only_own

    @property
    def rated(self) -> bool:
        """Whether the creator rates what it wrote."""
        return self.score or self.candidates > 1


class OnlineTraining(Settings):
    """What `eva-data online` does beside the other blocks. The sizes of its buffer are in its recipe."""

    estimate: Literal["parent", "fresh"] = "parent"
    """What a new prompt needs to enter the buffer. `parent`: that its parent was informative (the paper). `fresh`: that
    it is informative itself, as ACCEL wants it (appendix I.1.2); the model answers it first, as often as in a step."""


class Mix(Settings):
    """What X_t consists of."""

    evolved: float = Field(0.8, ge=0, le=1)
    """Share of X_t that `source` names; the rest are original prompts. With `source: new_seeds` or `sampled` the
    default is 1. With 0 nothing is estimated, drawn or evolved."""
    source: Literal["evolved", "new_seeds", "sampled"] = "evolved"
    """`new_seeds` fills the share with new human prompts instead: the paper's baseline of table 2, for which nothing is
    estimated. `sampled` fills it with the drawn prompts themselves: the arms of table 5 that do not evolve. X_t is then
    as small as the draw."""
    original: Literal["previous", "seeds"] = "previous"
    """Where the original prompts come from: X_{t-1}, or the seeds."""
    shortfall: Literal["shrink", "fill_original", "error"] = "shrink"
    """What happens if too few evolved prompts survive: a smaller X_t of the same ratio, more original prompts, or an
    error."""
    topic_cap: float | None = Field(None, gt=0, le=1)
    """Largest share of one topic among the new prompts of X_t, and among its originals; null sets no limit. Prompts
    above it are left out. If fewer new prompts are left than `evolved` asks for, `shortfall` says what happens. Where
    there are K topics, each may have 1 / K."""

    @model_validator(mode="before")
    @classmethod
    def _whole_baselines(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("source", "evolved") != "evolved" and "evolved" not in values:
            return {**values, "evolved": 1.0}
        return values

    @property
    def draws(self) -> bool:
        """Whether X_t depends on a draw of informative prompts, so that there is something to estimate."""
        return self.source != "new_seeds" and self.evolved > 0

    @property
    def evolves(self) -> bool:
        """Whether the creator rewrites prompts."""
        return self.source == "evolved" and self.evolved > 0


class Pair(Settings):
    """Which responses become a pair."""

    margin: float | None = Field(None, ge=0)
    """Least difference in reward between chosen and rejected; null keeps every pair."""
    min_chosen: float | None = None
    """Least reward of a chosen response; null takes the best response, however bad. If rewards mean right and wrong,
    this key keeps a solver from being trained on the better of two wrong answers."""
    rule: Literal["best_worst", "best_random", "best_below", "margin", "ranked"] = "best_worst"
    """Which two responses: `best_worst` has the largest difference in reward, as in the paper; `best_random` sets the
    best against one drawn from the worse ones; `best_below` sets the best against the one that is `below` places worse;
    `margin` has the smallest difference that is not below `margin`; `ranked` pairs the best with the worst, then the
    best with the worst of the responses that are left, and so on, so that a prompt may have several pairs."""
    below: int | None = Field(None, ge=1)
    """By how many places the rejected response is worse than the best; for `rule: best_below`, where null is 1."""
    per_prompt: int | None = Field(None, ge=1)
    """Most pairs of a prompt; for `rule: ranked`, where null takes as many as there are: at most half as many as
    responses, since no two pairs share a response."""
    max_length_gap: float | None = Field(None, ge=0, le=1)
    """Largest difference in length between chosen and rejected, in characters, as a share of the longer one. The pair
    is sought among those that keep it, so a prompt keeps a pair with a smaller difference in reward; longer responses
    often get higher rewards, and a solver that is trained on such pairs learns to write more. Null sets no bound."""
    max_similarity: float | None = Field(None, ge=0, lt=1)
    """Largest similarity of chosen and rejected, as the share of the characters of both that neither text has to itself
    (rapidfuzz's Indel similarity). Texts that barely differ teach little; but where a digit makes an answer right or
    wrong, they teach most. The pair is sought among those that keep it; null sets no bound."""
    rewrite: bool = False
    """Whether the solver rewrites every chosen response at the same length (the paper's H.2.1). The rewritten response
    is chosen instead as `rewrite_keep` says. It costs one more response, and reward, for every pair."""
    rewrite_keep: Literal["better", "all"] = "better"
    """Which rewritten responses are chosen: `better`, if the reward is not lower; or `all` that got a reward, as in the
    paper, which does not compare. With `all`, `score_chosen` may be the lower score."""
    rewrite_length: float = Field(0.1, ge=0)
    """Share of its characters by which a rewritten response may be longer or shorter (our choice; the paper gives no
    number)."""

    @model_validator(mode="after")
    def _rule_has_what_it_reads(self) -> Pair:
        if self.rule == "margin" and self.margin is None:
            raise ValueError(
                "`pair.rule: margin` takes the smallest difference that is not below `pair.margin`: set it"
            )
        if self.per_prompt is not None and self.rule != "ranked":
            raise ValueError(f"`pair.per_prompt` is for `rule: ranked`, and the rule is {self.rule}: leave it out")
        if self.rewrite and self.rule == "ranked":
            raise ValueError("`pair.rewrite` rewrites the best response alone, and `rule: ranked` pairs more: drop one")
        if self.below is not None and self.rule != "best_below":
            raise ValueError(f"`pair.below` is for `rule: best_below`, and the rule is {self.rule}: leave it out")
        return self


class Accept(Settings):
    """Bounds that a newly trained theta_t must keep: by its evaluation against theta_{t-1} on the first set, and by its
    log-probabilities beside those of theta_{t-1} and theta_0.

    Outside them, `run` and `build` stop before theta_t answers, and say why.
    """

    min_win_rate: float | None = Field(None, ge=0, le=1)
    """Least win rate against theta_{t-1}, on a set that compares two sides."""
    max_drop: float | None = Field(None, ge=0)
    """Most by which the share of right answers, or the mean rating, may fall below that of theta_{t-1}."""
    max_length_ratio: float | None = Field(None, gt=0)
    """Longest mean answer in tokens, as a multiple of that of theta_{t-1}."""
    max_truncated: float | None = Field(None, ge=0, le=1)
    """Largest share of answers that are cut at `max_tokens`."""
    max_chosen_drop: float | None = Field(None, ge=0)
    """Most by which the log-probability of the iteration's chosen responses may fall below that under theta_{t-1}, in
    nats per token."""
    max_kl: float | None = Field(None, ge=0)
    """Largest KL divergence from theta_0 of theta_t's own answers, in nats per token."""

    @property
    def bounds(self) -> bool:
        """Whether any bound is set."""
        return self.evaluated or self.measured

    @property
    def evaluated(self) -> bool:
        """Whether a bound needs an evaluation."""
        return any(value is not None for key, value in self.model_dump().items() if key not in _MEASURED)

    @property
    def measured(self) -> bool:
        """Whether a bound needs log-probabilities, and so the weights."""
        return any(value is not None for key, value in self.model_dump().items() if key in _MEASURED)


_MEASURED = ("max_chosen_drop", "max_kl")


class Train(Settings):
    """How the solver is trained."""

    recipe: str = "dpo"
    """A recipe of `train/recipes`, such as `dpo`, `sppo`, `simpo`, `orpo`, `ipo`, `cpo`, `kto` or `sft`, or the path of
    your own."""
    mode: Literal["incremental", "scratch"] = "incremental"
    """`incremental`: theta_t is theta_{t-1} trained on iteration t; `scratch`: theta_0 on iterations 1 to t (the
    paper's table 6)."""
    reference: Literal["previous", "initial"] = "previous"
    """The reference model of the losses that have one: `previous` is the model that is trained, as it was before;
    `initial` is theta_0 in every iteration. With `mode: scratch` both are theta_0."""
    replay: float = Field(0.0, ge=0, le=1)
    """Share of the pairs of each earlier iteration that are trained on again, beside all pairs of the iteration itself;
    0 replays none."""
    accelerate: Path | None = Field(None, json_schema_extra=Execution)
    """A config file of `accelerate launch`, for several GPUs, FSDP or DeepSpeed; null trains in one process."""
    report_to: tuple[str, ...] = Field((), json_schema_extra=Execution)
    """Trackers that receive the training's metrics, such as `wandb` or `tensorboard`; each must be installed."""
    accept: Accept = Field(Accept(), json_schema_extra=Execution)
    """Bounds outside which a new theta does not play."""
    heldout: int = Field(0, ge=0)
    """Held-out prompts per depth on which each solver is tested after a build, in the sandbox only; 0 tests nothing."""

    @model_validator(mode="after")
    def _replays_what_is_left_out(self) -> Train:
        if self.replay and self.mode == "scratch":
            raise ValueError(
                f"`train.replay` is {self.replay:g}, but `train.mode: scratch` trains on all pairs of all iterations "
                "already: set `replay` to 0, or `mode` to incremental"
            )
        return self


class Publish(Settings):
    """Where the dataset goes on the Hub. Nothing here changes what is built."""

    repo: str | None = None
    """`owner/name` of the dataset repo. A missing repo is created."""
    private: bool = True
    """Whether a new repo is private. A public repo needs a `licence`."""
    licence: str | None = None
    """The dataset's licence by the Hub's name, such as `cc-by-4.0`. The choice is yours."""
    licence_reason: str | None = None
    """Why the licence is allowed although a source's is stricter or unknown. It is kept at the tag, and the card shows
    it. `--accept-licence`."""
    source_licences: dict[str, str] = Field(default_factory=dict)
    """Name of a source of seeds, or of a model -> its licence by the Hub's name, where no card states it."""


class Review(Settings):
    """The Argilla server on which people review pairs. Nothing here changes what is built."""

    api_url: str | None = None
    """URL of the server; null takes the environment variable ARGILLA_API_URL."""
    api_key_env: str = "ARGILLA_API_KEY"
    """Environment variable that holds the key of an owner, or of an admin of the workspace."""
    workspace: str | None = None
    """The workspace whose members review; null takes the first workspace that the key may use."""
    min_submitted: int | None = Field(None, ge=1)
    """Number of reviewers after whose answers a pair is done; null means 1, or the number in the server's dataset."""
    publish: Literal["votes", "full"] = "votes"
    """What the `reviews` table of a revision holds. `votes`: how many people gave each answer to a pair; the answers
    themselves stay in `.eva`. `full`: every reviewer's answers and comments, word for word, under a pseudonym."""
    markdown: bool = True
    """Whether prompts and responses are rendered as Markdown for the reviewer; false shows every character."""
