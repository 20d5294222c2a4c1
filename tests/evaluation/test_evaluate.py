"""`eva-data evaluate` through the command line: a solver behind a URL, planted judges, answers in files."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from judge_server import JudgeServer, Prefer
from odd_server import Answer, Asked, OddServer, refused, said
from sandbox_runs import error_of, eva
from small_store import small_store

from eva_data.dataset.evaluations import Compared, read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.evaluation.figures import Figures, figures_of
from eva_data.evaluation.rules.alpaca_eval import switched
from eva_data.hub.checks.evaluations_again import verify_evaluations

pytestmark = pytest.mark.slow

PROMPTS = [f"What is {number} times {number}?" for number in range(12)]


def longer(first: str, second: str) -> str:
    return "first" if len(first) > len(second) else "second" if len(second) > len(first) else "tie"


@dataclass
class Place:
    """A folder with prompts, baseline answers and an eva.yaml, in which evaluations run."""

    folder: Path
    solver: OddServer
    judges: tuple[OddServer, ...]
    baseline: dict[str, str] = field(default_factory=lambda: dict.fromkeys(PROMPTS, "No."))
    more: str = ""
    """Further lines of the block `evaluate`."""
    set_lines: str = ""
    """Further keys of the set."""
    columns: dict[str, list[str]] = field(default_factory=dict)
    """Further columns of the set's file."""

    def write(self) -> tuple[str, ...]:
        rows = {"prompt": PROMPTS, "category": ["even", "odd"] * 6} | self.columns
        pl.DataFrame(rows).write_parquet(self.folder / "questions.parquet")
        pl.DataFrame({"prompt": list(self.baseline), "response": list(self.baseline.values())}).write_parquet(
            self.folder / "baseline.parquet"
        )
        (self.folder / "seeds.txt").write_text("Name a tree.\nName a river.\n")
        judges = ", ".join(
            f"{{backend: api, model: tiny, base_url: '{judge.url}', prices: {{input: 1, output: 1}}}}"
            for judge in self.judges
        )
        (self.folder / "eva.yaml").write_text(
            "name: acme/compared\nseeds: {path: seeds.txt}\n"
            f"solver: {{backend: api, model: small, base_url: '{self.solver.url}', prices: {{input: 1, output: 1}}}}\n"
            "reward: {backend: verifier, function: 'eva_data.rewards.answers:math_equal'}\n"
            "evaluate:\n  heldout: 0\n  allow_same_judge: true\n"
            f"  judges: [{judges}]\n{self.more}"
            f"  sets:\n  - {{name: squares, path: questions.parquet, baseline: baseline.parquet{self.set_lines}}}\n"
        )
        return ("--config", str(self.folder / "eva.yaml"))

    def evaluate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        usual = ("--solver", "theta_0", "--against", "reference")
        return eva(self.folder / "compared", "evaluate", *(arguments or usual), settings=self.write())

    def figures(self) -> Figures:
        """The figures of the only comparison in the record."""
        store = Store(self.folder / "compared")
        record = read_record(store)
        assert record is not None and len(record.evaluations) == 1
        return figures_of(record.evaluations[0], read_rows(store, record))

    def compared(self) -> Compared:
        return self.figures().compared


def serving(answer: str = "A good long answer.", model: str = "small") -> OddServer:
    listed: Answer = (200, {"object": "list", "data": [{"id": model, "object": "model"}]})
    return OddServer(lambda asked: said(asked, answer), listed)


def test_a_judge_that_finds_the_longer_answer_better_decides_in_both_orders(tmp_path: Path) -> None:
    with serving() as solver, JudgeServer(longer) as judge:
        place = Place(tmp_path, solver, (judge,))
        done = place.evaluate()
        assert done.returncode == 0, done.stderr
        made = place.figures()
        assert made.estimate is not None and made.estimate.estimate == 1.0 and made.judged == 12
        assert made.estimate.low < 1 and made.estimate.high == 1
        (order,) = made.orders
        assert (order.both, order.consistent) == (12, 1.0) and order.first is not None and order.first.estimate == 0.5
        assert list(made.categories) == ["even", "odd"]
        assert "theta_0 is better than reference on squares (12 of 12 prompts): win rate 100.0 %" in done.stdout
        questions = [asked.prompt for asked in judge.asked if "<first_reply>" in asked.prompt]
        assert len(questions) == 24 and len(set(questions)) == 24
        # Repeated, it asks nobody.
        before = len(judge.asked), len(solver.asked)
        again = place.evaluate()
        assert again.returncode == 0 and again.stdout == done.stdout
        assert [asked for asked in judge.asked[before[0] :] if "<first_reply>" in asked.prompt] == []


