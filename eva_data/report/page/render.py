"""Templates of pages, filled: every page stands alone, loads nothing, and shows the text of others as text.

Jinja escapes what is markup. `harmless` then makes whatever is left of control characters and direction marks visible
in the whole page, whichever way a text came into it.
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
"""Characters that a page shows of one text; the rest is counted."""


NAME = 48
"""Characters of a word that stays on one line of a table."""


def page(template: str, *, title: str, lead: str, **values: Any) -> str:
    """The page of a template in `cards/page/`; `values` are what the template names."""
    rendered = environment().get_template(template).render(title=title, lead=lead, version=__version__, **values)
    return harmless(rendered)


def harmless(text: str) -> str:
    """The text with its control characters, direction marks and half characters as escapes; line ends stay."""
    return visible(text.replace("\r\n", "\n"), lines=True)


@cache
def environment() -> Environment:
    """Where pages are rendered: everything is escaped, and a name that is not given is an error."""
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
    """What is written for a value: a text without secrets and not longer than LONGEST, markup as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(redacted(value).replace("\r\n", "\n"), lines=True, longest=LONGEST)
