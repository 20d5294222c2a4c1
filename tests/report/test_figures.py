"""Figures as they are printed."""

from __future__ import annotations

from eva_data.evaluation.sentences import percent, rating
from eva_data.report.figures import replies
from eva_data.report.page.parts import number
from eva_data.statistics.interval import Interval


def test_no_figure_is_a_negative_zero_and_one_reply_is_one() -> None:
    tiny = Interval(-1e-9, -0.0004, 0.0, 9)
    assert percent(tiny) == "0.0 % [0.0, 0.0]" and rating(tiny) == "0.00 [0.00, 0.00]"
    assert number(-0.0) == "0"
    assert [replies(count) for count in (0, 1, 2000)] == ["0 replies", "1 reply", "2,000 replies"]
