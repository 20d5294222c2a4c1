"""A chat template is a stranger's program. If it does not end in time, the model is refused, in any thread."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError
from sandbox_runs import SMALL, eva
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from eva_data.errors import ModelError
from eva_data.models import rendering
from eva_data.models.rendering import render
from eva_data.models.resolve import SANDBOX_MODEL

ENDLESS = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc") + "{% endfor %}" * 3
ASK = [{"role": "user", "content": "Say a."}]


@pytest.fixture
def tokenizer(monkeypatch: pytest.MonkeyPatch) -> Iterator[PreTrainedTokenizerBase]:
    monkeypatch.setattr(rendering, "LIMIT_SECONDS", 0.5)
    yield AutoTokenizer.from_pretrained(SANDBOX_MODEL)


def ended(tokenizer: PreTrainedTokenizerBase) -> str:
    started = time.monotonic()
    with pytest.raises(ModelError) as error:
        render(tokenizer, ASK)
    assert time.monotonic() - started < 30
    return str(error.value)


def test_a_template_that_loops_is_ended_in_any_thread(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    good = tokenizer.chat_template
    expected = render(tokenizer, ASK)
    tokenizer.chat_template = ENDLESS
    sentence = (
        "the chat template of model took more than 0.5 s for one conversation: use another model, or put a "
        "chat_template.jinja that you trust beside its tokenizer"
    )
    assert ended(tokenizer) == sentence
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(ended, [tokenizer, tokenizer])) == [sentence, sentence]
    tokenizer.chat_template = good
    assert render(tokenizer, ASK) == expected
    assert [each.name for each in threading.enumerate()].count("chat templates") == 1


@pytest.mark.slow
def test_a_template_that_ends_in_time_is_never_interrupted_later(tokenizer: PreTrainedTokenizerBase) -> None:
    render(tokenizer, ASK)
    deadline = time.monotonic() + 1.5
    turns = 0
    while time.monotonic() < deadline:
        turns += 1
    assert turns > 0


def test_powers_are_refused_before_they_are_computed(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = "{{ 9**9**9**9 }}"
    assert ended(tokenizer).startswith("the chat template of model computes powers, which can take for ever: ")
    tokenizer.chat_template = "** {{ messages[0].content }} {{ '**' }}"
    assert render(tokenizer, ASK) == "** Say a. **"


def test_a_multiplication_that_would_take_hours_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    # Each squaring takes three times as long as the one before: the thirtieth hours, in a single step of Python.
    squared = "{% set kept = namespace(x=9) %}{% for i in range(40) %}{% set kept.x = kept.x * kept.x %}{% endfor %}"
    for template in (squared, "{{ 'ab' * 99999999999 }}", "{{ 99999999999 * [1] }}"):
        tokenizer.chat_template = template
        with pytest.raises(SecurityError, match="a multiplication gives more than 1,000,000 bits, characters or"):
            render(tokenizer, ASK)
    tokenizer.chat_template = "{{ '=' * 3 }}{{ 2 * [7] }}{{ 6 * 7 }}{{ 1.5 * 2 }}"
    assert render(tokenizer, ASK) == "===[7, 7]423.0"


@pytest.mark.slow
def test_a_build_with_such_a_model_ends_in_a_sentence(tmp_path: Path) -> None:
    model = Path(shutil.copytree(SANDBOX_MODEL, tmp_path / "strange"))
    (model / "chat_template.jinja").write_text(ENDLESS)
    done = eva(tmp_path / "data", "build", "--iter", "1", settings=(*SMALL, "--set", f"solver.model={model}"))
    assert done.returncode == 1
    assert "Error: the chat template of strange took more than 10 s for one conversation: use another" in done.stderr
    assert "Traceback" not in done.stderr


def test_of_several_named_templates_the_default_is_rendered_and_kept(tmp_path: Path) -> None:
    plain = AutoTokenizer.from_pretrained(SANDBOX_MODEL)
    plain.chat_template = {"default": plain.chat_template, "tool_use": "{{ 'TOOLS' }}"}
    plain.save_pretrained(tmp_path / "several")
    several = AutoTokenizer.from_pretrained(tmp_path / "several")
    assert isinstance(several.chat_template, dict) and set(several.chat_template) == {"default", "tool_use"}
    assert render(several, ASK) == render(AutoTokenizer.from_pretrained(SANDBOX_MODEL), ASK)
