"""Lets judges compare or rate the answers to a set, and makes rows of EVALUATIONS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from eva_data.calls import Rows, conversation_text
from eva_data.comparing.orders import FIRST, SECOND, by_likelihood, for_solver, in_both_orders
from eva_data.comparing.question import asked, fill, reference_block
from eva_data.comparing.verdict import Judged, judge_once, no_verdict
from eva_data.config import EvaluationSet
from eva_data.config.base import Settings
from eva_data.errors import BudgetError, ConfigError, DataError
from eva_data.evaluation.rule import LIKELIEST, JudgingRule, rule_called
from eva_data.iteration.run import Run
from eva_data.jobs.job import Job
from eva_data.models.player import NOT_ASKED, Player, backend_of

NO_ANSWER, EMPTY, SAME = "no_answer", "empty_answer", "same_answer"
"""Values of `reason` for rows that no judge was asked about."""

PLACES = ("prompt", "first", "second", "response", "reference", "checklist")


class Judging(Settings):
    """The settings of the job that judges."""

    rule: str
    """The name of the rule, which says how replies are read."""


def question_of(template: str, row: dict[str, Any], first: str | None, second: str | None) -> str:
    """The question to a judge about one row of `faced`."""
    texts = {
        "prompt": conversation_text(row["prompt"]),
        "first": first or "",
        "second": second or "",
        "response": first or "",
        "reference": reference_block(row["reference"]),
        "checklist": "\n".join(f"- {point}" for point in row["checklist"] or []),
    }
    return fill(template, texts)


def judge_rows(job: Job, rows: Rows) -> list[Judged]:
    """One Judged per row {question}. This runs in a child process."""
    assert isinstance(job.settings, Judging)
    rule = rule_called(job.settings.rule)
    assert rule.read is not None
    llm = job.llm()
    llm.load()
    judged = llm.drive([judge_once(asked(row["question"]), rule.read, rule.tokens) for row in rows], 2 * len(rows))
    llm.unload()
    return judged


def compared(
    run: Run, rule: JudgingRule, block: EvaluationSet, faced: pl.DataFrame, judge: Player
) -> tuple[pl.DataFrame, str | None]:
    """Rows of `faced` in each order, with `judge`, `order`, `label`, `score`, `preference`, `reason` and `raw`.

    `faced` has one row per (prompt, turn, sample) with `response` and `response_against`. No judge is asked about some
    rows: equal answers tie, an empty answer loses against a full one, and a missing answer has no score. The second
    value says why judging ended early, and rows that were not asked then say so; it is None if all were asked.
    """
    rows = in_orders(rule, faced).with_columns(judge=pl.lit(judge.fingerprint))
    decided = rows.with_columns(_without_asking())
    # Both orders of a prompt are neighbours, so that few prompts have half a comparison when a budget ends.
    open_rows = decided.filter(pl.col("reason").is_null()).sort("prompt_id", "turn", "sample", "order")
    template = _template(rule, block)
    questions = questions_of(template, open_rows)
    verdicts, stopped = _ask(run, rule, block, judge, questions)
    answered = with_verdicts(rule, open_rows, verdicts)
    return pl.concat([decided.filter(pl.col("reason").is_not_null()), answered]), stopped


def questions_of(template: str, rows: pl.DataFrame) -> list[str]:
    """The question to a judge about each row of `faced` with `order`."""
    asked_rows = rows.select(*_QUESTIONED, "order").iter_rows(named=True)
    return [question_of(template, row, *_as_shown(row)) for row in asked_rows]


def with_verdicts(rule: JudgingRule, rows: pl.DataFrame, verdicts: Sequence[Judged]) -> pl.DataFrame:
    """Rows with `order` and one verdict each, as `label`, `reason`, `raw`, `score` and `preference`.

    `preference` is the judge's probability of the solver's answer, None without one; then the label decides.
    """
    assert rule.scores is not None
    kinds = Judged.__annotations__
    columns = {
        name: pl.Series([each[name] for each in verdicts], dtype=pl.Float64 if name.startswith("log_") else pl.String)  # type: ignore[literal-required]
        for name in kinds
    }
    said = rows.with_columns(**columns).with_columns(
        preference=for_solver(by_likelihood(pl.col("log_first"), pl.col("log_second")))
    )
    hard = for_solver(pl.col("label").replace_strict(rule.scores, default=None, return_dtype=pl.Float64))
    return said.with_columns(score=pl.coalesce("preference", hard)).drop("log_first", "log_second")


def in_orders(rule: JudgingRule, faced: pl.DataFrame) -> pl.DataFrame:
    """The rows of `faced` with `order`: in both orders, or in the one that the rule draws from the prompt's text."""
    if rule.orders == "both":
        return in_both_orders(faced)
    if rule.draw is None:
        raise ConfigError("the rule draws one order per prompt and has no `draw`: give it one, or ask in both orders")
    asked_texts = [conversation_text(turns) for turns in faced["prompt"].to_list()]
    solver_first = rule.draw(pl.Series(asked_texts, dtype=pl.String))
    return faced.with_columns(order=pl.when(solver_first).then(pl.lit(FIRST)).otherwise(pl.lit(SECOND)))


