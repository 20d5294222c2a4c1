"""The schemas of a dataset's tables: the only place where a column is named and typed.

A *config* of the published dataset is a kind of table, and a *split* is an iteration. Every stage states which
of these schemas it reads and which it writes; `check` is called where data enters or leaves the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from itertools import islice
from typing import Any

import polars as pl

from eva_data.errors import DataError
from eva_data.tables import metrics

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
"""A conversation: one struct per turn, in order; roles are `system`, `user`, `assistant`."""

CARRIED = ("answer", "info")
"""The columns by which a prompt carries what scores a response to it."""

METRICS = tuple(metrics.METRICS)
"""Informativeness metrics of the paper's tables 3 and 4, in column order."""

OWN_METRIC = {
    metrics.CUSTOM: pl.Float64,  # by the user's own `estimate.metric`; null without one
    f"{metrics.CUSTOM}_metric": pl.String,  # that function: its name and a hash of its source file
}

VOTES = {
    "votes": pl.Int32,  # responses that vote; null without a consensus reward, as the next three
    "agreement": pl.Float64,  # share of the votes for the most frequent answer; null without votes
    "consensus": pl.String,  # the answer that most votes agree on; null if they do not
    "known_answer": pl.String,  # of an anchor; null if the prompt has none
}

READ_ANSWERS = {
    "answer": pl.String,  # what a consensus reward reads as the response's answer; equal answers are one text
    "known_answer": pl.String,  # of the prompt, an anchor; null if it has none
}

PAIR_MODELS = {
    "chosen_model": pl.String,  # fingerprint of the model that gave it; null without a contrast, as the next
    "rejected_model": pl.String,
}

STANDARD_ERROR = {
    "reward_se": pl.Float64,  # standard error of the reward by a tournament; null with other rewards
}

_METRIC_TYPES = dict.fromkeys(METRICS, pl.Float64) | OWN_METRIC


def _schema(columns: Mapping[str, Any]) -> pl.Schema:
    return pl.Schema(columns)


PROMPTS = _schema(
    {
        "prompt_id": pl.String,  # hash of the normalised conversation (ids.prompt_id)
        "prompt": MESSAGES,
        "origin": pl.String,  # seed | evolved
        "mix_role": pl.String,  # seed | evolved | carried
        "created_iteration": pl.Int32,  # the iteration whose creator (or seed block) made it
        "iteration": pl.Int32,
        "parent_id": pl.String,  # the previous evolution of the chain; null for seeds
        "root_id": pl.String,  # the seed at the start of the lineage; a seed is its own root
        "depth": pl.Int32,  # evolutions since the root; 0 for seeds
        "mutation": pl.String,  # the strategy that made it; null for seeds
        "creator": pl.String,  # the creator's fingerprint; null for seeds
        "source": pl.String,  # where the root came from: a file name, Hub id or environment
        "answer": pl.String,  # the right answer; null if nobody knows it, or there are several
        "info": pl.String,  # JSON by which the prompt's environment scores a response; null without one
    }
)
"""One row per prompt of X_t, ordered by `prompt_id`."""

EVOLUTIONS = _schema(
    {
        "chain_id": pl.String,  # the sampled prompt at which the chain started; with the next two the row's key
        "step": pl.Int32,  # 1 ... evolve.evolutions
        "candidate": pl.Int32,  # 0 ... evolve.candidates - 1; candidates of one step share the parent
        "prompt_id": pl.String,  # null if the reply holds no prompt
        "prompt": MESSAGES,  # null if the reply holds no prompt
        "parent_id": pl.String,  # last surviving prompt of the chain before this step
        "root_id": pl.String,
        "depth": pl.Int32,  # parent's depth + 1
        "mutation": pl.String,
        "raw": pl.String,  # the creator's reply, word for word; null if the call failed or the method asks no model
        "status": pl.String,  # mixed | unused | eliminated
        "reason": pl.String,  # why it was eliminated; `not_best` or null if it is unused
        "duplicate_of": pl.String,  # the prompt it repeats; null unless the reason is a duplicate
        "complexity": pl.Float64,  # from 1 to 5 by the creator's rating; null if not rated
        "quality": pl.Float64,  # likewise
        "unscored": pl.String,  # why a rating that was asked for is null, with the creator's reply
        "completion_tokens": pl.Int32,
        "creator": pl.String,
        "iteration": pl.Int32,
        "answer": pl.String,  # as in `prompts`
        "info": pl.String,
    }
)
"""One row per evolution attempt of iteration t, ordered by (`chain_id`, `step`, `candidate`)."""

