"""The costs of an iteration, worked by hand, and a pilot that the build does not pay for again."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from misbehaving import Misbehaving
from sandbox_runs import eva
from small_store import a_manifest

from eva_data.cli import main
from eva_data.cli.text.costs import print_plan, spent_table
from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import parse_config
from eva_data.dataset.seeds import as_prompts, read_seeds
from eva_data.dataset.staleness import what_counts
from eva_data.errors import DataError, StaleError
from eva_data.evaluation.asked import visible_difference
from eva_data.evaluation.rules.own import RULE as OWN
from eva_data.evaluation.rules.verifier import RULE as VERIFIED
from eva_data.evolve.scorer import QUESTIONS
from eva_data.game.pilot import Piloted
from eva_data.game.plan import PlanLine, Rates, plan_iteration, rates_of
from eva_data.game.starting import Start, starting_prompts
from eva_data.game.workload import EVOLVE_TEMPLATE, JUDGE_TEMPLATE, PlannedModel, chains_needed
from eva_data.iteration.run import Run
from eva_data.ledger import Bill, Ledger
from eva_data.method.rewrite import TEMPLATE as REWRITE_TEMPLATE
from eva_data.report.figures import dollars, duration, rounded
from eva_data.tables.flow import Flow
from eva_data.tables.schemas import TABLES, empty

API: dict[str, Any] = {
    "backend": "api",
    "model": "tiny",
    "base_url": "http://127.0.0.1:9/v1",
    "responses": 6,
    "max_tokens": 100,
    "max_in_flight": 4,
    "prices": {"input": 1, "output": 2},
}
VERIFIER = {"backend": "verifier", "function": "eva_data.sandbox.verifier:score"}
SERVED = {"backend": "vllm", "model": "tiny", "tensor_parallel": 2, "responses": 6, "max_in_flight": 2}
HERE = {"backend": "transformers", "model": "tiny", "responses": 6, "batch_size": 4}
UNKNOWN = {"backend": "api", "model": "unheard-of", "base_url": "http://127.0.0.1:9/v1", "max_tokens": 50}


def run_of(folder: Path, instead: str | None = None, **blocks: Any) -> Run:
    """A run with ten seeds of 40 characters, which count as 10 tokens. `instead` is its `--solver`."""
    seeds = folder / "seeds.jsonl"
    seeds.write_text("".join(json.dumps({"prompt": f"{number:040}"}) + "\n" for number in range(10)))
    values = {
        "name": "acme/plan",
        "folder": str(folder / "data"),
        "seeds": {"path": str(seeds)},
        "solver": API,
        "reward": VERIFIER,
    }
    return Run(parse_config(values | blocks, "test"), ConsoleReporter(), instead)


def bill(stage: str, model: str = "tiny@unknown", **fields: Any) -> Bill:
    """The bill of two requests with six answers each: 40 tokens in, 600 tokens out, 3 seconds."""
    values: dict[str, Any] = {"completions": 12, "prompt_tokens": 40, "completion_tokens": 600, "seconds": 3.0}
    return Bill(model=model, stage=stage, **{"iteration": 1, "cost": 0.5} | values | fields)


def keep(run: Run, *bills: Bill) -> None:
    with Ledger(run.ledger) as ledger:
        ledger.keep_completions({}, bills)


def build(run: Run, iteration: int, *, solver: str = "tiny@unknown", survivors: int = 0, attempts: int = 0) -> None:
    """Build an iteration that holds only the seeds, with this block `evolving`."""
    assert run.config.seeds is not None
    prompts = as_prompts(read_seeds(run.config.seeds, run.config.seed)[0], iteration)
    manifest = a_manifest(
        iteration,
        config=run.config.data() | {"name": run.config.name},
        settings=what_counts(run.config, iteration),
        models={"solver": solver},
        flow=[Flow("evolve", "evolutions", attempts, survivors, attempts - survivors)] if attempts else [],
        evolving={"found": survivors} if attempts else None,
    )
    run.store.write_iteration(manifest, {name: empty(schema) for name, schema in TABLES.items()} | {"prompts": prompts})


def line(stage: str, calls: int, completions: int, tokens_in: int, tokens_out: int, **fields: Any) -> PlanLine:
    """A line of the plan without measured figures, at $1 and $2 per million tokens by default."""
    counts: dict[str, Any] = {
        "calls": calls,
        "completions": completions,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
    }
    values: dict[str, Any] = {
        "model": "tiny",
        "cost": pytest.approx((tokens_in + 2 * tokens_out) / 1e6),
        "seconds": None,
        "source": "bound",
        "own_hardware": False,
    }
    return PlanLine(stage=stage, **counts, **values | fields)


def scored(stage: str, calls: int, model: str = "eva_data.sandbox.verifier:score") -> PlanLine:
    return PlanLine(f"reward ({stage})", model, calls, None, None, None, 0.0, None, "computed", own_hardware=True)


REUSED: dict[str, Any] = {"seconds": 0.0, "source": "reused"}


# --- what is asked -----------------------------------------------------------------------------------------------


def test_the_first_iteration_asks_every_seed_n_times_in_one_request(tmp_path: Path) -> None:
    plan = plan_iteration(run_of(tmp_path), 1)
    assert plan.start == Start(10, 10, str(tmp_path / "seeds.jsonl"))
    # 10 prompts of 10 tokens, 60 answers of at most 100.
    assert plan.lines == (line("respond", 10, 60, 100, 6000), scored("respond", 60))
    assert plan.cost == pytest.approx(0.0121)
    assert (plan.unpriced, plan.spent, plan.paid) == (False, 0, 0)
    assert not (tmp_path / "data").exists()


def test_a_later_iteration_estimates_evolves_and_answers_what_is_new(tmp_path: Path) -> None:
    plan = plan_iteration(run_of(tmp_path, instead="other"), 2)
    assert plan.lines == (
        line("estimate", 10, 60, 100, 6000, model="other"),
        scored("estimate", 60),
        # round(0.25 x 10) = 3 chains of 4: 250 tokens of instruction each, then the prompt or what was written, 512.
        line("evolve", 12, 12, 12 * 250 + 3 * (10 + 3 * 512), 12 * 512, model="other"),
        # 8 evolved prompts of at most 512 tokens; the other 2 are answered already.
        line("respond", 8, 48, 8 * 512, 4800, model="other"),
        scored("respond", 48),
    )
    assert plan.notes == (
        "iteration 1 is not built: `eva-data plan --iter 1` says what it takes",
        "more prompts are evolved where fewer than 80% of the evolutions survive",
    )


def test_an_unchanged_solver_has_answered_the_last_prompts_already(tmp_path: Path) -> None:
    expected = (
        line("estimate", 0, 0, 0, 0, **REUSED),
        scored("estimate", 0),
        line("evolve", 12, 12, 12 * 250 + 3 * (10 + 3 * 512), 12 * 512),
        line("respond", 8, 48, 8 * 512, 4800),
        scored("respond", 48),
    )
    run = run_of(tmp_path)
    assert plan_iteration(run, 2).lines == expected
    build(run, 1)
    assert plan_iteration(run, 2).lines[0] == line("estimate", 10, 60, 100, 6000), "its ledger is not here"
    keep(run)
    assert plan_iteration(run, 2).lines == expected
    again = run_of(tmp_path, instead="tiny@rev-2")
    assert [found.completions for found in plan_iteration(again, 2).lines] == [60, None, 12, 48, None]


def test_rewards_of_the_last_iteration_spare_the_estimate_but_not_the_originals(tmp_path: Path) -> None:
    plan = plan_iteration(run_of(tmp_path, instead="other", estimate={"source": "previous"}), 2)
    assert [found.stage for found in plan.lines] == ["evolve", "respond", "reward (respond)"]
    assert plan.lines[1] == line("respond", 10, 60, 8 * 512 + 2 * 10, 6000, model="other")
    same = plan_iteration(run_of(tmp_path, estimate={"source": "previous"}), 2)
    assert same.lines[1] == line("respond", 8, 48, 8 * 512, 4800)


def test_new_seeds_need_no_creator(tmp_path: Path) -> None:
    plan = plan_iteration(run_of(tmp_path, instead="other", mix={"source": "new_seeds"}), 2)
    # All ten prompts are new, as in the paper's table 2, and no prompt is estimated.
    assert [(found.stage, found.completions, found.tokens_in) for found in plan.lines] == [
        ("respond", 60, 100),
        ("reward (respond)", None, None),
    ]
    most = plan_iteration(run_of(tmp_path, instead="other", mix={"source": "new_seeds", "evolved": 0.8}), 2)
    assert most.lines == plan.lines, "and two old prompts, which the other solver has not answered"


def test_the_drawn_prompts_themselves_were_answered_by_the_estimate(tmp_path: Path) -> None:
    plan = plan_iteration(run_of(tmp_path, instead="other", mix={"source": "sampled"}), 2)
    assert [(found.stage, found.completions) for found in plan.lines] == [
        ("estimate", 60),
        ("reward (estimate)", None),
        ("respond", 0),
        ("reward (respond)", None),
    ]
    previous = {"estimate": {"source": "previous"}, "mix": {"source": "sampled"}}
    plan = plan_iteration(run_of(tmp_path, instead="other", **previous), 2)
    assert [(found.stage, found.completions) for found in plan.lines] == [("respond", 18), ("reward (respond)", None)]


def test_a_set_that_is_trained_on_again_is_only_answered_again(tmp_path: Path) -> None:
    plan = plan_iteration(run_of(tmp_path, instead="other", mix={"evolved": 0}), 2)
    assert [(found.stage, found.completions) for found in plan.lines] == [("respond", 60), ("reward (respond)", None)]


def test_a_model_in_this_process_computes_batches_and_reads_the_prompt_for_every_sample(tmp_path: Path) -> None:
    solver = {"backend": "transformers", "model": "sandbox", "max_tokens": 100, "batch_size": 16}
    plan = plan_iteration(run_of(tmp_path, solver=solver), 2)
    own: dict[str, Any] = {"model": "sandbox", "cost": 0.0, "own_hardware": True}
    assert plan.lines == (
        line("estimate", 4, 60, 600, 6000, **own),
        scored("estimate", 60),
        # Four steps, one after the other, of a batch each.
        line("evolve", 4, 12, 12 * 250 + 3 * (10 + 3 * 512), 12 * 512, **own),
        line("respond", 3, 48, 6 * 8 * 512, 4800, **own),
        scored("respond", 48),
    )
    assert "theta_1 has to be trained first, which this leaves out" in plan.notes


def test_models_that_are_not_on_this_machine_can_be_planned_for(tmp_path: Path) -> None:
    solver = {"backend": "vllm", "model": "org/solver", "max_tokens": 100, "max_in_flight": 256}
    plan = plan_iteration(run_of(tmp_path, solver=solver, reward={"backend": "classifier", "model": "org/rm"}), 2)
    own: dict[str, Any] = {"model": "org/solver", "cost": 0.0, "own_hardware": True}
    assert plan.lines == (
        line("estimate", 10, 60, 100, 6000, **own),
        scored("estimate", 60, "org/rm"),
        line("evolve", 12, 12, 12 * 250 + 3 * (10 + 3 * 512), 12 * 512, **own),
        line("respond", 8, 48, 8 * 512, 4800, **own),
        scored("respond", 48, "org/rm"),
    )


@pytest.mark.slow
def test_a_provider_without_n_is_asked_for_every_sample(tmp_path: Path) -> None:
    solver = API | {"model": "anthropic/claude-3-haiku-20240307", "base_url": None}
    plan = plan_iteration(run_of(tmp_path, solver=solver), 1)
    assert plan.lines[0] == line("respond", 60, 60, 600, 6000, model=solver["model"])


def test_every_reward_has_its_line_and_only_a_judge_is_paid(tmp_path: Path) -> None:
    judge = {"backend": "judge", "judge": UNKNOWN, "template": "x" * 20 + "{prompt}{response}"}
    rewards = [
        judge,
        {"backend": "pairwise", "model": "org/pairs"},
        {"backend": "classifier", "model": "org/classes"},
        {"backend": "server", "model": "org/served", "base_url": "http://127.0.0.1:9/v1"},
    ]
    plan = plan_iteration(run_of(tmp_path, reward={"backend": "several", "rewards": rewards}), 1)
    assert plan.lines == (
        line("respond", 10, 60, 100, 6000),
        # 60 answers of 100 tokens, each with its prompt of 10 and a template of 38 characters.
        line("judge (respond)", 60, 60, 60 * (10 + 100 + 10), 60 * 50, model="unheard-of", cost=None),
        # 6 x 5 ordered pairs of each prompt's answers.
        scored("respond", 300, "org/pairs"),
        scored("respond", 60, "org/classes"),
        scored("respond", 60, "org/served"),
    )
    assert plan.cost == pytest.approx(0.0121)
    assert plan.unpriced
    assert plan.notes == ("a judge that gives no rating is asked once more, which this leaves out",)


def test_an_own_creator_is_asked_at_its_own_price(tmp_path: Path) -> None:
    plan = plan_iteration(run_of(tmp_path, creator=UNKNOWN), 2)
    evolve = next(found for found in plan.lines if found.stage == "evolve")
    assert (evolve.model, evolve.cost) == ("unheard-of", None)


def test_an_iteration_from_a_table_asks_nothing_and_the_next_one_starts_from_its_prompts(tmp_path: Path) -> None:
    rows = [{"prompt": f"{number:040}", "response": str(k), "reward": k} for number in range(10) for k in range(3)]
    path = tmp_path / "responses.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = run_of(tmp_path, seeds=None, solver={"backend": "table", "path": str(path), "then": API})
    assert plan_iteration(run, 1).lines == ()
    assert plan_iteration(run, 1).notes == ("its responses come from a table, so nothing is asked",)
    second = plan_iteration(run, 2)
    assert second.start.count == 10
    # Nobody has answered its prompts but the table.
    assert second.lines[0] == line("estimate", 10, 60, 100, 6000)


def test_what_is_built_is_not_planned_and_what_is_stale_is_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    build(run, 1)
    assert plan_iteration(run, 1).lines == ()
    assert "iteration 1 is built, and building it again asks nothing" in plan_iteration(run, 1).notes[0]
    with pytest.raises(StaleError, match=r"iteration 1 in .* was made with other settings"):
        plan_iteration(run_of(tmp_path, seed=7), 2)


def test_candidates_are_rated_and_every_prompt_may_give_a_pair_to_rewrite(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"evolve": {"candidates": 2}, "pair": {"rewrite": True}}
    plan = plan_iteration(run_of(tmp_path, instead="other", **settings), 2)
    question = math.ceil(max(map(len, QUESTIONS.values())) / 4)
    rewriting = math.ceil(len(REWRITE_TEMPLATE) / 4)
    assert plan.lines[2:] == (
        # 12 steps, each tried twice, and both tries rated by two questions.
        line(
            "evolve",
            24 + 48,
            24 + 48,
            2 * (12 * 250 + 3 * (10 + 3 * 512)) + 48 * (question + 512),
            72 * 512,
            model="other",
        ),
        line("respond", 8, 48, 8 * 512, 4800, model="other"),
        scored("respond", 48),
        # At most ten pairs: 8 evolved prompts and 2 of 10 tokens, an answer of at most 100 with each.
        line("rewrite", 10, 10, 8 * 512 + 2 * 10 + 10 * 100 + 10 * rewriting, 10 * 100, model="other"),
        scored("rewrite", 10),
    )
    assert "the creator rates every candidate that survives, and once more where it gives no rating" in plan.notes
    first = plan_iteration(run_of(tmp_path, **settings), 1)
    assert [(found.stage, found.completions) for found in first.lines if found.completions] == [
        ("respond", 60),
        ("rewrite", 10),
    ]


def test_steps_and_not_candidates_are_the_rate_at_which_evolutions_survive(tmp_path: Path) -> None:
    run = run_of(tmp_path, evolve={"candidates": 3})
    build(run, 1)
    build(run, 2, survivors=6, attempts=36)
    evolve = next(found for found in plan_iteration(run, 3).lines if found.stage == "evolve")
    # Six of twelve steps: 4 chains of 4 steps of 3 candidates, each rated twice.
    assert evolve.completions == 4 * 4 * 3 * 3


def test_no_instruction_is_longer_than_the_plan_takes_it_to_be() -> None:
    from eva_data.evolve.methods import METHODS, build_method
    from eva_data.rewards.backends.judge import TEMPLATE

    assert max(len(s.template) for name in METHODS for s in build_method(name).strategies) <= EVOLVE_TEMPLATE
    assert len(TEMPLATE) <= JUDGE_TEMPLATE


# --- how many are evolved ----------------------------------------------------------------------------------------


def test_more_chains_are_planned_at_the_rate_at_which_evolutions_survived(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    build(run, 1)
    build(run, 2, survivors=6, attempts=12)
    plan = plan_iteration(run, 3)
    evolve = next(found for found in plan.lines if found.stage == "evolve")
    # 8 of 10 are needed: 8 / (4 x 0.5) = 4 chains.
    assert (evolve.calls, evolve.completions) == (16, 16)
    assert plan.notes[-1].endswith("; in iteration 2 50% did")


@given(prompts=st.integers(1, 10_000), survival=st.none() | st.floats(0, 1), evolutions=st.integers(1, 8))
def test_chains_are_enough_for_the_evolved_share_or_all_there_are(
    prompts: int, survival: float | None, evolutions: int
) -> None:
    values = {"name": "x", "seeds": {"sandbox": 1}, "solver": API, "reward": VERIFIER}
    stages = {"sample": {"fraction": 1 / evolutions}, "evolve": {"evolutions": evolutions}}
    chains = chains_needed(parse_config(values | stages, "test"), prompts, survival)
    assert 1 <= chains <= prompts
    expected = chains * evolutions * (1.0 if survival is None else survival)
    assert chains == prompts or expected >= round(0.8 * prompts) - 1


# --- what it takes -----------------------------------------------------------------------------------------------


def test_measured_means_take_the_place_of_bounds(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    keep(run, bill("respond"), bill("respond"), bill("canary", completions=1, cost=0.25))
    plan = plan_iteration(run, 1)
    # Per answer 1/12 of a reply, 40/12 tokens in, 50 out, 0.25 s; 60 answers, four requests at once.
    expected = line("respond", 5, 60, 200, 3000, source="ledger", seconds=pytest.approx(60 * 0.25 / 4))
    assert plan.lines[0] == expected
    assert (plan.spent, plan.paid) == (1.25, 1.25)
    # The estimate of the next iteration asks the same as what was measured; evolving is still unknown.
    second = plan_iteration(run_of(tmp_path, instead="other"), 2)
    assert [(found.stage, found.source) for found in second.lines] == [
        ("estimate", "ledger"),
        ("reward (estimate)", "computed"),
        ("evolve", "bound"),
        ("respond", "ledger"),
        ("reward (respond)", "computed"),
    ]
    assert second.lines[0] == line("estimate", 5, 60, 200, 3000, model="other", source="ledger")
    assert second.paid == 0


@pytest.mark.parametrize(
    ("bills", "rates"),
    [
        ([], None),
        ([bill("evolve")], None),
        ([bill("respond", completions=0)], None),
        ([bill("respond")], Rates(1 / 12, 40 / 12, 50, 0.25)),
        # Its own stage speaks before its sibling, and its own model before others.
        ([bill("respond"), bill("estimate", completion_tokens=1200)], Rates(1 / 12, 40 / 12, 50, 0.25)),
        ([bill("respond", "big@1"), bill("estimate")], Rates(1 / 12, 40 / 12, 50, 0.25)),
        # How fast another model is says nothing of this one.
        ([bill("respond", "big@1", completion_tokens=1200)], Rates(1 / 12, 40 / 12, 100, None)),
        # A server that counts no tokens.
        ([bill("respond", prompt_tokens=None, completion_tokens=None)], Rates(1 / 12, None, None, 0.25)),
        ([bill("respond", "tiny@unknown+a1b2")], Rates(1 / 12, 40 / 12, 50, 0.25)),
        ([bill("respond", "tiny@unknown2")], Rates(1 / 12, 40 / 12, 50, None)),
    ],
)
def test_the_closest_bills_speak_for_a_stage(tmp_path: Path, bills: Sequence[Bill], rates: Rates | None) -> None:
    run = run_of(tmp_path)
    keep(run, *bills)
    with Ledger(run.ledger) as ledger:
        solver = run.config.model_solver
        assert solver is not None
        assert rates_of(ledger.bills(), "respond", PlannedModel(solver, ("tiny@unknown",))) == rates


def test_tokens_that_a_server_does_not_count_stay_bounded(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    keep(run, bill("respond", prompt_tokens=None, completion_tokens=None, cost=None))
    assert plan_iteration(run, 1).lines[0] == line("respond", 5, 60, 100, 6000, seconds=pytest.approx(60 * 0.25 / 4))


def test_evolving_is_no_faster_than_its_chains(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    keep(run, bill("evolve", completions=1, seconds=2.0))
    evolve = next(found for found in plan_iteration(run, 2).lines if found.stage == "evolve")
    # Three chains of four requests of 2 s, although four requests may be in flight.
    assert evolve.seconds == pytest.approx(8.0)


# --- what measuring takes ----------------------------------------------------------------------------------------

JUDGING: dict[str, Any] = {
    "evaluate": {"heldout": 2, "judges": [API | {"model": "acme", "max_tokens": 50}], "max_tokens": 30},
    "solver": {"backend": "transformers", "model": "sandbox", "max_tokens": 100, "batch_size": 16},
}


def test_a_new_theta_and_theta_0_answer_the_held_out_prompts_and_every_judge_sees_both_orders(tmp_path: Path) -> None:
    plan = plan_iteration(run_of(tmp_path, **JUDGING), 1)
    own: dict[str, Any] = {"model": "sandbox", "cost": 0.0, "own_hardware": True}
    template = math.ceil(len(OWN.template) / 4)
    assert plan.measuring == (
        # Two prompts of 10 tokens, answered by theta_0 and theta_1 in one batch.
        line("evaluate (heldout)", 1, 4, 40, 4 * 30, **own),
        # theta_1 against theta_0, in both orders; a reply may have more tokens than the judge's block says.
        line("compare (heldout)", 4, 4, 4 * (template + 10 + 2 * 30), 4 * OWN.max_tokens, model="acme"),
    )
    # (1.95996 + 0.84162) x 0.5 / the root of 2 is .9905, more than there is between 50 % and 100 %.
    assert plan.measured == ("the set `heldout` (own, 2 prompts); it can tell no win rate from 50 % (4 times of 5)",)
    assert plan.lines[0].completions == 8 * 6, "what is set aside is not answered"


def test_what_measuring_takes_is_printed_and_counts_against_the_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_iteration(run_of(tmp_path, **JUDGING), 1)
    print_plan(plan, Piloted(0, 0.0, 0), 0.001)
    said = capsys.readouterr().out
    assert "Afterwards: what measuring it will take" in said
    assert "evaluate (heldout): sandbox; compare (heldout): acme" in said
    assert "Note: the set `heldout` (own, 2 prompts); it can tell no win rate" in said
    assert "are left: perhaps not enough for this iteration and what measures it" in said


def test_every_later_theta_is_compared_with_two_others_whose_answers_are_there(tmp_path: Path) -> None:
    plan = plan_iteration(run_of(tmp_path, **JUDGING), 2)
    assert [(found.stage, found.completions) for found in plan.measuring] == [
        ("evaluate (heldout)", 2),
        ("compare (heldout)", 2 * 2 * 2),
    ]


def test_functions_and_ratings_are_planned_by_their_own_numbers(tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    turns = [{"prompt": "x" * 40, "turn_2": "y" * 20}, {"prompt": "z" * 40, "turn_2": "y" * 20}]
    questions.write_text("".join(json.dumps(row) + "\n" for row in turns))
    sums, bench = ({"name": name, "path": str(questions)} for name in ("sums", "bench"))
    settings = JUDGING | {
        "evaluate": JUDGING["evaluate"]
        | {"heldout": 0, "sets": [sums | {"rule": "verifier", "samples": 4}, bench | {"rule": "mt_bench"}]},
        "score": {"model": API, "sample": 3},
    }
    plan = plan_iteration(run_of(tmp_path, **settings), 2)
    assert [(found.stage, found.completions, found.calls) for found in plan.measuring] == [
        ("evaluate (sums)", 8, 1),
        ("reward (sums)", None, 8),
        # Two turns one after the other.
        ("evaluate (bench)", 4, 2),
        ("compare (bench)", 4, 4),
        ("score", 6, 6),
    ]
    # The second turn is asked with the first one, its answer of 30 tokens, and 5 tokens of its own.
    assert plan.measuring[2].tokens_in == 2 * (10 + 10 + 30 + 5)
    question = math.ceil(sum(map(len, QUESTIONS.values())) / 2 / 4)
    assert plan.measuring[4].tokens_in == 6 * (10 + question)
    assert plan.measured[0] == "the set `sums` (verifier, 2 prompts); so few prompts tell no two solvers apart"
    # 2.80159 x .5 / the root of 500, and x the root of .5 / the root of 500.
    assert visible_difference(OWN, 500) == "; it can tell a win rate of 56.3 % from 50 % (4 times of 5)"
    verified = visible_difference(VERIFIED, 500)
    assert verified == "; it can tell shares of right answers that are 8.9 points apart (4 times of 5)"
    assert plan.cost == sum(found.cost or 0 for found in (*plan.lines, *plan.measuring))


def test_a_set_that_would_have_to_be_downloaded_is_left_out_with_a_sentence(tmp_path: Path) -> None:
    far = {"name": "far", "dataset": "acme/questions", "rule": "verifier"}
    plan = plan_iteration(run_of(tmp_path, **JUDGING | {"evaluate": {"heldout": 0, "sets": [far]}}), 1)
    assert plan.measuring == ()
    assert plan.measured == ("how many prompts the set `far` has is not known here, so its evaluation is left out",)


# --- the prompts to begin with -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_seeds_that_are_not_here_are_not_fetched(tmp_path: Path) -> None:
    environment = {"HF_DATASETS_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        hub = run_of(tmp_path, seeds={"dataset": "org/some-prompts"})
        assert starting_prompts(hub, 1) == Start(
            1000,
            None,
            "org/some-prompts is not on this machine, so how many there are is unknown: this is per 1000",
        )
        # Prompts of unknown length can have `max_prompt_tokens`, 1024.
        assert plan_iteration(hub, 1).lines[0] == line("respond", 1000, 6000, 1000 * 1024, 600_000)
        sized = run_of(tmp_path, seeds={"dataset": "org/some-prompts", "per_iteration": 50})
        known = "`seeds.per_iteration`; org/some-prompts is not on this machine"
        assert starting_prompts(sized, 2) == Start(50, None, known)
        _download(tmp_path / "cache", "org/some-prompts", ["a" * 40, "b" * 20, "b" * 20, ""])
        # One prompt is there twice and one is empty.
        assert starting_prompts(hub, 1) == Start(2, 8, "org/some-prompts")
    absent = run_of(tmp_path, seeds={"path": str(tmp_path / "nowhere.parquet"), "per_iteration": 7})
    with pytest.raises(DataError, match=r"`seeds.path` is .*nowhere\.parquet, and there is no such file"):
        plan_iteration(absent, 1)


def _download(cache: Path, name: str, prompts: Sequence[str]) -> None:
    """Write a dataset to the place of a download."""
    from datasets import Dataset, DatasetInfo, SplitInfo
    from datasets.arrow_writer import ArrowWriter
    from datasets.splits import SplitDict

    owner, _, last = name.partition("/")
    folder = cache / f"{owner}___{last}" / "default" / "0.0.0" / "abc123"
    folder.mkdir(parents=True)
    table = Dataset.from_dict({"prompt": list(prompts)})
    writer = ArrowWriter(path=str(folder / f"{last}-train.arrow"), features=table.features)
    for row in table:
        writer.write(row)
    rows, size = writer.finalize()
    writer.close()
    splits = SplitDict(
        {"train": SplitInfo(name="train", num_bytes=size, num_examples=rows, dataset_name=last)}, dataset_name=last
    )
    info = DatasetInfo(
        features=table.features, dataset_name=last, config_name="default", version="0.0.0", splits=splits
    )
    info.write_to_directory(str(folder))


def test_seeds_that_are_here_and_cannot_be_used_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`seeds.column` is `text`"):
        plan_iteration(run_of(tmp_path, seeds={"path": str(tmp_path / "seeds.jsonl"), "column": "text"}), 1)


def test_per_iteration_bounds_the_seeds_that_there_are(tmp_path: Path) -> None:
    seeds = {"path": str(tmp_path / "seeds.jsonl")}
    assert starting_prompts(run_of(tmp_path, seeds=seeds | {"per_iteration": 4}), 1).count == 4
    assert starting_prompts(run_of(tmp_path, seeds=seeds | {"per_iteration": 40}), 1).count == 10


# --- what a person reads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (dollars(0), "$0.00"),
        (dollars(1234.5), "$1,234.50"),
        (dollars(0.5), "$0.5000"),
        (dollars(0.00012), "$0.000120"),
        (duration(0), "0 s"),
        (duration(0.4), "< 1 s"),
        (duration(89), "89 s"),
        (duration(600), "10 min"),
        (duration(5400), "1 h 30 min"),
        (duration(360_000), "100 h 00 min"),
        (rounded(9_999), "9,999"),
        (rounded(57_600), "57.6 k"),
        (rounded(999_999), "1 M"),
        (rounded(1_274_000), "1.27 M"),
    ],
)
def test_numbers_are_shown_as_exactly_as_they_are_known(shown: str, text: str) -> None:
    assert shown == text


def printed(run: Run, iteration: int, capsys: pytest.CaptureFixture[str], budget: float | None = None) -> list[str]:
    """The lines of a plan, without their spaces at the ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")
        print_plan(plan_iteration(run, iteration), Piloted(0, 0.0, 0), budget)
    return [" ".join(text.split()) for text in capsys.readouterr().out.splitlines()]


