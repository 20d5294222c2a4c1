"""Seeds and existing responses from files: every row becomes a prompt or a reject, in any order."""

from __future__ import annotations

import random
import re
from pathlib import Path

import polars as pl
import pytest

from eva_data.config import Seeds, TableModel
from eva_data.dataset.scored_table import read_table
from eva_data.dataset.seeds import read_seeds, seed_block
from eva_data.errors import DataError, StaleError
from eva_data.tables.schemas import PROMPTS, REJECTS, RESPONSES, check


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def test_text_seeds_become_prompts_and_the_rest_rejects(tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    texts = ["What is 2 + 2?", None, "  ", "What is 2 + 2?\r\n", "Name a colour."]
    pl.DataFrame({"prompt": texts}).write_ndjson(path)
    seeds, rejects = read_seeds(Seeds(path=path), seed=1)
    check(rejects, REJECTS, "rejects")
    assert sorted(prompt[0]["content"] for prompt in seeds["prompt"]) == ["Name a colour.", "What is 2 + 2?"]
    assert sorted(rejects["reason"]) == ["duplicate", "empty", "null"]
    duplicate = rejects.row(by_predicate=pl.col("reason") == "duplicate", named=True)
    assert duplicate["duplicate_of"] in seeds["prompt_id"]
    assert seeds.height + rejects.height == len(texts)


def test_conversations_are_prompts_up_to_their_last_user_turn_and_know_their_roles(tmp_path: Path) -> None:
    path = tmp_path / "seeds.parquet"
    conversations = [
        turns("Hi", "Hello", "And now?"),
        turns("Hi", "Hello"),
        [{"role": "tool", "content": "x"}, {"role": "user", "content": "y"}],
        [],
    ]
    pl.DataFrame({"messages": conversations}).write_parquet(path)
    notes: list[str] = []
    seeds, rejects = read_seeds(Seeds(path=path, column="messages"), 1, notes.append)
    assert sorted(seeds["prompt"].to_list(), key=len) == [turns("Hi"), turns("Hi", "Hello", "And now?")]
    assert notes == ["1 of 4 conversations go on after their last user turn: they are prompts up to there"]
    assert sorted(rejects["reason"]) == ["empty", "unknown_role"]


def test_shuffling_the_file_changes_nothing_and_another_seed_does(tmp_path: Path) -> None:
    texts = [f"Question {n}" for n in range(50)] + ["Question 7 "]
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    pl.DataFrame({"prompt": texts}).write_csv(first)
    pl.DataFrame({"prompt": random.Random(0).sample(texts, len(texts))}).write_csv(second)
    (a, rejected_a), (b, rejected_b) = (read_seeds(Seeds(path=path), seed=3) for path in (first, second))
    assert a.drop("source").equals(b.drop("source"))
    assert rejected_a.drop("text").equals(rejected_b.drop("text"))
    other, _ = read_seeds(Seeds(path=first), seed=4)
    assert set(other["prompt_id"]) == set(a["prompt_id"])
    assert other["prompt_id"].to_list() != a["prompt_id"].to_list()


def test_blocks_of_iterations_are_disjoint_and_run_out_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    pl.DataFrame({"prompt": [f"Question {n}" for n in range(10)]}).write_csv(path)
    seeds, _ = read_seeds(Seeds(path=path), seed=1)
    blocks = [seed_block(seeds, iteration, 4) for iteration in (1, 2, 3)]
    assert [block.height for block in blocks] == [4, 4, 2]
    assert pl.concat(blocks)["prompt_id"].n_unique() == 10
    for block in blocks:
        check(block, PROMPTS, "prompts")
    with pytest.raises(StaleError, match=r"iteration 4 needs new seeds, but all 10 are used up \(3 blocks of 4\)"):
        seed_block(seeds, 4, 4)


@pytest.mark.parametrize(
    ("name", "content", "column", "sentence"),
    [
        ("gone.csv", None, "prompt", "and there is no such file"),
        ("empty.jsonl", "", "prompt", "the file is empty"),
        ("seeds.doc", "x", "prompt", "expected a file that ends in .parquet, .jsonl"),
        ("torn.parquet", "PAR1", "prompt", "cannot be read as parquet"),
        ("seeds.csv", "text\nhello\n", "prompt", "`seeds.column` is `prompt`, but seeds.csv has the columns text"),
        (
            "seeds.jsonl",
            '{"prompt": [1]}',
            "prompt",
            "`prompt` of seeds.jsonl holds lists of numbers: expected",
        ),
        ("seeds.jsonl", '{"prompt": ""}\n', "prompt", "of 1 seeds none can be used: {'empty': 1}"),
    ],
)
def test_a_file_that_cannot_be_used_is_said(
    tmp_path: Path, name: str, content: str | None, column: str, sentence: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=re.escape(sentence)):
        read_seeds(Seeds(path=tmp_path / name, column=column), seed=1)


def test_a_table_of_responses_becomes_iteration_1(tmp_path: Path) -> None:
    path = tmp_path / "responses.parquet"
    rows = [
        ("Name a colour.", "red", 0.5, "m2"),
        ("Name a colour.", "blue", 0.9, "m1"),
        ("Name a colour.", "", float("nan"), "m1"),
        ("Name a colour.", "green", float("inf"), "m3"),
        ("Name a colour.", None, 0.1, "m3"),
        (None, "alone", 0.1, "m3"),
    ]
    pl.DataFrame(rows, schema=["prompt", "answer", "score", "by"], orient="row").write_parquet(path)
    table = TableModel(backend="table", path=path, response="answer", reward="score", model="by")
    prompts, responses, rejects, flow = read_table(table)
    for frame, schema in ((prompts, PROMPTS), (responses, RESPONSES), (rejects, REJECTS)):
        check(frame, schema, "x")
    assert responses.select("response_idx", "response", "reward", "solver").rows() == [
        (0, "blue", 0.9, "m1"),
        (1, "red", 0.5, "m2"),
    ]
    assert sorted(rejects.select("stage", "reason").rows()) == [
        ("reward", "not_finite"),
        ("reward", "not_finite"),
        ("reward", "null_response"),
        ("seeds", "null"),
    ]
    assert (flow.rows_in, flow.rows_out, flow.rejected) == (6, 2, 4)


def test_a_reward_that_is_no_number_is_said(tmp_path: Path) -> None:
    path = tmp_path / "responses.csv"
    path.write_text("prompt,response,reward\na,b,high\n")
    with pytest.raises(DataError, match=r"`solver.reward` is `reward`, of which not one value in .* is a number"):
        read_table(TableModel(backend="table", path=path))
