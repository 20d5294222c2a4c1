"""The published rules with planted judges: the questions, their number, and the figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import log
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from judge_server import shown
from odd_server import Answer, Asked, OddServer, refused, said
from sandbox_runs import eva

from eva_data.dataset.evaluations import read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.evaluation.figures import Figures, figures_of
from eva_data.hub.checks.evaluations_again import verify_evaluations
from eva_data.ledger import Ledger

pytestmark = pytest.mark.slow

TURNS = {"Write a poem.": "Now without the letter e.", "What is 2 + 2?": "And 4 + 4?"}
REFERENCES = {"Write a poem.": None, "What is 2 + 2?": ["It is 4.", "It is 8."]}


def evaluated(
    folder: Path, rule: str, columns: Mapping[str, Any], answer: Callable[[Asked], Answer], against: str | None = None
) -> Figures:
    """The figures of a rule on a set of two prompts, for a theta_0 that always answers `Mine.`."""
    pl.DataFrame({"prompt": list(TURNS)} | dict(columns)).write_parquet(folder / "set.parquet")
    pl.DataFrame({"prompt": list(TURNS), "response": ["Theirs.", "Theirs."]}).write_parquet(folder / "baseline.parquet")
    (folder / "seeds.txt").write_text("Name a tree.\n")
    with OddServer(lambda asked: said(asked, "Mine.")) as solver, OddServer(answer) as judge:
        (folder / "eva.yaml").write_text(
            "name: acme/ruled\nseeds: {path: seeds.txt}\n"
            f"solver: {{backend: api, model: tiny, revision: solves, base_url: '{solver.url}'}}\n"
            "reward: {backend: verifier, function: 'eva_data.rewards.answers:math_equal'}\n"
            "evaluate:\n  heldout: 0\n  allow_same_judge: true\n"
            f"  judges: [{{backend: api, model: tiny, revision: judges, base_url: '{judge.url}'}}]\n"
            f"  sets: [{{name: set, rule: {rule}, path: set.parquet, baseline: baseline.parquet}}]\n"
        )
        sides = ("--against", against) if against else ()
        settings = ("--config", str(folder / "eva.yaml"))
        done = eva(folder / "ruled", "evaluate", "--solver", "theta_0", *sides, settings=settings)
        assert done.returncode == 0, done.stderr
        QUESTIONS[:] = [asked.prompt for asked in judge.asked if "you" in asked.prompt and "<" in asked.prompt]
    store = Store(folder / "ruled")
    record = read_record(store)
    assert record is not None
    assert verify_evaluations(store) == ([], [])
    (compared,) = record.evaluations
    return figures_of(compared, read_rows(store, record))


QUESTIONS: list[str] = []


def test_mt_bench_rates_both_turns_and_shows_each_its_own_reference(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        if "<answer>" not in asked.prompt:
            return said(asked, "Hello.")
        return said(asked, "Rating: [[4]]" if "[Assistant]" in asked.prompt else "Rating: [[8]]")

    columns = {"turn_2": list(TURNS.values()), "reference": list(REFERENCES.values()), "category": ["writing", "math"]}
    made = evaluated(tmp_path, "mt_bench", columns, answer)
    assert (made.unit, made.judged) == ("rating", 2)
    assert made.estimate is not None and made.estimate.estimate == 6.0
    assert sorted(made.categories) == ["math", "writing"]
    assert len(QUESTIONS) == 4
    second = [question for question in QUESTIONS if "And 4 + 4?" in question]
    assert len(second) == 1
    assert shown(second[0], "conversation") == ("[User]\nWhat is 2 + 2?\n\n[Assistant]\nMine.\n\n[User]\nAnd 4 + 4?",)
    assert "It is 8." in second[0] and "It is 4." not in second[0]
    assert not any("<reference_answer>" in question for question in QUESTIONS if "poem" in question)


def test_arena_hard_reads_five_verdicts_in_both_orders(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        replies = shown(asked.prompt, "answer_of_A", "answer_of_B")
        if not replies:
            return said(asked, "Hello.")
        better = "[[A>>B]]" if replies[0] == "Mine." else "[[B>A]]"
        return said(asked, f"My own answer is short.\n{better}" if "poem" in asked.prompt else "[[A=B]]")

    made = evaluated(tmp_path, "arena_hard", {}, answer, "reference")
    # A strong win counts three times, a slight one once, two ties half each: 5 of 6 verdicts.
    assert made.estimate is not None and made.estimate.estimate == pytest.approx(5 / 6)
    assert made.scores.sort("score").select("score", "weight").rows() == [(0.5, 2.0), (1.0, 4.0)]
    assert made.not_comparable == (
        "not comparable with the leaderboard of Arena-Hard v0.1: the judge is tiny, and there gpt-4-1106-preview; the "
        "baseline is reference, and there gpt-4-0314; 2 prompts were asked, and there 500; the question to the judge "
        "is in eva-data's words",
    )
    assert len(QUESTIONS) == 4
    assert made.orders[0].consistent == 1.0


def test_alpaca_eval_asks_once_per_prompt_in_its_drawn_order_and_reads_a_letter_where_there_are_no_probabilities(
    tmp_path: Path,
) -> None:
    def answer(asked: Asked) -> Answer:
        if "logprobs" in asked.body:
            return refused("You are not allowed to request logprobs from this model.", 403)
        replies = shown(asked.prompt, "answer_of_m", "answer_of_M")
        if not replies:
            return said(asked, "Hello.")
        return said(asked, "m" if replies[0] == "Mine." else "M")

    made = evaluated(tmp_path, "alpaca_eval", {}, answer, "reference")
    assert made.estimate is not None and made.estimate.estimate == 1.0
    assert len(set(QUESTIONS)) == 2 and made.orders == ()
    assert made.probabilities == 0
    assert "the judge gave log-probabilities for 0 % of its verdicts; the others count as 0, 0.5 or 1" in made.warnings


def likely(asked: Asked, **logarithms: float) -> Answer:
    """The reply `M`, beside the log-probabilities of first tokens."""
    status, content, *_ = said(asked, "M")
    listed = [{"token": token, "logprob": value} for token, value in logarithms.items()]
    content["choices"][0]["logprobs"] = {"content": [{"token": "M", "logprob": -1.0, "top_logprobs": listed}]}
    return status, content


def test_alpaca_eval_takes_the_probability_of_a_letter_before_the_letter(tmp_path: Path) -> None:
    wanted: list[object] = []

    def answer(asked: Asked) -> Answer:
        replies = shown(asked.prompt, "answer_of_m", "answer_of_M")
        if not replies:
            assert "logprobs" not in asked.body
            return said(asked, "Hello.")
        wanted.append((asked.body["logprobs"], asked.body["top_logprobs"]))
        ours, theirs = ("m", "M") if replies[0] == "Mine." else ("M", "m")
        # .6 of .6 + .2 for the solver's answer to the one prompt, and to the other the solver's letter is not listed.
        likelihoods = {ours: log(0.6), theirs: log(0.2)} if "poem" in asked.prompt else {theirs: log(0.9)}
        return likely(asked, The=log(0.1), **likelihoods)

    made = evaluated(tmp_path, "alpaca_eval", {}, answer, "reference")
    assert wanted == [(True, 5), (True, 5)]
    assert made.probabilities == 1.0 and len(made.warnings) == 1
    assert made.scores["score"].sort().to_list() == pytest.approx([0.0, 0.75])
    assert made.estimate is not None and made.estimate.estimate == pytest.approx(0.375)
    rows = read_rows(Store(tmp_path / "ruled"))
    assert rows["preference"].sort().to_list() == pytest.approx([0.0, 0.75])
    assert rows["label"].to_list() == ["M", "M"] and rows["raw"].null_count() == 2
    # What was paid for is in the ledger, with its probabilities.
    with Ledger(tmp_path / "ruled" / ".eva" / "ledger.sqlite") as ledger:
        kept = [json.loads(tokens) for (tokens,) in ledger.rows("SELECT tokens FROM likelihoods")]
    assert len(kept) == 2 and all(tokens["The"] == log(0.1) for tokens in kept)


def test_wildbench_shows_the_checklist_and_counts_small_differences_half(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        replies = shown(asked.prompt, "answer_of_A", "answer_of_B")
        if not replies:
            return said(asked, "Hello.")
        assert "- Is it right?\n- Is it kind?" in asked.prompt
        return said(asked, "[[A+]]" if replies[0] == "Mine." else "[[B+]]")

    columns = {"checklist": [["Is it right?", "Is it kind?"]] * 2}
    made = evaluated(tmp_path, "wildbench", columns, answer, "reference")
    assert made.estimate is not None and made.estimate.estimate == 0.75


def test_a_rule_that_needs_a_column_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        AssertionError, match=r"needs a checklist for every prompt, and 2 of 2 prompts of the set `set`"
    ):
        evaluated(tmp_path, "wildbench", {}, lambda asked: said(asked, "Hello."), "reference")


def test_verify_finds_figures_and_scores_that_do_not_follow_from_the_rows(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        replies = shown(asked.prompt, "answer_of_A", "answer_of_B")
        return said(asked, "[[A>B]]" if replies and replies[0] == "Mine." else "[[B>A]]")

    evaluated(tmp_path, "arena_hard", {}, answer, "reference")
    store = Store(tmp_path / "ruled")
    record = read_record(store)
    assert record is not None
    (compared,) = record.evaluations
    better = compared.model_copy(update={"figures": compared.figures | {"estimate": [0.99, 0.9, 1.0]}})
    written = record.model_copy(update={"evaluations": (better,)}).model_dump_json()
    (store.folder / "manifests" / "evaluations.json").write_text(written)
    problems, _ = verify_evaluations(store)
    assert len(problems) == 1 and problems[0].startswith(
        "evaluations: set of theta_0 against reference: `estimate` is [0.99, 0.9, 1.0], and [1.0, "
    )
    (store.folder / "evaluations" / "theta_0.parquet").write_bytes(b"no table")
    problems, _ = verify_evaluations(store)
    assert len(problems) == 1 and "is not the file that its record names, by its SHA-256" in problems[0]
