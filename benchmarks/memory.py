"""How much memory the commands need that make and check a dataset, over all of their processes.

    python benchmarks/memory.py responses.parquet --prompts 20_000 50_000 100_000
    python benchmarks/memory.py responses.parquet --prompts 5_000 20_000 --evolve
    python benchmarks/memory.py responses.parquet --evolve --settings '{"mix": {"topic_cap": 0.5}}'

The file holds real scored responses: `prompt`, `response` and `reward`. Its rows are repeated, with a number before
each text, until there are as many prompts as are asked for, with six responses each. Of this table `build --iter 1`
makes a dataset, which the other commands read. With `--evolve`, `build --iter 2` goes on from there: a server that
answers at once, with sentences of words drawn by the request, is solver and creator, and judge if it is asked which of
two replies is better. `--settings` changes the settings of the game. `SERVER` in it is that server's address, and
replies of the model `votes` end with one of three numbers.

The memory of a command is the largest sum over its processes at any time. PSS counts a page that several processes
share once; RSS counts it once for each. With `--stages`, each job of a build has a line of its own: the most memory
while the job ran or while its results were worked on, and how much of it each process had. Of several sizes, the line
through the smallest and the largest says what 10 million prompts would need.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import model_server
import polars as pl
import psutil
import pyarrow.parquet as pq
import yaml

RESPONSES_PER_PROMPT = 6
AT_ONCE = 50_000
"""Rows of the table that are written at once."""
WORDS = [f"{first}{second}{third}" for first in "bdfgklmnprst" for second in "aeiou" for third in "lmnrst"]
VERBS = ("Explain", "Describe", "Compare", "Summarize", "List")
VOTES = b'"votes"'
"""The name of a model whose replies end with one of three numbers."""
VERDICTS = ("first", "second", "tie")
SENTENCES_PER_REPLY, WORDS_PER_SENTENCE = 8, 12
"""A reply is a prompt of such sentences, each with a verb in front."""
SENTENCES = 20_000
"""So many sentences are drawn once, and each reply is drawn from them."""
SERVER = "SERVER"
"""Stands for the server's address in `--settings`."""
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
    stages: dict[str, Sample] = field(default_factory=dict)
    """The largest sample while each job of a build was the newest."""


@dataclass(frozen=True)
class Sample:
    """What the processes of a command have at one moment, in bytes."""

    pss: int = 0
    anonymous: int = 0
    rss: int = 0
    processes: tuple[tuple[str, int], ...] = ()
    """What each process is, and its PSS."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="parquet or JSON lines: `prompt`, `response`, `reward`")
    parser.add_argument("--prompts", type=int, nargs="+", default=[20_000, 50_000, 100_000])
    parser.add_argument("--evolve", action="store_true", help="measure `build --iter 2` too")
    parser.add_argument("--responses", type=int, default=RESPONSES_PER_PROMPT, help="the solver's, from iteration 2 on")
    parser.add_argument(
        "--commands", nargs="+", default=["verify --iter 1", "show --iter 1", "status"], help="after the build"
    )
    parser.add_argument("--settings", type=json.loads, default={}, help="blocks of eva.yaml, as JSON")
    parser.add_argument("--stages", action="store_true", help="print the peak of each job of a build too")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    if "--serve" in sys.argv:
        serve()
    arguments = parser.parse_args()
    found: list[Measured] = []
    for prompts in arguments.prompts:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            commands = ["build --iter 1", *(["build --iter 2"] if arguments.evolve else []), *arguments.commands]
            given = (arguments.responses, arguments.settings)
            for measured in measure(Path(folder), arguments.rows, prompts, commands, *given):
                found.append(measured)
                if arguments.stages:
                    _print_stages(measured)
    if len(arguments.prompts) > 1:
        _extrapolate(found)


def measure(
    folder: Path, rows: Path, prompts: int, commands: Sequence[str], responses: int, settings: Mapping[str, object]
) -> Iterator[Measured]:
    """Run the commands on a table of so many prompts, and print what each took. `settings` are blocks of eva.yaml."""
    size = write_rows(folder / "table.parquet", rows, prompts)
    print(f"{prompts:,} prompts x {RESPONSES_PER_PROMPT}, {size / 2**20:,.0f} MiB of texts", flush=True)
    path = folder / "eva.yaml"
    with model_server.server(__file__) as url:
        blocks = _merged(_settings(folder, url, responses), json.loads(json.dumps(settings).replace(SERVER, url)))
        path.write_text(yaml.safe_dump(blocks), encoding="utf-8")
        for command in commands:
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


def _settings(folder: Path, url: str, responses: int) -> dict[str, object]:
    columns = {name: name for name in ("prompt", "response", "reward")}
    model = {
        "backend": "api",
        "base_url": url,
        "model": "words",
        "responses": responses,
        "canary": False,
        "max_prompt_tokens": 100_000,
    }
    solver = {"backend": "table", "path": str(folder / "table.parquet"), **columns, "then": model}
    reward = {"backend": "verifier", "function": "memory:reward"}
    return {"name": "memory", "folder": str(folder / "data"), "solver": solver, "reward": reward}


def _merged(blocks: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The blocks with these changes. A block whose change names a `backend` is replaced."""
    found = dict(blocks)
    for name, change in changes.items():
        deeper = isinstance(change, dict) and isinstance(found.get(name), dict) and "backend" not in change
        found[name] = _merged(found[name], change) if deeper else change
    return found