def test_changed_references_and_another_question_are_judged_anew(tmp_path: Path) -> None:
    def told(place: Place) -> int:
        done = place.evaluate()
        assert done.returncode == 0, done.stderr
        return len([asked for asked in judge.asked if "<first_reply>" in asked.prompt])

    def question(words: str) -> None:
        replies = "<first_reply>\n{first}\n</first_reply>\n<second_reply>\n{second}\n</second_reply>"
        text = f"{{prompt}}\n{{reference}}\n{replies}\n{words} End with `Verdict: first`."
        (tmp_path / "question.txt").write_text(text)

    with serving() as solver, JudgeServer(longer) as judge:
        place = Place(tmp_path, solver, (judge,), columns={"reference": ["It is a number."] * 12})
        place.set_lines = ", judge_template: question.txt"
        question("Which is better?")
        assert told(place) == 24
        place.columns = {"reference": ["It is a number."] * 11 + ["It is 121."]}
        assert told(place) == 26
        assert "It is 121." in judge.asked[-1].prompt
        question("Which is the better one?")
        assert told(place) == 50


@pytest.mark.parametrize(
    ("prefer", "warned"),
    [
        (lambda first, second: "first", "always preferred the reply shown first: its verdicts say nothing"),
        (lambda first, second: "second", "always preferred the reply shown second: its verdicts say nothing"),
    ],
)
def test_a_judge_that_goes_by_the_place_alone_is_found_out(tmp_path: Path, prefer: Prefer, warned: str) -> None:
    with serving() as solver, JudgeServer(prefer) as judge:
        place = Place(tmp_path, solver, (judge,))
        done = place.evaluate()
        assert done.returncode == 0 and warned in done.stdout
        assert "This judge cannot tell theta_0 from reference" in done.stdout
        made = place.figures()
        assert made.estimate is not None and made.estimate.estimate == 0.5
        assert made.orders[0].consistent == 0.0


def test_the_rule_of_alpaca_eval_asks_once_in_the_order_that_the_instruction_draws(tmp_path: Path) -> None:
    def says(asked: Asked) -> Answer:
        shown = re.search(r"<answer_of_m>\n(.*)\n</answer_of_m>\n\n<answer_of_M>\n(.*)\n</answer_of_M>", asked.prompt)
        return said(asked, "A canary." if shown is None else "m" if len(shown[1]) > len(shown[2]) else "M")

    listed: Answer = (200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})
    with serving() as solver, OddServer(says, listed) as judge:
        baseline = {prompt: "No" + number * "." for number, prompt in enumerate(PROMPTS)}
        lines = f", rule: alpaca_eval, gamed_baselines: {tmp_path / 'df_gamed.csv'}"
        gamed = {"index": [*range(12)] * 2, "preference": [0.7] * 12 + [0.3] * 12}
        gamed |= {"std_delta_len": [-1.0] * 12 + [1.0] * 12, "instruction_difficulty": [0.1 * n for n in range(12)] * 2}
        pl.DataFrame(gamed).write_csv(tmp_path / "df_gamed.csv")
        place = Place(tmp_path, solver, (judge,), baseline, set_lines=lines)
        done = place.evaluate()
        assert done.returncode == 0, done.stderr
        made = place.figures()
        # The rows alone give everything but the length-controlled win rate, which the record keeps.
        assert made.length_name == "length_controlled_win_rate" and made.length_controlled is not None
        assert "at equal length" in done.stdout and made.compared.gamed is not None
        assert verify_evaluations(Store(tmp_path / "compared")) == (
            [],
            [f"the length-controlled win rate on `squares`, which needs {made.compared.gamed}"],
        )
        assert made.estimate is not None and made.estimate.estimate == 1.0 and made.judged == 12
        questions = [asked.prompt for asked in judge.asked if "<answer_of_m>" in asked.prompt]
        assert len(questions) == 12
        first = {
            text for text in PROMPTS for asked in questions if text in asked and "<answer_of_m>\nA good long" in asked
        }
        assert first == {
            text for text, solver_first in zip(PROMPTS, switched(pl.Series(PROMPTS)), strict=True) if solver_first
        }


