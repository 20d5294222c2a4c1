"""Counts where every row went: in each stage, rows in = rows out + rejected + set aside, or the build stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eva_data.errors import DataError


@dataclass(frozen=True)
class Flow:
    """The rows of one stage."""

    stage: str
    unit: str
    """What is counted: prompts, responses or evolutions."""
    rows_in: int
    rows_out: int
    rejected: int = 0
    """Failures. Each is a row of `rejects`, or a row of `evolutions` with status eliminated."""
    set_aside: int = 0
    """Rows that neither failed nor were used: they were not drawn, or more than needed."""

    def __post_init__(self) -> None:
        if self.rows_in != self.rows_out + self.rejected + self.set_aside:
            raise DataError(
                f"the stage {self.stage} lost rows: {self.rows_in} {self.unit} in, {self.rows_out} out, "
                f"{self.rejected} rejected, {self.set_aside} set aside; this is a defect of eva-data, please report it"
            )

    def record(self) -> dict[str, Any]:
        return asdict(self)


def together(flows: Sequence[Flow]) -> Flow:
    """The flow of a stage that was worked on in several parts."""
    return Flow(
        flows[0].stage,
        flows[0].unit,
        rows_in=sum(flow.rows_in for flow in flows),
        rows_out=sum(flow.rows_out for flow in flows),
        rejected=sum(flow.rejected for flow in flows),
        set_aside=sum(flow.set_aside for flow in flows),
    )
