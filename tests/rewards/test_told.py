"""What is said of judges that compare is the same, however many prompts are counted at a time."""

from __future__ import annotations

import polars as pl
import pytest

from eva_data.errors import DataError
from eva_data.rewards.backends import tournament
from eva_data.rewards.backends.tournament import refuse_without_verdict, told
from eva_data.tables.schemas import COMPARISONS, conform

Given = tuple[str, str, int, int, str | None]

VERDICTS: list[Given] = [
    # The judge `fair` turns with the order on 11, and has half a comparison on cc.
    *[("fair", "11", 0, 1, "first"), ("fair", "11", 1, 0, "first")],
    *[("fair", "77", 0, 1, "first"), ("fair", "77", 1, 0, "second")],
    *[("fair", "cc", 0, 1, None), ("fair", "cc", 1, 0, "tie")],
    *[("hasty", "11", 0, 1, None), ("hasty", "11", 1, 0, None)],
]


def comparisons(rows: list[Given], raw: str | None = None) -> pl.LazyFrame:
    found = pl.DataFrame(rows, schema=["judge", "prompt_id", "first_idx", "second_idx", "verdict"], orient="row")
    unread = pl.when(pl.col("verdict").is_null()).then(pl.lit(raw))
    return conform(found.with_columns(stage=pl.lit("respond"), round=1, raw=unread), COMPARISONS).lazy()


@pytest.mark.parametrize("at_once", [1, 3, 500_000])
def test_the_verdicts_of_each_judge_are_counted(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(tournament, "COUNTED_AT_ONCE", at_once)
    assert [*told(comparisons(VERDICTS), "respond")] == [
        "respond: the verdict of the judge fair turned with the order in 50 % of 2 comparisons; of its 6 replies 1 are "
        "ties and 1 hold no verdict, and 75 % of the 4 others prefer the response that was shown first",
        "respond: the verdict of the judge hasty turned with the order in none of 0 comparisons; of its 2 replies 0 "
        "are ties and 2 hold no verdict, and none of the 0 others prefer the response that was shown first",
    ]
    assert [*told(comparisons([]), "respond")] == []


def test_a_judge_whose_replies_hold_no_verdict_is_refused_by_its_first_reply() -> None:
    refuse_without_verdict(comparisons(VERDICTS, "I say."), "fair")
    refuse_without_verdict(comparisons(VERDICTS[-2:]), "hasty")
    with pytest.raises(DataError, match=r"the judge hasty gave no verdict in 2 comparisons: .*, such as `I say\.`; it"):
        refuse_without_verdict(comparisons(VERDICTS[-2:], "I say."), "hasty")
