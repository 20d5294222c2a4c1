"""Measures how often a consensus is right, by builds of real problems that scripted solvers answer.

    python benchmarks/voting.py gsm8k.parquet --prompts 2000

The file holds problems and their solutions, as openai/gsm8k has them: `question` or `prompt`, and `answer` with
`#### 42` at its end. A server plays solver and creator. Three datasets are built by `eva-data build`, with the votes of
the recipe `gsm8k-consensus`:

- `independent`: each response is right with the chance `--right`, else one of `--wrong` wrong numbers, all equally
  likely. Its consensus must be right as often as the multinomial distribution says.
- `sharing`: to `--share` of the problems, all responses are the same wrong number. The build must warn.
- `turning`: `independent` answers in iteration 1 and `sharing` in iteration 2. The build must warn of the drift.

In iteration 2 the creator appends "Then add 17 to the result." to a problem, so that this script knows the answers of
evolved problems, which eva-data does not. Each line says how many of 100 prompts have a consensus, how many of 100
consensuses are right, and what follows from the distribution.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import model_server
import numpy as np
import polars as pl
import yaml
from scipy.stats import multinomial

MIN_VOTES, MIN_AGREEMENT = 4, 0.5
LEAST_LEAD = 2
"""So many more votes than any other answer a consensus has."""
SHARED = 1_000_003
"""The mistake that a solver makes in all responses."""
_PROBLEM = re.compile(r"\[(\d+)\] [^\n]*")
_MORE = re.compile(r"Then add (\d+) to the result\.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--responses", type=int, default=8)
    parser.add_argument("--right", type=float, default=0.6)
    parser.add_argument("--wrong", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.3)
    if "--serve" in sys.argv:
        serve(json.load(sys.stdin))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems = numbered(arguments.problems, arguments.prompts)
        problems.write_parquet(Path(folder) / "problems.parquet")
        agreed, right = by_multinomial(arguments.right, arguments.wrong, arguments.responses)
        shared = arguments.share + (1 - arguments.share) * agreed
        print(f"multinomial, independent: consensus {agreed:.1%}, right {right:.1%}")
        print(
            f"multinomial, sharing:     consensus {shared:.1%}, right {(shared - arguments.share) * right / shared:.1%}"
        )
        given = {"answers": [_final(answer) for answer in problems["answer"]]}
        given |= {name: getattr(arguments, name) for name in ("right", "wrong", "share")}
        with model_server.server(__file__, json.dumps(given)) as url:
            for name, solvers in (
                ("independent", ("independent", "independent")),
                ("sharing", ("sharing", "sharing")),
                ("turning", ("independent", "sharing")),
            ):
                play(Path(folder), name, solvers, url, arguments)


def numbered(path: Path, count: int) -> pl.DataFrame:
    """The problems with a number in front, each in one line, and their solutions."""
    given = pl.read_parquet(path).head(count)
    question = pl.col("question" if "question" in given.columns else "prompt")
    return given.select(
        question=pl.format("[{}] {}", pl.int_range(pl.len()), question.str.replace_all(r"\s+", " ")), answer="answer"
    )


def by_multinomial(right: float, wrong: int, responses: int) -> tuple[float, float]:
    """The share of prompts with a consensus, and the share of these whose consensus is right."""
    every = product(range(responses + 1), repeat=wrong + 1)
    counts = np.array([each for each in every if sum(each) == responses])
    chances = multinomial(responses, [right, *[(1 - right) / wrong] * wrong]).pmf(counts)
    second, first = np.sort(counts, axis=1)[:, -2:].T
    agreed = (first - second >= LEAST_LEAD) & (first >= MIN_AGREEMENT * responses)
    share = chances[agreed].sum()
    return float(share), float(chances[agreed & (counts[:, 0] == first)].sum() / share)


def play(folder: Path, name: str, solvers: tuple[str, str], url: str, arguments: argparse.Namespace) -> None:
    """Build two iterations, and print what their consensuses are worth and what the builds warned of."""
    data, path = folder / name, folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings(data, url, solvers[0], arguments.responses)), encoding="utf-8")
    for iteration, solver in enumerate(solvers, 1):
        other = ["--solver", solver] if solver != solvers[0] else []
        command = [sys.executable, "-m", "eva_data", "build", "--iter", str(iteration), "--config", str(path), *other]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ)
        if done.returncode:
            sys.exit(f"`{' '.join(command[2:])}` ended with {done.returncode}: {done.stderr[-2000:]}")
        _print(data, name, iteration, pl.read_parquet(folder / "problems.parquet"))


def settings(folder: Path, url: str, solver: str, responses: int) -> dict[str, object]:
    problems = str(folder.parent / "problems.parquet")
    model = {"backend": "api", "base_url": url, "canary": False}
    return {
        "name": "voting",
        "folder": str(folder),
        "seeds": {"path": problems, "column": "question"},
        "solver": {**model, "model": solver, "responses": responses},
        "creator": {**model, "model": "creator"},
        "reward": {
            "backend": "consensus",
            "equal": "number",
            "min_votes": MIN_VOTES,
            "min_agreement": MIN_AGREEMENT,
            "answers": {"path": problems, "prompt": "question", "answer": "answer"},
            "anchors": 0.1,
        },
        "estimate": {"source": "fresh"},
        "sample": {"fraction": 0.25, "agreement_band": [0.5, 0.9]},
        "mix": {"evolved": 0.8, "original": "previous", "shortfall": "shrink"},
        "pair": {"min_chosen": 1},
    }


def _print(data: Path, name: str, iteration: int, problems: pl.DataFrame) -> None:
    stem = f"iter_{iteration}.parquet"
    prompts = pl.read_parquet(data / "prompts" / stem).select("prompt_id", "prompt")
    voted = pl.read_parquet(data / "informativeness" / stem).filter(pl.col("stage") == "respond")
    truths = [_final(answer) for answer in problems["answer"]]
    texts = prompts["prompt"].list.last().struct.field("content").to_list()
    known = prompts.select("prompt_id", truth=pl.Series([str(_truth(text, truths)) for text in texts]))
    table = voted.join(known, on="prompt_id")
    for kind, rows in table.group_by(anchor=pl.col("known_answer").is_not_null(), maintain_order=True):
        labelled = rows.drop_nulls("consensus")
        right = (labelled["consensus"] == labelled["truth"]).sum() / max(1, labelled.height)
        print(
            f"{name:12} iteration {iteration}, {rows.height:5} {'anchors' if kind[0] else 'others':8} consensus "
            f"{labelled.height / rows.height:.1%}, right {right:.1%}",
            flush=True,
        )
    notes = json.loads((data / "manifests" / f"iter_{iteration}.json").read_text(encoding="utf-8"))["notes"]
    for note in (note for note in notes if note.startswith("ALARM")):
        print(f"  {note}", flush=True)


def _final(solution: str) -> int:
    return int(solution.rpartition("####")[2].replace(",", ""))


def _truth(text: str, answers: list[int]) -> int:
    found = _PROBLEM.search(text)
    assert found is not None, text
    return answers[int(found[1])] + sum(int(more) for more in _MORE.findall(found[0]))


def serve(given: dict[str, Any]) -> None:
    """Answer as the model that a request names."""
    draw, answers = random.Random(0), given["answers"]

    def solved(text: str, shares: bool) -> str:
        truth, problem = _truth(text, answers), _PROBLEM.search(text)
        assert problem is not None
        if shares and random.Random(int(problem[1])).random() < given["share"]:
            return f"So the result is known.\n#### {truth + SHARED}"
        off = 0 if draw.random() < given["right"] else draw.randint(1, given["wrong"])
        return f"I compute it step by step.\n#### {truth + off}"

    def rewritten(text: str) -> str:
        *_, last = _PROBLEM.finditer(text)
        return f"{last[0]} Then add {draw.randint(10, 999)} to the result."

    def reply(request: bytes) -> list[str]:
        body = json.loads(request)
        text = body["messages"][-1]["content"]
        return [
            rewritten(text) if body["model"] == "creator" else solved(text, body["model"] == "sharing")
            for _ in range(body.get("n") or 1)
        ]

    asyncio.run(model_server.serve(reply, ("independent", "sharing", "creator"), tokens=20))


if __name__ == "__main__":
    main()
