"""The published rules with planted judges: the questions, their number, and the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from judge_server import shown
from odd_server import Answer, Asked, OddServer, said
from sandbox_runs import eva

from eva_data.dataset.evaluations import read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.evaluation.figures import Figures, figures_of
from eva_data.hub.checks.evaluations_again import verify_evaluations

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
    assert made.estimate is not None and made.estimate.estimate == 0.75
    assert made.scores.sort("score")["score"].to_list() == [0.5, 1.0]
    assert len(QUESTIONS) == 4
    assert made.orders[0].consistent == 1.0


def test_alpaca_eval_asks_once_per_prompt_in_its_drawn_order(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        replies = shown(asked.prompt, "answer_of_m", "answer_of_M")
        if not replies:
            return said(asked, "Hello.")
        return said(asked, "m" if replies[0] == "Mine." else "M")

    made = evaluated(tmp_path, "alpaca_eval", {}, answer, "reference")
    assert made.estimate is not None and made.estimate.estimate == 1.0
    assert len(QUESTIONS) == 2 and made.orders == ()


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