def reward(prompt: str, response: str) -> float:
    """A number from 1 to 2 that hangs on the texts alone, in the range of the rewards of AlpacaEval."""
    return 1 + zlib.crc32(f"{prompt} {response}".encode()) / 2**32


def serve() -> None:
    """Answer every request for a completion with words."""
    number, drawn = count(), random.Random(0)
    sentences = [
        f"{drawn.choice(VERBS)} {' '.join(drawn.choices(WORDS, k=WORDS_PER_SENTENCE))}." for _ in range(SENTENCES)
    ]

    def reply(body: bytes) -> list[str]:
        draw = random.Random(zlib.crc32(body) + next(number))
        asked = json.loads(body).get("n", 1)
        texts = [" ".join(draw.choices(sentences, k=SENTENCES_PER_REPLY)) for _ in range(asked)]
        if b"<first_reply>" in body:
            return [f"{text}\nVerdict: {draw.choice(VERDICTS)}" for text in texts]
        if VOTES in body:
            return [f"{text}\n#### {draw.randrange(3)}" for text in texts]
        if b"<new_reply>" in body:
            return [f"<new_reply>{text}</new_reply>" for text in texts]
        return texts

    tokens = SENTENCES_PER_REPLY * (WORDS_PER_SENTENCE + 1)
    asyncio.run(model_server.serve(reply, ("words", "votes"), tokens=tokens))


def _run(command: str, config: Path, prompts: int) -> Measured:
    """Run a command of eva-data to its end, and look at its processes all the while."""
    arguments = [sys.executable, "-m", "eva_data", *command.split(), "--config", str(config)]
    start = time.perf_counter()
    imports = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (config.parent / "output").open("w+") as output:
        process = subprocess.Popen(
            arguments, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": imports}
        )
        most = Sample()
        stages: dict[str, Sample] = {}
        while process.poll() is None:
            now, stage = _memory(process.pid), _stage(config.parent / "data")
            most = Sample(max(most.pss, now.pss), max(most.anonymous, now.anonymous), max(most.rss, now.rss))
            stages[stage] = max(stages.get(stage, now), now, key=lambda sample: sample.pss)
            time.sleep(SECONDS)
        if process.returncode:
            output.seek(0)
            sys.exit(f"`{command}` ended with {process.returncode}: {output.read()[-3000:]}")
    seconds = time.perf_counter() - start
    return Measured(command, prompts, seconds, most.pss, most.anonymous, most.rss, stages)


def _memory(pid: int) -> Sample:
    """PSS, its anonymous part, and RSS of a process and of all that it started."""
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return Sample()
    total = {"Pss": 0, "Pss_Anon": 0, "Rss": 0}
    each: list[tuple[str, int]] = []
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
            called = _called(process, pid)
        except (OSError, psutil.NoSuchProcess):
            continue
        sizes = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        for name in total:
            total[name] += sizes.get(name, 0)
        each.append((called, sizes.get("Pss", 0)))
    return Sample(total["Pss"], total["Pss_Anon"], total["Rss"], tuple(each))


def _called(process: psutil.Process, command: int) -> str:
    """`command`, or how deep below it the process is, with the module that its interpreter began with."""
    depth = [parent.pid for parent in (process, *process.parents())].index(command)
    # A process that has just ended has no words any more.
    words = process.cmdline() or ["ended"]
    module = words[words.index("-m") + 1].removeprefix("eva_data.") if "-m" in words else Path(words[0]).name
    return "command" if depth == 0 else f"{module}/{depth}"


def _stage(folder: Path) -> str:
    """The newest job, and whether it works or has ended."""
    jobs = {path: path.stat().st_mtime for path in folder.glob(".eva/jobs/iter_*/*/job.json")}
    if not jobs:
        return "no job"
    newest = max(jobs, key=lambda path: jobs[path]).parent
    return f"after {newest.name}" if (newest / "output.parquet").exists() else newest.name


def _print_stages(measured: Measured) -> None:
    for stage, sample in measured.stages.items():
        each = ", ".join(f"{name} {pss / 2**20:,.0f}" for name, pss in sample.processes)
        print(f"    {stage:28}{sample.pss / 2**20:8,.0f} MiB PSS: {each}", flush=True)


def _extrapolate(found: Sequence[Measured]) -> None:
    for command in dict.fromkeys(each.command for each in found):
        first, *_, last = [each for each in found if each.command == command]
        slope = (last.pss - first.pss) / (last.prompts - first.prompts)
        there = (last.pss + slope * (EXTRAPOLATED - last.prompts)) / 2**30
        print(f"{command}: {slope:,.0f} bytes a prompt; {there:,.1f} GiB for {EXTRAPOLATED:,} prompts")


if __name__ == "__main__":
    main()
