"""How much memory the commands need that make and check a dataset, over all of their processes.

    python benchmarks/memory.py responses.parquet --prompts 20_000 50_000 100_000
    python benchmarks/memory.py responses.parquet --prompts 5_000 20_000 --evolve

The file holds real scored responses: `prompt`, `response` and `reward`. Its rows are repeated, with a number before
each text, until there are as many prompts as are asked for, with six responses each. Of this table `build --iter 1`
makes a dataset, which the other commands read. With `--evolve`, `build --iter 2` goes on from there: a server that
answers at once, with words drawn by the request, is solver and creator.

The memory of a command is the largest sum over its processes at any time. PSS counts a page that several processes
share once; RSS counts it once for each. Of several sizes, the line through the smallest and the largest says what 10
million prompts would need.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import polars as pl
import psutil
import pyarrow.parquet as pq
import yaml
from aiohttp import web

RESPONSES_PER_PROMPT = 6
AT_ONCE = 50_000
"""Rows of the table that are written at once."""
WORDS = [f"{first}{second}{third}" for first in "bdfgklmnprst" for second in "aeiou" for third in "lmnrst"]
WORDS_PER_REPLY = 180
EXTRAPOLATED = 10_000_000
SECONDS = 0.2
"""Between two looks at the processes."""


@dataclass(frozen=True)
class Measured:
    """What one command took."""

    command: str
    prompts: int
    seconds: float
    pss: int
    """Bytes."""
    anonymous: int
    """The part of `pss` that no file backs."""
    rss: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="parquet or JSON lines: `prompt`, `response`, `reward`")
    parser.add_argument("--prompts", type=int, nargs="+", default=[20_000, 50_000, 100_000])
    parser.add_argument("--evolve", action="store_true", help="measure `build --iter 2` too")
    parser.add_argument(
        "--commands", nargs="+", default=["verify --iter 1", "show --iter 1", "status"], help="after the build"
    )
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    if "--serve" in sys.argv:
        asyncio.run(serve())
    arguments = parser.parse_args()
    found: list[Measured] = []
    for prompts in arguments.prompts:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            found += measure(Path(folder), arguments.rows, prompts, arguments.commands, evolve=arguments.evolve)
    if len(arguments.prompts) > 1:
        _extrapolate(found)


def measure(folder: Path, rows: Path, prompts: int, commands: Sequence[str], *, evolve: bool) -> Iterator[Measured]:
    """Run the commands on a table of so many prompts, and print what each took."""
    size = write_rows(folder / "table.parquet", rows, prompts)
    print(f"{prompts:,} prompts x {RESPONSES_PER_PROMPT}, {size / 2**20:,.0f} MiB of texts", flush=True)
    path = folder / "eva.yaml"
    with _server() as url:
        path.write_text(yaml.safe_dump(_settings(folder, url)), encoding="utf-8")
        for command in ["build --iter 1", *(["build --iter 2"] if evolve else []), *commands]:
            measured = _run(command, path, prompts)
            print(
                f"  {command:16}{measured.seconds:8.1f} s{measured.pss / 2**20:10,.0f} MiB PSS, of them "
                f"{measured.anonymous / 2**20:,.0f} anonymous{measured.rss / 2**20:10,.0f} MiB RSS",
                flush=True,
            )
            yield measured


def write_rows(path: Path, rows: Path, prompts: int) -> int:
    """Write the table, and return the number of bytes of its texts."""
    given = pl.read_parquet(rows) if rows.suffix == ".parquet" else pl.read_ndjson(rows)
    # Six responses to one prompt stand together, and what is left of a prompt is not used.
    place = pl.int_range(pl.len()).over("prompt")
    group = pl.struct("prompt", place // RESPONSES_PER_PROMPT)
    given = (
        given.select("prompt", "response", "reward")
        .with_columns(group=group)
        .filter(pl.len().over("group") == RESPONSES_PER_PROMPT)
        .sort("group", maintain_order=True)
        .drop("group")
    )
    whole, size = prompts * RESPONSES_PER_PROMPT, 0
    writer: pq.ParquetWriter | None = None
    for first in range(0, whole, AT_ONCE):
        numbers = pl.int_range(first, min(first + AT_ONCE, whole), eager=True)
        number = numbers // RESPONSES_PER_PROMPT
        part = given[numbers % given.height].select(
            pl.format("[{}] {}", number, "prompt").alias("prompt"),
            pl.format("[{}] {}", numbers, "response").alias("response"),
            "reward",
        )
        size += int(part.select(pl.col("prompt", "response").str.len_bytes().sum()).sum_horizontal().item())
        table = part.to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd", use_dictionary=False)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return size


def _settings(folder: Path, url: str) -> dict[str, object]:
    columns = {name: name for name in ("prompt", "response", "reward")}
    model = {"backend": "api", "base_url": url, "model": "words", "canary": False, "max_prompt_tokens": 100_000}
    solver = {"backend": "table", "path": str(folder / "table.parquet"), **columns, "then": model}
    reward = {"backend": "verifier", "function": "memory:reward"}
    return {"name": "memory", "folder": str(folder / "data"), "solver": solver, "reward": reward}


def reward(prompt: str, response: str) -> float:
    """A number from 1 to 2 that hangs on the texts alone, in the range of the rewards of AlpacaEval."""
    return 1 + zlib.crc32(f"{prompt} {response}".encode()) / 2**32


@contextmanager
def _server() -> Iterator[str]:
    """The server as a process of its own, and its address."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def serve() -> None:
    """Answer every request for a completion with words, and print the port."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        words = random.Random(zlib.crc32(body) + next(number)).choices(WORDS, k=WORDS_PER_REPLY)
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": " ".join(words)}}
        usage = {"prompt_tokens": 60, "completion_tokens": WORDS_PER_REPLY, "total_tokens": 60 + WORDS_PER_REPLY}
        return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "words", "object": "model", "root": "words"}]})

    number = count()
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", answer), web.get("/v1/models", models)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def _run(command: str, config: Path, prompts: int) -> Measured:
    """Run a command of eva-data to its end, and look at its processes all the while."""
    arguments = [sys.executable, "-m", "eva_data", *command.split(), "--config", str(config)]
    start = time.perf_counter()
    imports = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (config.parent / "output").open("w+") as output:
        process = subprocess.Popen(
            arguments, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": imports}
        )
        most = (0, 0, 0)
        while process.poll() is None:
            now = _memory(process.pid)
            most = (max(most[0], now[0]), max(most[1], now[1]), max(most[2], now[2]))
            time.sleep(SECONDS)
        if process.returncode:
            output.seek(0)
            sys.exit(f"`{command}` ended with {process.returncode}: {output.read()[-3000:]}")
    return Measured(command, prompts, time.perf_counter() - start, *most)


def _memory(pid: int) -> tuple[int, int, int]:
    """PSS, its anonymous part, and RSS of a process and of all that it started, in bytes."""
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0, 0
    total = {"Pss": 0, "Pss_Anon": 0, "Rss": 0}
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        except (OSError, ProcessLookupError):
            continue
        sizes = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        for name in total:
            total[name] += sizes.get(name, 0)
    return total["Pss"], total["Pss_Anon"], total["Rss"]


def _extrapolate(found: Sequence[Measured]) -> None:
    for command in dict.fromkeys(each.command for each in found):
        first, *_, last = [each for each in found if each.command == command]
        slope = (last.pss - first.pss) / (last.prompts - first.prompts)
        there = (last.pss + slope * (EXTRAPOLATED - last.prompts)) / 2**30
        print(f"{command}: {slope:,.0f} bytes a prompt; {there:,.1f} GiB for {EXTRAPOLATED:,} prompts")


if __name__ == "__main__":
    main()
