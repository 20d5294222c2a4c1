"""Evol-Complexity (Liu et al. 2023, arXiv 2312.15685), with the templates of Distilabel's `EvolComplexity`."""

from __future__ import annotations

from eva_data.evolve.methods._templates import strategies_of
from eva_data.evolve.strategy import Method


def evol_complexity() -> Method:
    """The four in-depth mutations of Evol-Instruct, without breadth."""
    from distilabel.steps.tasks.evol_instruct.evol_complexity.utils import MUTATION_TEMPLATES

    return Method("evol_complexity", strategies_of(MUTATION_TEMPLATES, placeholder="<PROMPT>", label="Prompt#:"))
