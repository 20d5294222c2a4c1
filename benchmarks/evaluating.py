"""Measures how fast a judge is asked, with a server that answers at once (benchmarks/latency_server.py).

    python benchmarks/evaluating.py --prompts 805 --repeats 3

Each way asks a judge about two answers to every prompt in both orders, in a fresh process, with a fresh server in
another process:

- `judging`: the job of `eva-data evaluate`: questions are built, every reply is committed to a new ledger and read, and
  verdicts become scores;
- `generation`: RemoteLLM over the same questions, whose replies are committed and not read (benchmarks/generation.py);
- `bare`: asyncio, aiohttp and a semaphore over the same questions; no reply is kept.

Requests per second run from the first request to the last reply, by the server's clock; `whole` is the time of the way
without start-up, with all that comes before and after the requests. Every number, also a ratio, is the median over the
repeats.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.generation import clock, serving

WAYS = ("judging", "generation", "bare")
SAMPLING = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 2048}


@click.command()
@click.option("--prompts", default=805, show_default=True)
@click.option("--in-flight", default=64, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--way", type=click.Choice(WAYS), hidden=True)
@click.option("--port", default=0, hidden=True)
def main(prompts: int, in_flight: int, repeats: int, way: str, port: int) -> None:
    if way:
        click.echo(json.dumps(RUN[way](f"http://127.0.0.1:{port}", prompts, in_flight)))
        return
    runs = [{name: measure(name, prompts, in_flight) for name in WAYS} for _ in range(repeats)]
    click.echo(f"{prompts:,} prompts in both orders, {in_flight} in flight, no latency")
    click.echo(f"{'':12}{'requests/s':>12}{'/ bare':>9}{'whole s':>9}")
    for name in WAYS:
        rate = median(run[name]["rate"] for run in runs)
        ratio = median(run[name]["rate"] / run["bare"]["rate"] for run in runs)
        whole = median(run[name]["whole"] for run in runs)
        click.echo(f"{name:12}{rate:12,.0f}{ratio:9.3f}{whole:9.2f}")


def measure(way: str, prompts: int, in_flight: int) -> dict[str, float]:
    """The report of one run in a process of its own, with `rate`, in requests per second."""
    with serving([0.0]) as port:
        options = {"way": way, "port": port, "prompts": prompts, "in-flight": in_flight}
        command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in options.items())]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{way} failed: {done.stderr}")
    run: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if run["requests"] != 2 * prompts:
        raise SystemExit(f"{way} made {run['requests']} requests instead of {2 * prompts}")
    return run | {"rate": run["requests"] / (run["last"] - run["first"])}


# --- the ways, each in a process of its own ------------------------------------------------------------------------


def faced(prompts: int) -> Any:
    """The rows that a judge is asked about, each in one order."""
    import polars as pl

    from eva_data.comparing.orders import in_both_orders
    from eva_data.tables.schemas import MESSAGES

    asked = [[{"role": "user", "content": f"Request {number}: say how rain forms."}] for number in range(prompts)]
    table = pl.DataFrame(
        {
            "prompt_id": [f"{number:06}" for number in range(prompts)],
            "prompt": asked,
            "response": [f"Water rises, cools and falls. {number} " * 20 for number in range(prompts)],
            "response_against": [f"It comes from clouds. {number} " * 25 for number in range(prompts)],
            "reference": pl.Series([None] * prompts, dtype=pl.String),
            "checklist": pl.Series([None] * prompts, dtype=pl.List(pl.String)),
        },
        schema_overrides={"prompt": MESSAGES},
    )
    return in_both_orders(table)


def questions(rows: Any) -> list[str]:
    from eva_data.evaluation.judging import questions_of
    from eva_data.evaluation.rule import rule_called

    return questions_of(rule_called("own").template, rows)


def remote(server: str, folder: str, in_flight: int) -> dict[str, Any]:
    """The fields of RemoteLLM."""
    return {
        "fingerprint": "waiting",
        "engine": {},
        "sampling": SAMPLING,
        "max_prompt_tokens": None,
        "system": "keep",
        "seed": 0,
        "ledger": f"{folder}/ledger.sqlite",
        "progress": f"{folder}/progress.json",
        "model": "waiting",
        "urls": [f"{server}/v1"],
        "max_in_flight": in_flight,
        "canary": False,
    }


def run_judging(server: str, prompts: int, in_flight: int) -> dict[str, Any]:
    from eva_data.evaluation.judging import Judging, judge_rows, with_verdicts
    from eva_data.evaluation.rule import rule_called
    from eva_data.jobs.job import Job

    with tempfile.TemporaryDirectory() as folder:
        fields = remote(server, folder, in_flight)
        ledger = Path(fields.pop("ledger"))
        del fields["progress"]
        model = {"llm": "eva_data.models.remote.llm:RemoteLLM", **fields}
        job = Job(Path(folder), "evaluate", Judging(rule="own"), model=model, ledger=ledger)
        job.llm()
        started = time.perf_counter()
        rows = faced(prompts)
        verdicts = judge_rows(job, [{"question": question} for question in questions(rows)])
        scored = with_verdicts(rule_called("own"), rows, verdicts)
        whole = time.perf_counter() - started
    assert scored.height == 2 * prompts and scored["score"].null_count() == 0
    return clock(server) | {"whole": whole}


def run_generation(server: str, prompts: int, in_flight: int) -> dict[str, Any]:
    from eva_data.calls import Chain, Request
    from eva_data.models.remote.llm import RemoteLLM

    def chain(question: str) -> Chain[str | None]:
        (completion,) = yield [Request(({"role": "user", "content": question},))]
        return completion.text

    asked = questions(faced(prompts))
    with tempfile.TemporaryDirectory() as folder:
        llm = RemoteLLM(**remote(server, folder, in_flight))
        started = time.perf_counter()
        llm.load()
        texts = llm.drive([chain(question) for question in asked], len(asked))
        llm.unload()
        whole = time.perf_counter() - started
    assert all(texts)
    return clock(server) | {"whole": whole}


def run_bare(server: str, prompts: int, in_flight: int) -> dict[str, Any]:
    import aiohttp

    asked = questions(faced(prompts))

    async def ask_all() -> list[str]:
        free = asyncio.Semaphore(in_flight)

        async def ask(question: str) -> str:
            messages = [{"role": "user", "content": question}]
            body = {"model": "waiting", "messages": messages, **SAMPLING}
            async with free, session.post(f"{server}/v1/chat/completions", json=body) as response:
                reply = await response.json()
            return str(reply["choices"][0]["message"]["content"])

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await asyncio.gather(*(ask(question) for question in asked))

    started = time.perf_counter()
    texts = asyncio.run(ask_all())
    whole = time.perf_counter() - started
    assert all(texts)
    return clock(server) | {"whole": whole}


RUN: dict[str, Callable[[str, int, int], dict[str, Any]]] = {
    "judging": run_judging,
    "generation": run_generation,
    "bare": run_bare,
}


if __name__ == "__main__":
    main()
