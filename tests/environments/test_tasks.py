"""What a prompt of an environment carries, and what is known of scorers; no environment is needed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.config.reading import parse_config
from eva_data.environments import reasoning_gym
from eva_data.environments.evaluated import evaluates
from eva_data.environments.posing import posed, version_of
from eva_data.environments.reasoning_gym import next_level
from eva_data.environments.tasks import PosedTask, pack, read_info, unpack
from eva_data.errors import ConfigError, DataError, MissingExtraError
from eva_data.evolve.chain import evolve_chain
from eva_data.evolve.methods import build_method
from eva_data.evolve.parse import bare
from eva_data.evolve.rules import Limits
from eva_data.evolve.strategy import Method, Strategy
from eva_data.rewards.environment import score_answer
from eva_data.tables.ids import prompt_id_of

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers(), st.integers()), inner)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_what_is_packed_is_unpacked_with_its_tuples(values: Any) -> None:
    packed = pack(values)
    assert packed is not None
    found = unpack(packed)
    assert found == values
    assert type(found) is type(values)


def test_a_tuple_and_a_key_that_is_no_text_stand_in_the_json() -> None:
    assert pack({"of": {2: (0, 1)}}) == '{"of": {"__items__": [[2, {"__tuple__": [0, 1]}]]}}'


@pytest.mark.parametrize("values", [{"a": {2, 3}}, object(), float("nan"), {"__tuple__": [1]}])
def test_what_json_would_change_is_not_packed(values: Any) -> None:
    assert pack(values) is None


@pytest.mark.parametrize("info", ["", "[]", "{", '{"environment": "reasoning_gym/gcd"}'])
def test_info_of_another_form_is_refused(info: str) -> None:
    with pytest.raises(DataError, match=r"the column `info` holds .*expected a JSON object with environment, version"):
        read_info(info)


@pytest.mark.parametrize(
    ("levels", "value", "found"),
    [
        ([2, 3, 4], 2, 1),
        ([2, 3, 4], 4, None),
        ([2, 3, 4], 1, 0),
        ([10, 100, 1000], 50, 1),
        ([10, 100, 1000], 5000, None),
        ([0.5, 0.25, 0.1], 0.3, 2 - 1),
        ([-10, -100, -1000], -10, 1),
        ([5, 4, 3], 2, None),
        ([[1, 0], [0.5, 0.5]], (1, 0), 1),
        ([[1, 0], [0.5, 0.5]], [0.3, 0.7], None),
        ([False, False, True], False, 2),
        ([1, 0, 3, 7], 2, None),
        ([6, 7, 8], None, None),
    ],
)
def test_the_next_level_of_a_knob(levels: list[Any], value: Any, found: int | None) -> None:
    assert next_level(levels, value) == found


def in_steps(text: str) -> int:
    number: int = eval(text)
    return number


class Careful:
    def score_answer(self, answer: str) -> float:
        return float(self.read(answer) == 1)

    def read(self, answer: str) -> int:
        return int(answer)


class Careless(Careful):
    def read(self, answer: str) -> int:
        return in_steps(answer)


def test_a_scorer_that_evaluates_is_found_through_what_it_calls() -> None:
    assert not evaluates(Careful.score_answer, Careful, __name__)
    assert evaluates(Careless.score_answer, Careless, __name__)
    # What belongs to other libraries is not looked into.
    assert not evaluates(Careless.score_answer, Careless, "another")


def test_without_the_extra_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasoning_gym, "_PACKAGE", "reasoning-gym-that-is-not-there")
    sentence = (
        "this needs the package `reasoning-gym.*` of the extra `environments`, which is not installed: install it"
    )
    for needs in (
        lambda: posed("reasoning_gym/gcd", size=1, seed=1, config={}),
        lambda: version_of("reasoning_gym/gcd"),
        lambda: score_answer(
            "", "", "1", '{"environment": "reasoning_gym/gcd", "version": "", "config": {}, "metadata": {}}'
        ),
    ):
        with pytest.raises(MissingExtraError, match=sentence):
            needs()


def test_a_prompt_that_carries_nothing_has_no_score() -> None:
    assert score_answer("Name a river.", "The Nile.", None, None) is None


SETTINGS: dict[str, Any] = {
    "name": "posed",
    "seeds": {"environment": "reasoning_gym/chain_sum", "size": 4},
    "solver": {"model": "acme/base"},
    "reward": {"function": "eva_data.rewards.environment:score_answer", "answers": "carried"},
    "evolve": {"method": "environment"},
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seeds": {"environment": "reasoning_gym/chain_sum"}}, "`seeds.environment` needs `seeds.size`"),
        ({"seeds": {"environment": "chain_sum", "size": 4}}, "`chain_sum`: expected `reasoning_gym/<data set>`"),
        (
            {"seeds": {"environment": "reasoning_gym/gcd", "size": 4, "config": "main"}},
            "with `seeds.environment` it is a mapping",
        ),
        ({"seeds": {"path": "a.jsonl", "size": 4}}, "`seeds.size` is for `seeds.environment`, which is missing"),
        ({"seeds": {"path": "a.jsonl", "config": {"a": 1}}}, "`seeds.config` is for `seeds.environment`"),
        (
            {"seeds": {"path": "a.jsonl", "environment": "reasoning_gym/gcd", "size": 4}},
            "needs exactly one of `path`, `dataset`, `environment` and `sandbox`",
        ),
        ({"seeds": {"path": "a.jsonl"}}, "`reward.answers` is carried, but only prompts of `seeds.environment`"),
        (
            {"seeds": {"path": "a.jsonl"}, "reward": {"function": "a:b"}},
            "`evolve.method` is environment, which makes harder tasks",
        ),
        ({"evolve": {"method": "evol_instruct"}}, "with `evolve.method: evol_instruct` a model writes prompts"),
        (
            {"evolve": {"method": "environment", "strategies": [{"name": "a", "template": "{prompt}"}]}},
            "with `evolve.strategies` a model writes prompts",
        ),
    ],
)
def test_settings_that_lose_the_answers_are_refused(change: dict[str, Any], sentence: str) -> None:
    assert parse_config(SETTINGS, "the test").seeds is not None
    with pytest.raises(ConfigError, match=sentence):
        parse_config(SETTINGS | change, "the test")


def test_a_strategy_may_pose_a_task_with_its_answer() -> None:
    def next_number(task: PosedTask, draw: float) -> PosedTask | None:
        assert 0 <= draw < 1
        number = int(task.answer or "") + 1
        return None if number == 3 else PosedTask(f"Sure! Say {number}", str(number), f'{{"level": {number}}}')

    method = Method("numbers", (Strategy("next", "in_depth", "{prompt}", "{prompt}", bare, pose=next_number),))
    start = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say 1"}]
    row = {"prompt_id": prompt_id_of(start), "prompt": start, "root_id": prompt_id_of(start), "depth": 0}
    rules: dict[str, Any] = {"evolutions": 2, "iteration": 2, "seed": 42, "creator": "c", "limits": Limits(3, 30)}
    found = []
    for carried in ({"answer": "1", "info": "{}"}, {"answer": None, "info": None}):
        chain = evolve_chain(row | carried, method, **rules)
        with pytest.raises(StopIteration) as done:
            next(chain)
        found.append([(*map(one.get, ("prompt", "answer", "info", "depth", "reason")),) for one in done.value.value])
    second = [start[0], {"role": "user", "content": "Sure! Say 2"}]
    assert found == [
        [(second, "2", '{"level": 2}', 1, None), (None, None, None, 2, "no_strategy")],
        [(None, None, None, 1, "no_strategy")] * 2,
    ]


def test_the_method_asks_no_model() -> None:
    (strategy,) = build_method("environment").strategies
    assert (strategy.name, strategy.asks) == ("one_level_up", False)
