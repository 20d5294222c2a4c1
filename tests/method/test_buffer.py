"""The prioritized generative buffer: the prompts that a step trains on, evolves and drops."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.method.buffer import (
    Batch,
    Entry,
    Rules,
    State,
    after_step,
    further,
    next_batch,
    phase_of,
    static_batch,
    to_evolve,
    unit_draw,
)

SEEDS = tuple("abcdefgh")
SMALL = Rules(batch=4, evolved=0.5, n_new=2, n_new_bootstrap=1, capacity=6, from_buffer=0.5)


def seeds_in_order(seed: int, through: int = 0) -> str:
    return "".join(sorted(SEEDS, key=lambda name: unit_draw(seed, "seeds", through, name)))


@pytest.mark.slow
def test_the_papers_sizes_fill_the_buffer_in_200_steps() -> None:
    # Half of 8 prompts, 4 evolutions each: 16 a step; 3200 / 16 = 200, where the paper speaks of 400 steps.
    assert Rules() == Rules(batch=8, evolved=0.5, n_new=4, n_new_bootstrap=2, capacity=3200, from_buffer=0.5)
    seeds = tuple(f"seed{number}" for number in range(8 * 300))
    state, sizes, phases = State(), [], []
    for step in range(1, 212):
        batch = next_batch(state, seeds, Rules(), seed=42, step=step)
        parents = to_evolve(batch, dict.fromkeys(batch.prompt_ids, 1.0), Rules())
        evolved = [(f"{parent}/{step}.{number}", 1.0) for parent in parents for number in range(batch.n_new)]
        state = after_step(state, batch, evolved, Rules(), step=step)
        sizes.append(len(state.entries))
        phases.append(batch.phase)
    assert sizes[:3] == [16, 32, 48]
    assert sizes[198:] == [3184] + [3200] * 12
    assert phases == ["warm-up"] * 200 + ["mix-up"] * 11
    # Of each of the 11 mix-up batches half were seeds.
    assert state.seeds_used == 200 * 8 + 11 * 4


def test_a_whole_small_run() -> None:
    # Eight seeds, by keyed hash in the order:
    assert seeds_in_order(7) == "eabdghcf"
    state = State()

    # Warm-up: four seeds. The best two of them are evolved twice each, and enter with their parents' priority.
    first = next_batch(state, SEEDS, SMALL, seed=7, step=1)
    assert first == Batch("warm-up", (), ("e", "a", "b", "d"), n_new=2, seeds_used=4)
    assert to_evolve(first, {"e": 0.5, "a": 0.0, "b": 0.25, "d": None}, SMALL) == ("e", "b")
    state = after_step(state, first, [("e1", 0.5), ("e2", 0.5), ("b1", 0.25), ("b2", 0.25)], SMALL, step=1)
    assert [entry.prompt_id for entry in state.entries] == ["b1", "b2", "e1", "e2"]
    assert (state.seeds_used, state.warm, phase_of(state, 8)) == (4, False, "warm-up")

    # The other four. Two of the four evolutions were eliminated: the buffer is full with six.
    second = next_batch(state, SEEDS, SMALL, seed=7, step=2)
    assert second == Batch("warm-up", (), ("g", "h", "c", "f"), n_new=2, seeds_used=8)
    state = after_step(state, second, [("g1", 0.0), ("h1", 8.0)], SMALL, step=2)
    assert [entry.prompt_id for entry in state.entries] == ["b1", "b2", "e1", "e2", "g1", "h1"]
    assert state.warm

    # All seeds are used: bootstrap, the buffer alone, one evolution each. `g1` has weight 0, so it is not drawn as
    # long as four others have more: the four largest log(u) / weight.
    third = next_batch(state, SEEDS, SMALL, seed=7, step=3)
    weights = {"b1": 0.25, "b2": 0.25, "e1": 0.5, "e2": 0.5, "h1": 8.0}
    keys = {name: math.log(unit_draw(7, "online", 3, name)) / weight for name, weight in weights.items()}
    largest = sorted(keys, key=lambda name: -keys[name])[:4]
    assert third == Batch("bootstrap", tuple(largest), (), n_new=1, seeds_used=8)
    assert largest[0] == "h1"
    (left,) = set(weights) - set(largest)

    # The trained ones leave, two come: four are in the buffer, so the next four are all of them.
    state = after_step(state, third, [("h2", 1.0), ("h3", 1.0)], SMALL, step=3)
    assert [entry.prompt_id for entry in state.entries] == [left, "g1", "h2", "h3"]
    fourth = next_batch(state, SEEDS, SMALL, seed=7, step=4)
    assert set(fourth.from_buffer) == {left, "g1", "h2", "h3"}
    assert fourth.from_buffer[3] == "g1"

    # Nothing survived: with an empty buffer a second pass over the seeds begins, in an order of its own.
    state = after_step(state, fourth, [], SMALL, step=4)
    assert state.entries == ()
    fifth = next_batch(state, SEEDS, SMALL, seed=7, step=5)
    assert seeds_in_order(7, through=1) != seeds_in_order(7)
    assert fifth == Batch("bootstrap", (), tuple(seeds_in_order(7, through=1)[:4]), n_new=1, seeds_used=12)


def test_mix_up_takes_half_from_the_buffer_and_pops_the_trained_then_the_oldest() -> None:
    entries = tuple(
        Entry(name, 1.0, step) for step, name in ((1, "p"), (1, "q"), (1, "r"), (2, "s"), (2, "t"), (3, "u"))
    )
    state = State(entries, seeds_used=4, warm=True)
    batch = next_batch(state, SEEDS, SMALL, seed=7, step=4)
    assert (batch.phase, batch.from_seeds, batch.n_new) == ("mix-up", ("g", "h"), 2)
    assert len(batch.from_buffer) == 2

    chosen = Batch("mix-up", ("q", "s"), ("g", "h"), n_new=2, seeds_used=6)
    state = after_step(state, chosen, [("y", 2.0), ("z", 2.0), ("x", 3.0), ("w", 3.0)], SMALL, step=4)
    # p, r, t, u stay and four come: of eight the two oldest go, p and r.
    assert state == State(
        (
            *(Entry("t", 1.0, 2), Entry("u", 1.0, 3), Entry("w", 3.0, 4)),
            *(Entry("x", 3.0, 4), Entry("y", 2.0, 4), Entry("z", 2.0, 4)),
        ),
        seeds_used=6,
        warm=True,
    )


def test_once_full_the_buffer_counts_as_warm_also_where_few_survive() -> None:
    state = State((Entry("p", 1.0, 1),), seeds_used=4, warm=True)
    assert phase_of(state, 8) == "mix-up"
    # One in the buffer where two are wanted: seeds fill the batch.
    batch = next_batch(state, SEEDS, SMALL, seed=7, step=2)
    assert (batch.from_buffer, batch.from_seeds) == (("p",), ("g", "h", "c"))


def test_the_last_seeds_are_completed_from_the_buffer() -> None:
    state = State((Entry("p", 1.0, 1), Entry("q", 1.0, 1), Entry("r", 1.0, 1)), seeds_used=7)
    batch = next_batch(state, SEEDS, SMALL, seed=7, step=3)
    assert batch.phase == "warm-up"
    assert (set(batch.from_buffer), batch.from_seeds, batch.seeds_used) == ({"p", "q", "r"}, ("f",), 8)


def test_the_most_informative_are_evolved_equal_ones_by_id() -> None:
    batch = Batch("warm-up", (), ("d", "c", "b", "a"), n_new=2, seeds_used=4)
    assert to_evolve(batch, dict.fromkeys("abcd", 0.5), SMALL) == ("a", "b")
    assert to_evolve(batch, {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}, SMALL) == ("d", "c")
    assert to_evolve(batch, {"a": None, "b": None, "c": 0.0, "d": None}, SMALL) == ("c",)
    assert to_evolve(batch, {}, SMALL) == ()


def test_an_evolved_prompt_that_is_there_already_stays_what_it_was() -> None:
    state = State((Entry("p", 1.0, 1),), seeds_used=4)
    batch = Batch("warm-up", (), ("a", "b", "c", "d"), n_new=2, seeds_used=8)
    assert after_step(state, batch, [("p", 9.0), ("a", 9.0)], SMALL, step=2).entries == (Entry("p", 1.0, 1),)


@pytest.mark.parametrize("priority", [math.nan, math.inf, -0.1])
def test_a_priority_that_is_no_weight_is_refused(priority: float) -> None:
    batch = Batch("warm-up", (), ("a",), n_new=2, seeds_used=1)
    with pytest.raises(ValueError, match="the priority of p is"):
        after_step(State(), batch, [("p", priority)], SMALL, step=1)


def test_without_a_buffer_the_seeds_come_pass_after_pass() -> None:
    rules, state, seen = Rules(batch=3), State(), []
    for step in range(1, 7):
        batch = static_batch(state, SEEDS, rules, seed=7)
        assert len(set(batch.prompt_ids)) == 3
        seen.append("".join(batch.from_seeds))
        state = after_step(state, batch, [], rules, step=step)
    # The third batch crosses into the second pass.
    assert "".join(seen)[:8] == seeds_in_order(7)
    first_of_second = "".join(seen)[8]
    assert seen[2][:2] == seeds_in_order(7)[6:] and first_of_second in seeds_in_order(7, through=1)[:3]


def test_how_often_each_is_drawn_follows_the_weights() -> None:
    entries = (Entry("light", 1.0, 1), Entry("heavy", 3.0, 1))
    state = State(entries, seeds_used=0, warm=True)
    rules = Rules(batch=2, from_buffer=0.5, capacity=2)
    drawn = [next_batch(state, SEEDS, rules, seed=1, step=step).from_buffer for step in range(4000)]
    # One of two with the weights 1 and 3: 3000 expected, standard deviation 27.
    assert abs(drawn.count(("heavy",)) - 3000) < 110


priorities = st.floats(0, 1e300, allow_subnormal=True)
entries = st.lists(
    st.builds(Entry, st.text(max_size=3), priorities, st.integers(0, 9)), unique_by=lambda e: e.prompt_id
)
rules = st.builds(
    Rules,
    batch=st.integers(1, 8),
    evolved=st.sampled_from([0.25, 0.5, 1.0]),
    capacity=st.integers(1, 12),
    from_buffer=st.sampled_from([0.0, 0.5, 1.0]),
)


@given(entries, rules, st.integers(0, 20), st.booleans(), st.integers(0, 99), st.randoms())
def test_a_batch_is_whole_distinct_and_the_same_in_any_order(
    found: list[Entry], sizes: Rules, used: int, warm: bool, step: int, random: object
) -> None:
    waiting = tuple(entry for entry in found if entry.prompt_id not in SEEDS)
    state = State(waiting, used, warm)
    batch = next_batch(state, SEEDS, sizes, seed=3, step=step)
    assert len(batch.prompt_ids) == len(set(batch.prompt_ids)) == min(sizes.batch, 8 + len(batch.from_buffer))
    assert set(batch.from_buffer) <= {entry.prompt_id for entry in waiting}
    assert set(batch.from_seeds) <= set(SEEDS)
    turned = State(tuple(reversed(waiting)), used, warm)
    assert next_batch(turned, tuple(reversed(SEEDS)), sizes, seed=3, step=step) == batch


@given(entries, rules, st.lists(st.tuples(st.text(max_size=3), priorities)))
def test_the_buffer_is_never_larger_than_its_capacity_and_holds_nothing_trained(
    found: list[Entry], sizes: Rules, evolved: list[tuple[str, float]]
) -> None:
    waiting = tuple(sorted(found, key=lambda e: (e.entered, e.prompt_id))[: sizes.capacity])
    state = State(waiting, 0, False)
    batch = next_batch(state, SEEDS, sizes, seed=3, step=10)
    after = after_step(state, batch, evolved, sizes, step=10)
    names = [entry.prompt_id for entry in after.entries]
    assert len(names) == len(set(names)) <= sizes.capacity
    assert not set(names) & set(batch.prompt_ids)
    assert list(after.entries) == sorted(after.entries, key=lambda e: (e.entered, e.prompt_id))
    assert State.load(json.loads(json.dumps(after.dump()))) == after


@given(st.integers(0, 20), st.integers(0, 8), st.integers(1, 12))
def test_further_prompts_are_others_and_go_on_where_the_batch_ended(seed: int, used: int, count: int) -> None:
    entries = tuple(Entry(name, 1.0, 1) for name in "uvwxyz")
    state = State(entries, seeds_used=used, warm=True)
    batch = next_batch(state, SEEDS, SMALL, seed=seed, step=5)
    longer = further(state, batch, SEEDS, SMALL, count, seed=seed, step=5)
    more = longer.prompt_ids
    assert len(set(more)) == len(more) == min(4 + count, 14 if batch.phase != "mix-up" else len(more))
    assert longer.from_buffer[: len(batch.from_buffer)] == batch.from_buffer
    assert longer.from_seeds[: len(batch.from_seeds)] == batch.from_seeds
    # Two rounds take what one takes, where both halves have their share.
    if batch.phase == "bootstrap" and count % 2 == 0:
        half = further(state, batch, SEEDS, SMALL, count // 2, seed=seed, step=5)
        assert further(state, half, SEEDS, SMALL, count // 2, seed=seed, step=5) == longer


def test_further_seeds_follow_those_of_the_batch() -> None:
    order = seeds_in_order(7)
    batch = static_batch(State(), SEEDS, SMALL, seed=7)
    longer = further(State(), batch, SEEDS, SMALL, 3, seed=7, step=1)
    assert "".join(longer.from_seeds) == order[:7]
    # Of eight seeds one is left, however many are wanted.
    assert "".join(further(State(), longer, SEEDS, SMALL, 9, seed=7, step=1).from_seeds) == order
