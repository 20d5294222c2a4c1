"""How far the solver is ahead of its contrast, and when a build warns."""

from __future__ import annotations

import polars as pl
import pytest

from eva_data.report.measures.contrast import contrast_notes, contrast_of
from eva_data.tables.schemas import RESPONSES, conform


def _responses(stage: str, rewards: list[list[float | None]]) -> pl.DataFrame:
    rows = [
        (f"p{prompt}", number, reward, stage)
        for prompt, of_prompt in enumerate(rewards)
        for number, reward in enumerate(of_prompt)
    ]
    columns = ["prompt_id", "response_idx", "reward", "stage"]
    return conform(pl.DataFrame(rows, columns, orient="row", schema_overrides={"reward": pl.Float64}), RESPONSES)


def test_the_contrast_is_the_mean_over_prompts_of_the_difference_of_mean_rewards() -> None:
    own = _responses("respond", [[3.0, 5.0], [2.0, None, 4.0], [1.0], [None]])
    other = _responses("contrast", [[1.0, 3.0], [1.0, 3.0], [float("nan")], [1.0]])
    estimated = _responses("estimate", [[100.0]])
    found = contrast_of(pl.concat([own, other, estimated]).lazy())
    # 4 - 2 and 3 - 2; the third prompt has no reward of the contrast, the fourth none of the solver.
    assert found is not None and (found.estimate, found.n) == (1.5, 2)
    # t of one degree of freedom is 12.706, and the standard error 0.5.
    assert (found.low, found.high) == pytest.approx((1.5 - 6.353, 1.5 + 6.353), abs=1e-3)
    assert contrast_of(own.lazy()) is None


def test_a_build_warns_if_the_contrast_is_gone_or_certainly_smaller() -> None:
    def notes(now: list[float], before: list[float] | None) -> list[str]:
        zero = _responses("contrast", [[0.0]] * 3)
        own, earlier = (
            None if each is None else _responses("respond", [[one] for one in each]) for each in (now, before)
        )
        assert own is not None
        past = None if earlier is None else pl.concat([earlier, zero]).lazy()
        return list(contrast_notes(2, own.lazy(), zero.lazy(), past))

    ahead = (
        "the solver's responses have on average 2 more reward than those of `contrast` (95 % interval: 1.75 to 2.25)"
    )
    assert notes([1.9, 2.0, 2.1], None) == [ahead]
    assert notes([1.9, 2.0, 2.1], [2.0, 2.1, 2.2]) == [ahead]
    assert notes([1.9, 2.0, 2.1], [4.9, 5.0, 5.1]) == [
        ahead,
        "the contrast shrinks: it was 5 in iteration 1, so the pairs of iteration 2 teach less",
    ]
    assert notes([-1.0, 0.0, 1.0], [4.9, 5.0, 5.1])[1:] == [
        "`contrast` is not certainly weaker than the solver in iteration 2: name a weaker model"
    ]
    alone, nothing = _responses("respond", [[1.0]]).lazy(), _responses("contrast", []).lazy()
    assert list(contrast_notes(1, alone, nothing, None)) == []