INFORMATIVENESS = _schema(
    {
        "stage": pl.String,  # estimate (X_{t-1} under the solver) | respond (X_t under the solver)
        "prompt_id": pl.String,
        "n_scored": pl.Int32,  # finite rewards that entered the metrics
        "reward_max": pl.Float64,
        "reward_min": pl.Float64,
        "reward_mean": pl.Float64,
        "reward_var": pl.Float64,  # population variance
        **_METRIC_TYPES,  # null with fewer than two finite rewards
        **VOTES,
        "reason": pl.String,  # why the metrics are null, or why it is not drawn, as `unsolved`; else null
        "weight": pl.Float64,  # estimate only: weight of the draw; null if not drawn from
        "draw": pl.Float64,  # estimate only: key of the draw, the largest are selected
        "selected": pl.Boolean,  # estimate only; null for respond
        "solver": pl.String,
        "reward_model": pl.String,
        "iteration": pl.Int32,
    }
)
"""One row per (stage, prompt), ordered by (`stage`, `prompt_id`)."""

RESPONSES = _schema(
    {
        "prompt_id": pl.String,
        # 0 ... n - 1; the contrast's go on from there; in stage rewrite, the index of the original response
        "response_idx": pl.Int32,
        "response": pl.String,  # null if the call failed
        "reward": pl.Float64,  # null if it could not be scored
        **STANDARD_ERROR,
        "reward_model": pl.String,
        **READ_ANSWERS,
        "finish_reason": pl.String,  # stop | length | content_filter | error; null if unknown (table)
        "prompt_tokens": pl.Int32,
        "completion_tokens": pl.Int32,
        "solver": pl.String,
        "stage": pl.String,  # estimate | respond | contrast (of a weaker model) | rewrite (of a pair's chosen one)
        "reused": pl.Boolean,  # copied from the estimate stage, not generated again
        "iteration": pl.Int32,
    }
)
"""One row per response, ordered by (`stage`, `prompt_id`, `response_idx`)."""

PREFERENCES = _schema(
    {
        "prompt": MESSAGES,
        "chosen": MESSAGES,  # one assistant turn
        "rejected": MESSAGES,  # one assistant turn
        "score_chosen": pl.Float64,
        "score_rejected": pl.Float64,
        "pair_id": pl.String,  # hash of prompt and the two responses as an unordered pair
        "prompt_id": pl.String,
        "parent_id": pl.String,
        "root_id": pl.String,
        "depth": pl.Int32,
        "origin": pl.String,
        "mix_role": pl.String,
        "mutation": pl.String,
        **_METRIC_TYPES,
        "chosen_idx": pl.Int32,
        "rejected_idx": pl.Int32,
        **PAIR_MODELS,
        "on_policy": pl.Boolean,  # false if a response came from a table or from another model than the solver
        "rewritten": pl.Boolean,  # a response of stage rewrite took the place of its original
        "verdict_by": pl.String,  # reward | human
        "iteration": pl.Int32,
    }
)
"""One row per preference pair, ordered by (`prompt_id`, `pair_id`); TRL trains on it as it is.

A prompt has more than one pair only by the rule `ranked`.
"""

REJECTS = _schema(
    {
        "stage": pl.String,  # seeds | estimate | evolve | mix | respond | contrast | reward | pair | rewrite | review
        "reason": pl.String,
        "prompt_id": pl.String,  # null if there is no prompt to identify
        "duplicate_of": pl.String,
        "text": pl.String,  # what was rejected, for a person to read; cut at 2000 characters
        "iteration": pl.Int32,
    }
)
"""One row per failure, ordered by (`stage`, `reason`, `prompt_id`, `text`)."""

