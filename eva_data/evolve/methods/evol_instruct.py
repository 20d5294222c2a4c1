"""Evol-Instruct (Xu et al. 2023, arXiv 2304.12244), with the templates of Distilabel's `EvolInstruct`."""

from __future__ import annotations

from eva_data.evolve.methods._templates import strategies_of
from eva_data.evolve.strategy import Method


def evol_instruct() -> Method:
    """Four in-depth mutations and BREADTH. A prompt without context is rendered exactly as in Distilabel.

    The import of the templates takes seconds, because it imports Distilabel.
    """
    from distilabel.steps.tasks.evol_instruct.utils import MUTATION_TEMPLATES

    strategies = strategies_of(MUTATION_TEMPLATES, placeholder="<PROMPT>", label="Prompt#:", in_breadth={"BREADTH"})
    return Method("evol_instruct", strategies)
