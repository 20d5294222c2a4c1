"""The Distilabel task of the creator, which gives the rows of the chain of a sampled prompt (paper 3.3.2)."""

from collections.abc import Sequence
from typing import Any

from eva_data.calls import Chain, Row
from eva_data.config import Evolve
from eva_data.evolve.chain import start_chains
from eva_data.evolve.methods import build_method, user_strategy
from eva_data.evolve.rules import Limits
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
        )

    def completions(self, row: Row) -> int:
        candidates = self.settings.evolutions * self.settings.candidates
        if not self.settings.score and self.settings.candidates == 1:
            return candidates
        # Each candidate may be rated too, by two questions, and each question may be asked again.
        return candidates * (1 + 2 * 2)
