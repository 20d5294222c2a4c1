"""Families of models, by their names."""

from __future__ import annotations

import pytest

from eva_data.comparing.families import family, relatives


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemma-2-9b-it", "gemma"),
        ("google/gemma-3-4b-it", "gemma"),
        ("gpt-4o-mini", "gpt"),
        ("openai/o3-mini", "gpt"),
        ("anthropic/claude-sonnet-4", "claude"),
        ("Qwen/Qwen2.5-7B-Instruct", "qwen"),
        ("Qwen/QwQ-32B", "qwen"),
        ("meta-llama/Llama-3.1-8B-Instruct@0123", "llama"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistral"),
        ("gemini/gemini-2.5-flash", "gemini"),
        ("/models/my-own-model", "my"),
        ("", ""),
    ],
)
def test_a_family_is_read_off_a_name(name: str, expected: str) -> None:
    assert family(name) == expected


def test_relatives_are_the_model_itself_and_its_family() -> None:
    others = ["google/gemma-2-9b-it", "gpt-4o", "my-judge"]
    assert relatives("gemma-3-27b-it", others) == ["google/gemma-2-9b-it"]
    assert relatives("gpt-4o", others) == ["gpt-4o"]
    assert relatives("claude-opus-4", others) == []
