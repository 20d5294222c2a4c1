"""Every kind of reward, draw and pair, from a build to a trained model: checked, published, loaded and trained on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sums
import yaml
from hub_server import Hub
from odd_server import Answer, Asked, OddServer, said
from sandbox_runs import eva
from tiny import save_model

pytestmark = pytest.mark.slow

HARDER = "Make this harder: "
PROBLEMS = [f"What is {first} plus {second}?" for first in range(1, 9) for second in range(1, 4)]
EACH = 8
WORDS = ("So", "I add them up, one after the other, and so")
SCORES = """
def score(prompt, response):
    return len(response) % 7 + response.count("\\n")

def right(prompt, response):
    import re
    return float(int(response.rpartition("####")[2]) == sum(map(int, re.findall(r"[0-9]+", prompt))))
"""

OWN_CREATOR = {
    **{"only_own": True, "evolutions": 2, "near_duplicate": None, "min_chars": 1},
    "strategies": [{"name": "harder", "template": HARDER + "{prompt}"}],
}


def total(problem: str) -> int:
    return sum(map(int, re.findall(r"\d+", problem)))


def players(asked: Asked) -> Answer:
    """A solver of sums, of code and of reasoning-gym, the creator of each, and a judge who prefers the longer reply."""
    question, status, reply = asked.prompt, *said(asked)[:2]
    for place, choice in enumerate(reply["choices"]):
        choice["message"]["content"] = _text(question, asked.time - 1 + place, weak=asked.body["model"] == "weak")
    return status, reply


def _text(question: str, place: int, *, weak: bool) -> str:
    if "<first_reply>" in question:
        first, second = (
            re.search(f"<{name}_reply>(.*)</{name}_reply>", question, re.S) for name in ("first", "second")
        )
        assert first is not None and second is not None
        return "Verdict: " + ("first" if len(first[1]) > len(second[1]) else "second")
    if "You are the user of this conversation" in question:
        return f"And what is {1 + len(question) % 89} plus {1 + len(question) % 83}?"
    if "Rating:" in question:
        return f"Rating: {1 + len(question) % 9}"
    if HARDER in question:
        problem = question.rpartition(HARDER)[2]
        return problem.removesuffix("?") + f" plus {10 + total(problem) % 5}?"
    if sums.SUM.search(question):
        return sums.reply(question, place)
    if question.startswith("Write"):
        body = ("return 2 * x", "return 2", "return x", "pass")[place % 4]
        return f"Here:\n```python\ndef f(x):\n    {body}\n```"
    wrong = 5 if weak else (0, 0, 1, 0, 0, 1, 0, 2)[place % EACH]
    return f"{WORDS[place % 2]} it is\n#### {total(question) + wrong}"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with OddServer(players) as server:
        yield server.url


def kinds(url: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> the settings of a game, beside those that all have."""
    api = {"backend": "api", "model": "tiny", "base_url": url, "canary": False}
    known = {"path": str(folder / "problems.jsonl")}
    score, right = (f"{folder / 'scores.py'}:{name}" for name in ("score", "right"))
    found: dict[str, dict[str, Any]] = {
        "consensus": {"reward": {"backend": "consensus", "answers": known}, "sample": {"agreement_band": [0.3, 1]}},
        "tournament": {"reward": {"backend": "tournament", "rounds": 2, "judges": [{**api, "max_tokens": 50}]}},
        "several": {
            "reward": {
                "backend": "several",
                "rewards": [{"backend": "verifier", "function": each} for each in (score, right)],
            }
        },
        "band": {"reward": {"function": right}, "sample": {"band": [0.2, 0.8]}},
        "lengths": {
            "reward": {"backend": "judge", "judge": {**api, "max_tokens": 50}},
            "estimate": {"adjust_length": True, "min_best": None},
            "pair": {"max_length_gap": 0.9},
        },
        "ranked": {"reward": {"function": score}, "pair": {"rule": "ranked"}},
        "contrast": {"reward": {"function": right}, "contrast": {**api, "model": "weak", "responses": 2}},
        "rewrite": {"reward": {"function": score}, "pair": {"rewrite": True, "rewrite_length": 1.0}},
        "topics": {"reward": {"function": score}, "mix": {"topic_cap": 0.9}},
        "conversations": {
            "reward": {"function": score},
            "evolve": {"method": "self_talk", "evolutions": 2, "near_duplicate": None},
        },
    }
    if shutil.which("bwrap") is not None:
        found["code"] = {
            "seeds": {"path": str(folder / "tasks.jsonl")},
            "reward": {
                "backend": "code",
                "allow": True,
                "answers": {"path": str(folder / "tasks.jsonl"), "answer": "tests"},
            },
            "mix": {"source": "sampled"},
        }
    if find_spec("reasoning_gym") is not None:
        found["environment"] = {
            "seeds": {"environment": "reasoning_gym/chain_sum", "size": 12, "config": {"min_terms": 2, "max_terms": 3}},
            "reward": {"function": "eva_data.rewards.environment:score_answer", "answers": "carried"},
            "evolve": {"method": "environment"},
            "pair": {"min_chosen": 1},
        }
    common = {
        "seeds": known,
        "solver": {**api, "responses": EACH, "temperature": 1.0},
        "evolve": OWN_CREATOR,
        "estimate": {"min_best": None},
    }
    return {
        name: {"name": f"alice/{name}", **common, **each, "sample": {"fraction": 0.5, **each.get("sample", {})}}
        for name, each in found.items()
    }


