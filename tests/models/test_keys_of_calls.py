"""The key of a call is the hash of the canonical JSON of all that determines its answer, however it is computed."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from remote_asking import remote

from eva_data.calls import Request
from eva_data.ledger import call_key

TEXT = st.text(st.characters(), max_size=20)


@given(
    st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=3),
    st.integers(0, 10**9),
    TEXT,
    st.dictionaries(TEXT, st.none() | st.booleans() | st.floats(allow_nan=False) | TEXT, max_size=3),
    st.floats(0, 2) | st.integers(0, 2),
    st.integers(0, 2**40),
)
def test_the_key_is_that_of_all_parts_together(
    messages: list[dict[str, str]], index: int, salt: str, engine: dict[str, object], temperature: float, seed: int
) -> None:
    sampling = {"temperature": temperature, "top_p": 0.9, "max_tokens": 16}
    llm = remote(Path(), "http://none", engine=engine, sampling=sampling, seed=seed)
    parts = {
        "model": "tiny@1",
        "engine": engine,
        "messages": [[message["role"], message["content"]] for message in messages],
        "system": "keep",
        "temperature": temperature,
        "top_p": 0.9,
        "max_tokens": 16,
        "seed": seed,
        "salt": salt,
        "index": index,
    }
    assert llm.key(Request(tuple(messages), index, salt)) == call_key(parts)
    llm.seed += 1
    assert llm.key(Request(tuple(messages), index, salt)) == call_key(parts | {"seed": seed + 1})
