"""The shards of a job overlap: the next one begins while the last requests of a shard are out, and never a third."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from misbehaving import Misbehaving
from remote_asking import remote

from eva_data.calls import Chain, Completion, Request
from eva_data.errors import EndpointError
from eva_data.jobs.job import Job, Responses, run_job
from eva_data.ledger import Ledger
from eva_data.models.remote.llm import RemoteLLM

Chains = Iterator[Chain[Completion]]


def asking(prompts: str) -> Chain[Completion]:
    """Ask one prompt after the other; the result is the last completion."""
    for prompt in prompts.split(" > "):
        (completion,) = yield [Request(({"role": "user", "content": prompt},))]
    return completion


class Shards:
    """Shards of prompts, and how many of them were at most begun beyond the one that is waited for, or used."""

    def __init__(self, llm: RemoteLLM, *shards: list[str]) -> None:
        self.llm, self.shards = llm, shards
        self.begun = self.wanted = self.most = 0

    def __iter__(self) -> Iterator[list[str | None]]:
        self.llm.load()
        try:
            with closing(self.llm.drive_shards(self._chains(), sum(map(len, self.shards)))) as found:
                for _ in self.shards:
                    self.wanted += 1
                    yield [each.text or each.error for each in next(found)]
                assert next(found, None) is None
        finally:
            self.llm.unload()

    def _chains(self) -> Iterator[Chains]:
        for shard in self.shards:
            self.begun += 1
            self.most = max(self.most, self.begun - self.wanted)
            yield map(asking, shard)


def said(*prompts: str) -> list[str | None]:
    return [f"v1: {prompt}, time 1, choice 0" for prompt in prompts]


def test_the_next_shard_begins_while_a_shard_waits_and_the_third_does_not(tmp_path: Path) -> None:
    with Misbehaving() as server:
        shards = Shards(remote(tmp_path, server), ["[late 0.6] A", "B"], ["C", "D"], ["E"])
        found = list(shards)
    assert found == [said("A", "B"), said("C", "D"), said("E")]
    assert shards.most == 1
    arrived = {seen.prompt: seen.arrived - server.seen[0].arrived for seen in server.seen}
    assert max(arrived[prompt] for prompt in "BCD") < 0.5
    assert arrived["E"] > 0.6


def test_a_shard_that_is_not_taken_holds_up_the_third_one(tmp_path: Path) -> None:
    with Misbehaving() as server:
        shards = Shards(remote(tmp_path, server), ["A"], ["B"], ["C"], ["D"])
        results = iter(shards)
        assert next(results) == said("A")
        deadline = time.monotonic() + 30
        while len(server.answered) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        # The first one is taken, and the second and the third one wait.
        assert server.answered == ["A", "B", "C"]
        assert list(results) == [said("B"), said("C"), said("D")]
    assert shards.most == 2


def test_an_error_in_the_second_shard_ends_the_first_and_what_was_finished_is_kept(tmp_path: Path) -> None:
    with Misbehaving() as server:
        with pytest.raises(EndpointError, match="401"):
            list(Shards(remote(tmp_path, server), ["[late 2 x1] A", "B"], ["[late 0.3] C > [401 x1] D", "E"]))
        assert server.answered == ["B", "[late 0.3] C", "E"]
        again = Shards(remote(tmp_path, server), ["[late 2 x1] A", "B"], ["[late 0.3] C > [401 x1] D", "E"])
        assert list(again) == [
            ["v1: A, time 2, choice 0", *said("B")],
            ["v1: D, time 2, choice 0", *said("E")],
        ]
    asked = Counter(seen.prompt for seen in server.seen)
    assert asked == {"[late 2 x1] A": 2, "B": 1, "[late 0.3] C": 1, "[401 x1] D": 2, "E": 1}


def test_a_request_that_is_given_up_in_the_second_shard_fails_alone(tmp_path: Path) -> None:
    with Misbehaving() as server:
        found = list(Shards(remote(tmp_path, server, further_rounds=()), ["[late 0.3] A"], ["[500] B", "C"], ["D"]))
    assert found == [said("A"), ["gave_up: HTTP 500: internal error", *said("C")], said("D")]


def test_a_shard_without_an_answer_stops_the_job_whatever_was_answered_before(tmp_path: Path) -> None:
    with Misbehaving() as server:
        shards = Shards(remote(tmp_path, server), ["A"], ["[400] B", "[400] C"], ["[late 0.3] D"])
        with pytest.raises(EndpointError, match=r"not one request to `tiny` was answered.*the request is bad"):
            list(shards)


def test_requests_under_way_end_when_the_results_are_left(tmp_path: Path) -> None:
    with Misbehaving() as server:
        results = iter(Shards(remote(tmp_path, server), ["A"], ["[late 3] B"]))
        assert next(results) == said("A")
        began = time.monotonic()
        results.close()  # type: ignore[attr-defined]
        assert time.monotonic() - began < 2
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.rows("SELECT (SELECT count(*) FROM claims), (SELECT count(*) FROM owners)") == [(0, 0)]


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_job_that_is_killed_in_the_overlap_repeats_nothing_and_ends_in_order(tmp_path: Path) -> None:
    prompts = ["[late 4 x1] A", "B", "C", "D", "E"]
    rows = pl.DataFrame({"prompt": [[{"role": "user", "content": prompt}] for prompt in prompts]})
    with Misbehaving() as server:
        llm = remote(tmp_path, server)
        fields = {name: getattr(llm, name) for name in ("fingerprint", "engine", "sampling", "max_prompt_tokens")}
        more = {"system": "keep", "seed": 0, "stage": "respond", "iteration": 1, "model": "tiny", "canary": False}
        job = Job(
            tmp_path / "job",
            "respond",
            Responses(responses=1),
            {"llm": "eva_data.models.remote.llm:RemoteLLM"} | fields | more,
            connection={"urls": [server.url]},
            ledger=tmp_path / "ledger.sqlite",
            shard_rows=2,
        )

        def kill() -> None:
            if {"B", "C", "D"} <= set(server.answered):
                raise Killed

        with pytest.raises(Killed):
            run_job(job, rows, log=tmp_path / "log", stalled_seconds=60, check=kill)
        assert sorted(seen.prompt for seen in server.seen) == sorted(prompts[:4])
        server.seen.clear()
        results = run_job(job, rows, log=tmp_path / "log", stalled_seconds=60)
    assert [row["prompt"][0]["content"] for row, _ in results] == prompts
    assert [[each["text"] for each in found] for _, found in results] == [
        ["v1: A, time 2, choice 0"],
        *([text] for text in said("B", "C", "D", "E")),
    ]
    assert sorted(seen.prompt for seen in server.seen) == ["E", "[late 4 x1] A"]
