"""Near-duplicates: shingles counted by hand, the order of judgement, and real prompts."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.errors import ConfigError
from eva_data.evolve.elimination.near_duplicates import bands, near_duplicates
from eva_data.evolve.elimination.ngrams import TOKENS, WORDS, ngram_hashes
from eva_data.tables.schemas import PROMPTS

SCHEMA = pl.Schema({name: PROMPTS[name] for name in ("prompt_id", "prompt", "root_id", "depth")})
FOUND = {"prompt_id": pl.String, "duplicate_of": pl.String}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def prompts(**texts: str) -> pl.DataFrame:
    """Seeds. Each seed is its own root."""
    rows = [
        {"prompt_id": name, "prompt": [{"role": "user", "content": text}], "root_id": name, "depth": 0}
        for name, text in texts.items()
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def counts(*texts: str, n: int, tokens: str) -> list[tuple[int, int]]:
    """The numbers of all and of different n-grams of each text."""
    frame = pl.LazyFrame({"text": texts}).with_row_index("row")
    grams = ngram_hashes(frame, n=n, tokens=tokens).collect()
    own = [grams.filter(pl.col("row") == row)["ngram"] for row in range(len(texts))]
    return [(len(of), of.n_unique()) for of in own]


NOTHING = pl.LazyFrame(schema=SCHEMA)


def test_ngrams_are_counted_within_each_text() -> None:
    texts = ("a b c d e", "", "a b", "a b c", "a a a a a", "?", "a-b c")
    assert counts(*texts, n=3, tokens=WORDS) == [(3, 3), (0, 0), (1, 1), (1, 1), (3, 1), (0, 0), (1, 1)]
    assert counts(*texts, n=3, tokens=TOKENS) == [(3, 3), (0, 0), (1, 1), (1, 1), (3, 1), (1, 1), (2, 2)]
    assert counts(*texts, n=1, tokens=WORDS) == [(5, 5), (0, 0), (2, 2), (3, 3), (5, 1), (0, 0), (3, 3)]
    assert counts("川を三つ挙げて", "ñandú Ünï", "b 2nd", n=2, tokens=WORDS) == [(6, 6), (1, 1), (1, 1)]


def test_a_short_text_equals_no_ngram_of_a_longer_one() -> None:
    frame = pl.LazyFrame({"text": ["a b", "A, B!", "a b c", "c a b", "b a"]}).with_row_index("row")
    grams = ngram_hashes(frame, n=3, tokens=WORDS).collect()["ngram"].to_list()
    assert grams[0] == grams[1]
    assert len({*grams}) == 4


def test_what_shares_enough_shingles_is_a_near_duplicate_of_the_first() -> None:
    # 26 words, 24 shingles. One word more at the end: 24 of 25 shared, 0.96; one changed: 21 of 27, 0.78.
    words = list(LETTERS)
    middle = " ".join([*words[:12], "zero", *words[13:]])
    frame = prompts(a=" ".join(words), b=" ".join(words) + " zero", c=middle, d=" ".join(words[::-1]))
    assert_frame_equal(
        near_duplicates(frame, NOTHING, threshold=0.87),
        pl.DataFrame({"prompt_id": ["b"], "duplicate_of": ["a"]}, schema=FOUND),
    )
    assert_frame_equal(
        near_duplicates(frame, NOTHING, threshold=0.6),
        pl.DataFrame({"prompt_id": ["b", "c"], "duplicate_of": ["a", "a"]}, schema=FOUND),
    )


def test_case_and_spacing_do_not_count_and_symbols_do() -> None:
    frame = prompts(
        a="What is 3 + 4? Explain.",
        b="what is  3+4?\nEXPLAIN.",
        c="What is 3 - 4? Explain.",
        d="What is 3 + 5? Explain.",
    )
    assert near_duplicates(frame, NOTHING, threshold=1.0).rows() == [("b", "a")]


def test_known_prompts_come_first_and_repeats_of_them_do_no_harm() -> None:
    words = " ".join(LETTERS)
    known = prompts(z=words + " one", y=words + " two")
    frame = prompts(a=words, b=words + " three")
    expected = [("a", "y"), ("b", "y")]
    assert near_duplicates(frame, known.lazy(), threshold=0.8).rows() == expected
    assert near_duplicates(frame, pl.concat([known[::-1], known]).lazy(), threshold=0.8).rows() == expected


def test_what_is_eliminated_does_not_eliminate_others() -> None:
    # a-b and b-c differ in 2 of 40 words at an end (36 of 40 shingles, 0.9), a-c in 4 (34 of 42, 0.81).
    words = [f"w{number}" for number in range(44)]
    frame = prompts(a=" ".join(words[:40]), b=" ".join(words[2:42]), c=" ".join(words[4:]))
    assert near_duplicates(frame, NOTHING, threshold=0.85).rows() == [("b", "a")]
    assert near_duplicates(frame[1:], NOTHING, threshold=0.85).rows() == [("c", "b")]


def test_growing_out_of_a_shallower_prompt_of_the_same_root_is_no_repetition() -> None:
    words = " ".join(LETTERS)
    frame = pl.DataFrame(
        {
            "prompt_id": ["child", "deeper", "sibling", "stranger"],
            "prompt": [[{"role": "user", "content": f"{words} {end}"}] for end in ("1", "1 2", "3", "4")],
            "root_id": ["root", "root", "root", "other"],
            "depth": [1, 2, 1, 5],
        },
        schema=SCHEMA,
    )
    known = prompts(root=words)
    assert near_duplicates(frame, known.lazy(), threshold=0.8).rows() == [
        ("sibling", "child"),
        ("stranger", "root"),
    ]


def test_the_same_last_turn_in_another_conversation_is_another_prompt() -> None:
    last = {"role": "user", "content": " ".join(LETTERS)}
    rows = [
        [last],
        [{"role": "system", "content": "Be brief."}, last],
        [{"role": "system", "content": "Be long."}, last],
        [{"role": "system", "content": "Be brief.\n"}, last | {"content": last["content"] + " !"}],
    ]
    frame = pl.DataFrame(
        {"prompt_id": list("abcd"), "prompt": rows, "root_id": list("abcd"), "depth": [0] * 4}, schema=SCHEMA
    )
    assert near_duplicates(frame, NOTHING, threshold=0.8).rows() == [("d", "b")]


def test_prompts_without_a_token_and_long_ones_are_compared_too() -> None:
    long = " ".join(f"w{number}" for number in range(20_000))
    assert len(long) > 100_000
    frame = prompts(a="   ", b="\n", c=long, d=long + " more")
    assert near_duplicates(frame, NOTHING, threshold=0.9).rows() == [("d", "c")]
    assert near_duplicates(frame.clear(), NOTHING, threshold=0.9).rows() == []


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01])
def test_a_threshold_is_a_similarity(threshold: float) -> None:
    with pytest.raises(ConfigError) as error:
        near_duplicates(prompts(a="a"), NOTHING, threshold=threshold)
    assert str(error.value) == (f"evolve.near_duplicate is {threshold}; it is a Jaccard similarity in (0, 1]")


def test_the_index_finds_pairs_at_the_threshold_with_probability_nine_tenths() -> None:
    # 0.9 ^ 8 = 0.430, 1 - 0.570 ^ 16 = 0.9999; with 8 bands of 16: 0.9 ^ 16 = 0.185, 1 - 0.815 ^ 8 = 0.806.
    assert [bands(threshold) for threshold in (1.0, 0.9, 0.8, 0.7, 0.5, 0.01)] == [8, 16, 16, 32, 64, 128]


@given(st.permutations(range(4)), st.integers(0, 30))
def test_a_pair_is_judged_alike_whatever_stands_around_it(order: list[int], shift: int) -> None:
    words = [f"w{number}" for number in range(shift, shift + 30)]
    pair = prompts(a=" ".join(words), b=" ".join([*words, "more"]))
    others = prompts(c="How are you today?", d="Name three rivers of Asia.", e="川を三つ挙げて", f="Hm.")[order]
    frame = pl.concat([others[:2], pair[:1], others[2:], pair[1:]])
    assert near_duplicates(frame, NOTHING, threshold=0.8).rows() == [("b", "a")]


def test_real_seed_tasks_are_not_near_duplicates_but_their_edited_copies_are(shared_data: Path) -> None:
    seeds = (
        pl.read_parquet(shared_data / "prompts_self_instruct_seed.parquet")
        .filter(pl.col("prompt").str.count_matches(r"\S+") >= 40)
        .select("prompt_id", "prompt")
    )
    assert seeds.height > 20
    copies = seeds.select(prompt_id="copy-" + pl.col("prompt_id"), prompt=pl.col("prompt") + " Please.")
    content = pl.struct(role=pl.lit("user"), content="prompt")
    frame = pl.concat([seeds, copies]).select(
        "prompt_id", prompt=pl.concat_list(content), root_id="prompt_id", depth=pl.lit(0, pl.Int32)
    )
    found = near_duplicates(frame[seeds.height :], frame[: seeds.height].lazy(), threshold=0.8)
    assert found.rows() == [(f"copy-{name}", name) for name in seeds["prompt_id"]]
    assert near_duplicates(frame[: seeds.height], NOTHING, threshold=0.8).rows() == []
