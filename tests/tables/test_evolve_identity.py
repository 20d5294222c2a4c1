"""Ids in plain Python equal ids in polars, and the draws are uniform and independent."""

from __future__ import annotations

import unicodedata

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from eva_data.tables.ids import draw_of, normalise, normalise_text, prompt_id, prompt_id_of
from eva_data.tables.schemas import MESSAGES

# Where the two could part: ends that only one of them strips, line ends, marks that compose and reorder.
awkward = st.sampled_from(
    [
        *(" ", "\n", "\r", "\r\n", "\t", "\x0b", "\x1c", "\x1e", "\x1f", "\x85", "\xa0"),
        *("\u180e", "\u2003", "\u200b", "\u3000", "\ufeff", "\U0001f469\u200d"),
        *("e\u0301", "\u0344", "\u0323\u0307", "\u212b", "\u1112\u1161\u11ab"),
    ]
)
texts = st.lists(st.one_of(awkward, st.text(max_size=5)), max_size=8).map("".join)
conversations = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts}),
    min_size=1,
    max_size=4,
)


def polars_id(messages: list[dict[str, str]]) -> str:
    frame = pl.DataFrame({"prompt": [messages]}, schema={"prompt": MESSAGES})
    return str(frame.select(prompt_id(pl.col("prompt"))).item())


def test_the_id_of_a_prompt_is_this_one() -> None:
    # printf 'user\x1fWhat is a caf\xc3\xa9?' | sha256sum
    messages = [{"role": "user", "content": " What is a caf\u00e9?\r\n"}]
    assert prompt_id_of(messages) == "a55a883e3d4c8ce36daf597ab45097a5"
    assert prompt_id_of([{"role": "user", "content": "What is a cafe\u0301?"}]) == prompt_id_of(messages)


@given(conversations)
def test_the_id_in_plain_python_is_the_id_in_polars(messages: list[dict[str, str]]) -> None:
    assert prompt_id_of(messages) == polars_id(messages)


def test_every_assigned_character_is_normalised_as_in_polars() -> None:
    characters = [
        character for character in map(chr, range(0x110000)) if unicodedata.category(character) not in ("Cs", "Cn")
    ]
    # At an end and in the middle, where a mark follows a letter and a mark.
    wrapped = [f"{character}q\u0323{character}\u0301{character}" for character in characters]
    frame = pl.DataFrame({"text": wrapped}).select(normalise(pl.col("text")))
    differing = [
        hex(ord(character))
        for character, ours, theirs in zip(characters, map(normalise_text, wrapped), frame["text"], strict=True)
        if ours != theirs
    ]
    assert differing == []


def test_a_draw_belongs_to_its_seed_iteration_chain_and_step() -> None:
    base = {"seed": 42, "iteration": 2, "chain_id": "a", "step": 1}
    others = [base | change for change in ({"seed": 43}, {"iteration": 3}, {"chain_id": "b"}, {"step": 2})]
    draws = [draw_of(**key) for key in (base, *others)]  # type: ignore[arg-type]
    assert len(set(draws)) == 5
    assert draw_of(**base) == draws[0]  # type: ignore[arg-type]


def test_draws_are_uniform() -> None:
    draws = [draw_of(seed=1, iteration=2, chain_id=str(i), step=1) for i in range(20_000)]
    tenths = [sum(int(draw * 10) == tenth for draw in draws) for tenth in range(10)]
    # 2000 each; 5 standard deviations of a binomial (20 000, 0.1) are 212.
    assert all(1788 < count < 2212 for count in tenths)
    assert 0 < min(draws) < max(draws) < 1
