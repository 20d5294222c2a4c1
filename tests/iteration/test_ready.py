"""`plan`, `build --dry-run` and `build` find faults before any model is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from misbehaving import Misbehaving
from sandbox_runs import eva, tables

from eva_data.cli import main

SCORES = """
import helper_of_scores

def score(prompt, response):
    print("a function may print", flush=True)
    return helper_of_scores.length(response)

def with_answer(prompt, response, answer):
    return float(response == str(answer))

def keywords(completions, **kwargs):
    return [1.0] * len(completions)

def keywords_with_prompts(prompts, completions, **kwargs):
    return [1.0] * len(completions)

def one(response):
    return 1.0

def only_words(prompt, response):
    return "good"

def a_list(prompt, response):
    return [1.0]

async def later(prompt, response):
    return 1.0

def misspelt(prompt, response):
    return lenght(response)

def picky(prompt, response):
    return json.loads(response)["answer"]

def never(prompt, response):
    return None

def quits(prompt, response):
    raise SystemExit(3)

def asks_about_seeds(prompt, response):
    if "river" not in prompt:
        raise ValueError(prompt)
    return 1

class Scorer:
    def __call__(self, prompt, response):
        return True

scorer = Scorer()
number = 5
import json
"""


def written(folder: Path, server: str, **changes: Any) -> None:
    """Write an eva.yaml, with seeds and scoring functions beside it."""
    (folder / "seeds.jsonl").write_text("".join(json.dumps({"prompt": f"Name river {n}."}) + "\n" for n in range(6)))
    (folder / "answers.jsonl").write_text('{"prompt": "Name river 1.", "answer": 4}\n')
    (folder / "scores.py").write_text(SCORES)
    (folder / "helper_of_scores.py").write_text("def length(text):\n    return len(text)\n")
    (folder / "my_scores").mkdir(exist_ok=True)
    (folder / "my_scores" / "__init__.py").write_text("")
    (folder / "my_scores" / "inner.py").write_text("def score(prompt, response):\n    return 0\n")
    settings = {
        "name": "acme/ready",
        "folder": str(folder / "out"),
        "seeds": {"path": str(folder / "seeds.jsonl")},
        "solver": {"backend": "api", "model": "tiny", "base_url": server, "responses": 2},
        "reward": {"function": "scores:score"},
    }
    (folder / "eva.yaml").write_text(json.dumps(settings | changes))


def said(folder: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*arguments, "--config", str(folder / "eva.yaml")], catch_exceptions=False)
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reward": {"function": "scores:missing"}}, "`scores` has no function `missing`"),
        ({"reward": {"function": "scores:number"}}, "`scores` has no function `number`"),
        (
            {"reward": {"function": "nowhere:score"}},
            "the module `nowhere` cannot be found: install its package, put",
        ),
        ({"reward": {"function": "nowhere.py:score"}}, "and there is no file"),
        (
            {"reward": {"function": "scores:one"}},
            "which takes `(response)`; it is called as `function(prompt, response)`",
        ),
        (
            {"reward": {"function": "scores:with_answer"}},
            "or name `reward.answers`, which makes the reference answer a",
        ),
        (
            {"reward": {"function": "scores:score", "answers": {"path": "answers.jsonl"}}},
            "it is called as `function(prompt, response, answer)`",
        ),
        ({"reward": {"function": "scores:with_answer", "answers": {"path": "gone.jsonl"}}}, "there is no such file"),
        ({"reward": {"function": "scores:keywords"}}, "which takes `completions` as TRL's reward functions do"),
        ({"reward": {"function": "scores:keywords_with_prompts"}}, "takes `completions`, `prompts` as TRL's reward"),
        (
            {"reward": {"function": "scores:only_words"}},
            "scored none of 9 trial rows: it gave a str, which is no number",
        ),
        ({"reward": {"function": "scores:a_list"}}, "it gave a list, which is no number"),
        ({"reward": {"function": "scores:later"}}, "it gave a coroutine, which is no number"),
        ({"reward": {"function": "scores:misspelt"}}, "it raised NameError: name 'lenght' is not defined"),
        ({"reward": {"function": "scores:quits"}}, "its process ended with status 3"),
        (
            {"reward": {"backend": "several", "rewards": [{"backend": "verifier", "function": "scores:score"}] * 2}}
            | {"evolve": {"strategies": [{"name": "mine", "template": "Rewrite it."}]}},
            "the template of the strategy `mine` has no {prompt}",
        ),
        (
            {
                "reward": {
                    "backend": "several",
                    "rewards": [
                        {"backend": "verifier", "function": "scores:score"},
                        {"backend": "verifier", "function": "scores:keywords"},
                    ],
                }
            },
            "which takes `completions` as TRL's reward functions do",
        ),
        ({"seeds": {"path": "gone.jsonl"}}, "`seeds.path` is gone.jsonl, and there is no such file"),
        (
            {"reward": {"function": "my_package.my_module:score"}},
            "`reward.function` is still `my_package.my_module:score`",
        ),
    ],
)
def test_what_is_wrong_is_said_before_any_model_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with Misbehaving() as server:
        written(tmp_path, server.url, **changes)
        for command in (["plan", "--iter", "1"], ["build", "--iter", "1", "--dry-run"], ["build", "--iter", "2"]):
            status, output = said(tmp_path, *command)
            assert (status, sentence in output) == (1, True), (command, output)
        assert not server.seen
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        *("scores:score", "scores.py:score", "my_scores.inner:score", "my_scores/inner.py:score", "./scores.py:score"),
        *("scores:picky", "scores:never", "scores:scorer", "scores:asks_about_seeds"),
    ],
)
def test_a_function_beside_eva_yaml_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    written(tmp_path / "here", "http://127.0.0.1:9/v1", reward={"function": function})
    status, output = said(tmp_path / "here", "build", "--iter", "1", "--dry-run")
    assert (status, "iteration 1: build" in output) == (0, True), output


@pytest.mark.slow
def test_reference_answers_make_the_trial_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reward = {"function": "scores.py:with_answer", "answers": {"path": "answers.jsonl"}}
    written(tmp_path, "http://127.0.0.1:9/v1", reward=reward)
    assert said(tmp_path, "plan", "--iter", "1")[0] == 0


def test_what_init_wrote_must_be_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["init"]).exit_code == 0
    for command in (["plan", "--iter", "1"], ["build", "--iter", "1", "--dry-run"], ["build", "--iter", "1"]):
        status, output = said(tmp_path, *command)
        assert status == 1
        assert "`solver.model` is still `path/or/hub-id` and `reward.function` is still `my_package" in output


@pytest.mark.slow
def test_a_folder_with_files_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "http://127.0.0.1:9/v1")
    other = tmp_path / "thesis"
    other.mkdir()
    (other / ".hidden").touch()
    arguments = ("build", "--iter", "1", "--dry-run", "--set", f"folder={other}")
    assert said(tmp_path, *arguments)[0] == 0
    (other / "chapter.tex").write_text("1")
    for command in (arguments, ("plan", "--iter", "1", *arguments[-2:]), ("build", "--iter", "1", *arguments[-2:])):
        status, output = said(tmp_path, *command)
        assert status == 1
        assert "which holds files that are not eva-data's (chapter.tex): name a new or an empty folder" in output
    assert sorted(path.name for path in other.iterdir()) == [".hidden", "chapter.tex"]
    # What was begun there is gone on with.
    (other / ".eva").mkdir()
    assert said(tmp_path, *arguments)[0] == 0


@pytest.mark.slow
def test_a_build_scores_by_a_file_beside_eva_yaml(tmp_path: Path) -> None:
    here, folder = tmp_path / "here", tmp_path / "elsewhere" / "out"
    here.mkdir()
    folder.parent.mkdir()
    with Misbehaving() as server:
        written(here, server.url, reward={"function": "scores.py:score"})
        done = eva(folder, "build", "--iter", "1", settings=("--config", str(here / "eva.yaml")))
    assert done.returncode == 0, done.stderr
    responses = tables(folder, 1)["responses"]
    assert responses["reward"].to_list() == [len(text) for text in responses["response"]]
    assert responses["reward_model"][0].startswith("verifier:scores.py:score@")
