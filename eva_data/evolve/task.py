"""The Distilabel task of the creator, which gives the rows of the chain of a sampled prompt (paper 3.3.2)."""

from collections.abc import Sequence
from typing import Any

from eva_data.calls import Chain, Row
from eva_data.config import Evolve
from eva_data.evolve.chain import start_chains
from eva_data.evolve.methods import build_method, user_strategy
from eva_data.evolve.rules import Limits
from eva_data.evolve.self_check import ASKED_AT_MOST
from eva_data.jobs.distilabel_steps import ChainTask


class EvolvePrompts(ChainTask):
    """Rewrites every sampled prompt `evolutions` times, and returns all attempts, also candidates that lost."""

    settings: Evolve

    def chains(self, rows: Sequence[Row]) -> list[Chain[Any]]:
        settings = self.settings
        own = [user_strategy(strategy.name, strategy.template, strategy.kind) for strategy in settings.strategies]
        return start_chains(
            rows,
            build_method(settings.method, own, keep_own=not settings.only_own, reply=settings.reply),
            evolutions=settings.evolutions,
            iteration=self.iteration,
            seed=self.seed,
            creator=self.llm.fingerprint,
            limits=Limits(settings.min_chars, settings.max_chars),
            candidates=settings.candidates,
            score=settings.score,
            check=settings.self_check,
            siblings=settings.shape == "siblings",
            max_depth=settings.max_depth,
        )

    def completions(self, row: Row) -> int:
        candidates = self.settings.evolutions * self.settings.candidates
        # Each may be rated too, by two questions, and checked; all of these may be asked once more.
        rated = 2 * 2 if self.settings.rated else 0
        return candidates * (self.settings.asks + rated + (ASKED_AT_MOST if self.settings.self_check else 0))
