"""The Distilabel task of the judge, which rates the responses to a prompt."""

from collections.abc import Sequence
from typing import Any

from eva_data.calls import Chain, Row
from eva_data.config import Judge
from eva_data.jobs.distilabel_steps import ChainTask
from eva_data.rewards.backends.judge import TEMPLATE, judge_chain

# The module of a Task must not import annotations from __future__: Distilabel looks at its annotations.


class JudgeResponses(ChainTask):
    """Gives one `Rated` per response of a row, in their order.

    `{prompt}`, `{response}`, `{lowest}` and `{highest}` are filled into the template of the settings, or into TEMPLATE
    if the settings have none.
    """

    settings: Judge

    def chains(self, rows: Sequence[Row]) -> list[Chain[Any]]:
        template = self.settings.template or TEMPLATE
        return [judge_chain(row, template, self.settings.lowest, self.settings.highest) for row in rows]

    def completions(self, row: Row) -> int:
        # Every response may need a second request.
        return 2 * len(row["responses"])
