"""Reads a user's table of scored responses, and computes informativeness, draw and pairs from it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import polars as pl

from eva_data.api.frames import Back, FrameT, opened
from eva_data.dataset.scored_table import TableRows, read_source
from eva_data.errors import ConfigError, DataError
from eva_data.method import estimate, pair
from eva_data.method import sample as drawing
from eva_data.method.choice import PairChoice, PairRule
from eva_data.method.signals.lengths import length_adjusted, length_fit
from eva_data.method.signals.own_metric import own_metric
from eva_data.method.solved import Bar
from eva_data.tables.ids import prompt_id
from eva_data.tables.metrics import METRICS, column_of
from eva_data.tables.reading.source import Source
from eva_data.tables.redaction import without_secrets
from eva_data.tables.schemas import INFORMATIVENESS, ORDER, OWN_METRIC, PREFERENCES
from eva_data.tables.shapes.conversations import transcripts
from eva_data.tables.shapes.prompts import Prompts, prompts_of
from eva_data.tables.shapes.recognise import shape_of
from eva_data.tables.shapes.scored import Named

SEED = 42
"""The seed of every draw, as in `eva.yaml`."""

_MEASURES = ("n_scored", "reward_max", "reward_min", "reward_mean", "reward_var", *METRICS)

_log = logging.getLogger("eva_data")


@dataclass(frozen=True)
class ScoredTable:
    """A table of scored responses, read."""

    given: pl.LazyFrame
    ids: pl.DataFrame
    """`prompt_id` of each row of `given`, in its order, and `prompt`, as messages."""
    tables: TableRows
    text: bool
    """Whether the prompts were given as text, and each is one turn."""
    back: Back

    def prompts(self) -> pl.DataFrame:
        """`prompt_id` and `prompt` of the usable prompts in the order of the table, the prompt in its given form."""
        usable = self.ids.unique("prompt_id", keep="first", maintain_order=True).join(
            self.tables.prompts.select("prompt_id"), on="prompt_id", how="semi", maintain_order="left"
        )
        return usable.with_columns(prompt=as_text(pl.col("prompt"))) if self.text else usable


def as_text(messages: pl.Expr) -> pl.Expr:
    """The text of a conversation's last turn."""
    return messages.list.last().struct.field("content")


def read(
    frame: object,
    prompt: str,
    response: str,
    reward: str,
    lower_is_better: bool | None,
    seed: int,
    *,
    adjust_length: bool = False,
) -> ScoredTable:
    given, back = opened(frame)
    named = Named(prompt, response, reward, None, lower_is_better=lower_is_better, block="")
    source = Source("the table", "frame", (("the table", given),))
    tables = read_source(source, named, _log.info)
    if adjust_length:
        fit = length_fit(tables.responses, seed=seed)
        adjusted = length_adjusted(tables.responses.lazy(), fit, seed=seed).collect()
        tables = tables._replace(responses=adjusted)
    shape = shape_of(source, named)
    asked = shape.prompt or prompts_of(source, prompt, None, "").of
    turns = source.map(lambda rows, schema: rows.select(asked=asked(schema)).unnest("asked").select("prompt"))
    texts = without_secrets(source.collect(turns.with_columns(prompt=transcripts(pl.col("prompt")))))
    ids = texts.select(prompt_id(pl.col("prompt")).alias("prompt_id"), "prompt")
    column = prompts_of(source, prompt, None, "") if shape.prompt is None else None
    return ScoredTable(given, ids, tables, text=_is_text(column, source, texts), back=back)


def _is_text(column: Prompts | None, source: Source, prompts: pl.DataFrame) -> bool:
    if column is None or column.under is not None or source.schema[column.column] != pl.String:
        return False
    return not prompts.select((pl.col("prompt").list.len() > 1).any()).item()


