# ruff: noqa: RUF001 - judges write Chinese and Japanese, too
"""The judge: its question, the reading of its reply, and replies without a rating."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.calls import Chain, Completion, Request, Unparsable, conversation_text
from eva_data.config.models import ApiModel
from eva_data.config.rewards import Judge
from eva_data.jobs.job import Job
from eva_data.models.ratings.rating import parse_rating
from eva_data.project import load_pipeline
from eva_data.rewards.backends.judge import TEMPLATE, fill, judge_chain
from eva_data.rewards.judge_task import JudgeResponses

ROW = {
    "prompt_id": "p",
    "prompt": [{"role": "user", "content": "Name a river."}],
    "response_idx": [0, 1],
    "responses": ["The Elbe.", "Tin."],
}
SHORT = "{prompt}|{response}"


def said(text: str | None, **changes: Any) -> Completion:
    fields = {"text": text, "finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 5}
    return Completion(**(fields | changes))


def failed(error: str | None) -> Completion:
    return said(None, finish_reason="error", error=error)


def question(text: str, salt: str = "") -> Request:
    return Request(({"role": "user", "content": text},), 0, salt)


def drive(chain: Chain[Any], *replies: list[Completion]) -> tuple[list[list[Request]], Any]:
    """All lists of requests of a chain, one for each list of replies, and its result."""
    asked = []
    answer: Any = None
    for reply in [*replies, None]:
        try:
            asked.append(chain.send(answer))
        except StopIteration as finished:
            return asked, finished.value
        answer = reply
    raise AssertionError("the chain asks for more than there are replies")


def test_all_responses_are_asked_about_at_once_and_rated_in_order() -> None:
    replies = [said("True.\nRating: 9"), said("Tin is no river.\n\n**Rating:** 1.5\n")]
    asked, rated = drive(judge_chain(ROW, SHORT, 1, 10), replies)
    assert asked == [[question("Name a river.|The Elbe."), question("Name a river.|Tin.")]]
    assert rated == [
        {"reward": 9.0, "reason": None, "raw": None},
        {"reward": 1.5, "reason": None, "raw": None},
    ]


def test_equal_responses_are_one_question() -> None:
    row = ROW | {"response_idx": [0, 1, 2], "responses": ["Tin.", "The Elbe.", "Tin."]}
    asked, rated = drive(judge_chain(row, SHORT, 1, 10), [said("Rating: 1"), said("Rating: 9")])
    assert asked == [[question("Name a river.|Tin."), question("Name a river.|The Elbe.")]]
    assert [each["reward"] for each in rated] == [1.0, 9.0, 1.0]


def test_a_row_without_responses_asks_nothing() -> None:
    assert drive(judge_chain(ROW | {"response_idx": [], "responses": []}, SHORT, 1, 10)) == ([], [])


def test_only_what_could_not_be_read_is_asked_again_and_only_once() -> None:
    row = ROW | {"response_idx": [0, 1, 2], "responses": ["a", "b", "c"]}
    first = [said("Rating: 7"), said("I like it."), said("Rating: 1", finish_reason="length")]
    second = [said("Rating: eight"), said("Rating: 10")]
    asked, rated = drive(judge_chain(row, SHORT, 1, 10), first, second)
    assert asked[1] == [question("Name a river.|b", "judge:retry"), question("Name a river.|c", "judge:retry")]
    assert rated == [
        {"reward": 7.0, "reason": None, "raw": None},
        {"reward": None, "reason": "unparsable: the last line is no rating", "raw": "Rating: eight"},
        {"reward": 10.0, "reason": None, "raw": None},
    ]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (failed("prompt_too_long"), "call_failed: prompt_too_long"),
        (failed(None), "call_failed: the reply has no text"),
        (said(None), "call_failed: the reply has no text"),
        (failed("gave_up: HTTP 503"), "gave_up: HTTP 503"),
    ],
)
def test_a_failed_call_says_why_and_is_not_asked_again(reply: Completion, reason: str) -> None:
    _, rated = drive(judge_chain(ROW, SHORT, 1, 10), [said("Rating: 3"), reply])
    assert rated[1] == {"reward": None, "reason": reason, "raw": None}


def test_what_was_read_before_a_failed_second_call_is_kept() -> None:
    first = [said("Rating: 3"), said("Who knows \ud800")]
    _, rated = drive(judge_chain(ROW, SHORT, 1, 10), first, [failed("gave_up: refused")])
    assert rated[1] == {"reward": None, "reason": "gave_up: refused", "raw": "Who knows ?"}


@pytest.mark.parametrize(
    ("finish_reason", "why"),
    [("length", "the reply was cut at max_tokens"), ("content_filter", "the reply was cut by a content filter")],
)
def test_a_reply_that_was_cut_holds_no_rating(finish_reason: str, why: str) -> None:
    row = ROW | {"response_idx": [0], "responses": ["a"]}
    cut = [said("Rating: 1", finish_reason=finish_reason)]
    _, rated = drive(judge_chain(row, SHORT, 1, 10), cut, cut)
    assert rated == [{"reward": None, "reason": f"unparsable: {why}", "raw": "Rating: 1"}]


def test_texts_with_braces_survive_and_are_filled_in_once() -> None:
    row = {
        "prompt": [{"role": "user", "content": 'Explain {response} and {"a": {}} and \\1.'}],
        "responses": ["{prompt} {lowest} {0} {{x}}"],
    }
    [[request]], _ = drive(judge_chain(row, "<{prompt}> <{response}> {other} {lowest:g}", 1, 10), [said("Rating: 1")])
    assert request.messages[0]["content"] == (
        '<Explain {response} and {"a": {}} and \\1.> <{prompt} {lowest} {0} {{x}}> {other} {lowest:g}'
    )


def test_the_own_template_shows_everything_and_asks_for_the_rating_in_the_form_that_is_read() -> None:
    text = fill(TEMPLATE, {"prompt": "P1", "response": "R1", "lowest": "0", "highest": "5"})
    assert "<conversation>\nP1\n</conversation>" in text
    assert "<reply>\nR1\n</reply>" in text
    assert text.endswith("\nRating: <number from 0 to 5>")
    assert "{" not in text


def test_a_conversation_of_several_turns_is_shown_with_its_roles() -> None:
    assert conversation_text([{"role": "user", "content": "Hi."}]) == "Hi."
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "A river?"},
        {"role": "assistant", "content": "The Elbe."},
        {"role": "user", "content": "Another?"},
    ]
    assert conversation_text(messages) == (
        "[System]\nBe brief.\n\n[User]\nA river?\n\n[Assistant]\nThe Elbe.\n\n[User]\nAnother?"
    )


def test_the_pipeline_has_one_task_that_takes_template_and_scale_from_the_job(tmp_path: Path) -> None:
    model = {
        "llm": "eva_data.models.local:TransformersLLM",
        "fingerprint": "nobody",
        "engine": {},
        "sampling": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 256},
        "max_prompt_tokens": 1024,
        "system": "keep",
        "seed": 42,
        "path": "nowhere",
        "device": "cpu",
        "dtype": "float32",
        "batch_size": 1,
        "threads": 1,
        "trust_remote_code": False,
    }
    settings = Judge(backend="judge", judge=ApiModel(backend="api", model="nobody"), lowest=0, highest=1)
    pipeline = load_pipeline("judge").build(Job(tmp_path, "judge", settings, model, ledger=tmp_path / "ledger"))
    task = pipeline.dag.get_step("judge")["step"]
    assert isinstance(task, JudgeResponses)
    assert task.completions(ROW) == 4
    (chain,) = task.chains([ROW])
    asked, rated = drive(chain, [said("Rating: 0.5"), said("Rating: 1/1")])
    assert "0 is a useless or harmful reply, 1 one that could hardly be better" in asked[0][0].messages[0]["content"]
    assert [each["reward"] for each in rated] == [0.5, 1.0]
    task.settings = settings.model_copy(update={"template": "{prompt}? {response}"})
    (chain,) = task.chains([ROW])
    assert next(chain) == [question("Name a river.? The Elbe."), question("Name a river.? Tin.")]


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Rating: 7", 7.0),
        ("Fine.\n\nRating: 7.25  \n\n", 7.25),
        ("**Rating:** 7.5", 7.5),
        ("Rating:7", 7.0),
        ("Rating: 7/10", 7.0),
        ("Rating: 7 / 10.0", 7.0),
        ("Rating: 1", 1.0),
        ("Rating: 10", 10.0),
        ("<think>Rating: 2\nor\nRating: 3</think>\nGood.\nRating: 4", 4.0),
        ("Rating: 2</think>Rating: 4", 4.0),
        ("[THINK]Rating: 2[/THINK]\nRating: 4", 4.0),
        ("The rating: 3 would be harsh.\nRating: 4", 4.0),
    ],
)
def test_a_rating_is_read_from_the_last_line(reply: str, rating: float) -> None:
    assert parse_rating(reply, 1, 10) == rating


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "the reply is empty"),
        (" \n\t\n", "the reply is empty"),
        ("<think>x</think>", "the reply is empty"),
        ("<think>Rating: 7", "the reasoning has no end"),
        ("Rating: seven", "the last line is no rating"),
        ("Rating: nan", "the last line is no rating"),
        ("Rating: inf", "the last line is no rating"),
        ("Rating: 7 or 8", "the last line is no rating"),
        ("Rating: 7-8", "the last line is no rating"),
        ("Rating: 7 Rating: 8", "the last line is no rating"),
        ("Rating: 1e1", "the last line is no rating"),
        ("Rating: \u0667", "the last line is no rating"),
        ("Rating: 7\nOn second thought:\nRating: 8", "several ratings"),
        ("Rating: 0", "the rating 0 is not from 1 to 10"),
        ("Rating: -7", "the rating -7 is not from 1 to 10"),
        ("Rating: 10.01", "the rating 10.01 is not from 1 to 10"),
        ("Rating: " + "9" * 400, "the rating 99999999999999999999 is not from 1 to 10"),
        ("Rating: 3/5", "a rating out of 5 where the highest is 10"),
        ("Rating: 7/100", "a rating out of 100 where the highest is 10"),
    ],
)
def test_anything_else_is_no_rating(reply: str, why: str) -> None:
    assert parse_rating(reply, 1, 10) == Unparsable(why)


@pytest.mark.parametrize(
    "reply",
    [
        "Rating: 8.",
        "8/10",
        "**Rating:** 8",
        "Fine.\n\n### Rating\n8",
        "Rating: [[8]]",
        "[[8]]",
        "Good.\n[[8]]",
        "<rating>8</rating>",
        "Text\n<score> 8/10 </score>",
        '{"rating": 8, "reason": "x"}',
        '```json\n{"score": "8/10"}\n```',
        "My rating is 8 out of 10.",
        "I would rate this response 8/10.",
        "Overall, I'd give the reply an 8 out of 10.",
        "Rating (1-10): 8",
        "评分：8分",
        "评分：8/10",
        "评价好。\n评分8",
        "評価は8",
        "평점: 8/10",
        "Оценка: 8 из 10",
        "Rating = 8",
        "- **Rating**: 8/10",
        "**Rating: 8/10**",
        "Rating: 8/10 - a solid answer.",
        "Rating: 8. The answer is good.",
        "Score: 8/10 because it is right.",
        "Rating: $\\boxed{8}$",
        "\\boxed{8}",
        "Rating: 8 (good)",
        "Rating: 8 (out of 10)",
        "Rating: 8!",
        "Rating: 8 points",
        "**Rating:** 8\n\nThe reply is good.",
        "Overall Rating: 8",
        "The rating is 8",
        "Rating: 8\nwhy\nRating: 8",
        "_Rating: 8_",
        "> Rating: 8",
        "Rating:\n8",
        "Rating: `8`",
        "RATING: 8",
        "“Rating: 8”",
        "Puntuación: 8/10",
        "Rating：８",
        "I rate it 8/10.",
        "Rating - 8",
        "Rating: 8 out of 10 points",
        "Rating: 08",
        "Rating 8",
        "I'd rate the assistant's response a 8 out of 10",
        "Rating: +8",
        "The overall score for this reply is 8/10.",
        "Rating: 8/10 ⭐",
    ],
)
def test_an_eight_is_read_in_every_form_in_which_judges_write_it(reply: str) -> None:
    assert parse_rating(reply, 1, 10) == 8.0


@pytest.mark.parametrize(
    "reply",
    [
        "7",
        "**7**",
        "Rating: 7\nThank you!",
        "Score - 7 out of 10",
        "rating: 7",
        "Rating: <7>",
        "Note : 7/10",
        "score: 5\nRating: 7",
        "My rating: 7",
    ],
)
def test_a_seven_is_read_likewise(reply: str) -> None:
    assert parse_rating(reply, 1, 10) == 7.0


@pytest.mark.parametrize("reply", ["Final score: 7.5/10", "Bewertung: 7,5", "Rating: 7.5."])
def test_a_half_is_read_likewise(reply: str) -> None:
    assert parse_rating(reply, 1, 10) == 7.5


@pytest.mark.parametrize(
    "reply",
    [
        "Rating: seven",
        "Rating: 7 or 8",
        "Rating: 7-8",
        "Rating: 7 Rating: 8",
        "Rating: 1e1",
        "7.5 of 5",
        "Rating: 7½",
        "The correct result is\n8",
        "Errors: 3",
        "Rating: 8²",
        "Rating: 3/5",
        "Rating: 80%",
        "Rating: 7\nOn second thought:\nRating: 8",
        "Rating: 7, or 8",
        "Rating: 7, but not more",
        "It is not an 8/10.",
        "Rating: < 7",
        "Rating: 11",
        "I would give it 7 or 8",
        "Rating: 7 would be harsh",
        "Question 3/10",
        "Rating: 7/10/2024",
        "Rating: ~7",
        "Rating: N/A",
        "Rating: 1,000",
        "Score: 8\nRating: 7.",
        "Rating for correctness: 8\nFit: 7",
        "rating of 3 errors",
        "Rating (1-5): 4",
        "Rating: not 7",
        "Rating: 7+",
        "Rating: -",
        "Rating: >7",
    ],
)
def test_what_may_be_another_number_is_no_rating(reply: str) -> None:
    assert isinstance(parse_rating(reply, 1, 10), Unparsable)


def test_what_a_rating_is_out_of_must_be_the_highest() -> None:
    assert parse_rating("Rating: 80%", 1, 100) == 80.0
    assert parse_rating("Rating: 4 out of 5.", 1, 5) == 4.0
    assert parse_rating("Rating: 4 out of 5.", 1, 10) == Unparsable("a rating out of 5 where the highest is 10")
    assert parse_rating("Rating: -3.", -5, 5) == -3.0
    assert parse_rating("Rating: 1", 1, 10) == 1.0
    assert parse_rating("Rating: 10.", 1, 10) == 10.0


def test_a_scale_may_reach_below_zero() -> None:
    assert parse_rating("Rating: -2.5", -5, 5) == -2.5


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("Rating: 7/10.*-\nscore of[]<>{}()")), max_size=60))
def test_no_text_makes_the_parser_raise(text: str) -> None:
    rating = parse_rating(text, 1, 10)
    assert isinstance(rating, Unparsable) or 1 <= rating <= 10


@given(st.text(max_size=40), st.integers(10, 100).map(lambda tenths: tenths / 10))
def test_a_rating_is_found_whatever_stands_before_it(text: str, rating: float) -> None:
    reply = f"{text.replace('Rating', '')}\nRating: {rating:g}"
    assert parse_rating(reply, 1, 10) == rating


def test_a_reply_of_a_hundred_thousand_characters_is_parsed() -> None:
    assert parse_rating("Rating: good. \n" * 7000 + "Rating: 7", 1, 10) == 7.0
    assert parse_rating("Rating:" + " " * 100_000, 1, 10) == Unparsable("the last line is no rating")
