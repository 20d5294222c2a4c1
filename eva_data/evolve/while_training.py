"""Evolves a few prompts at a time during training, in this process, with the chains of `chain` and `eliminate`.

By default, the rewrites of a prompt are siblings: all start from it, by different strategies. So every prompt is one
rewrite deeper than a prompt that was trained on and found informative (paper: appendix F).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from eva_data.calls import Message, Row
from eva_data.evolve.chain import start_chains
from eva_data.evolve.elimination.contamination import ReferenceSet, read_reference_set
from eva_data.evolve.elimination.eliminate import eliminate
from eva_data.evolve.methods import build_method, user_strategy
from eva_data.evolve.rules import Limits
from eva_data.evolve.scorer import QUESTIONS
from eva_data.evolve.self_check import ASKED_AT_MOST
from eva_data.evolve.strategy import Method
from eva_data.tables.reasons import PROMPT_TOO_LONG
from eva_data.tables.schemas import EVOLUTIONS, PROMPTS

if TYPE_CHECKING:
    from eva_data.config import Evolve
    from eva_data.models.base import LedgerLLM

_KNOWN = {name: PROMPTS[name] for name in ("prompt_id", "prompt", "root_id", "depth")}


@dataclass(frozen=True)
class LiveEvolve:
    """A creator at work beside a trainer. The `iteration` of its rows is the training step."""

    creator: LedgerLLM
    settings: Evolve
    method: Method
    benchmarks: tuple[ReferenceSet, ...]
    seed: int
    fits: Callable[[Sequence[Message]], bool]
    """Whether a prompt is short enough for the training."""

    @classmethod
    def of(
        cls, creator: LedgerLLM, settings: Evolve, *, seed: int, fits: Callable[[Sequence[Message]], bool]
    ) -> LiveEvolve:
        """The creator with the method and the benchmarks of the settings."""
        own = [user_strategy(s.name, s.template, s.kind) for s in settings.strategies]
        method = build_method(settings.method, own, keep_own=not settings.only_own, reply=settings.reply)
        sets = tuple(read_reference_set(b.name, b.path, column=b.column) for b in settings.benchmarks)
        return cls(creator, settings, method, sets, seed, fits)

    def __call__(
        self, parents: Sequence[Row], n_new: int, step: int, alive: Sequence[Row], exist: frozenset[str]
    ) -> list[Row]:
        """EVOLUTIONS rows of the parents' chains. `status` is null if the prompt is new.

        Duplicates are found among all ids that exist, and near-duplicates among the prompts that are `alive`. So the
        time of a step does not grow with the length of the run.
        """
        settings = self.settings
        chains = start_chains(
            parents,
            self.method,
            evolutions=n_new,
            iteration=step,
            seed=self.seed,
            creator=self.creator.fingerprint,
            limits=Limits(settings.min_chars, settings.max_chars),
            candidates=settings.candidates,
            score=settings.score,
            check=settings.self_check,
            siblings=settings.shape != "chain",
            max_depth=settings.max_depth,
        )
        questions = (ASKED_AT_MOST if settings.self_check else 0) + (2 * len(QUESTIONS) if settings.rated else 0)
        completions = len(parents) * n_new * settings.candidates * (1 + questions)
        attempts = [row for rows in self.creator.drive(chains, completions) for row in rows]
        for row in attempts:
            if row["status"] is None and not self.fits(row["prompt"]):
                row |= {"status": "eliminated", "reason": PROMPT_TOO_LONG}
        repeated = [row for row in attempts if row["prompt_id"] in exist]
        judged = eliminate(
            pl.DataFrame(attempts, schema=EVOLUTIONS),
            known=_known([*alive, *repeated]),
            near_duplicate=self.settings.near_duplicate,
            benchmarks=self.benchmarks,
            ngram=self.settings.ngram,
        )
        return judged.to_dicts()


def _known(rows: Iterable[Mapping[str, Any]]) -> pl.LazyFrame:
    columns = ({name: row[name] for name in _KNOWN} for row in rows)
    return pl.LazyFrame(list(columns), schema=_KNOWN)
