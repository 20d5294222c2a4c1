"""A model that also sees images answers and scores texts. Its config has a part for text."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import save_composite_model

from eva_data.calls import Chain, Completion, Request
from eva_data.jobs.job import Job
from eva_data.rewards.local.loading import longest_input, read_config


def ask(text: str) -> Chain[Completion]:
    (completion,) = yield [Request(({"role": "user", "content": text},))]
    return completion


@pytest.mark.parametrize(("longest", "text", "reason"), [(None, "x" * 600, "prompt_too_long"), (1024, "Hi", None)])
def test_a_model_whose_config_has_parts_answers(
    tmp_path: Path, longest: int | None, text: str, reason: str | None
) -> None:
    model = {
        "llm": "eva_data.models.local:TransformersLLM",
        "fingerprint": "composite",
        "engine": {},
        "sampling": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 4},
        "max_prompt_tokens": longest,
        "system": "keep",
        "seed": 42,
        "path": str(save_composite_model(tmp_path / "model")),
        "device": "cpu",
        "dtype": "float32",
        "batch_size": 2,
        "threads": 1,
        "trust_remote_code": False,
    }
    llm = Job(tmp_path, "evaluate", None, model, ledger=tmp_path / "ledger.sqlite").llm()
    llm.load()
    (answer,) = llm.drive([ask(text)], 1)
    llm.unload()
    assert answer.error == reason
    assert (answer.text is None) == (reason is not None)


def test_the_longest_input_of_a_reward_model_is_that_of_its_text_part(tmp_path: Path) -> None:
    config = read_config(str(save_composite_model(tmp_path / "model")))
    assert "max_position_embeddings" not in config
    assert longest_input(4096, config) == 512
    assert longest_input(100, config) == 100
