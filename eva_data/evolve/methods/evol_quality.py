"""Evol-Quality (Liu et al. 2023, arXiv 2312.15685), with the templates of Distilabel's `EvolQuality`."""

from __future__ import annotations

from eva_data.evolve.methods._templates import strategies_of
from eva_data.evolve.strategy import Method

REQUEST = "Write a message that a user could send to an AI assistant."
"""The request to which the prompt counts as the response."""


def evol_quality() -> Method:
    """Five mutations that make a text more helpful, relevant, in-depth, creative or detailed.

    The templates improve the *response* to a prompt. The paper lists the method among its ways to evolve prompts and
    does not say what was filled in. Here the prompt is the response to a request for a prompt. So the templates stay
    as they are, and every mutation acts on the text that is evolved.
    """
    from distilabel.steps.tasks.evol_quality.utils import MUTATION_TEMPLATES

    templates = {name: template.replace("<PROMPT>", REQUEST) for name, template in MUTATION_TEMPLATES.items()}
    return Method("evol_quality", strategies_of(templates, placeholder="<RESPONSE>", label="Response#:"))
