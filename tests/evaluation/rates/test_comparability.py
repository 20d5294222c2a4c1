"""What figures are not comparable with, in one sentence each."""

from __future__ import annotations

from dataclasses import replace

from eva_data.dataset.evaluations import Compared
from eva_data.evaluation.rates.comparability import reasons
from eva_data.evaluation.rules.alpaca_eval import RULE
from eva_data.evaluation.rules.own import RULE as OWN

PUBLISHED = Compared(
    key="k",
    set="alpaca_eval",
    rule="alpaca_eval",
    source=RULE.source,
    solver="small@1",
    solver_name="theta_1",
    against="reference:outputs.json@1",
    against_name="reference",
    judges=("openai/gpt-4-1106-preview@unknown",),
    prompts=805,
    prompts_hash="",
    own_template=True,
    answers_of="gpt4_1106_preview",
)
"""As the leaderboard has it, so far as anybody can tell."""


def test_nobody_can_tell_that_a_file_is_the_published_question() -> None:
    assert reasons(PUBLISHED, RULE, 1.0) == [
        "not comparable with the leaderboard of AlpacaEval 2: the question to the judge is from `judge_template`, "
        "which may differ from the published one"
    ]


def test_another_judge_other_reference_answers_other_prompts_and_letters_are_said() -> None:
    other = PUBLISHED.model_copy(
        update={
            "judges": ("Qwen/qwen3@1",),
            "answers_of": "davinci",
            "prompts": 100,
            "own_template": False,
        }
    )
    assert reasons(other, RULE, 0.5) == [
        "not comparable with the leaderboard of AlpacaEval 2: the judge is qwen3, and there gpt-4-1106-preview; the "
        "baseline is reference (answers of davinci), and there gpt4_1106_preview; 100 prompts were asked, and there "
        "805; the question to the judge is in eva-data's words; not every verdict is a probability"
    ]


def test_sides_that_sample_otherwise_are_said_also_without_a_leaderboard() -> None:
    apart = PUBLISHED.model_copy(update={"decoding": "temperature 0", "decoding_against": "temperature 1"})
    said = "the sides sample otherwise (temperature 0; temperature 1), so what differs may be that"
    assert reasons(apart, OWN, None) == [said]
    assert reasons(apart, RULE, 1.0)[0] == said
    assert reasons(PUBLISHED, OWN, None) == []
    assert reasons(PUBLISHED, replace(RULE, leaderboard=None), 1.0) == []
