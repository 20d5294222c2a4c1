"""Text of a preview: each prompt with its rewrites, and the answers to these with their rewards."""

from __future__ import annotations

from typing import Any

import polars as pl

from eva_data.foreign import cut
from eva_data.game.pilot import Previewed
from eva_data.report.figures import dollars, replies

LONGEST, LINES = 500, 12
"""Characters and lines of a text that are shown."""


def preview_text(found: Previewed) -> str:
    """What a preview made, what it cost, and whether the build pays for it again."""
    lines: list[str] = []
    for prompt in found.prompts.to_dicts():
        lines.append(f"prompt  {_last(prompt)}")
        lines += _answers(found, prompt["prompt_id"])
        attempts = found.evolutions.filter(pl.col("chain_id") == prompt["prompt_id"])
        for attempt in attempts.sort("step", "candidate").to_dicts():
            text = _text(attempt["raw"] or "(no reply)") if attempt["prompt"] is None else _last(attempt)
            why = f" (eliminated: {attempt['reason']})" if attempt["reason"] else ""
            lines.append(f"  rewrite {attempt['step']}, {attempt['mutation']}{why}: {text}")
            if attempt["reason"] is None:
                lines += _answers(found, attempt["prompt_id"])
        lines.append("")
    unknown = f", unknown for {replies(found.unpriced)}" if found.unpriced else ""
    again = (
        "the build finds these calls in the ledger, and asks for none of them again"
        if found.kept
        else "the models run in this process, in batches of the build, so the build computes this again"
    )
    lines.append(f"This cost {dollars(found.cost)}{unknown}; {again}.")
    lines.append(f"Next: eva-data plan --iter {found.iteration}, or eva-data build --iter {found.iteration}")
    return "\n".join(lines)


def _answers(found: Previewed, prompt_id: str) -> list[str]:
    answers = found.responses.filter(pl.col("prompt_id") == prompt_id).sort("response_idx").to_dicts()
    return [f"    {_reward(row['reward'])}  {_text(row['response'] or '(no response)')}" for row in answers]


def _reward(reward: float | None) -> str:
    return "  null" if reward is None else f"{reward:6.3f}"


def _last(row: dict[str, Any]) -> str:
    return _text(row["prompt"][-1]["content"])


def _text(text: str) -> str:
    return cut(text.replace("\r\n", "\n"), LONGEST, LINES).replace("\n", "\n    | ")