def informativeness(
    frame: FrameT,
    *,
    prompt: str = "prompt",
    response: str = "response",
    reward: str = "reward",
    metric: str = "a_min",
    lower_is_better: bool | None = None,
    adjust_length: bool = False,
    responses: int | None = None,
    min_best: float | None = None,
    seed: int = SEED,
) -> FrameT:
    """How much a solver still has to learn from each prompt, by the rewards of its responses (paper: 3.3.2, table 3).

    The table has a column of prompts (text or messages), one of responses and one of rewards: one row per response, or
    one row per prompt with lists. Other usual shapes, such as `completions` of UltraFeedback, are found by themselves.

    The result has one row per usable prompt, in the order of the table: `prompt` as it was given, `n_scored`,
    `reward_max`, `reward_min`, `reward_mean`, `reward_var`, the metrics `a_min`, `a_avg`, `a_dis`, `var`, `avg`,
    `inv_avg`, `inv_a_min` and `uniform`, and `reason`. A metric is null with fewer than two finite rewards, and
    `reason` says why. `metric` may be a function of your own, as `my_module:function`; its values are in `custom`.
    `responses` is the number of rewards that count for each prompt, drawn by hash; None takes all. A prompt whose best
    reward is below `min_best` has the reason `unsolved`, and `sample` does not draw it. With `adjust_length`, here and
    in the other functions, what the rewards give for length alone is taken off (`estimate.adjust_length`).

    Raise DataError if a column is missing or holds something else.
    """
    scored = read(frame, prompt, response, reward, lower_is_better, seed, adjust_length=adjust_length)
    table = _estimated(scored, metric, responses, min_best, seed).collect()
    own = [] if metric in METRICS else [next(iter(OWN_METRIC))]
    measured = scored.prompts().join(
        table.select("prompt_id", *_MEASURES, *own, "reason"), on="prompt_id", how="left", maintain_order="left"
    )
    result: FrameT = scored.back(measured.drop("prompt_id"))
    return result


