"""The prompts of an iteration with their right answers, in the files that trainers with verifiable rewards read.

Sources of the forms: verl (parquet with `data_source`, `prompt`, `ability`, `reward_model` and `extra_info`, as its
preprocessing of GSM8K writes it) and OpenRLHF (JSON lines for `--data.input_key input --data.label_key label` with
`--data.apply_chat_template`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import polars as pl

from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.files import replacing
from eva_data.tables.schemas import CARRIED

AnswerForm: TypeAlias = Literal["verl", "openrlhf"]
ANSWER_FORMS: tuple[str, ...] = get_args(AnswerForm)

_SUFFIXES: Mapping[str, str] = {"verl": ".parquet", "openrlhf": ".jsonl"}


def write_prompts(path: Path, store: Store, iteration: int, form: AnswerForm, answers: pl.DataFrame) -> tuple[int, int]:
    """Write the prompts of X_t whose answer is known, and return their number and that of the others.

    `answers` has the columns `prompt_id` and `answer`, one row per prompt with a known answer. verl chooses its scorer
    by `data_source`, which is the column `source`; its `extra_info` holds the prompt's id, depth and origin. Raise
    DataError if the file has another suffix than the form, if a table was changed, or if no answer is known.
    """
    if path.suffix != _SUFFIXES[form]:
        wanted = path.with_suffix(_SUFFIXES[form]).name
        raise DataError(f"`--output` is {path.name}, and {form} reads {_SUFFIXES[form][1:]}: call it {wanted}")
    prompts = store.scan("prompts", iteration).drop(CARRIED)
    known = prompts.join(answers.lazy(), on="prompt_id", how="inner", maintain_order="left")
    all_rows, rows = (frame.select(pl.len()).collect().item() for frame in (prompts, known))
    if not rows:
        raise DataError(
            f"of no prompt of iteration {iteration} is the answer known, so there is nothing for {form}: name the "
            "answers as `reward.answers`, or take seeds from an environment"
        )
    with replacing(path) as temporary:
        _FORMS[form](known, temporary)
    return rows, all_rows - rows


def _verl(known: pl.LazyFrame, path: Path) -> None:
    known.with_row_index("index").select(
        "prompt",
        data_source=pl.col("source"),
        ability=pl.lit("reasoning"),
        reward_model=pl.struct(style=pl.lit("rule"), ground_truth="answer"),
        extra_info=pl.struct(
            "prompt_id", "depth", "origin", split=pl.lit("train"), index=pl.col("index").cast(pl.Int64)
        ),
    ).sink_parquet(path)


def _openrlhf(known: pl.LazyFrame, path: Path) -> None:
    known.select(input="prompt", label="answer").sink_ndjson(path, maintain_order=True)


_FORMS: Mapping[AnswerForm, Callable[[pl.LazyFrame, Path], None]] = {"verl": _verl, "openrlhf": _openrlhf}
