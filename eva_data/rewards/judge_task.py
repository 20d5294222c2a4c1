"""The Distilabel task of the judge: one prompt with its responses in, a rating of each out."""

from collections.abc import Sequence
from typing import Any

from eva_data.calls import Chain, Row
from eva_data.config import Judge
from eva_data.jobs.distilabel_steps import ChainTask
from eva_data.rewards.judge import TEMPLATE, judge_chain

# No `from __future__ import annotations` in the module of a Task: Distilabel looks at its annotations.


class JudgeResponses(ChainTask):
    """One prompt with its responses in, one `Rated` per response out, in their order.

    The template, TEMPLATE where the settings have none, is filled with `{prompt}`, `{response}`, `{lowest}` and
    `{highest}`.
    """

    settings: Judge

    def chains(self, rows: Sequence[Row]) -> list[Chain[Any]]:
        template = self.settings.template or TEMPLATE
        return [judge_chain(row, template, self.settings.lowest, self.settings.highest) for row in rows]

    def completions(self, row: Row) -> int:
        # Each may be asked about once more.
        return 2 * len(row["responses"])