REVIEWS = _schema(
    {
        "pair_id": pl.String,
        "prompt_id": pl.String,
        "reviewer": pl.String,  # a pseudonym, never a name; null if the row counts votes
        "status": pl.String,  # submitted | draft | discarded; only submitted answers count
        "verdict": pl.String,  # first | second | tie | both_bad, as it was shown; null if not answered
        "first_idx": pl.Int32,  # the response that was shown as the first
        "second_idx": pl.Int32,
        "preferred_idx": pl.Int32,  # the response that the reviewer prefers; null without one
        "prompt_quality": pl.String,  # good | unclear | unanswerable | unsafe; null if not answered
        "comment": pl.String,
        "votes": pl.Int32,  # how many people answered so; null if the row is one person's answer
        "iteration": pl.Int32,
    }
)
"""One row per (pair, reviewer), or per pair and answer that somebody gave, ordered by the first columns."""

EVALUATIONS = _schema(
    {
        "evaluation": pl.String,  # which comparison it belongs to: a key of manifests/evaluations.json
        "set": pl.String,
        "rule": pl.String,
        "prompt_id": pl.String,
        "prompt": MESSAGES,  # up to the turn that is judged
        "category": pl.String,  # null if the set has none
        "turn": pl.Int32,  # 1, or 2 for the second user turn
        "sample": pl.Int32,  # 0 ... samples - 1
        "judge": pl.String,  # fingerprint of the judge or verifier
        "order": pl.String,  # solver_first | solver_second; null if one answer is judged by itself
        "label": pl.String,  # the verdict in the words of the rule; null without one
        "score": pl.Float64,  # the solver's: 1 wins, 0.5 ties, 0 loses; a rating or reward if one answer is judged
        "preference": pl.Float64,  # the probability that a judge gave, in [0, 1] for the solver; null without one
        "reason": pl.String,  # why there is no score, or that nobody was asked
        "raw": pl.String,  # the judge's reply if its verdict cannot be read
        "solver": pl.String,
        "against": pl.String,  # null if one answer is judged by itself
        "response": pl.String,
        "response_against": pl.String,
        "finish_reason": pl.String,
        "finish_reason_against": pl.String,
        "completion_tokens": pl.Int32,
        "completion_tokens_against": pl.Int32,
        "contaminated": pl.String,  # why it counts as seen in training: `ngram+embedding`; null if it does not
        "nearest_id": pl.String,  # the training prompt that it repeats; null if it repeats none
        "nearest_score": pl.Float64,  # 1 for ngram, the Jaccard similarity for numbers, else a cosine
        "iteration": pl.Int32,  # t of theta_t, the solver; null for a model that was not trained here
    }
)
"""One row per (evaluation, prompt, turn, sample, judge, order), ordered by these."""

EVALUATION_KEY = ("evaluation", "prompt_id", "turn", "sample", "judge", "order")

TOPICS = _schema(
    {
        "prompt_id": pl.String,
        "topic": pl.Int32,  # 1 is the most frequent topic of iteration 1; null if it knows no word of the prompt
        "words": pl.String,  # what sets the topic apart; null if no word does
        "iteration": pl.Int32,
    }
)
"""One row per prompt that `sample` or `mix` looked at by topic, ordered by `prompt_id`; none without such a setting."""

COMPARISONS = _schema(
    {
        "stage": pl.String,  # estimate | respond: whose responses are compared; what is reused has no rows of its own
        "prompt_id": pl.String,
        "judge": pl.String,  # the judge's fingerprint
        "round": pl.Int32,  # 1, 2, ... of this judge's tournament
        "first_idx": pl.Int32,  # the response that was shown as the first
        "second_idx": pl.Int32,
        "verdict": pl.String,  # first | second | tie; null without a verdict
        "reason": pl.String,  # why there is no verdict; null if there is one
        "raw": pl.String,  # the judge's reply if it could not be read, else null
        "iteration": pl.Int32,
    }
)
"""One row per verdict of a tournament, ordered by the first six columns; none with other rewards."""

PROMPT_SCORES = _schema(
    {
        "iteration": pl.Int32,
        "prompt_id": pl.String,
        "complexity": pl.Float64,  # from 1 to 5; null where the scorer gave no rating
        "quality": pl.Float64,
        "unscored": pl.String,  # why one of the two is null, with the scorer's reply
        "scorer": pl.String,  # its fingerprint
    }
)
"""One row per rated prompt and iteration, ordered by these (the paper's table 7)."""

TABLES: Mapping[str, pl.Schema] = {
    "preferences": PREFERENCES,
    "prompts": PROMPTS,
    "evolutions": EVOLUTIONS,
    "informativeness": INFORMATIVENESS,
    "responses": RESPONSES,
    "rejects": REJECTS,
    "reviews": REVIEWS,
    "topics": TOPICS,
    "comparisons": COMPARISONS,
}
"""Configs of the dataset; the first is the default."""