def sample(
    frame: FrameT,
    fraction: float = 0.25,
    *,
    metric: str = "a_min",
    method: drawing.Method = "weighted",
    weights: drawing.Weights = "proportional",
    power: float = 1.0,
    strata: int = 4,
    prompt: str = "prompt",
    response: str = "response",
    reward: str = "reward",
    lower_is_better: bool | None = None,
    adjust_length: bool = False,
    responses: int | None = None,
    min_best: float | None = None,
    seed: int = SEED,
    iteration: int = 1,
) -> FrameT:
    """Draw a share of the prompts, the informative ones more often (paper: algorithm 1, appendix A).

    The table is as in `informativeness`. The result holds all its rows of the drawn prompts, in their order and with
    all their columns, so that it can go on to `pairs` or `evolve`. round(fraction x N) of N prompts are drawn, at
    least one, without replacement; a prompt of informativeness 0 is not drawn by `weighted`, so there may be fewer.
    `metric`, `method`, `weights`, `power` and `strata` mean what they mean in `eva.yaml`. The draw of a prompt depends
    on the prompt, `seed` and `iteration` alone.

    Raise DataError if no prompt can be drawn, and ConfigError if `fraction` is not in (0, 1], the metric is unknown, or
    a proportional weight would be negative.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"`fraction` is {fraction}: expected a number above 0 and at most 1, such as 0.25")
    scored = read(frame, prompt, response, reward, lower_is_better, seed, adjust_length=adjust_length)
    drawn = drawing.sample(
        _estimated(scored, metric, responses, min_best, seed),
        metric=column_of(metric),
        fraction=fraction,
        method=method,
        weights=weights,
        power=power,
        strata=strata,
        seed=seed,
        iteration=iteration,
    )
    for note in drawn.notes:
        _log.info(note)
    selected = drawn.informativeness.filter("selected").select("prompt_id").collect()
    taken = scored.ids.select(pl.col("prompt_id").is_in(selected["prompt_id"].implode()).alias("taken"))["taken"]
    result: FrameT = scored.back(scored.given.collect().filter(taken))
    return result


def pairs(
    frame: FrameT,
    *,
    margin: float | None = None,
    min_chosen: float | None = None,
    rule: PairRule = "best_worst",
    below: int = 1,
    per_prompt: int | None = None,
    max_length_gap: float | None = None,
    max_similarity: float | None = None,
    conversational: bool = True,
    prompt: str = "prompt",
    response: str = "response",
    reward: str = "reward",
    lower_is_better: bool | None = None,
    adjust_length: bool = False,
    seed: int = SEED,
    iteration: int = 1,
) -> FrameT:
    """The best and the worst response of each prompt, as TRL's preference trainers read them (paper: 3.3.1).

    The table is as in `informativeness`. The result has one row per pair, in the order of the table's prompts:
    `prompt`, `chosen`, `rejected`, `score_chosen` and `score_rejected`. With `conversational`, the first three are
    lists of messages, to which TRL applies the chat template. Without it they are texts, as a base model is trained.
    A prompt has no pair if its responses or their rewards are equal, if they differ by less than `margin`, or if the
    best reward is below `min_chosen`; `rejects` lists such prompts. `rule` and the arguments after it are those of
    the settings (`pair`): with `max_length_gap`, a pair is sought among responses of similar length, with
    `max_similarity` among responses that differ, and by the rule `ranked` a prompt has up to `per_prompt` pairs.

    Raise DataError if a column is missing or holds something else, or if a conversation of several turns shall be text.
    """
    scored = read(frame, prompt, response, reward, lower_is_better, seed, adjust_length=adjust_length)
    found = _paired(
        scored, PairChoice(rule, below, per_prompt, margin, min_chosen, max_length_gap, max_similarity), seed, iteration
    ).preferences
    chosen = found.select("prompt_id", *(name for name in PREFERENCES if name in _TRL))
    if not conversational:
        if chosen.select((pl.col("prompt").list.len() > 1).any()).item():
            raise DataError(
                "a prompt has several turns, which are no text: leave `conversational=False` out, and TRL applies the "
                "chat template"
            )
        chosen = chosen.with_columns(as_text(pl.col(name)).alias(name) for name in ("prompt", "chosen", "rejected"))
    ordered = scored.prompts().select("prompt_id").join(chosen, on="prompt_id", how="inner", maintain_order="left")
    _log.info(f"{ordered.height} of {scored.tables.prompts.height} prompts have a pair; `rejects` says why not")
    result: FrameT = scored.back(ordered.drop("prompt_id"))
    return result


_TRL = ("prompt", "chosen", "rejected", "score_chosen", "score_rejected")


def rejects(
    frame: FrameT,
    *,
    margin: float | None = None,
    min_chosen: float | None = None,
    rule: PairRule = "best_worst",
    below: int = 1,
    per_prompt: int | None = None,
    max_length_gap: float | None = None,
    max_similarity: float | None = None,
    prompt: str = "prompt",
    response: str = "response",
    reward: str = "reward",
    lower_is_better: bool | None = None,
    adjust_length: bool = False,
    seed: int = SEED,
    iteration: int = 1,
) -> FrameT:
    """The rows that `pairs` does not use, with a reason: `stage`, `reason` and `text`, cut at 2000 characters.

    Stage `seeds` and `reward` are rows that cannot be read: an unusable prompt, a missing response, a reward that is no
    finite number. Stage `pair` are prompts without a pair. The arguments are those of `pairs`.
    """
    scored = read(frame, prompt, response, reward, lower_is_better, seed, adjust_length=adjust_length)
    both = pl.concat(
        [
            scored.tables.rejects,
            _paired(
                scored,
                PairChoice(rule, below, per_prompt, margin, min_chosen, max_length_gap, max_similarity),
                seed,
                iteration,
            ).rejects,
        ]
    )
    result: FrameT = scored.back(both.sort(ORDER["rejects"], nulls_last=True).select("stage", "reason", "text"))
    return result


def _estimated(
    scored: ScoredTable, metric: str, responses: int | None, min_best: float | None, seed: int
) -> pl.LazyFrame:
    """INFORMATIVENESS of stage estimate."""
    if metric not in METRICS and ":" not in metric:
        raise ConfigError(
            f"there is no metric `{metric}`: expected one of {', '.join(METRICS)}, or a function of your own as "
            "`my_module:function`"
        )
    return estimate.informativeness(
        scored.tables.responses.lazy(),
        prompt_ids=scored.tables.prompts.lazy().select("prompt_id"),
        stage="estimate",
        iteration=1,
        n=_most(scored) if responses is None else responses,
        seed=seed,
        own=own_metric(metric),
        bar=None if min_best is None else Bar(min_best, 1),
    )


def _most(scored: ScoredTable) -> int:
    """The largest number of responses of a prompt."""
    return int(scored.tables.responses["response_idx"].n_unique())


def _paired(scored: ScoredTable, choice: PairChoice, seed: int, iteration: int) -> pair.Paired:
    return pair.pair(
        scored.tables.prompts.lazy(),
        scored.tables.responses.lazy(),
        # The pairs carry no metrics here.
        pl.LazyFrame(schema=INFORMATIVENESS),
        margin=choice.margin,
        min_chosen=choice.min_chosen,
        rule=choice.rule,
        below=choice.below,
        per_prompt=choice.per_prompt,
        max_length_gap=choice.max_length_gap,
        max_similarity=choice.max_similarity,
        seed=seed,
        iteration=iteration,
        on_policy=False,
    )
