"""Models in the actors of a Ray cluster: the results of one process, whatever dies in between."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import Doubles, kill, model_actors, needs_ray, ray_cluster, raylet
from sandbox_runs import command, eva, hashes, totals
from tiny import reward_job, save_reward_model

from eva_data.errors import ModelError
from eva_data.ledger import Ledger
from eva_data.models.cluster.computing import OnRay
from eva_data.rewards.backends.classifier import load_elsewhere
from eva_data.rewards.local.batches import Item
from eva_data.rewards.local.loading import local_model
from eva_data.rewards.local.scoring import scores

pytestmark = [pytest.mark.ray, needs_ray, pytest.mark.filterwarnings("ignore")]

TINY = (
    *("--set", "seeds.sandbox=12", "--set", "solver.responses=3", "--set", "solver.max_tokens=16"),
    *("--set", "solver.batch_size=4", "--set", "solver.threads=1", "--set", "train.heldout=2"),
    *("--set", "pair.min_chosen=null", "--set", "solver.temperature=1.5"),
)


def answered(folder: Path, stage: str, iteration: int) -> bool:
    """Whether the ledger has an answer of a stage."""
    path = folder / ".eva" / "ledger.sqlite"
    if not path.exists():
        return False
    with Ledger(path) as ledger:
        return any(bill["stage"] == stage and bill["iteration"] == iteration for bill in ledger.bills())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with ray_cluster(nodes=2) as cluster:
        yield cluster


def test_scores_by_actors_are_bit_for_bit_those_of_one_process(tmp_path: Path, cluster: Any) -> None:
    model = save_reward_model(tmp_path / "model")
    texts = [Item(b"%04d" % place, array("i", range(3, 4 + place % 23))) for place in range(60)]

    def scored(folder: Path, items: Iterator[Item], **reached: Any) -> tuple[dict[bytes, Any], dict[str, int]]:
        job = reward_job(folder, "classifier", model, batch_tokens=64)
        job.connection.update(reached)
        local = local_model(job)
        [values] = scores(
            job,
            [{"responses": [""] * 60}],
            lambda row: [(item.key, item) for item in texts],
            lambda wanted: items,
            lambda: load_elsewhere(local),
            elsewhere=load_elsewhere,
            window_tokens=200,
        )
        found = {item.key: value for item, value in zip(texts, values, strict=True)}
        with Ledger(folder / "ledger.sqlite") as ledger:
            assert ledger.scores([item.key for item in texts]) == found
            return found, ledger.totals()

    def with_a_death() -> Iterator[Item]:
        for place, item in enumerate(texts):
            if place == 30:
                [actor, *_] = [each for node in cluster.worker_nodes for each in model_actors(node)]
                kill(actor)
            yield item

    here = scored(tmp_path / "here", iter(texts))
    there = scored(tmp_path / "there", with_a_death(), cluster={"address": cluster.address, "actors": 2})
    assert there == here
    assert len(here[0]) == 60 and here[1]["repeated"] == 0
    assert len({score.reward for score in here[0].values()}) > 20


def test_an_error_of_the_model_is_the_error_of_the_stage(cluster: Any) -> None:
    on_ray = OnRay(Doubles, address=cluster.address, actors=2, device="cpu", threads=1)
    assert on_ray.facts == {"of": "numbers"}
    assert sorted((mark, result) for mark, _, result in on_ray.map((str(n), n) for n in range(9))) == [
        (str(n), 2 * n) for n in range(9)
    ]
    with pytest.raises(ModelError, match="there is no number below 0"):
        list(on_ray.map([("a", 1), ("b", -1)]))
    on_ray.close()
    with pytest.raises(ModelError, match=r"has no GPU for a model whose `device` is cuda: add nodes with GPUs"):
        OnRay(Doubles, address=cluster.address, actors=None, device="cuda", threads=1)


def test_the_doctor_compares_the_cluster_with_the_settings(tmp_path: Path, cluster: Any) -> None:
    def told(*more: str) -> list[str]:
        engine = ("--set", "execution.engine=ray", "--set", f"execution.address={cluster.address}")
        done = eva(tmp_path / "there", "doctor", settings=(*TINY, *engine, *more))
        return [line.partition("execution: ")[2] for line in done.stdout.splitlines() if "execution: " in line]

    assert told() == ["2 nodes of the Ray cluster, with 0 GPUs, take 2 actors"]
    assert told("--set", "execution.actors=7") == [
        "7 actors take as many processors, and the Ray cluster has 2: lower `execution.actors`, or add nodes"
    ]
    assert told("--set", "solver.device=cuda") == [
        "`solver` wants a GPU, and the Ray cluster has none: add nodes with GPUs, or set `device: cpu`"
    ]


def test_a_whole_build_is_the_same_though_an_actor_and_a_node_die(tmp_path: Path, cluster: Any) -> None:
    done = eva(tmp_path / "here", "build", "--iter", "2", settings=TINY)
    assert done.returncode == 0, done.stderr
    folder, killed = tmp_path / "there", list[str]()

    def end(stage: str, name: str) -> bool:
        """Kill what computes once the ledger has an answer of the stage."""
        if not answered(folder, stage, len(killed) + 1):
            return False
        for node in cluster.worker_nodes:
            if found := model_actors(node):
                kill(found[0] if name == "actor" else raylet(node))
                killed.append(name)
                return True
        return False

    def watch() -> None:
        for stage, name in (("respond", "actor"), ("evolve", "node")):
            while not end(stage, name) and not over.wait(0.02):
                pass

    over = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    engine = ("--set", "execution.engine=ray", "--set", f"execution.address={cluster.address}")
    try:
        done = eva(folder, "build", "--iter", "2", settings=(*TINY, *engine))
    finally:
        over.set()
        watcher.join()
    assert done.returncode == 0, done.stderr
    assert killed == ["actor", "node"]
    assert hashes(folder) == hashes(tmp_path / "here")
    assert totals(folder) == totals(tmp_path / "here")


COUNTING = """\
import os, sys
from ray_nodes import Slow
from eva_data.errors import ModelError
from eva_data.models.cluster.computing import OnRay