def test_ties_alone_tell_nothing_apart(tmp_path: Path) -> None:
    with serving() as solver, JudgeServer(lambda first, second: "tie") as judge:
        place = Place(tmp_path, solver, (judge,))
        done = place.evaluate()
        assert "theta_0 and reference are not distinguishable at this size on squares" in done.stdout
        made = place.figures()
        assert made.estimate is not None
        assert made.estimate.estimate == 0.5 and made.estimate.low < 0.5 < made.estimate.high


def test_the_card_of_the_folder_tells_the_evaluation_and_a_repeated_one_leaves_it(tmp_path: Path) -> None:
    store = small_store(tmp_path / "compared")
    with serving() as solver, JudgeServer(longer) as judge:
        place = Place(tmp_path, solver, (judge,))
        assert place.evaluate().returncode == 0
        card = (store.folder / "README.md").read_text()
        assert "config_name: evaluations" in card
        assert "| `squares` | `own` | `theta_0` | `reference` | win rate 100.0 % [" in card
        before = (store.folder / "README.md").stat().st_mtime_ns
        assert place.evaluate().returncode == 0
        assert (store.folder / "README.md").stat().st_mtime_ns == before


def test_empty_and_equal_answers_are_decided_without_a_judge_and_missing_ones_not_at_all(tmp_path: Path) -> None:
    baseline = dict.fromkeys(PROMPTS, "No.") | {PROMPTS[0]: "", PROMPTS[1]: "A good long answer."}
    del baseline[PROMPTS[2]]
    baseline |= {"What no set asks?": "This.", "Nor this?": "That."}
    with serving() as solver, JudgeServer(longer) as judge:
        place = Place(tmp_path, solver, (judge,), baseline)
        done = place.evaluate()
        assert done.returncode == 0, done.stderr
        assert "1 of 12 prompts of the set `squares` have no reference answer: they are not compared" in done.stderr
        assert re.search(r"2 answers of \S+ are to prompts that the set `squares` does not hold", done.stderr)
        rows = read_rows(Store(tmp_path / "compared"))
        assert rows.group_by("reason").len().sort("reason").rows() == [
            (None, 18),
            ("empty_answer", 2),
            ("same_answer", 2),
        ]
        assert rows.filter(pl.col("reason") == "empty_answer")["score"].to_list() == [1.0, 1.0]
        assert rows.filter(pl.col("reason") == "same_answer")["score"].to_list() == [0.5, 0.5]
        made = place.figures()
        assert (made.judged, made.compared.prompts) == (11, 12)
        assert len([asked for asked in judge.asked if "<first_reply>" in asked.prompt]) == 18


def test_verdicts_that_cannot_be_read_are_asked_for_once_more_and_never_count(tmp_path: Path) -> None:
    with serving() as solver, JudgeServer(lambda first, second: "I like both of them.") as judge:
        place = Place(tmp_path, solver, (judge,))
        done = place.evaluate()
        assert done.returncode == 0
        assert "Nothing can be said of theta_0 on squares (0 of 12 prompts): unparsable 24." in done.stdout
        rows = read_rows(Store(tmp_path / "compared"))
        assert rows["score"].null_count() == 24
        assert set(rows["raw"]) == {"I like both of them."}
        assert len([asked for asked in judge.asked if "<first_reply>" in asked.prompt]) == 48


def test_a_panel_goes_by_its_majority(tmp_path: Path) -> None:
    shorter: Prefer = lambda first, second: {"first": "second", "second": "first"}.get(longer(first, second), "tie")  # noqa: E731
    with serving() as solver, JudgeServer(longer) as one, JudgeServer(longer) as two, JudgeServer(shorter) as three:
        place = Place(tmp_path, solver, (one, two, three))
        done = place.evaluate()
        assert done.returncode == 0, done.stderr
        made = place.figures()
        assert made.estimate is not None and made.estimate.estimate == 1.0
        assert len(made.compared.judges) in (1, 3)


