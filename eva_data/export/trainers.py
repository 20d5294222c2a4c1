"""The pairs, responses or prompts of an iteration, in files that other trainers read. TRL reads the tables themselves.

Sources of the forms: TRL (unpaired preferences and prompt-completion, for KTO and SFT), NVIDIA NeMo-RL
(`PreferenceDataset`), LLaMA-Factory (`sharegpt`, with `ranking: true`), Axolotl (`chat_template.default` of `rl: dpo`),
OpenAI (preference fine-tuning) and verifiers 0.4 (`TaskData`, the rows of a task set).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import polars as pl

from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.files import replacing
from eva_data.method.signals.lengths import LengthFit, length_adjusted
from eva_data.tables.ranges import IdRange, ranges_for
from eva_data.tables.schemas import CARRIED

TrainerForm: TypeAlias = Literal["kto", "sft", "nemo_rl", "llama_factory", "axolotl", "openai", "verifiers"]
TRAINER_FORMS: tuple[str, ...] = get_args(TrainerForm)

_ROLES = {"user": "human", "assistant": "gpt"}
"""The names that LLaMA-Factory's `sharegpt` gives to roles; others stay."""


def write_for_trainer(path: Path, store: Store, iteration: int, form: TrainerForm) -> int:
    """Write one JSON object per line, and return the number of lines.

    `kto` has two lines per pair, `llama_factory`, `axolotl` and `openai` have one. `sft` has one line per prompt, with
    the chosen response of the highest score. `nemo_rl` has one line per prompt with two different rewards, with all its
    scored responses by rank; equal rewards share a rank, and 0 is the best. `verifiers` has one line per prompt of the
    iteration that carries its answer. The lines are written by ranges of prompts, so memory does not grow with them.
    Raise DataError if the file is not called .jsonl, if a table was changed, if there is nothing to write, or if the
    form cannot hold what is there.
    """
    if path.suffix != ".jsonl":
        raise DataError(f"`--output` is {path.name}, and {form} is written as JSON lines: call it {path.stem}.jsonl")
    rows = sum(entry.rows for entry in store.manifest(iteration).files.values())
    lines = 0
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            for ids in ranges_for(rows):
                part = _FORMS[form](_Part(store, iteration, ids)).collect(engine="streaming")
                part.write_ndjson(file)
                lines += part.height
        if not lines:
            lacking = "that carries its answer" if form == "verifiers" else "with two rewards that differ"
            raise DataError(f"iteration {iteration} has no prompt {lacking}, so there is nothing for {form}")
    return lines


@dataclass(frozen=True)
class _Part:
    """The tables of an iteration, as far as they belong to a range of prompts."""

    store: Store
    iteration: int
    ids: IdRange

    def scan(self, table: str) -> pl.LazyFrame:
        return self.ids.of(self.store.scan(table, self.iteration))


def _kto(part: _Part) -> pl.LazyFrame:
    both = [
        part.scan("preferences").select("prompt", completion=side, label=pl.lit(side == "chosen"))
        for side in ("chosen", "rejected")
    ]
    return pl.concat(both)


def _sft(part: _Part) -> pl.LazyFrame:
    best = part.scan("preferences").sort("prompt_id", "score_chosen", "pair_id", descending=[False, True, False])
    return best.unique("prompt_id", keep="first", maintain_order=True).select("prompt", completion="chosen")


def _nemo_rl(part: _Part) -> pl.LazyFrame:
    reward, manifest = pl.col("reward"), part.store.manifest(part.iteration)
    given = part.scan("responses").filter(pl.col("stage") == "respond")
    if (found := manifest.lengths.get("respond")) is not None:
        # The ranks are by the rewards by which the pairs were made.
        fit = LengthFit(found.unit, found.coefficients, found.prompts, found.slopes)
        given = length_adjusted(given, fit, seed=manifest.config["seed"])
    scored = (
        given.filter(
            reward.is_finite() & pl.col("response").is_not_null(),
            pl.col("finish_reason").ne_missing("error"),
        )
        .select("prompt_id", "response_idx", "response", rank=reward.rank("dense", descending=True).over("prompt_id"))
        .sort("prompt_id", "rank", "response_idx")
    )
    answer = pl.concat_list(pl.struct(role=pl.lit("assistant"), content="response"))
    ranked = (
        scored.with_columns(rank=pl.col("rank").cast(pl.Int64) - 1)
        .group_by("prompt_id", maintain_order=True)
        .agg(completions=pl.struct(rank="rank", completion=answer), ranks=pl.col("rank").n_unique())
        .filter(pl.col("ranks") > 1)
    )
    return (
        part.scan("prompts")
        .select("prompt_id", context="prompt")
        .join(ranked, on="prompt_id", how="inner", maintain_order="left")
        .select("context", "completions")
    )


def _llama_factory(part: _Part) -> pl.LazyFrame:
    turn = pl.element().struct
    named = pl.struct(turn.field("role").replace(_ROLES).alias("from"), turn.field("content").alias("value"))
    answers = [
        pl.struct(pl.lit("gpt").alias("from"), pl.col(side).list.first().struct.field("content").alias("value"))
        for side in ("chosen", "rejected")
    ]
    return part.scan("preferences").select(
        pl.col("prompt").list.eval(named).alias("conversations"),
        answers[0].alias("chosen"),
        answers[1].alias("rejected"),
    )


def _axolotl(part: _Part) -> pl.LazyFrame:
    return part.scan("preferences").select(
        messages="prompt", chosen=pl.col("chosen").list.first(), rejected=pl.col("rejected").list.first()
    )


def _openai(part: _Part) -> pl.LazyFrame:
    turns = pl.col("prompt").list.eval(pl.element().struct.field("role") == "assistant").list.any()
    found = part.scan("preferences").filter(turns).select(pl.len())
    if found.collect(engine="streaming").item():
        pairs = part.store.scan("preferences", part.iteration).filter(turns).select(pl.len())
        several = pairs.collect(engine="streaming").item()
        raise DataError(
            f"the pairs of iteration {part.iteration} whose prompts have several turns: {several}; OpenAI's preference "
            "fine-tuning takes one turn: leave such seeds out, or use another form"
        )
    return part.scan("preferences").select(
        input=pl.struct(
            messages="prompt",
            tools=pl.lit([], dtype=pl.List(pl.String)),
            parallel_tool_calls=pl.lit(True),
        ),
        preferred_output="chosen",
        non_preferred_output="rejected",
    )


def _verifiers(part: _Part) -> pl.LazyFrame:
    turns, role = pl.col("prompt"), pl.element().struct.field("role")
    system = turns.list.eval(pl.element().filter(role == "system").struct.field("content")).list.first()
    return (
        part.scan("prompts")
        .filter(pl.any_horizontal(pl.col(column).is_not_null() for column in CARRIED))
        .select(
            turns.list.eval(pl.element().filter(role != "system")).alias("prompt"),
            system.alias("system_prompt"),
            *CARRIED,
            "depth",
            id="prompt_id",
            name="source",
        )
        .select("id", "name", "prompt", "system_prompt", *CARRIED, "depth")
    )


_FORMS: Mapping[TrainerForm, Callable[[_Part], pl.LazyFrame]] = {
    "kto": _kto,
    "sft": _sft,
    "nemo_rl": _nemo_rl,
    "llama_factory": _llama_factory,
    "axolotl": _axolotl,
    "openai": _openai,
    "verifiers": _verifiers,
}
