"""Measures how fast requests go out and answers come in, with a server that only waits (benchmarks/latency_server.py).

    python benchmarks/generation.py --requests 2000 --in-flight 64 --repeats 3

Each way asks the same prompts with the same latencies, in a fresh process, with a fresh server in another process:

- `ours`: RemoteLLM over chains of one request; every answer is committed to a new ledger;
- `distilabel`: Distilabel's own TextGeneration with OpenAILLM, in batches of 50;
- `bare`: asyncio, aiohttp and a semaphore; no answer is kept.

Seconds run from the arrival of the first request to the last reply, by the server's clock. Start-up is the time from
the start of the process to the first request. The bound is the sum of all latencies divided by the requests in flight.
`ideal` is the time of an infinitely fast client that sends the requests in order. Each repeat draws other latencies.
Every number, also a ratio, is the median over the repeats.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from heapq import heapreplace
from math import exp, log
from pathlib import Path
from statistics import NormalDist, median
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import click

if TYPE_CHECKING:
    from eva_data.calls import Chain
    from eva_data.models.remote.llm import RemoteLLM

BATCH = 50
"""The batch size of Distilabel."""
MEMORY_REQUESTS = 100_000
FIXED, SHORTEST, LONGEST, RARE = 0.05, 0.02, 2.0, 5.0
"""Seconds: the fixed latency, and the bounds of the spread."""
PROFILES = {"fixed": "50 ms each", "spread": "20 ms to 2 s, 1 % of 5 s"}
WAYS = ("ours", "distilabel", "bare")


@click.command()
@click.option("--requests", default=2000, show_default=True)
@click.option("--in-flight", default=64, show_default=True)
@click.option("--ways", default=",".join(WAYS), show_default=True)
@click.option("--profiles", default=",".join(PROFILES), show_default=True)
@click.option("--repeats", default=1, show_default=True, help="Runs of each way, in turn.")
@click.option("--seed", default=0, show_default=True, help="Of the latencies.")
@click.option("--memory/--no-memory", default=True, help=f"Whether ours is also asked {MEMORY_REQUESTS:,} requests.")
@click.option("--way", type=click.Choice(WAYS), hidden=True)
@click.option("--port", default=0, hidden=True)
def main(
    requests: int, in_flight: int, ways: str, profiles: str, repeats: int, seed: int, memory: bool, way: str, port: int
) -> None:
    if way:
        click.echo(json.dumps(RUN[way](f"http://127.0.0.1:{port}", requests, in_flight)))
        return
    chosen = ways.split(",")
    for profile in profiles.split(","):
        compare(profile, chosen, requests, in_flight, range(seed, seed + repeats))
    click.echo("\nNo latency: requests per second")
    for name in (way for way in chosen if way != "distilabel"):
        seconds = median(measure(name, [0.0], requests, in_flight)["seconds"] for _ in range(repeats))
        click.echo(f"{name:12}{requests / seconds:10,.0f}")
    if memory and "ours" in chosen:
        run = measure("ours", [0.0], MEMORY_REQUESTS, in_flight)
        click.echo(f"\nMemory of ours: {run['mib_before']:,.0f} MiB before {MEMORY_REQUESTS:,} requests", nl=False)
        click.echo(f" without latency, at most {run['mib']:,.0f} MiB in their {run['seconds']:,.0f} s")


def compare(profile: str, ways: Sequence[str], requests: int, in_flight: int, seeds: Sequence[int]) -> None:
    """Run the ways in turn, and print a line for each."""
    click.echo(f"\n{PROFILES[profile]}: {requests:,} requests, {in_flight} in flight", nl=False)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    bounds, bests = [], []
    for seed in seeds:
        waits = latencies(profile, seed, requests)
        bounds.append(sum(waits) / in_flight)
        bests.append(ideal(waits, in_flight))
        for way in ways:
            run = measure(way, waits, requests, in_flight)
            runs[way].append(run | {"by_bound": run["seconds"] / bounds[-1]})
    click.echo(f"; bound {median(bounds):.2f} s, ideal {median(bests):.2f} s")
    click.echo(
        f"{'':12}{'seconds':>10}{'/ bound':>10}{'/ bare':>10}{'start-up':>10}{'in flight':>11}{'ms/request':>12}"
    )
    for way, found in runs.items():
        middle = {name: median(run[name] for run in found) for name in found[0]}
        bare = zip(found, runs.get("bare", []), strict=False)
        by_bare = [mine["seconds"] / other["seconds"] for mine, other in bare]
        click.echo(
            f"{way:12}{middle['seconds']:10.2f}{middle['by_bound']:10.3f}"
            f"{f'{median(by_bare):.3f}' if by_bare else '':>10}"
            f"{middle['startup']:10.2f}{middle['most_in_flight']:11.0f}{middle['processor'] * 1e3:12.2f}"
        )


def latencies(profile: str, seed: int, requests: int) -> list[float]:
    """The seconds of each request, drawn by its number.

    The spread is log-normal: 99 of 100 lie between the shortest and the longest, and the others are moved there.
    """
    if profile == "fixed":
        return [FIXED] * requests
    middle, normal = log(SHORTEST * LONGEST) / 2, NormalDist()
    width = (log(LONGEST) - middle) / normal.inv_cdf(0.995)
    drawn = []
    for number in range(requests):
        bits = blake2b(f"{seed} {number}".encode(), digest_size=16).digest()
        often, place = (int.from_bytes(half, "big") / 2**64 for half in (bits[:8], bits[8:]))
        usual = exp(middle + width * normal.inv_cdf(min(max(place, 1e-9), 1 - 1e-9)))
        drawn.append(RARE if often < 0.01 else min(max(usual, SHORTEST), LONGEST))
    return drawn


def ideal(waits: Sequence[float], in_flight: int) -> float:
    """The end of the last request, if requests start in order, each as soon as one of `in_flight` has ended."""
    ends = [0.0] * in_flight
    for wait in waits:
        heapreplace(ends, ends[0] + wait)
    return max(ends)


def measure(way: str, waits: Sequence[float], requests: int, in_flight: int) -> dict[str, float]:
    """The report of one run in a process of its own, with `seconds` and `startup`, in seconds."""
    with serving(waits) as port:
        options = {"way": way, "port": port, "requests": requests, "in-flight": in_flight}
        command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in options.items())]
        started = time.monotonic()
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{way} failed: {done.stderr}")
    run: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if run["requests"] != requests:
        raise SystemExit(f"{way} made {run['requests']} requests instead of {requests}")
    return run | {"seconds": run["last"] - run["first"], "startup": run["first"] - started}


@contextmanager
def serving(waits: Sequence[float]) -> Iterator[int]:
    """Run a fresh server, and give its port."""
    command = [sys.executable, str(Path(__file__).with_name("latency_server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            json.dump(waits, server.stdin)
            server.stdin.close()
            yield int(server.stdout.readline())
        finally:
            server.kill()


# --- the ways, each in a process of its own ------------------------------------------------------------------------


def prompt(number: int) -> str:
    return f"Request {number}: write three sentences about the number {number}, the second one with a comma in it."


def chain(number: int) -> Chain[str | None]:
    """A chain of one request."""
    from eva_data.calls import Request

    (completion,) = yield [Request(({"role": "user", "content": prompt(number)},))]
    return completion.text


@contextmanager
def waiting_model(server: str, in_flight: int) -> Iterator[RemoteLLM]:
    """The model behind a server that only waits, with a new ledger."""
    from eva_data.models.remote.llm import RemoteLLM

    with tempfile.TemporaryDirectory() as folder:
        llm = RemoteLLM(
            fingerprint="waiting",
            engine={},
            sampling={"temperature": 0.7, "top_p": 0.9, "max_tokens": 256},
            max_prompt_tokens=1024,
            system="keep",
            seed=0,
            ledger=f"{folder}/ledger.sqlite",
            progress=f"{folder}/progress.json",
            model="waiting",
            urls=[f"{server}/v1"],
            max_in_flight=in_flight,
            canary=False,
        )
        llm.load()
        yield llm
        llm.unload()


def run_ours(server: str, requests: int, in_flight: int) -> dict[str, Any]:
    with waiting_model(server, in_flight) as llm:
        chains = [chain(number) for number in range(requests)]
        before, started = peak_mib(), time.process_time()
        texts = llm.drive(chains, requests)
        processor = (time.process_time() - started) / requests
    assert all(texts)
    return clock(server) | {"processor": processor, "mib_before": before, "mib": peak_mib()}


def run_bare(server: str, requests: int, in_flight: int) -> dict[str, Any]:
    import aiohttp

    async def ask_all() -> list[str]:
        free = asyncio.Semaphore(in_flight)

        async def ask(number: int) -> str:
            messages = [{"role": "user", "content": prompt(number)}]
            body = {"model": "waiting", "messages": messages, "temperature": 0.7, "top_p": 0.9, "max_tokens": 256}
            async with free, session.post(f"{server}/v1/chat/completions", json=body) as response:
                reply = await response.json()
            return str(reply["choices"][0]["message"]["content"])

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await asyncio.gather(*(ask(number) for number in range(requests)))

    started = time.process_time()
    texts = asyncio.run(ask_all())
    processor = (time.process_time() - started) / requests
    assert all(texts)
    return clock(server) | {"processor": processor}


def run_distilabel(server: str, requests: int, in_flight: int) -> dict[str, Any]:
    """Run Distilabel. The processor time of a pipeline of one batch is subtracted, because it is start-up."""
    whole = pipeline_seconds(server, requests)
    seen = clock(server)
    one_batch = pipeline_seconds(server, BATCH)
    return seen | {"processor": (whole - one_batch) / max(requests - BATCH, 1)}


def pipeline_seconds(server: str, requests: int) -> float:
    """The processor seconds of a pipeline with all its processes."""
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    started = processor_seconds()
    with tempfile.TemporaryDirectory() as folder, Pipeline(name="generation", cache_dir=folder) as pipeline:
        rows = [{"instruction": prompt(number)} for number in range(requests)]
        load = LoadDataFromDicts(data=rows, batch_size=BATCH)
        llm = OpenAILLM(
            model="waiting",
            base_url=f"{server}/v1",
            api_key="none",
            generation_kwargs={"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 256},
        )
        load >> TextGeneration(llm=llm, input_batch_size=BATCH)
    answered = pipeline.run(use_cache=False)["default"]["train"]
    assert all(answered["generation"]) and len(answered) == requests
    return processor_seconds() - started


def processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def clock(server: str) -> dict[str, Any]:
    """What the server has seen since the last call."""
    with urlopen(f"{server}/clock") as reply:
        seen: dict[str, Any] = json.loads(reply.read())
    return seen


RUN: dict[str, Callable[[str, int, int], dict[str, Any]]] = {
    "ours": run_ours,
    "distilabel": run_distilabel,
    "bare": run_bare,
}


if __name__ == "__main__":
    main()
