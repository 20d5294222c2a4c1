"""What `eva-data ledger stats` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eva_data.cli.say import say
from eva_data.cli.text.costs import spent_table
from eva_data.cli.text.terminal import Terminal


def print_stats(
    path: Path,
    size: int,
    totals: Mapping[str, int],
    bills: Sequence[Mapping[str, Any]],
    use: Sequence[tuple[str, int]],
) -> None:
    """Print the numbers of a ledger, then a table of its bills."""
    calls = totals["generations"]
    each = f", {size / calls:,.0f} bytes per completion" if calls else ""
    say(f"{path}: {size:,} bytes{each}")
    say(
        f"{calls:,} completions, {totals['rewards']:,} rewards, {totals['prompt_tokens']:,} tokens in, "
        f"{totals['completion_tokens']:,} tokens out, {totals['repeated']:,} made twice"
    )
    for stage, pid in use:
        say(f"In use by the stage {stage}, process {pid}")
    if bills:
        Terminal().print(spent_table(bills))
