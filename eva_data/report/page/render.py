"""Fills the templates of pages. Every page is complete in itself, loads nothing, and shows foreign text as text.

Jinja escapes markup. `harmless` then makes all control characters and direction marks of the whole page visible.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from eva_data import __version__
from eva_data.foreign import visible
from eva_data.project import cards_dir
from eva_data.report.page.parts import Figure, Share, number
from eva_data.secrets import redacted

LONGEST = 2_000
"""A page shows so many characters of a text. The rest is counted."""


NAME = 48
"""A word of up to so many characters stays on one line of a table."""


def page(template: str, *, title: str, lead: str, **values: Any) -> str:
    """The page of a template in `cards/page/`. `values` holds the names of the template."""
    rendered = environment().get_template(template).render(title=title, lead=lead, version=__version__, **values)
    return harmless(rendered)


def harmless(text: str) -> str:
    """The text with control characters, direction marks and lone surrogates as escapes. Line ends stay."""
    return visible(text.replace("\r\n", "\n"), lines=True)


@cache
def environment() -> Environment:
    """The environment of the templates of pages. Everything is escaped, and an unknown name is an error."""
    found = Environment(
        loader=FileSystemLoader(cards_dir() / "page"),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=_cut,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number, "percent": lambda share: f"{100 * share:.0f} %"}
    found.tests |= {
        "share": lambda value: isinstance(value, Share),
        "name": lambda value: isinstance(value, str) and len(value) <= NAME and len(value.split()) <= 1,
        "figure": lambda value: isinstance(value, Figure),
    }
    return found


def _cut(value: Any) -> Any:
    """The text of a value, without secrets and cut at LONGEST. Markup stays unchanged."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(redacted(value).replace("\r\n", "\n"), lines=True, longest=LONGEST)
