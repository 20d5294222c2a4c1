"""Measures what a job's shards cost by waiting for their slowest requests: one after the other, and overlapping.

    python benchmarks/shards.py --shards 6 --rows 500 --in-flight 32 --repeats 3

The requests go to a server that only waits (benchmarks/latency_server.py): 200 ms each, and some for much longer. Both
ways ask the same prompts with the same latencies, in a fresh process with a new ledger. `in turn` drives a shard to its
end before the next one begins; `overlapping` begins the next one while the last requests of a shard are out. Seconds
run from the arrival of the first request to the last reply, by the server's clock. `ideal` is the time of an infinitely
fast client that sends all requests in order. Utilisation is the sum of all latencies, divided by the seconds and the
requests in flight.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from statistics import median

import click
from generation import chain, clock, ideal, serving, waiting_model

from eva_data.calls import Chain

USUAL = 0.2
WAYS = ("in turn", "overlapping")


@click.command()
@click.option("--shards", default=6, show_default=True)
@click.option("--rows", default=500, show_default=True, help="Requests of a shard.")
@click.option("--in-flight", default=32, show_default=True)
@click.option("--slow", default=0.005, show_default=True, help="Share of slow requests.")
@click.option("--slow-seconds", default=3.0, show_default=True)
@click.option("--repeats", default=1, show_default=True)
@click.option("--way", type=click.Choice(WAYS), hidden=True)
@click.option("--port", default=0, hidden=True)
def main(
    shards: int, rows: int, in_flight: int, slow: float, slow_seconds: float, repeats: int, way: str, port: int
) -> None:
    if way:
        click.echo(json.dumps(ask(way, f"http://127.0.0.1:{port}", shards, rows, in_flight)))
        return
    click.echo(f"{shards} shards of {rows:,} requests, {in_flight} in flight; {USUAL * 1e3:.0f} ms each", nl=False)
    click.echo(f", {slow:.1%} of {slow_seconds:g} s; medians of {repeats}")
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    used: dict[str, list[float]] = {name: [] for name in WAYS}
    bests = []
    for seed in range(repeats):
        draw = random.Random(seed)
        waits = [slow_seconds if draw.random() < slow else USUAL for _ in range(shards * rows)]
        bests.append(ideal(waits, in_flight))
        for name in WAYS:
            with serving(waits) as server:
                options = {"way": name, "port": server, "shards": shards, "rows": rows, "in-flight": in_flight}
                command = [sys.executable, __file__, *(f"--{key}={value}" for key, value in options.items())]
                seen = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            assert seen["requests"] == shards * rows
            seconds[name].append(seen["last"] - seen["first"])
            used[name].append(sum(waits) / in_flight / seconds[name][-1])
    click.echo(f"{'ideal':12}{median(bests):8.2f} s")
    for name in WAYS:
        by_ideal = median(mine / best for mine, best in zip(seconds[name], bests, strict=True))
        click.echo(f"{name:12}{median(seconds[name]):8.2f} s, {by_ideal:.2f} of ideal, ", nl=False)
        click.echo(f"utilisation {median(used[name]):.0%}")


def ask(way: str, server: str, shards: int, rows: int, in_flight: int) -> dict[str, float]:
    """What the server saw while all shards were asked."""

    def chains() -> Iterator[list[Chain[str | None]]]:
        for first in range(0, shards * rows, rows):
            yield [chain(number) for number in range(first, first + rows)]

    with waiting_model(server, in_flight) as llm:
        results: Iterator[list[str | None]]
        if way == "in turn":
            results = (llm.drive(shard, rows) for shard in chains())
        else:
            results = llm.drive_shards(iter(chains()), shards * rows)
        assert sum(len(texts) for texts in results if all(texts)) == shards * rows
    seen: dict[str, float] = clock(server)
    return seen


if __name__ == "__main__":
    main()
