"""The pairs, responses or prompts of an iteration, in files that other trainers read. TRL reads the tables themselves.

Sources of the forms: TRL (unpaired preferences and prompt-completion, for KTO and SFT), NVIDIA NeMo-RL
(`PreferenceDataset`), LLaMA-Factory (`sharegpt`, with `ranking: true`), Axolotl (`chat_template.default` of `rl: dpo`),
OpenAI (preference fine-tuning) and verifiers 0.4 (`TaskData`, the rows of a task set).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import polars as pl

from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.files import replacing
from eva_data.method.signals.lengths import LengthFit, length_adjusted
from eva_data.tables.schemas import CARRIED

TrainerForm: TypeAlias = Literal["kto", "sft", "nemo_rl", "llama_factory", "axolotl", "openai", "verifiers"]
TRAINER_FORMS: tuple[str, ...] = get_args(TrainerForm)

_ROLES = {"user": "human", "assistant": "gpt"}
"""The names that LLaMA-Factory's `sharegpt` gives to roles; others stay."""


def write_for_trainer(path: Path, store: Store, iteration: int, form: TrainerForm) -> int:
    """Write one JSON object per line, and return the number of lines.

    `kto` has two lines per pair, `llama_factory`, `axolotl` and `openai` have one. `sft` has one line per prompt, with
    the chosen response of the highest score. `nemo_rl` has one line per
    prompt with two different rewards, with all its scored responses by rank; equal rewards share a rank, and 0 is the
    best. `verifiers` has one line per prompt of the iteration that carries its answer. Raise DataError if the file is
    not called .jsonl, if a table was changed, if there is nothing to write, or if the form cannot hold what is there.
    """
    if path.suffix != ".jsonl":
        raise DataError(f"`--output` is {path.name}, and {form} is written as JSON lines: call it {path.stem}.jsonl")
    with replacing(path) as temporary:
        _FORMS[form](store, iteration).sink_ndjson(temporary, maintain_order=True)
        with temporary.open("rb") as file:
            lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
        if not lines:
            lacking = "that carries its answer" if form == "verifiers" else "with two rewards that differ"
            raise DataError(f"iteration {iteration} has no prompt {lacking}, so there is nothing for {form}")
    return lines


def _pairs(store: Store, iteration: int) -> pl.LazyFrame:
    return store.scan("preferences", iteration)


def _kto(store: Store, iteration: int) -> pl.LazyFrame:
    both = [
        _pairs(store, iteration).select("prompt", completion=side, label=pl.lit(side == "chosen"))
        for side in ("chosen", "rejected")
    ]
    return pl.concat(both)


def _sft(store: Store, iteration: int) -> pl.LazyFrame:
    best = _pairs(store, iteration).sort("prompt_id", "score_chosen", "pair_id", descending=[False, True, False])
    return best.unique("prompt_id", keep="first", maintain_order=True).select("prompt", completion="chosen")


def _nemo_rl(store: Store, iteration: int) -> pl.LazyFrame:
    reward, manifest = pl.col("reward"), store.manifest(iteration)
    given = store.scan("responses", iteration).filter(pl.col("stage") == "respond")
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
        store.scan("prompts", iteration)
        .select("prompt_id", context="prompt")
        .join(ranked, on="prompt_id", how="inner", maintain_order="left")
        .select("context", "completions")
    )


def _llama_factory(store: Store, iteration: int) -> pl.LazyFrame:
    turn = pl.element().struct
    named = pl.struct(turn.field("role").replace(_ROLES).alias("from"), turn.field("content").alias("value"))
    answers = [
        pl.struct(pl.lit("gpt").alias("from"), pl.col(side).list.first().struct.field("content").alias("value"))
        for side in ("chosen", "rejected")
    ]
    return _pairs(store, iteration).select(
        pl.col("prompt").list.eval(named).alias("conversations"),
        answers[0].alias("chosen"),
        answers[1].alias("rejected"),
    )


def _axolotl(store: Store, iteration: int) -> pl.LazyFrame:
    return _pairs(store, iteration).select(
        messages="prompt", chosen=pl.col("chosen").list.first(), rejected=pl.col("rejected").list.first()
    )


def _openai(store: Store, iteration: int) -> pl.LazyFrame:
    turns = pl.col("prompt").list.eval(pl.element().struct.field("role") == "assistant").list.any()
    several = int(_pairs(store, iteration).filter(turns).select(pl.len()).collect(engine="streaming").item())
    if several:
        raise DataError(
            f"the pairs of iteration {iteration} whose prompts have several turns: {several}; OpenAI's preference "
            "fine-tuning takes one turn: leave such seeds out, or use another form"
        )
    return _pairs(store, iteration).select(
        input=pl.struct(
            messages="prompt",
            tools=pl.lit([], dtype=pl.List(pl.String)),
            parallel_tool_calls=pl.lit(True),
        ),
        preferred_output="chosen",
        non_preferred_output="rejected",
    )


def _verifiers(store: Store, iteration: int) -> pl.LazyFrame:
    turns, role = pl.col("prompt"), pl.element().struct.field("role")
    system = turns.list.eval(pl.element().filter(role == "system").struct.field("content")).list.first()
    return (
        store.scan("prompts", iteration)
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


_FORMS: Mapping[TrainerForm, Callable[[Store, int], pl.LazyFrame]] = {
    "kto": _kto,
    "sft": _sft,
    "nemo_rl": _nemo_rl,
    "llama_factory": _llama_factory,
    "axolotl": _axolotl,
    "openai": _openai,
    "verifiers": _verifiers,
}
