"""A judge as the equality of a consensus: the classes of answers, and a build that is planned, verified and told of."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from odd_server import Answer, Asked, OddServer, said
from pydantic import ValidationError

from eva_data.calls import Completion, Unparsable
from eva_data.config import Consensus
from eva_data.dataset.store import Store
from eva_data.hub.verify import verify_iteration
from eva_data.rewards.same_answer import classes, most_questions, read_same

SHOWN = re.compile(r"<(first|second)_answer>\n(.*?)\n</", re.DOTALL)


def shown(question: str) -> tuple[str, str]:
    """The two answers in a question."""
    first, second = (found[2] for found in SHOWN.finditer(question))
    return first, second


def found(responses: list[str], same: Callable[[str, str], str], known: str | None = None) -> tuple[Any, list[Any]]:
    """The classes by a judge, and the pairs that it was shown."""
    row = {"prompt": [{"role": "user", "content": "Q?"}], "responses": responses, "known": known}
    chain, pairs, replies = classes(row), list[Any](), None
    try:
        while True:
            requests = chain.send(replies) if replies is not None else next(chain)
            asked = [shown(request.messages[-1]["content"]) for request in requests]
            pairs += asked
            replies = [Completion(f"So.\nVerdict: {same(*each)}", "stop", 1, 1) for each in asked]
    except StopIteration as finished:
        return finished.value, pairs


def initial(first: str, second: str) -> str:
    return "same" if first[0] == second[0] else "different"


def test_answers_join_the_first_leader_that_the_judge_finds_the_same() -> None:
    result, pairs = found(["Bee", "ant", "Ant.", "asp", "", "bug"], initial)
    assert result == {"answers": ["bee", "ant", "ant", "ant", None, "bee"], "known": None, "unjudged": []}
    # `ant` is the most frequent and leads. Each later answer meets the leaders so far.
    assert pairs == [("ant", "asp"), ("ant", "bee"), ("ant", "bug"), ("bee", "bug")]


def test_the_known_answer_leads_its_class() -> None:
    result, pairs = found(["ant", "ant", "bee"], initial, known="It is long.\n#### asp")
    assert result == {"answers": ["asp", "asp", "bee"], "known": "asp", "unjudged": []}
    assert pairs == [("asp", "ant"), ("asp", "bee")]


def test_likenesses_that_are_not_transitive_make_no_chain() -> None:
    def near(first: str, second: str) -> str:
        return "same" if abs(int(first) - int(second)) <= 1 else "different"

    # 1 is like 2 and 2 is like 3, but 3 does not join the class of 1.
    assert found(["1", "2", "3"], near)[0]["answers"] == ["1", "1", "3"]
    # The most frequent answer leads, here the one in the middle.
    assert found(["1", "2", "2", "3"], near)[0]["answers"] == ["2", "2", "2", "2"]


def test_without_a_verdict_answers_are_different() -> None:
    result, pairs = found(["a", "b"], lambda first, second: "perhaps")
    assert result["answers"] == ["a", "b"]
    assert result["unjudged"] == ["unparsable: the last line is no verdict"]
    assert pairs == [("a", "b")] * 2


def test_no_more_is_asked_than_was_planned() -> None:
    texts = [str(number) for number in range(6)]
    assert len(found(texts, lambda first, second: "different", known="none of them")[1]) == most_questions(6) == 21


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Both say 4.\nVerdict: same", "same"),
        ("**Verdict: different**", "different"),
        ("Verdict: same, more or less", Unparsable("the last line is no verdict")),
        ("Verdict: same\nNo.\nVerdict: different", Unparsable("several verdicts")),
        ("", Unparsable("the last line is no verdict")),
    ],
)
def test_only_the_last_line_is_a_verdict(reply: str, verdict: str | Unparsable) -> None:
    assert read_same(reply) == verdict


def test_the_judge_and_its_rule_need_each_other() -> None:
    for settings in ({"equal": "judge"}, {"judge": {"backend": "api", "model": "m"}}):
        with pytest.raises(ValidationError, match="need each other"):
            Consensus.model_validate({"backend": "consensus", **settings})


WORDINGS = ("Answer: river Elbe", "Answer: the Elbe", "Answer: Elbe, a river", "Answer: it is the Elbe", "Answer: Tin")


def solver(asked: Asked) -> Answer:
    status, reply = said(asked)[:2]
    for choice in range(asked.body.get("n", 1)):
        reply["choices"][choice]["message"]["content"] = WORDINGS[(asked.time - 1 + choice) % len(WORDINGS)]
    return status, reply


def judge(asked: Asked) -> Answer:
    if "<first_answer>" not in asked.prompt:
        return said(asked, "Hello.")
    first, second = shown(asked.prompt)
    return said(asked, f"Verdict: {'same' if 'elbe' in first and 'elbe' in second else 'different'}")


@pytest.mark.slow
def test_a_build_votes_by_the_judge_and_asks_no_more_than_was_planned(tmp_path: Path) -> None:
    prompts = ["Which river flows through Dresden?", "Which river flows through Hamburg?"]
    pl.DataFrame({"prompt": prompts, "answer": ["#### the Elbe", None]}).write_ndjson(tmp_path / "seeds.jsonl")
    with OddServer(solver) as answering, OddServer(judge) as judging:
        api = {"backend": "api", "canary": False}
        settings = {
            "name": "votes",
            "folder": "data",
            "seeds": {"path": "seeds.jsonl"},
            "solver": {**api, "model": "tiny", "base_url": answering.url, "responses": 5},
            "reward": {
                **{"backend": "consensus", "equal": "judge", "answers": {"path": "seeds.jsonl"}},
                "judge": {**api, "model": "judge", "base_url": judging.url, "temperature": 0},
            },
        }
        (tmp_path / "eva.yaml").write_text(yaml.safe_dump(settings))

        def run(*arguments: str) -> str:
            command = [sys.executable, "-m", "eva_data.cli", *arguments]
            done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        lines = json.loads(run("plan", "--iter", "1", "--json"))["lines"]
        run("build", "--iter", "1")
        asked = [each for each in judging.asked if "<first_answer>" in each.prompt]
    assert [line["calls"] for line in lines if line["model"] == "judge"] == [2 * most_questions(5)]
    # Of either prompt, four other texts meet one leader: the known answer, which a response repeats, or the first text.
    assert len(asked) == len({each.prompt for each in asked}) == 8
    store = Store(tmp_path / "data")
    voted = store.scan("informativeness", 1).select("votes", "agreement", "consensus", "known_answer").collect()
    assert sorted(voted.rows(), key=str) == [
        (5, 0.8, "elbe, a river", None),
        (5, 0.8, "the elbe", "the elbe"),
    ]
    rewards = store.scan("responses", 1).sort("prompt_id", "response_idx").collect()["reward"].to_list()
    assert rewards == [1.0, 1.0, 1.0, 1.0, 0.0] * 2
    verified = verify_iteration(store, 1)
    assert verified.problems == []
    assert "which answers the judge found equal" in verified.unknown