def test_a_budget_that_ends_in_the_middle_leaves_partial_figures_and_the_next_run_goes_on(tmp_path: Path) -> None:
    def prefer(asked: Asked) -> Answer:
        status, content, *_ = said(
            asked,
            "Verdict: first" if "long answer" in asked.prompt.partition("<second_reply>")[0] else "Verdict: second",
        )
        content["usage"] = {"prompt_tokens": 1000, "completion_tokens": 0}
        return status, content

    with serving() as solver, OddServer(prefer) as judge:
        place = Place(tmp_path, solver, (judge,))
        done = place.evaluate("--solver", "theta_0", "--against", "reference", "--budget", "0.02")
        assert done.returncode == 1, done.stdout
        assert "the figures above are partial: raise the budget and repeat the command" in done.stderr
        assert "Warning: partial:" in done.stdout
        first = place.figures()
        assert first.compared.partial is not None and 0 < first.judged < 12
        assert "not_asked" in first.reasons
        paid = len([asked for asked in judge.asked if "<first_reply>" in asked.prompt])
        done = place.evaluate()
        assert done.returncode == 0, done.stderr
        made = place.figures()
        assert made.compared.partial is None and made.judged == 12 and made.reasons == {}
        assert paid < 24
        assert len([asked for asked in judge.asked if "<first_reply>" in asked.prompt]) == 24


def test_an_answer_beyond_the_judges_context_is_no_verdict_and_says_why(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        if "9 times 9" in asked.prompt:
            return refused("This model's maximum context length is 10 tokens.", code="context_length_exceeded")
        return said(asked, "Verdict: tie")

    with serving() as solver, OddServer(answer) as judge:
        place = Place(tmp_path, solver, (judge,))
        done = place.evaluate()
        assert done.returncode == 0, done.stderr
        made = place.figures()
        assert made.judged == 11
        assert made.reasons == {"call_failed": 2}
        rows = read_rows(Store(tmp_path / "compared")).filter(pl.col("score").is_null())
        assert all("context_length_exceeded" in reason for reason in rows["reason"])


def test_a_judge_of_the_solvers_family_is_refused_unless_that_is_allowed(tmp_path: Path) -> None:
    with serving(model="gemma-2-2b-it") as solver, JudgeServer(longer) as judge:
        place = Place(tmp_path, solver, (judge,))
        place.write()
        text = (tmp_path / "eva.yaml").read_text()
        text = text.replace("model: small", "model: gemma-2-2b-it").replace("model: tiny", "model: gemma-3-27b-it")
        (tmp_path / "eva.yaml").write_text(text.replace("allow_same_judge: true", "allow_same_judge: false"))
        done = eva(
            tmp_path / "compared",
            "evaluate",
            "--against",
            "reference",
            settings=("--config", str(tmp_path / "eva.yaml")),
        )
        assert "the judge `gemma-3-27b-it` is of the family of `gemma-2-2b-it`, which plays" in done.stderr


def test_a_set_in_a_file_is_told_by_its_name_and_what_is_wrong_with_it_in_one_sentence(tmp_path: Path) -> None:
    with serving() as solver, JudgeServer(longer) as judge:
        place = Place(tmp_path, solver, (judge,))
        settings = place.write()
        (tmp_path / "others.jsonl").write_text(json.dumps({"question_id": 1}) + "\n")

        def failing(*arguments: str) -> str:
            return error_of(eva(tmp_path / "compared", "evaluate", *arguments, settings=settings))

        assert "which is neither a file nor a set of `evaluate.sets` (squares)" in failing("--set-name", "cubes")
        columns = failing("--set-name", str(tmp_path / "others.jsonl"), "--against", "theta_0", "--solver", "tiny")
        assert "`evaluate.sets.others.prompt` is `prompt`" in columns and "question_id" in columns
        unknown = failing("--set-name", str(tmp_path / "others.jsonl"), "--rule", "nope")
        assert "`--rule` is `nope`: expected one of `alpaca_eval`, `arena_hard`" in unknown
        assert "theta_3 is not trained: make it with `eva-data train --iter 3`" in failing("--solver", "theta_3")
        assert "compares two sides: name the other with `--against`" in failing("--solver", "theta_0")
