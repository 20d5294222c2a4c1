"""Who meets whom in a tournament, and what a judge of it is asked."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.calls import Completion
from eva_data.comparing.question import TEMPLATE
from eva_data.comparing.tournament import distinct, matches_of, most_matches, play, points_of
from eva_data.config import ApiModel, Tournament

JUDGE = ApiModel(backend="api", model="judge")
SHORT = "{prompt}|{first}|{second}"


def block(schedule: str = "swiss", rounds: int = 3, template: str | None = SHORT) -> Tournament:
    settings = {"schedule": schedule, "rounds": rounds, "template": template}
    return Tournament.model_validate({"backend": "tournament", "judges": [JUDGE], **settings})


def said(text: str) -> Completion:
    return Completion(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1)


def test_in_a_round_robin_every_two_meet_once() -> None:
    assert matches_of(1, block("round_robin"), [2, 0, 5], {}) == [(0, 2), (0, 5), (2, 5)]
    assert matches_of(2, block("round_robin"), [2, 0, 5], {(0, 2): 1.0}) == []


def test_in_a_swiss_system_those_with_equal_points_meet_and_nobody_twice() -> None:
    first = matches_of(1, block(), [0, 1, 2, 3], {})
    assert first == [(0, 1), (2, 3)]
    # 0 and 2 won.
    points = {(0, 1): 1.0, (2, 3): 1.0}
    second = matches_of(2, block(), [0, 1, 2, 3], points)
    assert second == [(0, 2), (1, 3)]
    # 0 has 2 points, 3 none, 1 and 2 have one; all but 0-3 and 1-2 have met.
    points |= {(0, 2): 1.0, (1, 3): 1.0}
    assert matches_of(3, block(), [0, 1, 2, 3], points) == [(0, 3), (1, 2)]
    assert matches_of(4, block(), [0, 1, 2, 3], points) == []


def test_of_an_odd_number_the_lowest_who_has_not_sat_out_sits_out() -> None:
    assert matches_of(1, block(), [0, 1, 2], {}) == [(0, 1)]
    # 1 lost and sits out next; then 0, for 2 has sat out and 1 too.
    assert matches_of(2, block(), [0, 1, 2], {(0, 1): 1.0}) == [(0, 2)]
    assert matches_of(3, block(), [0, 1, 2], {(0, 1): 1.0, (0, 2): 1.0}) == [(1, 2)]


@given(st.integers(2, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_no_tournament_has_more_matches_than_were_planned(players: int, rounds: int, random: object) -> None:
    points: dict[tuple[int, int], float] = {}
    number = 1
    while matches := matches_of(number, block(rounds=rounds), range(players), points):
        assert not set(matches) & set(points)
        assert len({player for match in matches for player in match}) == 2 * len(matches)
        points |= {match: random.choice([0, 0.25, 0.5, 1]) for match in matches}  # type: ignore[attr-defined]
        number += 1
    assert len(points) <= most_matches(block(rounds=rounds), players)
    assert set(points) <= set(combinations(range(players), 2))


def test_points_are_the_mean_of_both_orders_and_a_missing_verdict_is_half_a_point() -> None:
    verdicts: list[dict[str, object]] = [
        {"first_idx": 0, "second_idx": 1, "verdict": "first"},
        {"first_idx": 1, "second_idx": 0, "verdict": "second"},
        {"first_idx": 0, "second_idx": 2, "verdict": "first"},
        {"first_idx": 2, "second_idx": 0, "verdict": "first"},
        {"first_idx": 1, "second_idx": 2, "verdict": "tie"},
        {"first_idx": 2, "second_idx": 1, "verdict": None},
    ]
    assert points_of(verdicts) == {(0, 1): 1.0, (0, 2): 0.5, (1, 2): 0.5}


def test_equal_texts_are_one_response() -> None:
    assert distinct([3, 1, 2], ["b", "a", "a"]) == {1: "a", 3: "b"}


def test_each_match_is_asked_in_both_orders_and_again_where_a_reply_holds_no_verdict() -> None:
    row = {"prompt": [{"role": "user", "content": "Q"}], "response_idx": [0, 1, 2], "responses": ["a", "b", "a"]}
    chain = play(row, block())
    asked = next(chain)
    assert [request.messages[0]["content"] for request in asked] == ["Q|a|b", "Q|b|a"]
    again = chain.send([said("Verdict: first"), said("Both are fine.")])
    assert [(request.messages[0]["content"], request.salt) for request in again] == [("Q|b|a", "compare:retry")]
    with pytest.raises(StopIteration) as finished:
        chain.send([said("Who knows?")])
    assert finished.value.value == [
        {"round": 1, "first_idx": 0, "second_idx": 1, "verdict": "first", "reason": None, "raw": None},
        {
            **{"round": 1, "first_idx": 1, "second_idx": 0, "verdict": None},
            **{"reason": "unparsable: the last line is no verdict", "raw": "Who knows?"},
        },
    ]


def test_the_usual_question_shows_both_replies_and_no_place_is_left_open() -> None:
    row = {"prompt": [{"role": "user", "content": "{first}"}], "response_idx": [0, 1], "responses": ["{prompt}", "x"]}
    text = next(play(row, block(template=None)))[0].messages[0]["content"]
    assert "<conversation>\n{first}\n</conversation>" in text
    assert "<first_reply>\n{prompt}\n</first_reply>" in text
    assert len(text) < len(TEMPLATE) + 200


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"judges": []}, "at least 1 item"),
        ({"judges": [JUDGE, JUDGE]}, "names a model twice"),
        ({"judges": [JUDGE], "template": "{prompt} {first}"}, "lacks {second}"),
    ],
)
def test_a_tournament_that_cannot_be_played_is_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Tournament.model_validate({"backend": "tournament", **settings})
