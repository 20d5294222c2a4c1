"""The answers of a solver to a set, from the stored evaluations."""

from __future__ import annotations

import polars as pl

from eva_data.dataset.evaluations import read_record, read_rows
from eva_data.errors import StaleError
from eva_data.evaluation.asked import chosen_sets
from eva_data.evaluation.evaluate import prompts_of
from eva_data.iteration.run import Run


def answers_to_export(run: Run, solver: str, set_name: str) -> pl.DataFrame:
    """One row per (prompt, turn) of the first sample, with the benchmark's `question_id` if the set has it.

    Raises StaleError if the solver was not evaluated on the present set.
    """
    (block,) = chosen_sets(run, (set_name,), None)
    prompts = prompts_of(run, block, run.note)
    record = read_record(run.store)
    made = record.evaluations if record else ()
    keys = [each.key for each in made if each.set == block.name and each.solver_name == solver]
    rows = read_rows(run.store, record).filter(pl.col("evaluation").is_in(keys) & (pl.col("sample") == 0))
    answers = (
        rows.sort("evaluation", "prompt_id", "turn", nulls_last=True)
        .unique(["prompt_id", "turn"], keep="first", maintain_order=True)
        .join(prompts.select("prompt_id", "question_id"), on="prompt_id")
        .sort("prompt_id", "turn")
        .select("question_id", "prompt", "turn", "response", "completion_tokens", "prompt_id")
    )
    lacking = prompts.height - answers["prompt_id"].n_unique()
    if lacking:
        raise StaleError(
            f"{solver} has no answers to {lacking} of {prompts.height} prompts of the set `{block.name}`: evaluate it "
            f"first, `eva-data evaluate --solver {solver} --set-name {block.name}`"
        )
    return answers
