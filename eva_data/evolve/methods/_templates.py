"""Makes strategies from Distilabel's template tables, which are imported and not copied."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from eva_data.evolve.parse import after
from eva_data.evolve.strategy import Strategy

_BAN = "are not allowed to appear in"


def forbidden_words(template: str) -> tuple[str, ...]:
    """The words that the template itself forbids in the reply, in its order."""
    bans = [line.partition(_BAN)[0] for line in template.split("\n") if _BAN in line]
    return tuple(word for ban in bans for word in re.findall(r"'([^']+)'", ban))


def strategies_of(
    templates: Mapping[str, str], *, placeholder: str, label: str, in_breadth: Collection[str] = ()
) -> tuple[Strategy, ...]:
    """One strategy per template, in the order of the table. The reply is read after the last `label`."""
    return tuple(
        Strategy(
            name=name,
            kind="in_breadth" if name in in_breadth else "in_depth",
            template=template,
            placeholder=placeholder,
            parse=after(label),
            forbidden=forbidden_words(template),
        )
        for name, template in templates.items()
    )
