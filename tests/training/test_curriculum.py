"""The curriculum: scored answers in, new prompts out, with a record and a state from which a run goes on exactly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from eva_data.calls import FinishReason, Row
from eva_data.config import Estimate, Pair
from eva_data.errors import ConfigError
from eva_data.method.buffer import Rules
from eva_data.tables.schemas import EVOLUTIONS, PROMPTS, REJECTS, RESPONSES, check
from eva_data.training.curriculum import Answer, Curriculum, Seen, Selection, differ
from eva_data.training.online_tables import (
    evolutions_table,
    prompts_table,
    read_record,
    responses_table,
    unscored_table,
)

RULES = Rules(batch=2, evolved=0.5, n_new=2, n_new_bootstrap=1, capacity=3)
ALL = Selection(Estimate(metric="a_avg", min_best=None), Pair())
"""By which every prompt may have children."""


def answer(name: str, reward: float | None, finish: FinishReason = "stop", text: str = "yes") -> Answer:
    return Answer(name, text, reward, None if reward is not None else "unverifiable", finish, len(text))


def seeds(names: str) -> dict[str, Row]:
    empty = dict.fromkeys(PROMPTS)
    return {
        name: empty
        | {"prompt_id": name, "prompt": turns(name), "origin": "seed", "mix_role": "seed"}
        | {"root_id": name, "depth": 0, "source": "here", "created_iteration": 1, "iteration": 1}
        for name in names
    }


def turns(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def grow(parents: Sequence[Row], n_new: int, step: int, alive: Sequence[Row], exist: frozenset[str]) -> list[Row]:
    """A creator that appends numbers to its prompts. If there are two rewrites, the second one fails."""
    rows = []
    for parent in parents:
        for number in range(1, n_new + 1):
            name = f"{parent['prompt_id']}.{step}"
            bad = number == 2
            row = dict.fromkeys(EVOLUTIONS) | {"chain_id": parent["prompt_id"], "step": number, "creator": "c"}
            row |= {"parent_id": parent["prompt_id"], "root_id": parent["root_id"], "depth": parent["depth"] + 1}
            row |= {"status": "eliminated", "reason": "empty"} if bad else {"prompt_id": name, "prompt": turns(name)}
            rows.append(row | {"mutation": "again", "iteration": step})
    return rows


def curriculum(folder: Path, **more: Any) -> Curriculum:
    return Curriculum(seeds("abcdef"), RULES, 7, more.pop("selection", ALL), folder / "record.jsonl", grow, **more)


def play(one: Curriculum, first: int, last: int) -> None:
    """Steps in which the prompt with the smaller id gets rewards 0 and 1, the other 1 and 1."""
    for step in range(first, last + 1):
        names = sorted(row["prompt_id"] for row in one.begin(step))
        rewards = dict(zip(names, (0.0, 1.0), strict=True))
        one.finish([answer(name, reward) for name in names for reward in (rewards[name], 1.0)])


def test_informativeness_is_best_less_mean_of_what_counts() -> None:
    given = {
        "a": [answer("a", 0.0), answer("a", 1.0), answer("a", 0.5)],
        "b": [answer("b", 1.0), answer("b", 0.0, "length")],
        "c": [answer("c", 1.0), answer("c", None)],
        "d": [],
        "e": [answer("e", 0.1), answer("e", 0.1), answer("e", 0.1)],
    }
    assert ALL.measured(given) == {"a": 0.5, "b": None, "c": None, "d": None, "e": 0.0}
    truncated = Selection(Estimate(metric="a_avg", count_truncated=True), Pair())
    assert truncated.measured(given)["b"] == 0.5
    assert Selection(Estimate(metric="a_min"), Pair()).measured(given)["a"] == 1.0


def test_a_new_prompt_has_its_parents_informativeness(tmp_path: Path) -> None:
    one = curriculum(tmp_path)
    (first, second) = sorted(row["prompt_id"] for row in one.begin(1))
    one.finish([answer(first, 0.0), answer(first, 1.0), answer(second, 1.0), answer(second, 0.9)])
    # The first leads its mean by 0.5, the second by 0.05: the first is evolved, and one of two rewrites survives.
    (entry,) = one.state.entries
    assert (entry.prompt_id, entry.priority, entry.entered) == (f"{first}.1", 0.5, 1)
    assert one.waiting[entry.prompt_id]["prompt"] == turns(f"{first}.1")
    assert (one.waiting[entry.prompt_id]["origin"], one.waiting[entry.prompt_id]["root_id"]) == ("evolved", first)


def test_or_its_own_where_that_is_estimated(tmp_path: Path) -> None:
    asked: list[tuple[str, int]] = []

    def estimate(rows: Sequence[Row], step: int) -> dict[str, list[Answer]]:
        asked.extend((row["prompt_id"], step) for row in rows)
        names = [row["prompt_id"] for row in rows]
        return {name: [answer(name, reward) for reward in (1.0, 0.75)[step - 1 :]] for name in names}

    one = curriculum(tmp_path, estimate=estimate)
    play(one, 1, 2)
    assert [entry.priority for entry in one.state.entries] == [0.125, 0.0]
    assert asked == [(entry.prompt_id, step) for step, entry in enumerate(one.state.entries, 1)]


def test_a_prompt_that_nothing_solves_has_no_children_however_its_rewards_differ(tmp_path: Path) -> None:
    solved = Selection(Estimate(metric="a_avg"), Pair(min_chosen=1.0))
    one = curriculum(tmp_path, selection=solved)
    first, second = sorted(row["prompt_id"] for row in one.begin(1))
    # The first differs more, and its best is below 1.
    one.finish([*(answer(first, reward) for reward in (-9.0, 0.5)), *(answer(second, reward) for reward in (0.9, 1.0))])
    (line,) = read_record(tmp_path / "record.jsonl")
    assert (line["unsolved"], {row["chain_id"] for row in line["evolutions"]}) == ([first], {second})
    assert (sorted(one.seen.first_best), one.seen.graded) == ([0.5, 1.0], True)


def test_one_right_answer_of_three_may_be_a_guess(tmp_path: Path) -> None:
    one = curriculum(tmp_path, selection=Selection(Estimate(metric="a_avg"), Pair(min_chosen=1.0)))
    first, second = sorted(row["prompt_id"] for row in one.begin(1))
    guessed, known = (0.0, 0.0, 1.0), (0.0, 1.0, 1.0)
    one.finish([*(answer(first, reward) for reward in guessed), *(answer(second, reward) for reward in known)])
    (line,) = read_record(tmp_path / "record.jsonl")
    assert (line["unsolved"], {row["chain_id"] for row in line["evolutions"]}) == ([first], {second})


def test_without_a_threshold_the_seeds_that_went_worst_so_far_have_no_children(tmp_path: Path) -> None:
    one = curriculum(tmp_path, selection=Selection(Estimate(metric="a_avg"), Pair()))
    for step, best in enumerate((0.5, 0.75, 0.25), 1):
        names = sorted(row["prompt_id"] for row in one.begin(step) if row["origin"] == "seed")
        one.finish([answer(name, reward) for name in names for reward in (-1.0, best)])
    lines = read_record(tmp_path / "record.jsonl")
    assert [line["unsolved"] for line in lines] == [[], [], []]
    # Of the first answers to seeds, the lowest of ten is the bar: none is below it yet.
    assert one.seen.first_best == [0.5, 0.5, 0.75, 0.75, 0.25, 0.25]
    low = Seen([float(number) for number in range(11)], graded=True)
    bad, good = [answer("a", 0.5), answer("a", 0.75)], [answer("b", 0.5), answer("b", 1.0)]
    assert one.selection.unsolved({"a": bad, "b": good}, low) == {"a"}


def test_the_deepest_prompts_have_no_children(tmp_path: Path) -> None:
    one = curriculum(tmp_path, selection=Selection(Estimate(metric="a_avg", min_best=None), Pair(), max_depth=1))
    play(one, 1, 9)
    lines = read_record(tmp_path / "record.jsonl")
    trained = {row["depth"] for line in lines for row in line["prompts"]}
    assert (trained, {row["depth"] for line in lines for row in line["evolutions"]}) == ({0, 1}, {1})


def test_prompts_outside_the_band_have_no_children(tmp_path: Path) -> None:
    chosen = Selection(Estimate(metric="a_avg", min_best=None), Pair(), band=(0.3, 0.8))
    one = curriculum(tmp_path, selection=chosen)
    first, second = sorted(row["prompt_id"] for row in one.begin(1))
    # One of six is (1 + 1) / 8, and the first would be the most informative.
    hard, inside = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0, 1.0, 0.0)
    one.finish([*(answer(first, reward) for reward in hard), *(answer(second, reward) for reward in inside)])
    (line,) = read_record(tmp_path / "record.jsonl")
    assert (line["outside"], {row["chain_id"] for row in line["evolutions"]}) == ({first: "too_hard"}, {second})
    names = [row["prompt_id"] for row in one.begin(2)]
    with pytest.raises(ConfigError, match="online the band holds pass rates"):
        one.finish([answer(name, reward) for name in names for reward in (0.0, 0.5)])


def test_what_is_outside_the_band_by_its_own_answers_does_not_enter(tmp_path: Path) -> None:
    def estimate(rows: Sequence[Row], step: int) -> dict[str, list[Answer]]:
        rewards = {1: (1.0, 0.0), 2: (1.0, 1.0, 1.0)}[step]
        return {row["prompt_id"]: [answer(row["prompt_id"], reward) for reward in rewards] for row in rows}

    chosen = Selection(Estimate(metric="a_avg", min_best=None), Pair(), band=(0.3, 0.75))
    one = curriculum(tmp_path, selection=chosen, estimate=estimate)
    play(one, 1, 1)
    entered = [entry.prompt_id for entry in one.state.entries]
    play(one, 2, 2)
    lines = read_record(tmp_path / "record.jsonl")
    assert entered == [*lines[0]["estimated"]] and lines[1]["estimated"]
    assert not {entry.prompt_id for entry in one.state.entries} & lines[1]["estimated"].keys()


def test_only_what_is_informative_itself_enters_where_that_is_wanted(tmp_path: Path) -> None:
    rewards = {1: (0.0, 1.0), 2: (0.9, 1.0), 3: (1.0, 1.0), 4: (0.0, 0.5)}

    def estimate(rows: Sequence[Row], step: int) -> dict[str, list[Answer]]:
        return {row["prompt_id"]: [answer(row["prompt_id"], reward) for reward in rewards[step]] for row in rows}

    solved = Selection(Estimate(metric="a_avg"), Pair(min_chosen=1.0))
    one = curriculum(tmp_path, selection=solved, estimate=estimate, only_high=True)
    play(one, 1, 4)
    lines = read_record(tmp_path / "record.jsonl")
    own = [value for line in lines for value in line["estimated"].values()]
    assert own == pytest.approx([0.5, 0.05, 0.0, 0.25])
    # As high as its parent's 0.5; lower; nothing to learn; unsolved.
    assert [line["waiting"] for line in lines] in ([1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0])
    entered = {entry.prompt_id for entry in one.state.entries}
    assert entered <= set(lines[0]["estimated"])


def test_prompts_that_replace_others_join_the_step(tmp_path: Path) -> None:
    one = curriculum(tmp_path)
    first = [row["prompt_id"] for row in one.begin(1)]
    more = [row["prompt_id"] for row in one.more(1, multiple=2)]
    # Six seeds: two, two more, and never four where only two are left.
    assert (len(more), len({*first, *more})) == (2, 4)
    last = one.more(3, multiple=2)
    assert len(last) == 2
    assert one.more(1) == []
    names = [*first, *more, *(row["prompt_id"] for row in last)]
    one.finish([answer(name, reward) for name in names for reward in (0.0, 1.0)], trained=more, rounds=2)
    (line,) = read_record(tmp_path / "record.jsonl")
    assert (line["trained"], line["rounds"], line["generated"]) == (more, 2, 12)
    assert [row["prompt_id"] for row in line["prompts"]] == names
    # As many parents as in a step of two.
    assert len({row["chain_id"] for row in line["evolutions"]}) == 1


def test_a_metric_below_0_is_no_weight_of_a_draw(tmp_path: Path) -> None:
    one = curriculum(tmp_path, selection=Selection(Estimate(metric="avg", min_best=None), Pair()))
    names = [row["prompt_id"] for row in one.begin(1)]
    with pytest.raises(ConfigError, match=r"`estimate\.metric` is `avg`, which is -0.5 for a prompt: online it is"):
        one.finish([answer(name, reward) for name in names for reward in (-1.0, 0.0)])


def test_rewards_differ_by_more_than_noise() -> None:
    assert not differ([answer("a", 0.1 + 0.2), answer("a", 0.3), answer("a", None)])
    assert not differ([answer("a", 1.0), answer("a", None)])
    assert differ([answer("a", 0.0), answer("a", 0.5, "length")])


def test_a_loaded_state_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = curriculum(tmp_path)
    play(whole, 1, 3)
    kept = json.loads(json.dumps(whole.dump()))
    play(whole, 4, 9)
    expected = (tmp_path / "record.jsonl").read_bytes()
    assert {line["phase"] for line in read_record(tmp_path / "record.jsonl")} >= {"warm-up", "bootstrap"}

    # Killed while it wrote a line, long after the state was kept.
    with (tmp_path / "record.jsonl").open("ab") as file:
        file.write(b'{"step": 10, "pro')
    resumed = curriculum(tmp_path)
    resumed.load(kept)
    play(resumed, 4, 9)
    assert (tmp_path / "record.jsonl").read_bytes() == expected
    assert resumed.dump() == whole.dump()


def test_a_run_from_the_beginning_overwrites_the_record_of_another(tmp_path: Path) -> None:
    play(curriculum(tmp_path), 1, 5)
    play(curriculum(tmp_path), 1, 1)
    assert [line["step"] for line in read_record(tmp_path / "record.jsonl")] == [1]


def test_without_a_creator_nothing_grows(tmp_path: Path) -> None:
    one = Curriculum(seeds("abcdef"), RULES, 7, ALL, tmp_path / "record.jsonl", None)
    play(one, 1, 6)
    assert (one.state.entries, one.made) == ((), set())
    lines = read_record(tmp_path / "record.jsonl")
    assert [line["evolutions"] for line in lines] == [[]] * 6
    assert sorted(row["prompt_id"] for line in lines[:3] for row in line["prompts"]) == list("abcdef")


def test_too_few_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 seeds can be trained on, fewer than the 2 prompts of a step"):
        Curriculum(seeds("a"), RULES, 7, ALL, tmp_path / "record.jsonl", grow)


def test_the_tables_hold_each_prompt_once_with_its_last_answers(tmp_path: Path) -> None:
    one = Curriculum(seeds("ab"), RULES, 7, ALL, tmp_path / "record.jsonl", None)
    play(one, 1, 1)
    # The second time through both seeds, `a` cannot be scored.
    one.begin(2)
    ugly = "\x00\u2028 " + "x" * 3000
    one.finish([answer("a", None, text=ugly), answer("a", 0.25), answer("b", 0.5, "length"), answer("b", 0.75)])
    lines = read_record(tmp_path / "record.jsonl")
    prompts, responses = prompts_table(lines), responses_table(lines, solver="theta_0+rloo", reward_model="r")
    check(prompts, PROMPTS, "prompts")
    check(responses, RESPONSES, "responses")
    assert prompts["prompt_id"].to_list() == ["a", "b"]
    rows = responses.select("prompt_id", "response_idx", "reward", "finish_reason", "solver").rows()
    assert rows == [
        ("a", 0, None, "stop", "theta_0+rloo-1"),
        ("a", 1, 0.25, "stop", "theta_0+rloo-1"),
        ("b", 0, 0.5, "length", "theta_0+rloo-1"),
        ("b", 1, 0.75, "stop", "theta_0+rloo-1"),
    ]
    unscored = unscored_table(lines)
    check(unscored, REJECTS, "rejects")
    assert unscored.select("stage", "reason", "prompt_id", "text").rows() == [
        ("reward", "unverifiable", "a", ugly[:2000])
    ]


def test_a_second_chain_from_a_prompt_goes_on_counting(tmp_path: Path) -> None:
    one = Curriculum(seeds("ab"), Rules(2, 0.5, 2, 2, 3, 0.0), 7, ALL, tmp_path / "record.jsonl", grow)
    for step in (1, 2):
        one.begin(step)
        one.finish([answer(name, reward) for name, other in (("a", 0.0), ("b", 1.0)) for reward in (other, 1.0)])
        # Whatever waits is lost, so that the seeds come again.
        one.state, one.waiting = type(one.state)((), one.state.seeds_used, one.state.warm), {}
    lines = read_record(tmp_path / "record.jsonl")
    evolutions = evolutions_table(lines, prompts_table(lines))
    check(evolutions, EVOLUTIONS, "evolutions")
    assert evolutions.select("chain_id", "step", "prompt_id", "status").rows() == [
        ("a", 1, "a.1", "unused"),
        ("a", 2, None, "eliminated"),
        ("a", 3, "a.2", "unused"),
        ("a", 4, None, "eliminated"),
    ]
    assert evolutions["iteration"].unique().to_list() == [1]
    mixed = evolutions_table(lines, pl.DataFrame({"prompt_id": ["a.2"]}))
    assert mixed.filter(pl.col("status") == "mixed")["prompt_id"].to_list() == ["a.2"]
