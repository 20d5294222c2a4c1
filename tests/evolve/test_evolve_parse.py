"""From a creator's reply to a prompt: what the parsers remove, and what they keep."""

from __future__ import annotations

import time

import pytest

from eva_data.calls import Unparsable
from eva_data.evolve.parse import after, bare, first_line, marked, structured


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("Name three rivers.", "Name three rivers."),
        ("\n\n  Name three rivers.  \n", "Name three rivers."),
        ('"Name three rivers."', "Name three rivers."),
        ("“Nenne drei Flüsse.”", "Nenne drei Flüsse."),
        ("「川を三つ挙げてください。」", "川を三つ挙げてください。"),
        ('"Yes" or "no"?', '"Yes" or "no"?'),
        ("```\nName three rivers.\n```", "Name three rivers."),
        ("```python\nprint(1)\n```", "```python\nprint(1)\n```"),
        ("```\na\n```\nand\n```\nb\n```", "```\na\n```\nand\n```\nb\n```"),
        ("Sure! Here is the rewritten prompt:\n\nName three rivers.", "Name three rivers."),
        ("Here's a more complex version of it:\nName three rivers.", "Name three rivers."),
        ("Here is a poem:\nRoses are red.\nContinue it.", "Here is a poem:\nRoses are red.\nContinue it."),
        ("**Rewritten Prompt:** Name three rivers.", "Name three rivers."),
        ('Certainly. Below is the new prompt:\n"Name three rivers."', "Name three rivers."),
        ("<think>They want rivers.</think>\n\nName three rivers.", "Name three rivers."),
        ("They want rivers.</think>Name three rivers.", "Name three rivers."),
        ("Well: <new_prompt>Name three rivers.</new_prompt>", "Name three rivers."),
        ("", ""),
    ],
)
def test_a_bare_reply_is_the_prompt(reply: str, text: str) -> None:
    assert bare(reply) == text


def test_thoughts_without_an_end_hold_no_prompt() -> None:
    no_end = Unparsable("the reasoning has no end")
    reply = "<think>They want rivers. #Rewritten Prompt#: <new_prompt>Rivers?</new_prompt>"
    assert [parse(reply) for parse in (after("Prompt#:"), first_line, marked)] == [no_end] * 3
    assert bare("<think>They want rivers.") == no_end


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("Name three rivers.", "Name three rivers."),
        ("#Rewritten Prompt#:\nName three rivers.", "Name three rivers."),
        (
            "#The Given Prompt#:\nName rivers.\n#Rewritten Prompt#:\nName three rivers.\n",
            "Name three rivers.",
        ),
        ("#Rewritten Prompt#:", ""),
    ],
)
def test_an_evolved_prompt_stands_after_the_last_label(reply: str, text: str) -> None:
    assert after("Prompt#:")(reply) == text


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("What is tin?\nWhat is lead?", "What is tin?"),
        ("\n\n  What is tin?  ", "What is tin?"),
        ("Here is a query:\nWhat is tin?", "What is tin?"),
        ('"What is tin?"\n"What is lead?"', "What is tin?"),
    ],
)
def test_an_instruction_is_the_first_line(reply: str, text: str) -> None:
    assert first_line(reply) == text


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("<new_prompt>\nWhat is tin?\n</new_prompt>", "What is tin?"),
        ("A draft: <new_prompt>a</new_prompt>, better: <new_prompt>b</new_prompt>", "b"),
        ('<new_prompt>"Tin", he said.\n\n```\n1\n```</new_prompt> Done.', '"Tin", he said.\n\n```\n1\n```'),
        ("What is tin?", Unparsable("no text between <new_prompt> and </new_prompt>")),
        ("<new_prompt>What is tin?", Unparsable("no text between <new_prompt> and </new_prompt>")),
        ("What is tin?</new_prompt>", Unparsable("no text between <new_prompt> and </new_prompt>")),
        (
            "</new_prompt>What is tin?<new_prompt>",
            Unparsable("no text between <new_prompt> and </new_prompt>"),
        ),
    ],
)
def test_a_marked_prompt_stands_between_the_last_markers(reply: str, text: str | Unparsable) -> None:
    assert marked(reply) == text


def test_a_reply_of_a_hundred_thousand_characters_is_parsed() -> None:
    rivers = "Here is a prompt about rivers, " * 3300
    assert len(rivers) > 100_000
    for parse in (bare, after("Prompt#:"), first_line):
        assert parse(rivers) == rivers.strip()
    assert marked(f"<new_prompt>{rivers}</new_prompt>") == rivers.strip()


@pytest.mark.parametrize(
    "reply",
    [
        "x" + "\n" * 150_000,
        "x " + " " * 150_000 + "y",
        "a\n\n" * 30_000,
        '{"prompt": ' * 15_000,
        "a" * 200_001,
        "[" * 150_000,
    ],
)
def test_a_reply_that_would_be_read_for_hours_is_read_in_seconds(reply: str) -> None:
    # Ten thousand such characters took ten seconds, and the time grew with their square.
    started = time.process_time()
    for parse in (bare, after("Prompt:"), first_line, marked, structured):
        parse(reply)
    assert time.process_time() - started < 30


def test_what_no_reply_to_be_read_is_told() -> None:
    assert bare("a" * 200_001) == Unparsable("the reply has more than 200,000 characters")
    assert marked("<new_prompt>" + " " * 1000 + "</new_prompt>") == Unparsable(
        "the reply has a thousand white spaces in a row"
    )
    assert structured('{"prompt": ' * 15_000 + '{"prompt": "Say a."}').__class__ is Unparsable