def rated(
    run: Run, rule: JudgingRule, block: EvaluationSet, faced: pl.DataFrame, judge: Player
) -> tuple[pl.DataFrame, str | None]:
    """Rows of `faced` with a rating of each answer by itself; the result has the form of `compared`.

    An empty answer gets the lowest rating without a question.
    """
    response = pl.col("response")
    rows = faced.with_columns(
        judge=pl.lit(judge.fingerprint),
        order=pl.lit(None, pl.String),
        label=pl.lit(None, pl.String),
        raw=pl.lit(None, pl.String),
        score=pl.when(response.str.strip_chars() == "").then(float(rule.lowest)),
        reason=pl.when(response.is_null())
        .then(pl.lit(NO_ANSWER))
        .when(response.str.strip_chars() == "")
        .then(pl.lit(EMPTY)),
    )
    open_rows = rows.filter(pl.col("reason").is_null())
    template = _template(rule, block)
    questions = [
        question_of(template, row, row["response"], None) for row in open_rows.select(_QUESTIONED).iter_rows(named=True)
    ]
    verdicts, stopped = _ask(run, rule, block, judge, questions)
    answered = open_rows.with_columns(
        label=pl.Series([each["label"] for each in verdicts], dtype=pl.String),
        reason=pl.Series([each["reason"] for each in verdicts], dtype=pl.String),
        raw=pl.Series([each["raw"] for each in verdicts], dtype=pl.String),
    ).with_columns(score=pl.col("label").cast(pl.Float64))
    return pl.concat([rows.filter(pl.col("reason").is_not_null()), answered]), stopped


_QUESTIONED = ("prompt", "reference", "checklist", "response", "response_against")


def _as_shown(row: dict[str, Any]) -> tuple[str, str]:
    pair = (row["response"], row["response_against"])
    return pair if row["order"] == FIRST else (pair[1], pair[0])


def _without_asking() -> list[pl.Expr]:
    """Columns for comparisons that are decided before a judge is asked."""
    ours, theirs = pl.col("response"), pl.col("response_against")
    no_text, no_other = (each.str.strip_chars() == "" for each in (ours, theirs))
    missing = ours.is_null() | theirs.is_null()
    return [
        pl.lit(None, pl.String).alias("label"),
        pl.lit(None, pl.String).alias("raw"),
        pl.lit(None, pl.Float64).alias("preference"),
        pl.when(missing)
        .then(None)
        .when((ours == theirs) | (no_text & no_other))
        .then(0.5)
        .when(no_text)
        .then(0.0)
        .when(no_other)
        .then(1.0)
        .alias("score"),
        pl.when(missing)
        .then(pl.lit(NO_ANSWER))
        .when(ours == theirs)
        .then(pl.lit(SAME))
        .when(no_text | no_other)
        .then(pl.lit(EMPTY))
        .alias("reason"),
    ]


def _template(rule: JudgingRule, block: EvaluationSet) -> str:
    if block.judge_template is None:
        return rule.template
    try:
        template = block.judge_template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"`evaluate.sets.{block.name}.judge_template` is {block.judge_template}, which cannot be read ({error}): "
            "name a text file in UTF-8"
        ) from None
    needed = ("{prompt}", "{first}", "{second}") if rule.kind != "rate" else ("{prompt}", "{response}")
    missing = [place for place in needed if place not in template]
    if missing:
        raise ConfigError(
            f"{block.judge_template} lacks {' and '.join(missing)}: write each of them where its text belongs"
        )
    return template


def _ask(
    run: Run, rule: JudgingRule, block: EvaluationSet, judge: Player, questions: Sequence[str]
) -> tuple[list[Judged], str | None]:
    """One Judged per question, and why not all questions were asked, or None."""
    rows = pl.DataFrame({"question": questions}, schema={"question": pl.String})
    key = f"evaluate-{block.name}-{judge.fingerprint[-12:]}"
    guide = rule.guide if backend_of(judge.block).REMOTE else None

    def ask(*, kept: bool) -> list[Judged]:
        results = run.ask(
            judge,
            "evaluate",
            rows,
            iteration=0,
            stage="compare",
            settings=Judging(rule=block.rule),
            key="evaluate.judges",
            folder=f"{key}-kept" if kept else key,
            shown=f"{judge.name} judges {block.name}",
            framed=True,
            guide=guide,
            likeliest=LIKELIEST if rule.tokens else 0,
            function=judge_rows,
            kept=kept,
            temperature=0.0,
            top_p=1.0,
            max_tokens=max(rule.max_tokens, judge.block.max_tokens),
        )
        return [judged for _, judged in results]

    try:
        return ask(kept=False), None
    except BudgetError as error:
        return [_unasked(judged) for judged in ask(kept=True)], str(error)


def _unasked(judged: Judged) -> Judged:
    asked_for = judged["reason"] is None or NOT_ASKED not in judged["reason"]
    return judged if asked_for else no_verdict(NOT_ASKED)
