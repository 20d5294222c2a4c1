"""Self-Instruct (Wang et al. 2023, arXiv 2212.10560), with the template of Distilabel's `SelfInstruct`."""

from __future__ import annotations

from eva_data.evolve.parse import first_line
from eva_data.evolve.strategy import Method, Strategy

_PLACEHOLDER = "<PROMPT>"


def self_instruct() -> Method:
    """Asks for one new query, with the sampled prompt as its context.

    The method is independent: every step starts from the sampled prompt. Its strategy is in breadth, so it does not
    suit a prompt with history.
    """
    from importlib.resources import files

    from distilabel.steps.tasks.self_instruct import SelfInstruct
    from jinja2 import Template

    source = (files("distilabel") / "steps" / "tasks" / "templates" / "self-instruct.jinja2").read_text("utf-8")
    defaults = {
        name: SelfInstruct.model_fields[name].default
        for name in ("application_description", "criteria_for_query_generation")
    }
    template = Template(source).render(input=_PLACEHOLDER, num_instructions=1, **defaults)
    forbidden = ("# Task Description", "# Criteria for Queries", "# AI Application")
    strategy = Strategy("SELF_INSTRUCT", "in_breadth", template, _PLACEHOLDER, first_line, forbidden)
    return Method("self_instruct", (strategy,), sequential=False)
