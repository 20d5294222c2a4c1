"""Programs whose outputs vote: what counts as the same output, who votes, and what a program cannot reach."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from eva_data.config import Consensus
from eva_data.config.reading import parse_config
from eva_data.errors import ConfigError
from eva_data.jobs.job import Job
from eva_data.method.signals.votes import Vote, consensus_rewards
from eva_data.rewards.backends.consensus import read_rows, scorer_of
from eva_data.rewards.isolated.inside import Unsupported, canonical
from eva_data.rewards.isolated.runner import outputs

isolated = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isolates the code, and is not here")

CALLS = ["double(3)", "double('ab')", "double([1])"]


def block(**programs: object) -> Consensus:
    given = {"allow": True, "calls": CALLS, "seconds": 2} | programs
    return Consensus.model_validate({"backend": "consensus", "equal": "outputs", "programs": given})


def python(body: str) -> str:
    return f"Here it is:\n```python\ndef double(x):\n    {body}\n```"


def test_equal_values_have_one_text_and_others_have_another() -> None:
    assert canonical([1, 1.0, True, 0.1 + 0.2, -0.0]) == "[1, 1, 1, 0.3, 0]"
    assert canonical({"b": {2, 1}, "a": (1, None)}) == canonical({"a": (1.0, None), "b": frozenset([1, 2])})
    assert canonical({"a": 1}) == "{'a': 1}"
    assert canonical("1") != canonical(1) and canonical([1]) != canonical((1,)) and canonical(b"a") == "b'a'"
    assert canonical(float("nan")) == "nan" and canonical(float("inf")) == "inf"
    assert canonical(10**4000) == hex(10**4000)
    with pytest.raises(Unsupported, match="a object is no plain value"):
        canonical([object()])


@isolated
def test_programs_vote_by_what_they_give_and_those_that_fail_everywhere_do_not(tmp_path: Path) -> None:
    known = tmp_path / "known.jsonl"
    known.write_text(json.dumps({"prompt": "Double it.", "answer": "double = lambda x: x * 2"}) + "\n")
    answered = {"answers": {"path": known}}
    reward = Consensus.model_validate(block().model_dump(exclude_none=True) | answered)
    responses = [
        python("return x + x"),
        python("return 2 * x"),
        python("y = [x]\n    return y[0] + y[0]"),
        python("return x * 2 if isinstance(x, int) else 1 / 0"),
        python("return x"),
        python("print(x + x)"),
        python("raise ValueError('no')"),
        python("return open"),
        "def other(x): return 2 * x",
        "I cannot.",
    ]
    asked = [{"role": "user", "content": "Double it."}]
    rows = [{"prompt_id": "11", "prompt": asked, "response_idx": [*range(10)], "responses": responses}]
    job = Job(tmp_path, "reward", reward, scorer=scorer_of(reward).fingerprint)
    twice, partly = "6; 'abab'; [1, 1]", "6; raises ZeroDivisionError; raises ZeroDivisionError"
    assert [*read_rows(job, rows)] == [
        {
            "answers": [
                *[twice] * 3,
                partly,
                "3; 'ab'; [1]",
                *[None] * 5,
            ],
            "known": twice,
        }
    ]
    table = pl.DataFrame(
        {
            "prompt_id": "11",
            "response_idx": [*range(5)],
            "answer": next(read_rows(job, rows))["answers"][:5],
            "finish_reason": "stop",
            "reward_model": "consensus:outputs@1",
            "known_answer": pl.Series([None] * 5, dtype=pl.String),
        }
    )
    found = consensus_rewards(table.lazy(), Vote(4, 0.5)).collect()
    assert found["reward"].to_list() == [1.0, 1.0, 1.0, 0.0, 0.0]


@isolated
def test_a_program_cannot_write_outputs_itself_nor_stop_the_others(tmp_path: Path) -> None:
    programs = block(seconds=1).programs
    assert programs is not None
    forged = (
        "import os\ndef double(x):\n    for fd in range(3, 20):\n        try:\n            os.write(fd, b'1')\n"
        "        except OSError:\n            pass\n    os._exit(0)"
    )
    assert outputs(programs, forged, CALLS) == [None, None, None]
    reaches = (
        "import os\ndef double(x):\n    return sorted(os.environ), os.path.exists('/home'), os.path.exists('/etc')"
    )
    assert outputs(programs, reaches, ["[each for each in double(1)[0] if each not in ('PWD', 'LC_CTYPE')]"]) == ["[]"]
    assert outputs(programs, reaches, ["double(1)[1:]"]) == ["(0, 0,)"]
    assert outputs(
        programs, "def double(x):\n    while x == 3:\n        pass\n    return x", ["double(1)", *CALLS]
    ) == [
        "1",
        None,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        ({"equal": "outputs"}, "`equal: outputs` and `programs`, which says how they run, need each other"),
        ({"programs": {"allow": True, "calls": ["f(1)"]}}, "need each other: give both"),
        ({"equal": "outputs", "programs": {"allow": True}}, "`programs` has neither `inputs` nor `calls`"),
        (
            {"equal": "outputs", "programs": {"allow": False, "calls": ["f(1)"]}},
            "`equal: outputs` runs what a model wrote: set `allow: true` if you want that",
        ),
        (
            {"equal": "outputs", "programs": {"allow": True, "inputs": {"path": "inputs.jsonl"}}},
            "list `reward.programs.calls` for such prompts, or use `mix: {source: new_seeds}`",
        ),
        ({"equal": "outputs", "programs": {"allow": True, "calls": ["f(1)"]}}, None),
    ],
)
def test_what_is_missing_is_refused(reward: dict[str, object], says: str | None) -> None:
    settings = {
        "name": "programs",
        "seeds": {"sandbox": 3},
        "solver": {"backend": "transformers", "model": "acme/base"},
        "reward": {"backend": "consensus"} | reward,
    }
    if says is None:
        assert parse_config(settings, "the test").reward is not None
        return
    with pytest.raises(ConfigError) as refused:
        parse_config(settings, "the test")
    assert says in str(refused.value)


def test_without_isolation_no_program_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reward = block()
    job = Job(tmp_path, "reward", reward, scorer="consensus:outputs@1")
    row = {"prompt": [{"role": "user", "content": "?"}], "responses": ["x"]}
    with pytest.raises(ConfigError, match="`equal: outputs` runs what a model wrote, and there is no `bwrap`"):
        [*read_rows(job, [row])]
