"""Eliminates evolutions that repeat another prompt or a benchmark. This needs a look at all prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NotRequired, TypedDict, Unpack

import polars as pl

from eva_data.dataset.ordered import in_memory
from eva_data.evolve.elimination.contamination import ReferenceSet, contaminated
from eva_data.evolve.elimination.near_duplicates import near_duplicates_by_parts
from eva_data.tables import schemas
from eva_data.tables.ranges import ranges_for
from eva_data.tables.reasons import CONTAMINATION, DUPLICATE, HELD_OUT, NEAR_DUPLICATE
from eva_data.tables.rules import RULES

_KEY = ("chain_id", "step", "candidate")

TEXTS_AT_ONCE = 20_000
"""Attempts whose texts are in memory at once."""


class Against(TypedDict):
    """What attempts may not repeat, and how it is found out, in the words of `eliminate`."""

    known: pl.LazyFrame
    near_duplicate: float | None
    benchmarks: NotRequired[Sequence[ReferenceSet]]
    ngram: NotRequired[int]
    """13 by default."""
    heldout: NotRequired[pl.LazyFrame | None]
    rules: NotRequired[int]


def eliminate(evolutions: pl.DataFrame, **against: Unpack[Against]) -> pl.DataFrame:
    """All rows of `evolutions` (EVOLUTIONS), in canonical order, with repetitions `eliminated`.

    Rows whose status is null are checked, for these reasons in this order:

    - `duplicate`: the prompt_id is known, or an earlier row has it, in the order (step, prompt_id, chain_id);
    - `contamination:<set>`: a run of `ngram` words is in this set of `benchmarks`, by `rules` (`contaminated`);
    - `near_duplicate`: the Jaccard similarity to a known or an earlier surviving prompt, in the order (step,
      prompt_id), is at least `near_duplicate`, and the prompt did not evolve from that prompt (`near_duplicates`). If
      `near_duplicate` is None, this check is off;
    - `heldout`: the prompt is an exact or a near duplicate of a held-out prompt, which `duplicate_of` names.

    `duplicate_of` names the repeated prompt; an exact duplicate has its own id there. `known` has `prompt_id`,
    `prompt`, `root_id` and `depth` of all seeds and all prompts of earlier iterations, X_{t-1} included. Repeated rows
    in it do no harm. `heldout` has the same columns for the prompts that are kept for evaluation. Rows that the chain
    eliminated take no part. Neither do candidates that were not the best, even if the best is eliminated here. If a
    chain went on from a row that is eliminated here, its later rows are kept: they are checked by their own texts, and
    their parent stays in this table with its text, so lineage never dangles.

    The result does not depend on row order. Pass all evolutions of an iteration together. If more chains were run
    later, pass the rows of all chains as the chains made them, and not the result of an earlier call. Raise DataError
    for other columns, and ConfigError for settings out of range.
    """
    schemas.check(evolutions, schemas.EVOLUTIONS, "evolutions")
    verdicts = repetitions(evolutions.lazy(), **against)
    return with_verdicts(evolutions.lazy(), verdicts).sort(_KEY).collect()


def repetitions(
    evolutions: pl.LazyFrame,
    *,
    known: pl.LazyFrame,
    near_duplicate: float | None,
    benchmarks: Sequence[ReferenceSet] = (),
    ngram: int = 13,
    heldout: pl.LazyFrame | None = None,
    rules: int = RULES,
) -> pl.DataFrame:
    """The verdicts of `eliminate`: one row per eliminated attempt, with `chain_id`, `step`, `candidate`, `reason` and
    `duplicate_of`.

    Of the attempts, all ids and signatures are in memory, and the texts of TEXTS_AT_ONCE of them.
    """
    unjudged = evolutions.filter(pl.col("status").is_null())
    ids = in_memory(unjudged.select(*_KEY, "prompt_id"))
    open_rows = ids.sort("step", "prompt_id", "chain_id")

    def texts(wanted: pl.DataFrame) -> Iterator[pl.DataFrame]:
        for part in ranges_for(ids.height, TEXTS_AT_ONCE):
            rows = in_memory(part.of(unjudged, "chain_id").select(*_KEY, "prompt_id", "prompt", "root_id", "depth"))
            yield rows.join(wanted, on=_KEY, how="semi", maintain_order="left")

    if heldout is not None:
        known = pl.concat([known, heldout])
    fresh, repeated = _split_duplicates(open_rows, known)
    met = contaminated(texts(fresh), benchmarks, words=ngram, rules=rules).select(
        "prompt_id", reason=pl.lit(f"{CONTAMINATION}:") + pl.col("set"), duplicate_of=pl.lit(None, pl.String)
    )
    found = [met]
    if near_duplicate is not None:
        clean = fresh.join(met, on="prompt_id", how="anti", maintain_order="left")
        near = near_duplicates_by_parts(texts(clean), clean["prompt_id"], known, threshold=near_duplicate)
        found.append(near.select("prompt_id", pl.lit(NEAR_DUPLICATE).alias("reason"), "duplicate_of"))
    judged = fresh.select(*_KEY, "prompt_id").join(pl.concat(found), on="prompt_id").drop("prompt_id")
    verdicts = pl.concat([repeated, judged])
    if heldout is not None:
        kept = pl.col("duplicate_of").is_in(heldout.select("prompt_id").collect().to_series().implode())
        verdicts = verdicts.with_columns(reason=pl.when(kept).then(pl.lit(HELD_OUT)).otherwise("reason"))
    return verdicts


def _split_duplicates(open_rows: pl.DataFrame, known: pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows with a new prompt_id, one row per id, and the verdicts on the others."""
    ids = open_rows.lazy().select("prompt_id")
    known_ids = known.select("prompt_id").join(ids, on="prompt_id", how="semi").unique().collect()
    new = open_rows.join(known_ids, on="prompt_id", how="anti", maintain_order="left")
    fresh = new.unique("prompt_id", keep="first", maintain_order=True)
    others = open_rows.join(fresh, on=_KEY, how="anti")
    return fresh, others.select(*_KEY, reason=pl.lit(DUPLICATE), duplicate_of=pl.col("prompt_id"))


def with_verdicts(evolutions: pl.LazyFrame, verdicts: pl.DataFrame) -> pl.LazyFrame:
    """The evolutions, and further columns of theirs, with the verdicts of `repetitions` on some rows filled in."""
    joined = evolutions.join(verdicts.lazy(), on=_KEY, how="left", suffix="_found", maintain_order="left")
    found = pl.col("reason_found").is_not_null()
    return joined.with_columns(
        status=pl.when(found).then(pl.lit("eliminated")).otherwise("status"),
        reason=pl.coalesce("reason_found", "reason"),
        duplicate_of=pl.coalesce("duplicate_of_found", "duplicate_of"),
    ).drop("reason_found", "duplicate_of_found")
