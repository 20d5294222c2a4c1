"""A user's own metric: its columns, its use in draws and pairs, and functions that are no metric."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from eva_data.errors import ConfigError
from eva_data.method.estimate import informativeness
from eva_data.method.pair import pair
from eva_data.method.sample import sample
from eva_data.method.signals.own_metric import own_metric
from eva_data.own_code import FOLDER
from eva_data.tables.schemas import (
    INFORMATIVENESS,
    OWN_METRIC,
    PREFERENCES,
    PROMPTS,
    RESPONSES,
    VOTES,
    check,
    conform,
    table_to_write,
)

CODE = """
import polars as pl

def second_best(rewards):
    return rewards.list.get(-2, null_on_oob=True)

def constant(rewards):
    return pl.lit(1)

def of_all_prompts(rewards):
    return rewards.list.max() - rewards.list.max().mean()

def text(rewards):
    return rewards.list.max().cast(pl.String) + "x"

def number(rewards):
    return 3.0
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.setenv(FOLDER, str(tmp_path))


def responses(**rewards: list[float]) -> pl.LazyFrame:
    rows = [
        {"prompt_id": name, "response_idx": number, "response": f"{name} {reward}", "reward": reward}
        for name, given in rewards.items()
        for number, reward in enumerate(given)
    ]
    table = pl.DataFrame(rows).with_columns(stage=pl.lit("respond"), finish_reason=pl.lit("stop"))
    return conform(table, RESPONSES).lazy()


def measured(metric: str, **rewards: list[float]) -> pl.DataFrame:
    return informativeness(
        responses(**rewards), stage="estimate", iteration=2, n=4, seed=42, own=own_metric(metric)
    ).collect()


def test_its_columns_follow_the_metrics_and_are_null_without_it() -> None:
    found = measured("mine.py:second_best", a=[0.0, 1.0, 5.0], b=[2.0], c=[3.0, 3.0])
    check(found, INFORMATIVENESS, "informativeness")
    assert found.columns[found.columns.index("uniform") :][1:3] == ["custom", "custom_metric"] == [*OWN_METRIC]
    assert found["custom"].to_list() == [1.0, None, 3.0]
    (name,) = found["custom_metric"].unique()
    assert name.startswith("mine.py:second_best@")
    without = measured("a_min", a=[0.0, 1.0], b=[2.0])
    check(without, INFORMATIVENESS, "informativeness")
    assert without.select(pl.col(*OWN_METRIC).null_count()).row(0) == (2, 2)
    written = [column for column in INFORMATIVENESS if column not in VOTES]
    assert table_to_write(found, "informativeness").columns == written
    assert table_to_write(without, "informativeness").columns == [
        column for column in written if column not in OWN_METRIC
    ]


def test_a_formula_without_rewards_is_null_too_where_no_metric_is_defined() -> None:
    assert measured("mine.py:constant", a=[0.0, 1.0], b=[2.0])["custom"].to_list() == [1.0, None]


def test_prompts_are_drawn_and_paired_with_it() -> None:
    table = measured("mine.py:second_best", a=[0.0, 1.0, 5.0], b=[0.0, 4.0, 5.0], c=[1.0])
    drawn = sample(table.lazy(), metric="custom", fraction=0.34, method="greedy", seed=42, iteration=2)
    rows = drawn.informativeness.collect()
    check(rows, INFORMATIVENESS, "informativeness")
    assert rows.filter("selected")["prompt_id"].to_list() == ["b"]
    assert drawn.notes == ("1 of 3 prompts have no finite `custom` and cannot be drawn",)
    prompts = conform(
        pl.DataFrame({"prompt_id": ["a", "b"], "prompt": [[{"role": "user", "content": "?"}]] * 2}), PROMPTS
    )
    pairs = pair(
        prompts.lazy(),
        responses(a=[0.0, 1.0, 5.0], b=[0.0, 4.0, 5.0]),
        table.with_columns(stage=pl.lit("respond")).lazy(),
        seed=42,
        iteration=2,
        on_policy=True,
    ).preferences
    check(pairs, PREFERENCES, "preferences")
    assert pairs["custom"].to_list() == [1.0, 4.0]
    assert pairs["custom_metric"].str.starts_with("mine.py:second_best@").all()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("of_all_prompts", "gives a prompt another value beside other prompts"),
        ("text", "cannot be computed of rewards"),
        ("number", "which returned float"),
        ("nothing", "has no function `nothing`"),
    ],
)
def test_what_is_no_metric_is_one_sentence(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        own_metric(f"mine.py:{name}")
    assert said in str(error.value)


def test_a_name_of_our_own_is_no_function() -> None:
    assert own_metric("a_min") is None