def test_an_unknown_price_is_said_and_is_never_a_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge = {"backend": "judge", "judge": UNKNOWN}
    text = printed(run_of(tmp_path, reward=judge), 1, capsys, budget=20.0)
    assert "respond 10 60 <= 100 <= 6,000 <= $0.0121 unknown bound" in text
    assert "judge (respond) 60 60 <= 32.1 k <= 3,000 unknown unknown bound" in text
    assert "total 70 120 <= 32.2 k <= 9,000 unknown (+ <= $0.0121) unknown" in text
    assert "Of the budget of $20.00, $20.00 are left: unknown whether that is enough for this iteration" in text
    only = printed(run_of(tmp_path, solver=UNKNOWN | {"responses": 6}), 1, capsys)
    assert "total 70 60 <= 100 <= 3,000 unknown unknown" in only


def test_a_budget_is_compared_with_what_is_still_to_pay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path)
    assert printed(run, 1, capsys, 0.01)[-1].endswith("$0.0100 are left: perhaps not enough for this iteration")
    assert printed(run, 1, capsys, 0.02)[-1].endswith("$0.0200 are left: enough for this iteration")
    # Means of 200 tokens in and 6000 out at $1 and $2 are $0.0122, of which a cent is paid.
    keep(run, *[bill("respond", completion_tokens=1200, cost=0.005)] * 2)
    assert printed(run, 1, capsys, 0.012)[-1].endswith("$0.002000 are left: not enough for this iteration")
    assert printed(run, 1, capsys, 0.013)[-1].endswith("$0.003000 are left: enough for this iteration")
    note = "Note: $0.0100 of this iteration are spent already; what they bought is not paid again"
    assert note in printed(run, 1, capsys)


