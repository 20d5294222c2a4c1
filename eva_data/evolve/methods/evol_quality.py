"""Evol-Quality (Liu et al. 2023, arXiv 2312.15685), by the templates of Distilabel's `EvolQuality`."""

from __future__ import annotations

from eva_data.evolve.methods._templates import strategies_of
from eva_data.evolve.strategy import Method

REQUEST = "Write a message that a user could send to an AI assistant."
"""What the prompt is taken to be the response to."""


def evol_quality() -> Method:
    """Five mutations that make a text more helpful, relevant, in-depth, creative or detailed.

    The templates improve the *response* to a prompt, and the paper, which lists the method among its ways to
    evolve prompts, does not say what was put where. Here the prompt is the response, to a request for a
    prompt: the templates stay as they are, and every mutation acts on the text that is evolved.
    """
    from distilabel.steps.tasks.evol_quality.utils import MUTATION_TEMPLATES

    templates = {name: template.replace("<PROMPT>", REQUEST) for name, template in MUTATION_TEMPLATES.items()}
    return Method("evol_quality", strategies_of(templates, placeholder="<RESPONSE>", label="Response#:"))