on_ray = OnRay(Slow, address=sys.argv[1], actors=1, device="cpu", threads=1)
try:
    for mark, _, result in on_ray.map((number, number) for number in range(1000)):
        print(mark, result, flush=True)
except ModelError as error:
    on_ray.close()
    print(error, flush=True)
    os._exit(0)
"""


@pytest.mark.long
def test_a_stage_stops_with_a_sentence_if_the_head_is_gone() -> None:
    with ray_cluster(nodes=1) as cluster:
        line = [sys.executable, "-c", COUNTING, cluster.address]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == "0 0\n"
            cluster.head_node.all_processes["gcs_server"][0].process.kill()
            *results, last = running.stdout.read().splitlines()
    assert results == [f"{number} {2 * number}" for number in range(1, len(results) + 1)]
    assert re.match(r"the head of the Ray cluster, [\d.]+:\d+, is out of reach .*; what was finished is kept", last)


@pytest.mark.long
def test_a_command_stops_if_the_head_is_gone_and_the_next_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    with ray_cluster(nodes=1) as cluster:
        engine = ("--set", "execution.engine=ray", "--set", f"execution.address={cluster.address}")
        line = command(folder, "build", "--iter", "1", settings=(*TINY, *engine))
        with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
            while not answered(folder, "respond", 1):
                assert running.poll() is None
                time.sleep(0.02)
            cluster.head_node.all_processes["gcs_server"][0].process.kill()
            _, told = running.communicate(timeout=300)
    assert running.returncode == 1
    # If little of the stage was left, the next stage finds it.
    assert re.search(r"Error: (the head of the Ray cluster, \S+, is out of reach|there is no Ray cluster at)", told)
    kept = totals(folder)["generations"]
    assert kept > 0
    done = eva(folder, "build", "--iter", "1", settings=TINY)
    assert done.returncode == 0, done.stderr
    again = totals(folder)
    assert again["repeated"] == 0 and again["generations"] > kept


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    engine = ("--set", "execution.engine=ray", "--set", "execution.address=127.0.0.1:1")
    done = eva(tmp_path / "there", "build", "--iter", "1", settings=(*TINY, *engine))
    assert done.returncode == 1
    _, last = done.stderr.strip().splitlines()
    assert last.startswith("Error: there is no Ray cluster at `127.0.0.1:1`")
    assert last.endswith("or name its address in `execution.address`")