LATER: Mapping[str, frozenset[str]] = {
    "informativeness": frozenset([*metrics.LATER, *OWN_METRIC, *VOTES]),
    "preferences": frozenset([*metrics.LATER, *OWN_METRIC, *PAIR_MODELS]),
    "responses": frozenset([*READ_ANSWERS, *STANDARD_ERROR]),
    **dict.fromkeys(("evolutions", "prompts"), frozenset(CARRIED)),
    "reviews": frozenset({"votes"}),
}
"""Columns that a table of release 0.1.0 did not have, by table. They are nullable. A file leaves out such a column if
it holds only nulls, as the files of earlier releases do."""

ORDER: Mapping[str, tuple[str, ...]] = {
    "preferences": ("prompt_id", "pair_id"),
    "prompts": ("prompt_id",),
    "evolutions": ("chain_id", "step", "candidate"),
    "informativeness": ("stage", "prompt_id"),
    "responses": ("stage", "prompt_id", "response_idx"),
    "rejects": ("stage", "reason", "prompt_id", "text"),
    "reviews": ("pair_id", "reviewer", "verdict", "prompt_quality", "first_idx"),
    "topics": ("prompt_id",),
    "comparisons": ("stage", "prompt_id", "judge", "round", "first_idx", "second_idx"),
}
"""The canonical row order of each table: files of the same content are the same bytes."""


def check(table: pl.DataFrame | pl.LazyFrame, schema: pl.Schema, name: str, *, absent: Set[str] = frozenset()) -> None:
    """Raise DataError unless `table` has exactly the columns and types of `schema`.

    The columns of `absent` may be missing.
    """
    found = table.collect_schema()
    missing = [column for column in schema if column not in found and column not in absent]
    extra = [column for column in found if column not in schema]
    wrong = [
        f"{column} is {found[column]}, expected {schema[column]}"
        for column in schema
        if column in found and found[column] != schema[column]
    ]
    problems = (
        [f"columns {missing} are missing"] * bool(missing) + [f"columns {extra} are unknown"] * bool(extra) + wrong
    )
    if problems:
        raise DataError(f"the table `{name}` is not what it should be: {'; '.join(problems)}")


def read_table(found: pl.LazyFrame, table: str, name: str) -> pl.LazyFrame:
    """A table from files in its full schema: a column of LATER that the files lack is null.

    `name` is the table's name in errors. Raise DataError if another column is missing, unknown or of another type.
    """
    schema = TABLES[table]
    check(found, schema, name, absent=LATER.get(table, frozenset()))
    there = found.collect_schema()
    absent = [pl.lit(None, dtype=dtype).alias(column) for column, dtype in schema.items() if column not in there]
    return found.with_columns(absent).select(schema.names()) if absent else found


def table_to_write(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    """A table as it is written: without the columns of LATER that hold only nulls.

    So a table that uses no new column is the same file, whichever release wrote it. Raise DataError if a column is
    missing, unknown or of another type.
    """
    check(rows, TABLES[table], table)
    later = sorted(LATER.get(table, frozenset()))
    return rows.drop([column for column in later if rows[column].null_count() == rows.height])


def empty(schema: pl.Schema) -> pl.DataFrame:
    """A frame without rows that has the columns of `schema`."""
    return pl.DataFrame(schema=schema)


def frame_of(rows: Iterable[Any], schema: pl.Schema, *, at_once: int = 20_000) -> pl.DataFrame:
    """A frame of `schema` from rows that are tuples or mappings, which are taken `at_once` at a time.

    So rows that an iterator makes never exist all together as Python objects.
    """
    remaining, parts = iter(rows), [empty(schema)]
    while part := list(islice(remaining, at_once)):
        parts.append(pl.DataFrame(part, schema=schema, orient="row"))
    return pl.concat(parts)


def conform(table: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The columns of `schema`, in its order and types. A column that `table` lacks is null."""
    missing = [
        pl.lit(None, dtype=dtype).alias(column) for column, dtype in schema.items() if column not in table.columns
    ]
    return table.with_columns(missing).select(pl.col(column).cast(dtype) for column, dtype in schema.items())
