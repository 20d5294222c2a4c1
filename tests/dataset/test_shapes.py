"""Common shapes of files: prompts and scored responses in each shape, and the whole result of reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from eva_data.config import Seeds, TableModel
from eva_data.dataset.scored_table import read_table
from eva_data.dataset.seeds import read_seeds
from eva_data.errors import DataError


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def seeds(path: Path, **keys: Any) -> tuple[list[list[tuple[str, str]]], list[str], list[str]]:
    """The prompts in the order of their texts, the reasons of the rejects, and the notes."""
    notes: list[str] = []
    found, rejects = read_seeds(Seeds(path=path, **keys), 1, notes.append)
    prompts = [[(part["role"], part["content"]) for part in prompt] for prompt in found["prompt"]]
    return sorted(prompts, key=str), sorted(rejects["reason"]), notes


Scored = tuple[list[tuple[str, str, float, str]], list[tuple[str, str | None]], list[str]]


def scored(path: Path, **keys: Any) -> Scored:
    """(prompt, response, reward, solver) of each response, (reason, text) of each reject, and the notes."""
    notes: list[str] = []
    prompts, responses, rejects, flow = read_table(TableModel(backend="table", path=path, **keys), notes.append)
    asked = prompts.select("prompt_id", said=pl.col("prompt").list.last().struct.field("content"))
    rows = responses.join(asked, on="prompt_id").select("said", "response", "reward", "solver").sort(pl.all())
    assert flow.rows_in == responses.height + rejects.height
    return rows.rows(), sorted(rejects.select("reason", "text").rows(), key=str), notes


CUT = "1 of {} conversations go on after their last user turn: they are prompts up to there"


def test_messages_are_prompts_up_to_their_last_user_turn(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"messages": [turn("system", "s"), turn("user", "u", name="x"), turn("assistant", "a"), turn("user", "v")]},
        {"messages": [turn("user", "w?"), turn("assistant", None, tool_calls=[{"id": 1}]), turn("tool", "sunny")]},
        {"messages": [turn("user", "w?"), turn("tool", "sunny"), turn("user", "and now?")]},
        {"messages": [turn("user", "w?"), turn("assistant", None), turn("user", "and now?")]},
        {"messages": [turn("system", "s"), turn("assistant", "a")]},
        {"messages": []},
        {"messages": None},
    )
    assert seeds(path) == (
        [[("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v")], [("user", "w?")]],
        ["does_not_end_in_a_user_turn", "empty", "null", "null", "unknown_role"],
        ["the prompts are in the column `messages`", CUT.format(7)],
    )


def test_contents_in_parts_are_joined_and_other_parts_rejected(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    path = lines(
        tmp_path / "a.jsonl",
        {"prompt": [turn("user", [{"type": "text", "text": "Name a "}, {"type": "text", "text": "river."}])]},
        {"prompt": [turn("user", [{"type": "text", "text": "What is this?"}, image])]},
        {"prompt": [turn("user", ["Name ", "a lake."])]},
        {"prompt": [turn("user", "As text.")]},
        {"prompt": "As plain text."},
        {"prompt": ["not", "turns"]},
        {"prompt": {"text": "nor this"}},
        {"prompt": turn("user", "One turn.")},
    )
    assert seeds(path) == (
        [
            [("user", "As plain text.")],
            [("user", "As text.")],
            [("user", "Name a lake.")],
            [("user", "Name a river.")],
            [("user", "One turn.")],
        ],
        ["content_part: image_url", "not_a_prompt", "not_a_prompt"],
        [],
    )


def test_contents_in_parts_are_read_from_parquet_too(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Name a "}, {"type": "text", "text": "river."}]
    pl.DataFrame({"prompt": [[turn("user", parts)], None]}).write_parquet(tmp_path / "a.parquet")
    assert seeds(tmp_path / "a.parquet") == ([[("user", "Name a river.")]], ["null"], [])


def test_sharegpt_is_read(tmp_path: Path) -> None:
    said = [("system", "s"), ("human", "h"), ("gpt", "g"), ("human", "i"), ("gpt", "j")]
    path = lines(
        tmp_path / "a.jsonl",
        {"id": 1, "conversations": [{"from": who, "value": what} for who, what in said]},
        {"id": 2, "conversations": [{"from": "observation", "value": "o"}, {"from": "human", "value": "h"}]},
    )
    assert seeds(path) == (
        [[("system", "s"), ("user", "h"), ("assistant", "g"), ("user", "i")]],
        ["unknown_role"],
        ["the prompts are in the column `conversations`", CUT.format(2)],
    )


def test_alpacas_input_goes_under_its_instruction(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Greet.", "input": "", "output": "Hi"},
        {"instruction": "Wave.", "input": None, "output": "o/"},
    )
    prompts = [[("user", "Add.\n\n1 and 2")], [("user", "Greet.")], [("user", "Wave.")]]
    note = "the prompts are in the column `instruction`, with `input` under it where there is one"
    assert seeds(path) == (prompts, [], [note])
    assert seeds(path, column="instruction") == (prompts, [], [note])
    assert seeds(path, column="instruction", input=False) == (
        [[("user", "Add.")], [("user", "Greet.")], [("user", "Wave.")]],
        [],
        [],
    )
    with pytest.raises(DataError, match=r"`seeds.input` is `context`, but a.jsonl has the columns instruction, input"):
        seeds(path, column="instruction", input="context")


def test_transcripts_of_human_and_assistant_are_conversations(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"prompt": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: A river?\n\nAssistant:"},
        {"prompt": "What does \n\nHuman: mean?"},
    )
    assert seeds(path) == (
        [[("user", "Hi"), ("assistant", "Hello"), ("user", "A river?")], [("user", "What does \n\nHuman: mean?")]],
        [],
        ["1 of 2 prompts are transcripts of Human and Assistant: each is a conversation"],
    )


def test_a_column_that_can_hold_no_prompts_is_said(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"prompt": {"a": 1}, "n": [1.5]})
    with pytest.raises(DataError) as caught:
        seeds(path)
    assert str(caught.value) == (
        "the column `prompt` of a.jsonl holds objects with a: expected text, or a list of messages with role and "
        "content; name another as `seeds.column`"
    )


def test_two_columns_of_one_name_are_no_prompts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,prompt\na,b\n")
    with pytest.raises(DataError, match=r"`prompt`, but a.csv has several columns of that name: rename all but one"):
        seeds(tmp_path / "a.csv")


# --- scored responses --------------------------------------------------------------------------------------------

ULTRAFEEDBACK = {
    "instruction": "A colour?",
    "models": ["m1", "m2"],
    "completions": [
        {"model": "m1", "response": "Red", "overall_score": 7.5, "annotations": {"helpfulness": {"Rating": "5"}}},
        {"model": "m2", "response": "Blue", "overall_score": 4, "annotations": {"helpfulness": {"Rating": "N/A"}}},
    ],
    "correct_answers": ["None"],
    "incorrect_answers": ["None"],
}
IN_INSTRUCTION = "the prompts are in the column `instruction`"


def test_ultrafeedback_is_recognised(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ULTRAFEEDBACK, ULTRAFEEDBACK | {"instruction": "A number?", "completions": []})
    assert scored(path) == (
        [("A colour?", "Blue", 4.0, "table:a.jsonl"), ("A colour?", "Red", 7.5, "table:a.jsonl")],
        [("null_response", None)],
        [
            "one row per prompt: the responses `completions[].response` with the rewards `completions[].overall_score`",
            IN_INSTRUCTION,
        ],
    )


def test_ultrafeedback_is_named_by_dotted_paths(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ULTRAFEEDBACK)
    reward = "completions[].annotations.helpfulness.Rating"
    assert scored(path, prompt="instruction", reward=reward, model="completions[].model") == (
        [("A colour?", "Red", 5.0, "m1")],
        [("not_a_number", "Blue")],
        [f"the responses are `completions[].response`, with the rewards `{reward}`"],
    )
    frame = pl.read_ndjson(path)
    frame.write_parquet(tmp_path / "a.parquet")
    keys = {"prompt": "instruction", "response": "completions.response", "reward": "completions.overall_score"}
    assert scored(tmp_path / "a.parquet", **keys)[0] == [
        ("A colour?", "Blue", 4.0, "table:a.parquet"),
        ("A colour?", "Red", 7.5, "table:a.parquet"),
    ]


def test_nectars_lower_rank_is_better(tmp_path: Path) -> None:
    answers = [{"answer": "Red", "model": "m1", "rank": 1}, {"answer": "Blue", "model": "m2", "rank": 2.0}]
    path = lines(tmp_path / "a.jsonl", {"prompt": "\n\nHuman: A colour?\n\nAssistant: ", "answers": answers})
    ranked = [("A colour?", "Blue", -2.0, "table:a.jsonl"), ("A colour?", "Red", -1.0, "table:a.jsonl")]
    transcripts = "2 of 2 responses answer transcripts of Human and Assistant: each is a conversation"
    lower = "of `answers[].rank` the lower is the better: the rewards are its negative"
    says = "one row per prompt: the responses `answers[].answer` with the rewards `answers[].rank`"
    assert scored(path) == (ranked, [], [says, lower, transcripts])
    named = scored(path, response="answers[].answer", reward="answers[].rank")
    assert named == (ranked, [], [lower, transcripts])
    assert [row[2] for row in scored(path, lower_is_better=False)[0]] == [2.0, 1.0]


def test_helpsteer_is_rows_with_a_measure(tmp_path: Path) -> None:
    row = {"prompt": "A colour?", "correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 1}
    path = lines(
        tmp_path / "a.jsonl", row | {"response": "Red", "helpfulness": 3}, row | {"response": "Blue", "helpfulness": 1}
    )
    assert scored(path) == (
        [("A colour?", "Blue", 1.0, "table:a.jsonl"), ("A colour?", "Red", 3.0, "table:a.jsonl")],
        [],
        ["the responses are `response`, with the rewards `helpfulness`"],
    )
    assert [row[2] for row in scored(path, reward="correctness")[0]] == [4.0, 4.0]


def test_binarized_pairs_are_two_responses_each(tmp_path: Path) -> None:
    def talk(answer: str) -> list[dict[str, Any]]:
        return [turn("user", "A colour?"), turn("assistant", answer)]

    pair = {"chosen": talk("Red"), "rejected": talk("Blue"), "score_chosen": 8.0, "score_rejected": "7.5"}
    found = [("A colour?", "Blue", 7.5, "table:a.jsonl"), ("A colour?", "Red", 8.0, "table:a.jsonl")]
    says = "one row per pair: `chosen` and `rejected` with the rewards `score_chosen` and `score_rejected`"
    assert scored(lines(tmp_path / "a.jsonl", pair | {"prompt": "A colour?", "messages": talk("Red")})) == (
        found,
        [],
        [says],
    )
    assert scored(lines(tmp_path / "a.jsonl", pair)) == (found, [], [says])
    texts = {"prompt": ["A colour?"], "chosen": ["Red"], "rejected": ["Blue"]}
    pl.DataFrame(texts | {"chosen-rating": [5], "rejected-rating": [3]}).write_parquet(tmp_path / "a.parquet")
    assert [row[1:3] for row in scored(tmp_path / "a.parquet")[0]] == [("Blue", 3.0), ("Red", 5.0)]
    with pytest.raises(DataError) as caught:
        scored(lines(tmp_path / "b.jsonl", {key: value for key, value in pair.items() if "score" not in key}))
    assert str(caught.value).startswith("b.jsonl holds chosen and rejected responses without their scores: it needs ")


def test_simpos_json_is_lists_of_responses_and_rewards(tmp_path: Path) -> None:
    rows = [
        {"prompt": "A colour?", "all_generated_responses": ["Red", "Blue", "Sky"], "all_rm_scores": [0.25, "1", "x"]},
        {"prompt": "A river?", "all_generated_responses": ["Rhine", "Danube"], "all_rm_scores": [0.5]},
        {"prompt": "A lake?", "all_generated_responses": ["Como"], "all_rm_scores": None},
        {"prompt": "A sea?", "all_generated_responses": None, "all_rm_scores": None},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=2))
    assert scored(tmp_path / "a.json") == (
        [("A colour?", "Blue", 1.0, "table:a.json"), ("A colour?", "Red", 0.25, "table:a.json")],
        [
            ("not_a_number", "Sky"),
            ("null_response", None),
            ("null_reward", "Como"),
            ("responses_and_rewards_differ_in_number", "Danube"),
            ("responses_and_rewards_differ_in_number", "Rhine"),
        ],
        ["one row per prompt: a list of responses, `all_generated_responses`, and of rewards, `all_rm_scores`"],
    )


def test_lists_are_read_under_the_usual_names(tmp_path: Path) -> None:
    pl.DataFrame({"prompt": ["A colour?"], "response": [["Red", "Blue"]], "reward": [[1, 2]]}).write_parquet(
        tmp_path / "a.parquet"
    )
    assert scored(tmp_path / "a.parquet") == (
        [("A colour?", "Blue", 2.0, "table:a.parquet"), ("A colour?", "Red", 1.0, "table:a.parquet")],
        [],
        [],
    )


def test_rewards_are_numbers_however_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rewards = [" 1.5 ", "true", "False", "8/10", "nan", "-inf", "", "1e-3", "1,5"]
    body = "".join(f'q,{letter},"{reward}"\n' for letter, reward in zip("abcdefghi", rewards, strict=True))
    path.write_text("prompt,response,reward\n" + body)
    assert scored(path) == (
        [("q", "a", 1.5, "table:a.csv")]
        + [("q", letter, reward, "table:a.csv") for letter, reward in (("b", 1.0), ("c", 0.0), ("h", 0.001))],
        [
            ("not_a_number", "d"),
            ("not_a_number", "i"),
            ("not_finite", "e"),
            ("not_finite", "f"),
            ("null_reward", "g"),
        ],
        [],
    )


def test_right_and_wrong_are_one_and_zero(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"prompt": "q", "completion": "a", "label": True},
        {"prompt": "q", "completion": "b", "label": False},
    )
    assert scored(path) == (
        [("q", "a", 1.0, "table:a.jsonl"), ("q", "b", 0.0, "table:a.jsonl")],
        [],
        ["one row per response: `completion` with the reward `label`"],
    )


def test_responses_may_be_conversations_or_the_end_of_one(tmp_path: Path) -> None:
    talk = [turn("user", "q"), turn("assistant", [{"type": "text", "text": "a"}])]
    expected = [("q", "a", 2.0, "table:a.jsonl")]
    named = scored(
        lines(tmp_path / "a.jsonl", {"prompt": "q", "chosen": talk, "score": 2}), response="chosen", reward="score"
    )
    assert named == (expected, [], [])
    assert scored(lines(tmp_path / "a.jsonl", {"messages": talk, "score": 2})) == (
        expected,
        [],
        ["one row per response, the last turn of `messages`, with the reward `score`"],
    )


def test_a_prompt_that_ends_in_the_assistants_words_is_not_cut_under_its_responses(tmp_path: Path) -> None:
    begun = [turn("user", "A poem."), turn("assistant", "Roses are")]
    good = {"prompt": "q", "response": "a", "reward": 1}
    path = lines(tmp_path / "a.jsonl", good, {"prompt": begun, "response": " red", "reward": 1})
    assert scored(path) == ([("q", "a", 1.0, "table:a.jsonl")], [("does_not_end_in_a_user_turn", " red")], [])


def test_prompts_that_cannot_be_read_take_their_responses_with_them(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"prompt": [turn("user", [{"type": "image"}])], "response": "a", "reward": 1},
        {"prompt": {"x": 1}, "response": "b", "reward": 1},
        {"prompt": None, "response": "c", "reward": 1},
        {"prompt": "q", "response": "d", "reward": 1},
    )
    assert scored(path) == (
        [("q", "d", 1.0, "table:a.jsonl")],
        [("content_part: image", "a"), ("not_a_prompt", "b"), ("null", "c")],
        [],
    )


@pytest.mark.parametrize(
    ("row", "keys", "sentence"),
    [
        (
            {"a": "x", "b": 1},
            {},
            "`solver.response` is `response`, but a.jsonl has the columns a (text), b (numbers): name the column of "
            "the response and of the reward, or a field such as `completions[].overall_score`",
        ),
        (
            {"prompt": "q", "response": "a", "reward": {"x": 1}},
            {},
            "`solver.reward` is `reward`, which holds objects with x: expected numbers",
        ),
        (
            {"prompt": "q", "response": {"x": "a"}, "reward": 1},
            {},
            "`solver.response` is `response`, which holds objects with x: expected text, or a list of messages whose "
            "last is the assistant's",
        ),
        (
            {"prompt": "q", "response": ["a", "b"], "reward": 1},
            {},
            "`response` has a list per row in a.jsonl and `reward` has one value: name the response and the reward of "
            "the same list",
        ),
        (
            {"prompt": "q", "response": "a", "reward": "high"},
            {},
            "`solver.reward` is `reward`, of which not one value in a.jsonl is a number: name a column of numbers",
        ),
        (
            ULTRAFEEDBACK,
            {"reward": "completions[].overal_score"},
            "`solver.reward` is `completions[].overal_score`, but a.jsonl has the columns instruction, models, "
            "completions, correct_answers, incorrect_answers, and `completions` holds lists of objects with model, "
            "response, overall_score, annotations: name one of them",
        ),
        (
            {"prompt": "q", "response": "a", "reward": 1},
            {"shape": "pairs"},
            "`solver.reward` is `reward` and `solver.shape` is `pairs`, but a.jsonl has the columns prompt (text), "
            "response (text), reward (numbers): name the column of the response and of the reward, or a field such as "
            "`completions[].overall_score`",
        ),
    ],
)
def test_a_shape_that_is_not_there_is_one_sentence(
    tmp_path: Path, row: dict[str, Any], keys: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DataError) as caught:
        scored(lines(tmp_path / "a.jsonl", row), **keys)
    assert str(caught.value) == sentence


def test_a_shape_can_be_named_where_columns_show_another(tmp_path: Path) -> None:
    row = {"prompt": "q", "response": "a", "reward": 1, "chosen": "c", "rejected": "r"}
    path = lines(tmp_path / "a.jsonl", row | {"score_chosen": 3, "score_rejected": 2})
    assert [found[1:3] for found in scored(path)[0]] == [("a", 1.0)]
    assert [found[1:3] for found in scored(path, shape="pairs")[0]] == [("c", 3.0), ("r", 2.0)]


def test_a_column_of_nothing_is_as_many_nulls_as_rows(tmp_path: Path) -> None:
    pl.DataFrame({"prompt": [None, None], "response": [None, None], "reward": [None, None]}).write_parquet(
        tmp_path / "a.parquet"
    )
    with pytest.raises(DataError, match=r"of 2 seeds none can be used: \{'null': 2\}"):
        seeds(tmp_path / "a.parquet")
    pl.DataFrame(schema={"prompt": pl.Null, "response": pl.Null, "reward": pl.Null}).write_parquet(
        tmp_path / "b.parquet"
    )
    with pytest.raises(DataError, match=r"there are columns but no rows in what should hold prompts"):
        scored(tmp_path / "b.parquet")


def test_lists_in_some_rows_and_single_values_in_others_are_both_read(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"prompt": "q", "response": "a", "reward": 1},
        {"prompt": "q", "response": ["b", "c"], "reward": [2, "3"]},
        {"prompt": "q", "response": ["d"], "reward": 4},
        {"prompt": "q", "response": ["e", "f"], "reward": 5},
        {"prompt": "q", "response": [], "reward": []},
    )
    assert scored(path) == (
        [("q", letter, reward, "table:a.jsonl") for letter, reward in zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True)],
        [
            ("null_response", None),
            ("responses_and_rewards_differ_in_number", "e"),
            ("responses_and_rewards_differ_in_number", "f"),
        ],
        [],
    )


@pytest.mark.parametrize(
    "columns",
    [
        {"prompt": ["q", "q"], "response": ["007", "b"], "reward": [1, 2.5]},
        {"prompt": {"0": "q", "1": "q"}, "response": {"0": "007", "1": "b"}, "reward": {"0": 1, "1": 2.5}},
    ],
)
def test_json_may_hold_columns_as_pandas_writes_them(tmp_path: Path, columns: dict[str, Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(columns))
    assert scored(tmp_path / "a.json")[0] == [("q", "007", 1.0, "table:a.json"), ("q", "b", 2.5, "table:a.json")]


def test_blanks_in_the_first_line_of_a_csv_are_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt, response , reward\nq, a, 1\n")
    assert scored(tmp_path / "a.csv")[0] == [("q", " a", 1.0, "table:a.csv")]