def test_own_hardware_has_no_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solver = {"backend": "transformers", "model": "sandbox", "max_tokens": 100}
    text = printed(run_of(tmp_path, solver=solver), 1, capsys)
    assert "respond 1 60 <= 600 <= 6,000 - unknown bound" in text
    assert "total 61 60 <= 600 <= 6,000 - unknown" in text
    assert "Cost -: own hardware, or a price of 0" in text


def test_what_was_spent_is_told_by_stage_and_in_all(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    keep(
        run,
        bill("respond"),
        bill("respond", cost=None),
        bill("evolve", "big@1", iteration=2, completions=1, cost=None),
        bill("canary", iteration=2, completions=1, cost=0.0),
    )
    with Ledger(run.ledger) as ledger:
        table = spent_table(ledger.bills())
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows == [
        ("1", "respond", "tiny@unknown", "2", "24", "80", "1,200", "unknown for 1 reply (+ $0.5000)"),
        ("2", "canary", "tiny@unknown", "1", "1", "40", "600", "$0.00"),
        ("2", "evolve", "big@1", "1", "1", "40", "600", "unknown for 1 reply"),
        ("total", "", "", "4", "26", "160", "2,400", "unknown for 2 replies (+ $0.5000)"),
    ]


# --- the command -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "inf", "much"])
def test_a_budget_is_a_positive_number_of_dollars(budget: str) -> None:
    for command in (["build", "--iter", "1"], ["run", "--iters", "1"], ["plan", "--iter", "1"]):
        result = CliRunner().invoke(main, [*command, "--budget", budget])
        assert result.exit_code == 2
        assert "'--budget'" in result.output


@pytest.mark.slow
def test_a_pilot_is_paid_once_and_keeps_to_the_budget(tmp_path: Path) -> None:
    with Misbehaving() as server:
        solver = API | {"base_url": server.url, "responses": 2, "max_tokens": 16, "canary": False}
        settings = [f"--set=solver={json.dumps(solver)}", "--set=seeds.sandbox=6", "--set=train.heldout=0"]
        stopped = eva(tmp_path / "data", "plan", "--iter=2", "--pilot=2", "--budget=0.000001", settings=settings)
        assert stopped.returncode == 1
        assert "the budget of $0.000001 is used up: $0.00 are spent" in stopped.stderr
        assert server.seen == []
        done = eva(tmp_path / "data", "plan", "--iter=2", "--pilot=2", settings=settings)
        assert done.returncode == 0, done.stderr
        assert "The pilot of 2 prompts cost $0.00" in done.stdout
        piloted = Counter(seen.prompt for seen in server.seen)
        # Two prompts, and four rewrites of each.
        assert (len(server.seen), sum(seen.body["n"] == 2 for seen in server.seen)) == (10, 2)
        built = eva(tmp_path / "data", "build", "--iter=1", settings=settings)
        assert built.returncode == 0, built.stderr
        asked = Counter(seen.prompt for seen in server.seen)
    assert asked.total() == 10 + 4
    assert piloted <= asked
    status = eva(tmp_path / "data", "status", settings=settings)
    assert [text.split()[:6] for text in status.stdout.splitlines() if "tiny@unknown" in text] == [
        ["1", "respond", "tiny@unknown", "6", "12", status.stdout.split("tiny@unknown")[1].split()[2]],
        ["2", "evolve", "tiny@unknown", "8", "8", status.stdout.split("tiny@unknown")[2].split()[2]],
    ]


@pytest.mark.parametrize(
    ("blocks", "at_once"),
    [
        ({"solver": SERVED, "servers": {"launch": "slurm", "replicas": 5}}, 10),
        ({"solver": SERVED, "servers": {"launch": "slurm", "replicas": 500}}, 10),
        ({"solver": SERVED, "servers": {"launch": "local"}}, 6),
        ({"solver": SERVED | {"tensor_parallel": 1}, "servers": {"launch": "local"}}, 10),
        ({"solver": SERVED, "servers": {"launch": "ray"}}, 2),
        ({"solver": SERVED | {"base_url": "http://127.0.0.1:9/v1"}, "servers": {"launch": "slurm", "replicas": 5}}, 2),
        ({"solver": HERE, "execution": {"engine": "ray", "actors": 3}}, 3),
        ({"solver": HERE, "execution": {"engine": "ray"}}, 1),
        ({"solver": HERE}, 1),
    ],
)
def test_times_count_on_all_servers_and_actors_that_hold_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: dict[str, Any], at_once: int
) -> None:
    """Sixty answers of 3 / 12 s each, by ten requests, of which a server gets 2 at once."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5")
    run = run_of(tmp_path, **blocks)
    keep(run, bill("respond"))
    respond, *_ = plan_iteration(run, 1).lines
    assert respond.seconds == pytest.approx(60 * 0.25 / at_once)
