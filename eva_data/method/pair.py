"""Pair: the best and the worst response of each prompt become a preference pair (paper: 3.3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import polars as pl

from eva_data.method.choice import PairChoice, PairRule, choose
from eva_data.tables.ids import last_turn, pair_id, uniform_draw
from eva_data.tables.rules import RULES
from eva_data.tables.schemas import METRICS, ORDER, OWN_METRIC, PREFERENCES, REJECTS, conform

NO_SCORED = "no_scored_response"
ONE_DISTINCT = "one_distinct_response"
ALL_EQUAL = "all_rewards_equal"
BEST_INCOMPLETE = "best_is_truncated_or_empty"
BELOW_MARGIN = "below_margin"
NO_CONTRAST = "no_contrast_response"
NOT_WORSE = "contrast_not_worse"
BEST_TOO_LOW = "best_below_min_chosen"

NOISE = 1e-12
"""Rewards that differ by no more than this share of the larger reward, or of 1, are a tie: 0.1 + 0.2 is 0.3."""
SINGLE_NOISE = 2.0**-23
"""The share if both rewards are numbers of single precision, which hold about seven decimals."""

_WHITE = r"\s\u200b\u2060\ufeff"
"""White space of every kind, and characters without width."""
_MORE_THAN_A_SPACE = rf" *[[{_WHITE}]--[ ]][{_WHITE}]*|  +"
"""White space to replace by one space, so that one space is left between words. Single spaces do not match."""
_COUNTED = ".bkv"
"""Letters that are frequent enough to differ from text to text, and rare enough to be counted quickly."""
_COUNTS_APART = 4096
"""The counts of so many letters differ in the number of a group; only longer texts may share one."""
_OTHER_WHITE = ("\t", "\r", "\x0b", "\x0c")
"""White space of ASCII beside spaces and line ends."""


@dataclass(frozen=True)
class Paired:
    """The result: every prompt is in exactly one of the two tables."""

    preferences: pl.DataFrame
    """PREFERENCES."""
    rejects: pl.DataFrame
    """REJECTS of stage pair; `text` is the prompt's last turn, which is the user's."""


def pair(
    prompts: pl.LazyFrame,
    responses: pl.LazyFrame,
    informativeness: pl.LazyFrame,
    *,
    margin: float | None = None,
    min_chosen: float | None = None,
    rule: PairRule = "best_worst",
    below: int = 1,
    per_prompt: int | None = None,
    max_length_gap: float | None = None,
    max_similarity: float | None = None,
    seed: int,
    iteration: int,
    on_policy: bool,
    contrast: bool = False,
    rules: int = RULES,
) -> Paired:
    """Pair the response with the highest reward (chosen) and the response with the lowest (rejected) of each prompt.

    `rule` may pair others, and with `max_length_gap` and `max_similarity` the pair is sought among responses of similar
    length whose texts differ (`choice`). By the rule `ranked` a prompt has up to `per_prompt` pairs, which share no
    response.

    `prompts` is X_t (PROMPTS). Of `responses` (RESPONSES) and `informativeness` (INFORMATIVENESS), the rows of stage
    respond are read. Candidates are the texts with a finite reward, without the texts of failed calls
    (`finish_reason` error). Texts that differ only in white space are one candidate: its reward is the mean of their
    rewards, its index and text are taken from the first, and it is complete if all of them are. Only a complete
    candidate can be chosen: its text is not blank and was not cut (`finish_reason` is stop, or null if unknown). Any
    candidate can be rejected. Rewards are compared up to `noise`. Ties are broken by keyed hash of the text.

    With `contrast`, the rows of stage contrast are read too, which are a weaker model's. The chosen response is then of
    stage respond, and the rejected response of stage contrast. A text that both models gave is neither. Such pairs name
    their models, and are off-policy. The first reasons are `no_contrast_response` (the weaker model has no
    candidate) and `contrast_not_worse` (no response of the solver has more than the weaker model's lowest reward).

    A prompt without a pair goes to `rejects`, with the first reason that holds: `no_scored_response`;
    `one_distinct_response`; `all_rewards_equal`; `best_is_truncated_or_empty` (no complete candidate has more than
    the lowest reward); `best_below_min_chosen` (the best reward is below `min_chosen`); `below_margin` (the rewards
    differ by less than `margin`); `length_gap` (every pair that would do has too different lengths);
    `near_identical` (every pair that keeps the other bounds has too similar texts); `fewer_below` (fewer responses than
    `below` are worse than the best).

    `rules` is the version that a manifest records. By version 1, only equal texts are one candidate, and rewards are
    compared bit for bit.

    The texts of the given responses are held in memory. Large tables are paired by `ranges` of `prompt_id`, with the
    same result.
    """
    draws = _Draws(seed, iteration)
    answers = _answers(responses, draws, rules, contrast)
    choice = PairChoice(rule, below, per_prompt, margin, min_chosen, max_length_gap, max_similarity)
    candidates = _candidates(answers)
    ranked = _ranked(candidates, answers, draws, rules)
    if not choice.is_plain:
        # By version 1 of the rules texts that differ in white space have equal draws, and this order decides.
        candidates = candidates.sort("merged", "prompt", "draw")
        length = answers["response"].str.len_chars().gather(candidates["row"])
        candidates = candidates.with_columns(length=length, draw=draws.spaced(answers, candidates["row"]))
        chosen = choose(candidates, ranked, answers["response"], choice, partial(noise, rules=rules))
        ranked = ranked.join(chosen, on="prompt", how="left", maintain_order="left", suffix="_by_rule")
    verdicts = _verdicts(ranked, answers, choice, rules, contrast)
    metrics = informativeness.filter(pl.col("stage") == "respond").select("prompt_id", *METRICS, *OWN_METRIC)
    return Paired(
        preferences=_preferences(verdicts, prompts, metrics, iteration, on_policy and not contrast),
        rejects=_rejects(verdicts, prompts, iteration),
    )


def noise(one: pl.Expr, other: pl.Expr, rules: int = RULES) -> pl.Expr:
    """The largest difference of two rewards that count as equal; 0 by version 1 of the rules."""
    if rules < 2:
        return pl.lit(0.0)
    larger = pl.max_horizontal(one.abs(), other.abs())
    single = pl.all_horizontal(each == each.cast(pl.Float32).cast(pl.Float64) for each in (one, other))
    return pl.max_horizontal(
        NOISE * pl.max_horizontal(larger, pl.lit(1.0)), pl.when(single).then(SINGLE_NOISE * larger)
    )


def in_single_spaces(text: pl.Expr) -> pl.Expr:
    """A text with one space for each run of white space, and none at its ends.

    Most texts of one line are so already. That is found out ten times as fast as anything is replaced, and what is
    null is passed by.
    """
    replaced = pl.when(~_has_spaces_only(text)).then(text).str.replace_all(_MORE_THAN_A_SPACE, " ")
    return replaced.fill_null(text).str.strip_chars(" ")


def _has_spaces_only(text: pl.Expr) -> pl.Expr:
    """Whether a text of ASCII has no white space but single spaces. They may be at its ends, too."""
    found = text.str.len_bytes() == text.str.len_chars()
    for white in ("\n", "  ", *_OTHER_WHITE):
        found &= ~text.str.contains(white, literal=True)
    return found


def _may_change(text: pl.Expr) -> pl.Expr:
    """Whether `in_single_spaces` may change a text. It leaves all others as they are."""
    return ~_has_spaces_only(text) | text.str.starts_with(" ") | text.str.ends_with(" ")


@dataclass(frozen=True)
class _Draws:
    """The draws by which texts are compared and ties are broken. Equal draws mean equal texts."""

    seed: int
    iteration: int

    def exact(self, text: pl.Expr) -> pl.Expr:
        """The draw of a text as it stands."""
        return uniform_draw(text, seed=self.seed, stage="pair", iteration=self.iteration)

    def spaced(self, answers: pl.DataFrame, rows: pl.Series) -> pl.Series:
        """The draws of some of the answers, in which white space does not count beyond one space between words."""
        found = answers["draw"].gather(rows)
        to_do = answers["may_change"].gather(rows).arg_true()
        if to_do.is_empty():
            return found
        text, texts = pl.col("response"), answers.select(pl.col("response").gather(rows.gather(to_do)))
        is_other = text.str.len_bytes() != text.str.len_chars()
        for white in _OTHER_WHITE:
            is_other |= text.str.contains(white, literal=True)
        others = texts.select(is_other).to_series()
        for places, spaced in ((~others, _lines_in_single_spaces), (others, in_single_spaces)):
            draw = texts.filter(places).select(text=spaced(text)).select(self.exact(pl.col("text")))
            found = found.scatter(to_do.filter(places), draw.to_series())
        return found


def _lines_in_single_spaces(text: pl.Expr) -> pl.Expr:
    """The same as `in_single_spaces` in half the time, for a text with no white space but spaces and line ends."""
    lines = text.str.replace_all("\n", " ", literal=True)
    return lines.str.replace_all("  +", " ").str.strip_chars(" ")


def _answers(responses: pl.LazyFrame, draws: _Draws, rules: int, contrast: bool) -> pl.DataFrame:
    """One row per response that can be a candidate, grouped by prompt. Equal `draw` means one candidate.

    `own` says that it may be chosen as far as its model tells, and `other` that it may be rejected. `may_change` says
    that the text may not be in single spaces.

    Rows whose white space cannot matter here have the draw of the exact text, since to replace white space takes ten
    times as long as to hash a text.
    """
    text = pl.col("response")
    scored = pl.col("reward").is_finite() & text.is_not_null()
    failed = pl.col("finish_reason").eq_missing("error")
    stopped = pl.col("finish_reason").is_null() | (pl.col("finish_reason") == "stop")
    blank = text.str.strip_chars() == ""
    own = pl.col("stage") == "respond"
    stage = own | (pl.col("stage") == "contrast") if contrast else own
    answers = (
        responses.filter(stage & scored & ~failed)
        .select(
            "prompt_id",
            "response_idx",
            "response",
            "reward",
            *(["solver"] if contrast else []),
            own=own,
            other=~own if contrast else pl.lit(True),
            complete=stopped & ~blank & own,
            draw=draws.exact(text),
            may_change=_may_change(text),
        )
        .collect(engine="streaming")
    )
    answers = _in_order(answers)
    if rules < 2:
        return answers
    rows = _alike(answers)
    return answers.with_columns(answers["draw"].scatter(rows, draws.spaced(answers, rows)))


def _alike(answers: pl.DataFrame) -> pl.Series:
    """The rows of texts that may differ from another text of their prompt in white space alone.

    Such texts have equally many of every letter, and one of them is not in single spaces. Each letter is counted only
    in texts that the letters before it did not tell apart, by one number for a prompt and its counts. Two groups may
    share a number; the last line compares the counts themselves.
    """
    draw, number = pl.col("draw"), pl.col("number")
    left = answers.select(
        "draw",
        prompt=pl.col("prompt_id").rle_id(),
        row=pl.int_range(pl.len(), dtype=pl.UInt32),
        number=pl.col("prompt_id").rle_id().cast(pl.UInt64),
    )
    changing = left["prompt"].filter(answers["may_change"])
    has_change = pl.repeat(False, left["prompt"].n_unique(), eager=True).scatter(changing, True)
    left = left.filter(has_change.gather(left["prompt"]))
    for letter in _COUNTED:
        text = answers["response"].gather(left["row"])
        counted = text.str.count_matches(letter, literal=True).alias(letter)
        left = left.with_columns(counted, number=number * _COUNTS_APART + counted).filter(number.is_duplicated())
    return left.filter((draw.min() != draw.max()).over("prompt", *_COUNTED))["row"]


def _ranked(candidates: pl.DataFrame, answers: pl.DataFrame, draws: _Draws, rules: int) -> pl.DataFrame:
    """One row per prompt that has a candidate. Responses are named by their rows in `answers`.

    Columns: `texts` (the number of distinct texts), `best` (the highest reward, complete or not), `chosen` and
    `score_chosen` (the best complete candidate; null if there is none), `rejected` and `score_rejected`.
    """
    reward, complete, other = pl.col("reward"), pl.col("complete"), pl.col("other")
    rewards = candidates.select(
        "prompt",
        "row",
        best=pl.when("own").then(reward),
        highest=pl.when(complete).then(reward),
        lowest=pl.when(other).then(reward),
    )
    # The candidates are in the order of their prompts, so each prompt is one run of rows.
    of_prompt = rewards.group_by(pl.col("prompt").set_sorted(), maintain_order=True).agg(
        pl.len().alias("texts"), pl.col("row").first(), pl.col("best", "highest").max(), pl.col("lowest").min()
    )
    highest, lowest = (of_prompt[name].gather(candidates["prompt"]) for name in ("highest", "lowest"))
    candidates = candidates.with_columns(highest=highest, lowest=lowest)
    # By version 1 the noise is 0, and the first of equal candidates is chosen.
    is_best = complete & (pl.col("highest") - reward <= noise(pl.col("highest"), reward, rules))
    is_worst = other & (reward - pl.col("lowest") <= noise(pl.col("lowest"), reward, rules))
    chosen = _first_of_ties(candidates.filter(is_best), answers, draws, rules, descending=False)
    rejected = _first_of_ties(candidates.filter(is_worst), answers, draws, rules, descending=True)
    return (
        of_prompt.select("prompt", "texts", "row", "best")
        .join(
            chosen.select("prompt", chosen="row", score_chosen="reward"), on="prompt", how="left", maintain_order="left"
        )
        .join(
            rejected.select("prompt", rejected="row", score_rejected="reward"),
            on="prompt",
            how="left",
            maintain_order="left",
        )
    )


def _first_of_ties(
    candidates: pl.DataFrame, answers: pl.DataFrame, draws: _Draws, rules: int, *, descending: bool
) -> pl.DataFrame:
    """One of the candidates of each prompt, which are in the order of the prompts: the first by its draw.

    White space does not count in these draws, from version 2 of the rules on.
    """
    as_before = (pl.col("prompt") == pl.col("prompt").shift()).fill_null(False)
    tied = as_before | as_before.shift(-1, fill_value=False)
    ties = candidates.filter(tied)
    if ties.is_empty():
        return candidates
    if rules >= 2:
        ties = ties.with_columns(draw=draws.spaced(answers, ties["row"]))
    firsts = ties.sort("prompt", "draw", descending=[False, descending]).filter(~as_before)
    return pl.concat([candidates.filter(~tied), firsts])


def _candidates(answers: pl.DataFrame) -> pl.DataFrame:
    """One row per distinct text of a prompt: `prompt`, `draw`, `row` in answers, `reward`, `own`, `other`, `complete`.

    `merged` says that several responses gave the text. The rows are in the order of `answers`, in which the first
    response stands for the text.

    Numbers stand for prompts and texts, since numbers sort and group ten times as fast as strings. Equal draws mean
    equal texts. Two different texts of one prompt share a 53-bit draw once in 10^14 prompts, and then count as one.
    """
    rows = answers.select(
        "response_idx",
        "draw",
        "reward",
        "own",
        "other",
        "complete",
        row=pl.int_range(pl.len(), dtype=pl.UInt32),
        prompt=pl.col("prompt_id").rle_id(),
    )
    # The sum tells most texts apart, and only rows that share one are compared.
    suspects = rows.filter((pl.col("prompt") + pl.col("draw")).is_duplicated()).sort("prompt", "draw", "response_idx")
    text = pl.struct("prompt", "draw").rle_id()
    repeated = suspects.with_columns(text=text).filter(pl.col("text").is_duplicated())
    lowest = pl.col("reward").min()
    merged = repeated.group_by("text", maintain_order=True).agg(
        pl.col("row").first(),
        pl.col("own", "other", "complete").all(),
        # A plain mean of equal rewards can differ from them in the last bit, which would turn a tie into a pair.
        reward=lowest + (pl.col("reward") - lowest).mean(),
    )
    values = [rows[name].scatter(merged["row"], merged[name]) for name in ("reward", "own", "other", "complete")]
    is_merged, is_repeated = (
        pl.repeat(False, rows.height, eager=True).scatter(table["row"], True) for table in (merged, repeated)
    )
    columns = ("prompt", "draw", "row", "reward", "own", "other", "complete", "merged")
    return rows.with_columns(*values, merged=is_merged).filter(is_merged | ~is_repeated).select(columns)


def _verdicts(
    ranked: pl.DataFrame, answers: pl.DataFrame, choice: PairChoice, rules: int, contrast: bool
) -> pl.DataFrame:
    """`ranked` with `prompt_id`, indices and texts in the place of rows, and a `reason` if there is no pair."""
    best, high, low = pl.col("best"), pl.col("score_chosen"), pl.col("score_rejected")
    least, gap = pl.lit(choice.min_chosen, dtype=pl.Float64), high - low
    reason = (
        pl.when(pl.col("texts") == 1)
        .then(pl.lit(ONE_DISTINCT))
        .when(best.is_null())
        .then(pl.lit(NO_SCORED))
        .when(low.is_null())
        .then(pl.lit(NO_CONTRAST))
        .when(best - low <= noise(best, low, rules))
        .then(pl.lit(NOT_WORSE if contrast else ALL_EQUAL))
        .when(high.is_null() | (gap <= noise(high, low, rules)))
        .then(pl.lit(BEST_INCOMPLETE))
        .when(least - high > noise(high, high, rules))
        .then(pl.lit(BEST_TOO_LOW))
        .when(gap + noise(high, low, rules) < (choice.margin or 0.0))
        .then(pl.lit(BELOW_MARGIN))
    )
    ranked = ranked.with_columns(reason=reason)
    if not choice.is_plain:
        pair_of_rule = [
            pl.coalesce(f"{name}_by_rule", name).alias(name)
            for name in ("chosen", "score_chosen", "rejected", "score_rejected")
        ]
        ranked = ranked.with_columns(*pair_of_rule, reason=pl.coalesce("reason", "lacks"))
    chosen, rejected = ranked["chosen"], ranked["rejected"]
    return ranked.select(
        "score_chosen",
        "score_rejected",
        "reason",
        *([answers["solver"].gather(chosen).alias("chosen_model")] if contrast else []),
        *([answers["solver"].gather(rejected).alias("rejected_model")] if contrast else []),
        prompt_id=answers["prompt_id"].gather(ranked["row"]),
        chosen_idx=answers["response_idx"].gather(chosen),
        rejected_idx=answers["response_idx"].gather(rejected),
        chosen=answers["response"].gather(chosen),
        rejected=answers["response"].gather(rejected),
    )


def _preferences(
    verdicts: pl.DataFrame, prompts: pl.LazyFrame, metrics: pl.LazyFrame, iteration: int, on_policy: bool
) -> pl.DataFrame:
    pairs = verdicts.lazy().filter(pl.col("reason").is_null()).drop("reason")
    preferences = (
        prompts.drop("iteration")
        .join(pairs, on="prompt_id", how="inner", maintain_order="left")
        .join(metrics, on="prompt_id", how="left", maintain_order="left")
        .with_columns(
            pair_id=pair_id(pl.col("prompt_id"), pl.col("chosen"), pl.col("rejected")),
            chosen=one_answer(pl.col("chosen")),
            rejected=one_answer(pl.col("rejected")),
            on_policy=pl.lit(on_policy),
            rewritten=pl.lit(False),
            verdict_by=pl.lit("reward"),
            iteration=pl.lit(iteration),
        )
    )
    table = _in_order(conform(preferences.collect(engine="streaming"), PREFERENCES))
    has_several = (table["prompt_id"] == table["prompt_id"].shift()).any()
    return table.sort(ORDER["preferences"]) if has_several else table


def one_answer(text: pl.Expr) -> pl.Expr:
    """A conversation of one assistant turn."""
    return pl.concat_list(pl.struct(role=pl.lit("assistant"), content=text))


def _rejects(verdicts: pl.DataFrame, prompts: pl.LazyFrame, iteration: int) -> pl.DataFrame:
    paired = verdicts.lazy().filter(pl.col("reason").is_null()).select("prompt_id")
    failed = (
        prompts.select("prompt_id", "prompt")
        .join(paired, on="prompt_id", how="anti")
        .join(verdicts.lazy().select("prompt_id", "reason"), on="prompt_id", how="left")
        .with_columns(
            reason=pl.col("reason").fill_null(NO_SCORED),
            text=last_turn(pl.col("prompt")),
            stage=pl.lit("pair"),
            iteration=pl.lit(iteration),
        )
    )
    return conform(failed.collect(engine="streaming"), REJECTS).sort(ORDER["rejects"])


def _in_order(table: pl.DataFrame) -> pl.DataFrame:
    """`table` sorted by `prompt_id`. Files are sorted already; to sort texts again would cost more than all else."""
    return table if table["prompt_id"].is_sorted() else table.sort("prompt_id")