PUBLISH = """
import sys
from eva_data.cli import main

for name in sys.argv[1:]:
    for iteration in ("1", "2"):
        options = ["--repo", f"alice/{name}", "--config", f"{name}.yaml"]
        main(["publish", "--iter", iteration, *options], standalone_mode=False)
"""

TRAIN = """
import sys
sys.path.insert(0, sys.argv[1])
import preference

for name in sys.argv[3:]:
    preference.main(
        ["--dataset", f"alice/{name}", "--revision", "iter-2", "--split", "iter_1+iter_2", "--max_steps", "1"]
        + ["--model_name_or_path", sys.argv[2], "--output_dir", f"theta/{name}", "--use_cpu", "true", "--bf16", "false"]
        + ["--config", sys.argv[1] + "/recipes/dpo.yaml", "--dtype", "float32", "--per_device_train_batch_size", "2"]
        + ["--gradient_accumulation_steps", "1"]
    )
"""


GROUPS = (
    ("consensus", "tournament", "several", "environment"),
    ("band", "lengths", "ranked", "contrast"),
    ("rewrite", "topics", "conversations", "code"),
)


@pytest.mark.parametrize("group", GROUPS, ids="-".join)
def test_every_kind_of_curriculum_is_built_checked_published_loaded_and_trained_on(
    url: str, tmp_path: Path, group: tuple[str, ...]
) -> None:
    tasks = [
        {"prompt": f"Write f, which doubles {x}.", "tests": ["assert f(1) == 2", "assert f(3) == 6"]} for x in "abcd"
    ]
    for name, rows in (
        ("problems", [{"prompt": each, "answer": f"#### {total(each)}"} for each in PROBLEMS]),
        ("tasks", tasks),
    ):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "scores.py").write_text(SCORES)
    games = {name: settings for name, settings in kinds(url, tmp_path).items() if name in group}
    pairs: dict[str, list[int]] = {}
    for name, settings in games.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"folder": str(tmp_path / name), **settings}))
        options = ("--config", str(path))
        built = eva(tmp_path / name, "build", "--iter", "2", settings=options)
        assert built.returncode == 0, f"{name}: {built.stderr}"
        pairs[name] = []
        for iteration in (1, 2):
            checked = eva(tmp_path / name, "verify", "--iter", str(iteration), settings=options)
            assert checked.returncode == 0, f"{name}: {checked.stdout}{checked.stderr}"
            manifest = json.loads((tmp_path / name / "manifests" / f"iter_{iteration}.json").read_text())
            pairs[name].append(manifest["counts"]["pairs"])
            assert pairs[name][-1] > 0, f"{name}: iteration {iteration} has no pair"
    model, scripts = save_model(tmp_path / "model"), Path(__file__).parents[2] / "train"
    with Hub(tmp_path / "hub") as hub:
        published = hub.python(tmp_path, "-c", PUBLISH, *games)
        assert published.returncode == 0, published.stderr
        trained = hub.python(tmp_path, "-c", TRAIN, str(scripts), str(model), *games)
        assert trained.returncode == 0, trained.stderr[-3000:]
    for name, counts in pairs.items():
        told = json.loads((tmp_path / "theta" / name / "training.json").read_text())
        assert told["pairs"]["read"] == sum(counts), name
        assert told["pairs"]["trained"] > 0, name
    if missing := [name for name in group if name not in games]:
        pytest.skip(f"{' and '.join(missing)} needs bubblewrap or reasoning-gym; the others of the group passed")
