"""Builds with delimited replies, with JSON replies, and with the creator's check of its own prompts: whole tables."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from misbehaving import Misbehaving, Seen
from sandbox_runs import eva, tables, totals

pytestmark = pytest.mark.slow

VERIFIER = """
from hashlib import sha256

def score(prompt: str, response: str) -> float:
    return int(sha256(response.encode()).hexdigest()[:4], 16) / 65536
"""
REWRITE = "Make this harder: "
NUMBER = re.compile(r"number (\d+)")


class Creator(Misbehaving):
    """A model that rewrites seeds well and its own rewrites badly. It answers all other prompts."""

    def _say(self, seen: Seen, choice: int) -> str:
        said = seen.prompt
        if said.startswith("An AI assistant was asked to rewrite"):
            return self.verdict(said)
        if said.startswith(REWRITE):
            found = NUMBER.search(said)
            assert found is not None
            return self.rewrite(int(found[1]), "neighbours" in said, seen.time)
        return f"{super()._say(seen, choice)} {choice}"

    def verdict(self, question: str) -> str:
        raise NotImplementedError

    def rewrite(self, number: int, again: bool, time: int) -> str:
        raise NotImplementedError


class Delimiting(Creator):
    def rewrite(self, number: int, again: bool, time: int) -> str:
        if again:
            return "I would rather not."
        return f"Sure!\n<new_prompt>\n    x = number {number}\n  Name its neighbours.\n</new_prompt>\nNote: harder."


class Writing(Creator):
    def rewrite(self, number: int, again: bool, time: int) -> str:
        return "I would rather not." if again else json.dumps({"prompt": f"    number {number}:\nname its neighbours"})


class Checking(Creator):
    """A creator whose second rewrite is a statement that no rule finds. It gives no verdict on its third rewrite."""

    def rewrite(self, number: int, again: bool, time: int) -> str:
        if not again:
            return f"Name the neighbours of number {number}."
        return f"What a number, is it not, number {number}?" if time == 1 else f"List the divisors of number {number}."

    def verdict(self, question: str) -> str:
        text = question.partition("<text>\n")[2].partition("\n</text>")[0]
        if text.startswith("Name the neighbours"):
            return "It asks for two numbers.\nRating: 1"
        return "It only wonders.\nRating: 0" if text.startswith("What a number") else "I cannot tell."


def settings_of(folder: Path, server: Misbehaving, evolve: str) -> tuple[str, ...]:
    (folder.parent / "scores.py").write_text(VERIFIER)
    pl.DataFrame({"prompt": [f"Tell me of number {number}." for number in range(10, 18)]}).write_parquet(
        folder.parent / "prompts.parquet"
    )
    (folder.parent / "eva.yaml").write_text(
        "name: acme/forms\n"
        "seeds: {path: prompts.parquet}\n"
        f"solver: {{backend: api, model: tiny, base_url: '{server.url}', responses: 2, max_in_flight: 4}}\n"
        "reward: {backend: verifier, function: 'scores:score'}\n"
        f"evolve: {{near_duplicate: null, only_own: true, strategies: [{{name: harder, "
        f"template: '{REWRITE}{{prompt}}'}}], {evolve}}}\n"
        "estimate: {source: previous}\n"
        "mix: {evolved: 0.25}\n"
    )
    return ("--config", str(folder.parent / "eva.yaml"))


Attempt = tuple[int, str | None, str | None, str, str | None]


def attempts(folder: Path) -> dict[int, list[Attempt]]:
    """Number of a seed -> step, new prompt, raw reply, status and reason of each attempt."""
    seeds = {row["prompt_id"]: row["prompt"][-1]["content"] for row in tables(folder, 1)["prompts"].to_dicts()}
    found: dict[int, list[Attempt]] = {}
    for row in tables(folder, 2)["evolutions"].sort("chain_id", "step").to_dicts():
        number = NUMBER.search(seeds[row["chain_id"]])
        assert number is not None
        text = row["prompt"][-1]["content"] if row["prompt"] else None
        found.setdefault(int(number[1]), []).append((row["step"], text, row["raw"], row["status"], row["reason"]))
    return found


def rewriting(server: Misbehaving) -> list[dict[str, Any]]:
    """The bodies of the requests for a rewrite."""
    return [seen.body for seen in server.seen if seen.prompt.startswith(REWRITE)]


@pytest.fixture(autouse=True)
def _own_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


def test_a_delimited_reply_is_asked_for_and_taken_character_for_character(tmp_path: Path) -> None:
    folder = tmp_path / "delimited"
    with Delimiting() as server:
        settings = settings_of(folder, server, "evolutions: 2, reply: delimited")
        built = eva(folder, "build", "--iter", "2", settings=settings)
    assert built.returncode == 0, built.stderr
    found = attempts(folder)
    assert len(found) == 2
    for number, rows in found.items():
        text = f"    x = number {number}\n  Name its neighbours."
        raw = f"Sure!\n<new_prompt>\n{text}\n</new_prompt>\nNote: harder."
        unmarked = "unparsable:no text between <new_prompt> and </new_prompt>"
        assert rows == [
            (1, text, raw, "mixed", None),
            (2, None, "I would rather not.", "eliminated", unmarked),
        ]
    sentence = "Write only the new text, between <new_prompt> and </new_prompt>, and nothing before or after them."
    bodies = rewriting(server)
    assert sorted(body["messages"][-1]["content"] for body in bodies) == sorted(
        f"{REWRITE}{text}\n\n{sentence}"
        for number in found
        for text in (f"Tell me of number {number}.", f"    x = number {number}\n  Name its neighbours.")
    )
    assert [body for body in bodies if "response_format" in body] == []


def test_a_json_reply_is_guided_by_its_schema_and_read_from_it(tmp_path: Path) -> None:
    folder = tmp_path / "json"
    with Writing() as server:
        settings = settings_of(folder, server, "evolutions: 2, reply: json")
        built = eva(folder, "build", "--iter", "2", settings=settings)
    assert built.returncode == 0, built.stderr
    found = attempts(folder)
    assert len(found) == 2
    for number, rows in found.items():
        text = f"    number {number}:\nname its neighbours"
        assert rows == [
            (1, text, json.dumps({"prompt": text}), "mixed", None),
            (2, None, "I would rather not.", "eliminated", 'unparsable:no JSON object with a text under "prompt"'),
        ]
    schema = {
        "type": "object",
        "properties": {"prompt": {"type": "string"}},
        "required": ["prompt"],
        "additionalProperties": False,
    }
    guide = {"type": "json_schema", "json_schema": {"name": "new_prompt", "strict": True, "schema": schema}}
    asked = rewriting(server)
    assert len(asked) == 4
    assert [body["response_format"] for body in asked] == [guide] * 4
    # The canary asks the same model in the same way; the solver's requests are not guided.
    answered = [seen.body for seen in server.seen if seen.body["temperature"] != 0 and seen.body not in asked]
    assert answered != []
    assert [body for body in answered if "response_format" in body] == []


def test_the_creator_is_asked_whether_it_wrote_a_prompt_and_only_a_yes_counts(tmp_path: Path) -> None:
    folder = tmp_path / "checked"
    with Checking() as server:
        settings = settings_of(folder, server, "evolutions: 3, self_check: true")
        planned = eva(folder, "plan", "--iter", "2", settings=settings)
        built = eva(folder, "build", "--iter", "2", settings=settings)
        assert built.returncode == 0, built.stderr
        asked = [seen for seen in server.seen if seen.body["temperature"] != 0]
        again = eva(folder, "build", "--iter", "2", settings=settings)
        assert again.returncode == 0, again.stderr
        assert [seen for seen in server.seen if seen.body["temperature"] != 0] == asked
    # 2 chains of 3 steps, each with one question more.
    assert re.search(r"evolve\b.*\b12\b", planned.stdout), planned.stdout
    found = attempts(folder)
    assert len(found) == 2
    for number, rows in found.items():
        good, wonders, listed = (
            f"Name the neighbours of number {number}.",
            f"What a number, is it not, number {number}?",
            f"List the divisors of number {number}.",
        )
        assert rows == [
            (1, good, good, "mixed", None),
            (2, wonders, wonders, "eliminated", "checked_no_prompt"),
            (3, listed, listed, "eliminated", "unchecked:unparsable: the last line is no rating"),
        ]
    # For each chain three rewrites, and of the questions the one without a verdict twice: all in the ledger.
    checks = [one for one in server.seen if one.prompt.startswith("An AI assistant was asked to rewrite")]
    assert (len(rewriting(server)), len(checks)) == (2 * 3, 2 * 4)
    assert totals(folder)["repeated"] == 0
