"""What counts as a judge's verdict, and what does not."""

from __future__ import annotations

import pytest

from eva_data.calls import Completion, Request, Unparsable
from eva_data.comparing.verdict import AGAIN, Judged, bracketed, judge_once, no_verdict, rated, read_verdict

FIVE = ("A>>B", "A>B", "A=B", "B>A", "B>>A")


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Verdict: first", "first"),
        ("Both are right, but the second one is shorter.\nVerdict: second", "second"),
        ("Neither helps.\n**Verdict: tie**", "tie"),
        ("### Final verdict: First reply.", "first"),
        ("Verdict: first\nThat is so because it is right.\nVerdict: first", "first"),
        ('{"reason": "it is right", "verdict": "second"}', "second"),
        ('```json\n{"reason": "", "verdict": "Tie"}\n```', "tie"),
    ],
)
def test_a_verdict_is_read(reply: str, verdict: str) -> None:
    assert read_verdict(reply) == verdict


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "the reply is empty"),
        ("The first reply is better.", "the last line is no verdict"),
        ("Verdict: first or second", "the last line is no verdict"),
        ("Verdict: first\nOn second thought\nVerdict: second", "several verdicts"),
        ("Verdict: first\nIs there anything else?", "the last line is no verdict"),
        ('{"verdict": "A"}', "the JSON object holds no verdict"),
        ('{"reason": "Verdict: first"}', "the JSON object holds no verdict"),
    ],
)
def test_what_leaves_a_doubt_is_no_verdict(reply: str, why: str) -> None:
    assert read_verdict(reply) == Unparsable(why)


def test_labels_in_double_brackets_are_read_where_there_is_one_kind_of_them() -> None:
    read = bracketed(FIVE)
    assert read("My answer ... [[a >> b]]\nFinal: [[A>>B]]") == "A>>B"
    assert read("[[A=B]]") == "A=B"
    assert read("A>B") == Unparsable("no verdict in double brackets, one of A>>B, A>B, A=B, B>A, B>>A")
    assert read("[[A>B]] or [[B>A]]") == Unparsable("several verdicts in double brackets")
    assert read("The matrix is [[1, 2]].\n[[B>A]]") == "B>A"


def test_ratings_in_double_brackets_are_read_on_their_scale() -> None:
    read = rated(1, 10)
    assert read("Rating: [[7]]") == "7"
    assert read("Rating: [[7.5/10]]") == "7.5"
    assert read("Rating: [[11]]") == Unparsable("the rating 11 is not from 1 to 10")
    assert read("[[3]] ... [[4]]") == Unparsable("several ratings")


def answered(*replies: Completion) -> tuple[Judged, list[Request]]:
    """The result of a question that gets these replies, and the requests."""
    chain = judge_once(({"role": "user", "content": "Which?"},), read_verdict)
    requests = next(chain)
    made = list(requests)
    for reply in replies:
        try:
            requests = chain.send([reply])
            made += requests
        except StopIteration as finished:
            return finished.value, made
    raise AssertionError("it asks again")


def said(text: str | None, reason: str = "stop", error: str | None = None) -> Completion:
    return Completion(text, reason, 1, 1, error)  # type: ignore[arg-type]


def test_a_reply_without_a_verdict_is_asked_for_once_more() -> None:
    judged, requests = answered(said("Hm."), said("Verdict: tie"))
    assert judged == Judged(label="tie", reason=None, raw=None, log_first=None, log_second=None)
    assert [request.salt for request in requests] == ["", AGAIN]


def test_thoughts_are_no_verdict_and_a_cut_reply_holds_none() -> None:
    judged, _ = answered(said("<think>Verdict: first</think>\nVerdict: second"))
    assert judged["label"] == "second"
    judged, _ = answered(said("Verdict: first", "length"), said("Verdict: first", "length"))
    assert judged == no_verdict("unparsable: the reply was cut at max_tokens", "Verdict: first")


def test_a_call_that_failed_is_no_verdict_and_says_which_kind_it_was() -> None:
    judged, requests = answered(said(None, "error", "gave_up: HTTP 500"))
    assert judged == no_verdict("gave_up: HTTP 500") and len(requests) == 1
    judged, _ = answered(said(None, "error", "context_length_exceeded"))
    assert judged["reason"] == "call_failed: context_length_exceeded"
