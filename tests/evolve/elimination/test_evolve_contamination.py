# ruff: noqa: RUF001 - prompts in Chinese
"""Contamination: runs of words shared with a benchmark, and benchmark files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.errors import ConfigError, DataError
from eva_data.evolve.elimination.contamination import ReferenceSet, contaminated, read_reference_set
from eva_data.tables.schemas import MESSAGES

FOUND = {"prompt_id": pl.String, "set": pl.String}


def prompts(**texts: str) -> pl.DataFrame:
    return conversations(**{name: [("user", text)] for name, text in texts.items()})


def conversations(**turns: list[tuple[str, str]]) -> pl.DataFrame:
    rows = [
        {"prompt_id": name, "prompt": [{"role": role, "content": content} for role, content in of]}
        for name, of in turns.items()
    ]
    return pl.DataFrame(rows, schema={"prompt_id": pl.String, "prompt": MESSAGES})


def reference(name: str, *texts: str) -> ReferenceSet:
    return ReferenceSet(name, pl.DataFrame({"text": texts}, schema={"text": pl.String}))


THIRTEEN = "A train leaves Paris at noon and another leaves Lyon an hour later."


def test_thirteen_words_in_a_row_are_contamination_and_twelve_are_not() -> None:
    assert len(THIRTEEN.split()) == 13
    frame = prompts(
        whole=THIRTEEN,
        inside=f"Read this. {THIRTEEN.upper()} When do they meet?",
        punctuation='a train\nleaves "Paris" at noon; and another leaves Lyon -- an hour later',
        twelve="train leaves Paris at noon and another leaves Lyon an hour later, right?",
        changed=THIRTEEN.replace("noon", "six"),
    )
    benchmark = reference("trains", f"Puzzle: {THIRTEEN} Where do they meet?")
    found = contaminated(frame, [benchmark])
    assert_frame_equal(
        found.sort("prompt_id"),
        pl.DataFrame([("inside", "trains"), ("punctuation", "trains"), ("whole", "trains")], FOUND, orient="row"),
    )


def test_texts_of_fewer_than_five_words_are_met_only_by_exactly_their_words() -> None:
    frame = prompts(
        same="Name three rivers!",
        longer="Name three rivers of Asia.",
        long=f"Name three rivers. {THIRTEEN}",
        other="Name three lakes.",
    )
    found = contaminated(frame, [reference("geography", "name THREE rivers", "Name three")])
    assert found.rows() == [("same", "geography")]


QUESTION = "What happens to you if you eat watermelon seeds?"


def test_a_short_question_is_met_by_a_prompt_that_holds_all_of_it() -> None:
    frame = prompts(
        inside=f"Answer in the voice of a doctor. {QUESTION} Give your sources, and name two studies.",
        embedded="Explain to a child what happens to you if you eat watermelon seeds, in three sentences.",
        half="What happens to you if you eat watermelon every day?",
        five="Say who was the first king, and who came after him.",
        four="Name two rivers of Asia, then the longest.",
    )
    sets = [reference("short", QUESTION, "Who was the first king?", "Name two rivers of")]
    assert sorted(contaminated(frame, sets)["prompt_id"]) == ["embedded", "five", "inside"]


def test_letters_of_scripts_without_spaces_are_parts_of_words() -> None:
    benchmark = reference(
        "zh",
        "请用不超过一百个字简要介绍一下长江的历史。",
        "水的沸点在一个标准大气压下是多少摄氏度？",
        "中国的首都是哪里？",
    )
    frame = prompts(
        stock="请用不超过一百个字简要介绍一下量子力学里的不确定性原理。",
        most="请用不超过一百个字简要介绍一下长江的历史，并说明它的意义。",
        inside="先回答：中国的首都是哪里？再介绍那里的三座博物馆。",
        thai="ช่วยอธิบายประวัติของแม่น้ำเจ้าพระยาให้หน่อย",
    )
    thai = reference("th", "ช่วยอธิบายประวัติของแม่น้ำโขงให้หน่อยได้ไหม")
    assert contaminated(frame, [benchmark, thai]).sort("prompt_id").rows() == [("inside", "zh"), ("most", "zh")]


def test_a_run_is_the_same_wherever_it_stands() -> None:
    frame = prompts(**{f"{n}": " ".join(map(str, range(n))) + f" {THIRTEEN} Then?" for n in range(40)})
    assert contaminated(frame, [reference("trains", THIRTEEN)]).height == 40


def test_the_first_set_that_is_met_is_named() -> None:
    frame = prompts(a="one two three four", b="three four five", c="six seven")
    sets = [reference("x", "two three four"), reference("y", "zero one two three", "three four five")]
    assert contaminated(frame, sets, words=3).sort("prompt_id").rows() == [("a", "x"), ("b", "y")]
    assert contaminated(frame, sets[::-1], words=3).sort("prompt_id").rows() == [("a", "y"), ("b", "y")]


def test_every_user_turn_counts_and_no_other() -> None:
    frame = conversations(
        earlier=[("user", THIRTEEN), ("assistant", "So?"), ("user", "When do they meet?")],
        quoted=[("system", THIRTEEN), ("user", "Hello."), ("assistant", THIRTEEN), ("user", "Thanks.")],
        across=[("user", THIRTEEN[:30]), ("assistant", "Yes?"), ("user", THIRTEEN[30:])],
    )
    assert contaminated(frame, [reference("trains", THIRTEEN)]).rows() == [("earlier", "trains")]


def test_scripts_without_spaces_are_compared_letter_by_letter() -> None:
    frame = prompts(a="次の問題を解いてください。電車は正午に出発します。", b="次の問題を解いてください。")
    assert contaminated(frame, [reference("jp", "電車は正午に出発します")], words=10).rows() == [("a", "jp")]


def test_without_sets_and_without_prompts_nothing_is_contaminated() -> None:
    empty = pl.DataFrame(schema=FOUND)
    assert_frame_equal(contaminated(prompts(a=THIRTEEN), []), empty)
    assert_frame_equal(contaminated(prompts(a=THIRTEEN), [reference("none")]), empty)
    assert_frame_equal(contaminated(prompts(a="a").clear(), [reference("trains", THIRTEEN)]), empty)


@pytest.mark.slow
@given(st.permutations(range(5)))
def test_what_is_contaminated_does_not_depend_on_row_order(order: list[int]) -> None:
    frame = prompts(a="one two three", b="two three four", c="four five", d="", e="1 2 3 one two three")
    sets = [reference("x", "one two three", "2 3 one"), reference("y", "two three four five")]
    found = contaminated(frame[order], sets, words=3).sort("prompt_id")
    assert found.rows() == [("a", "x"), ("b", "y"), ("e", "x")]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError) as words:
        contaminated(prompts(a="a"), [], words=0)
    assert str(words.value) == "evolve.ngram is 0; it is a number of words, 1 or more"
    with pytest.raises(ConfigError) as twice:
        contaminated(prompts(a="a"), [reference("x", "a"), reference("x", "b")])
    assert str(twice.value) == "evolve.benchmarks: of the names ['x', 'x'] one occurs twice; rename it"


def test_parquet_jsonl_and_csv_give_the_same_texts(tmp_path: Path) -> None:
    table = pl.DataFrame({"question": ["Why?", None, "How,\nthen?"], "answer": [1, 2, 3]})
    table.write_parquet(tmp_path / "set.parquet")
    table.write_ndjson(tmp_path / "set.jsonl")
    table.write_csv(tmp_path / "set.csv")
    for suffix in ("parquet", "jsonl", "csv"):
        read = read_reference_set("quiz", tmp_path / f"set.{suffix}", column="question")
        assert read.name == "quiz"
        assert_frame_equal(read.texts, pl.DataFrame({"text": ["Why?", "How,\nthen?"]}))


def test_of_conversations_the_user_turns_are_the_texts(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Why?"), ("assistant", "So."), ("user", "How?")]
    conversations(a=turns, b=[("system", "Be brief.")]).write_parquet(tmp_path / "set.parquet")
    read = read_reference_set("quiz", tmp_path / "set.parquet", column="prompt")
    assert_frame_equal(read.texts, pl.DataFrame({"text": ["Why?", "How?"]}))


def test_a_benchmark_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    with pytest.raises(DataError, match=r"set\.parquet"):
        read_reference_set("quiz", path, column="question")
    pl.DataFrame({"answer": [1], "n": [2]}).write_parquet(path)
    with pytest.raises(DataError) as column:
        read_reference_set("quiz", path, column="question")
    assert str(column.value) == (f"the benchmark `quiz` ({path}) has no column `question`; name one of answer, n")
    with pytest.raises(DataError) as kind:
        read_reference_set("quiz", path, column="n")
    assert str(kind.value) == (
        f"the column `n` of the benchmark `quiz` ({path}) holds numbers; "
        "name one that holds strings or lists of {role, content}"
    )


def test_real_benchmark_prompts_are_found_in_prompts_that_contain_them(shared_data: Path) -> None:
    benchmark = read_reference_set("mt_bench", shared_data / "prompts_mt_bench.parquet", column="prompt")
    others = read_reference_set("seeds", shared_data / "prompts_self_instruct_seed.parquet", column="prompt")
    frame = prompts(
        **{f"in {n}": text + " Explain." for n, text in enumerate(benchmark.texts["text"])},
        **{f"out {n}": text for n, text in enumerate(others.texts["text"])},
    )
    found = contaminated(frame, [benchmark])
    words = benchmark.texts["text"].str.count_matches(r"[\p{L}\p{M}\p{N}]+")
    assert found["prompt_id"].sort().to_list() == sorted(f"in {n}" for n, count in enumerate(words) if count >= 5)
    assert found.height > 70
