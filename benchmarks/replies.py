"""Measures how well a creator's replies are read: precision and recall of every rule on labelled sets, with intervals.

    python benchmarks/replies.py [SET.jsonl ...] [--wrong] [--data FOLDER]
    python benchmarks/replies.py --speed RESPONSES.parquet

A row of a set has `method`, `parent`, `reply`, `good` and, where good, `expected`, the text of the prompt. A good row
is kept if no rule ends the attempt, and exact if the text is also the expected one. A bad row is caught if some rule
ends the attempt. Set A was worked on from the beginning. Set B was written by someone who did not know the rules; when
it was blind, 90.9 % [85.3, 94.5] of its good rows were kept and 83.0 % [76.1, 88.2] of its bad ones caught. Then the
rules were worked on with it too (99.4 % [96.4, 99.9] and 95.2 % [90.5, 97.7]), so its figures no longer say how well
replies are read that nobody has seen. Set C was written in the same way after that work. When it was blind, 94.7 %
[89.8, 97.3] of its good rows were kept, 90.7 % [84.9, 94.4] exactly, and 88.7 % [82.6, 92.8] of its bad ones caught.
Then the rules were worked on with it too (100.0 % [97.5, 100.0], all exactly, and 98.7 % [95.3, 99.6]; B then reached
99.4 % and 98.0 % [94.2, 99.3]). Set D was written in the same way after that work. When it was blind, 94.3 % [89.6,
97.0] of its good rows were kept, 91.8 % [86.5, 95.2] exactly, and 84.4 % [78.2, 89.0] of its bad ones caught;
after work with it they are 100.0 % [97.6, 100.0], all exactly, and 98.8 % [95.9, 99.7]. Only blind
figures say how well replies are read that nobody has seen. The replies of
AlpacaEval's models to a half of its prompts that was never looked at were seen once, as replies to their own prompts,
all of them answers or refusals: 83.5 % [82.1, 84.8] of 3000 caught before that work and 87.1 % [85.8, 88.2] after it,
with 96.6 % [94.3, 98.0] and 97.9 % [95.9, 98.9] of the 381 prompts kept. A rule's precision is the share of bad rows
among those that it ended, its recall the share of rows of its kinds that some rule ended. Intervals are Wilson's, 95 %.

`--data` names a folder of parquet files with a column `prompt`. Every prompt is made a reply in the form of each
method, with the prompt's first half as its parent. The script counts how many survive, and how many are unchanged.

`--speed` names a parquet file with the columns `prompt` and `response`. Of its responses, SPEED_TEXTS are read as
replies to their prompts. The script prints the processor's time for each character, in all and for the search for the
patterns of each key in each sentence. It compares that with the plain way, one alternation of all patterns, and ends
if the two ways find something else.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from math import sqrt
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import polars as pl

from eva_data.calls import Completion
from eva_data.evolve import Strategy, build_method, user_strategy
from eva_data.evolve.replies.possible import Searched, first_match
from eva_data.evolve.replies.requests import masked, sentences
from eva_data.evolve.replies.words import patterns
from eva_data.evolve.rules import Ancestor, Limits, Verdict, judge, read_reply

SETS = Path(__file__).parents[1] / "tests"
LIMITS = Limits(min_characters=10, max_characters=8000)
RULES = {
    "refusal": ("refusal", "asks_back", "chatter", "promise"),
    "answer": ("answer", *map("answer_{}".format, ("code", "creative", "long", "roleplay", "short", "steps", "table"))),
    "other_language": ("other_language", "wrong_language"),
    "unparsable": ("thoughts", "no_markers", "truncated_thoughts", "broken", "garbage", "error"),
    "template_words": ("template_words", "template"),
    "empty": ("empty", "thoughts_only", "empty_after_thoughts"),
    "unchanged": ("unchanged",),
}
"""Rule -> the kinds of bad rows that it is for; other kinds count only in the total."""
SPEED_TEXTS = 300
FORMS = {
    "evol_instruct": "{}",
    "evol_complexity": "#Rewritten Prompt#:\n{}",
    "evol_quality": "#Rewritten Response#:\n{}",
    "self_instruct": "{}",
    "eva": "<new_prompt>\n{}\n</new_prompt>",
    "user": "{}",
}
"""Method -> how a prompt becomes a reply. A reply of Self-Instruct is one line, so the prompt is put on one line."""


@dataclass(frozen=True)
class Fate:
    """The result for a reply: the text that was read, and the reason if it was eliminated."""

    text: str | None
    reason: str | None


METHODS = {"rewrite": "evol_instruct", "list": "self_instruct"}
"""Form of reply that a set names in the place of a method -> a method with such replies."""


@cache
def strategy_of(method: str) -> Strategy:
    """A strategy of a method, or a user's own for any other name. All strategies of a method read replies alike."""
    named = {"evol_instruct", "evol_complexity", "evol_quality", "self_instruct", "eva"}
    method = METHODS.get(method, method)
    if method not in named:
        return user_strategy("user", "Make this harder: {prompt}", "in_depth")
    return build_method(method).strategies[0]


def fate(method: str, parent: str, reply: str) -> Fate:
    """Read a reply and check it as a chain does."""
    strategy = strategy_of(method)
    text = read_reply(Completion(reply, "stop", None, None), strategy)
    if isinstance(text, Verdict):
        return Fate(None, text.reason)
    verdict = judge(text, strategy, [Ancestor("parent", parent)], LIMITS)
    return Fate(text, None if verdict is None else verdict.reason)


def read_set(path: Path) -> list[tuple[dict[str, Any], Fate]]:
    """The rows of a labelled set, each with its result."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return [(row, fate(row.get("method", row.get("form")), row["parent"], row["reply"])) for row in rows]


def wilson(hits: int, of: int) -> str:
    """A share with its 95 % interval by Wilson, in per cent."""
    if not of:
        return f"{'-':>6} {'':15} {hits:4} of {of}"
    share, z = hits / of, 1.959964
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return f"{share:6.1%} [{middle - half:6.1%}, {middle + half:6.1%}] {hits:4} of {of}"


def figures(found: list[tuple[dict[str, Any], Fate]]) -> dict[str, tuple[int, int]]:
    """Name of a figure -> hits and trials of a set."""
    good = [(row, fate) for row, fate in found if row["good"]]
    bad = [(row, fate) for row, fate in found if not row["good"]]
    kept = [(row, fate) for row, fate in good if fate.reason is None]
    result = {
        "good prompts kept": (len(kept), len(good)),
        "good prompts kept exactly": (sum(fate.text == row["expected"] for row, fate in kept), len(good)),
        "bad replies caught": (sum(fate.reason is not None for _, fate in bad), len(bad)),
    }
    for rule, kinds in RULES.items():
        ended = [row for row, fate in found if fate.reason is not None and fate.reason.partition(":")[0] == rule]
        due = [fate for row, fate in bad if row["kind"] in kinds]
        result[f"{rule}: precision"] = (sum(not row["good"] for row in ended), len(ended))
        result[f"{rule}: recall"] = (sum(fate.reason is not None for fate in due), len(due))
    return result


def by_kind(found: list[tuple[dict[str, Any], Fate]]) -> list[tuple[str, int, int]]:
    """For each kind, good kinds first: how many rows were read right, and how many rows there are."""
    right: Counter[tuple[bool, str]] = Counter()
    every: Counter[tuple[bool, str]] = Counter()
    for row, fate in found:
        key = (not row["good"], row["kind"] or "plain")
        every[key] += 1
        right[key] += (fate.reason is None and fate.text == row["expected"]) if row["good"] else fate.reason is not None
    return [(("bad " if key[0] else "good ") + key[1], right[key], every[key]) for key in sorted(every)]


def survival(folder: Path, wrong: bool) -> None:
    """Print how many prompts of each file survive as replies."""
    total, of = 0, 0
    for path in sorted(folder.glob("*.parquet")):
        table = pl.read_parquet(path)
        if "prompt" not in table.columns or "response" in table.columns:
            continue
        prompts = table["prompt"].unique(maintain_order=True).to_list()
        for method, form in FORMS.items():
            survived = exact = 0
            for prompt in prompts:
                said = " ".join(prompt.split()) if method == "self_instruct" else prompt
                words = prompt.split()
                found = fate(method, " ".join(words[: max(2, len(words) // 2)]), form.format(said))
                survived += found.reason is None
                exact += found.reason is None and found.text is not None and found.text.strip() == said.strip()
                if wrong and (found.reason or (found.text or "").strip() != said.strip()):
                    print(f"      {method} {found.reason}: {prompt[:120]!r}")
            print(f"{path.stem:32} {method:16} {wilson(survived, len(prompts))}  unchanged {exact / len(prompts):.1%}")
            total, of = total + survived, of + len(prompts)
    print(f"{'all':49} {wilson(total, of)}")


Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of processor time that some work takes, and its result."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def speed(path: Path) -> None:
    """Print what a character costs, and the ratio against one alternation of all patterns of a key."""
    table = pl.read_parquet(path, columns=["prompt", "response"]).sample(2 * SPEED_TEXTS, seed=0)
    warm, rows = table.head(SPEED_TEXTS).rows(), table.tail(SPEED_TEXTS).rows()
    # The first texts compile the patterns.
    for prompt, response in warm:
        fate("evol_instruct", prompt, response)
    characters = sum(map(len, table.tail(SPEED_TEXTS)["response"]))
    read, _ = timed(lambda: [fate("evol_instruct", prompt, response) for prompt, response in rows])
    print(f"{len(rows)} replies of {characters / len(rows):.0f} characters are read in {_each(read, characters)}")
    said = [sentence for _, response in rows for sentence in sentences(masked(response))]
    length, keys = sum(map(len, said)), get_args(Searched)
    quick, found = timed(lambda: [_spans(first_match(key, sentence) for key in keys) for sentence in said])
    slow, plainly = 0.0, list[list[tuple[int, int] | None]]()
    for key in keys:
        pattern = re.compile(patterns(key), re.IGNORECASE)
        seconds, expected = timed(partial(_spans, map(pattern.search, said)))
        slow += seconds
        plainly.append(expected)
        print(f"  {key:22} plainly {_each(seconds, length)}")
    if list(map(list, zip(*plainly, strict=True))) != found:
        sys.exit("the two ways find something else")
    print(f"{len(said)} sentences, all keys: {_each(quick, length)}, plainly {_each(slow, length)}")
    print(f"{slow / quick:.0f} times as fast, with the same {sum(map(len, found)):,} results")


def _spans(matches: Iterable[re.Match[str] | None]) -> list[tuple[int, int] | None]:
    return [match and match.span() for match in matches]


def _each(seconds: float, characters: int) -> str:
    return f"{seconds / characters * 1e6:.3f} us a character"


@click.command()
@click.argument("sets", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--wrong", is_flag=True, help="Print every row that was read wrongly.")
@click.option("--speed", "timed_on", type=click.Path(exists=True, path_type=Path), help="Measure the cost of reading.")
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="Measure survival of these prompts.")
def main(sets: tuple[Path, ...], wrong: bool, timed_on: Path | None, data: Path | None) -> None:
    if timed_on is not None:
        speed(timed_on)
        return
    for path in sets or tuple(sorted(SETS.rglob("replies_*.jsonl"))):
        found = read_set(path)
        print(f"{path.name}: {len(found)} replies")
        for name, (hits, of) in figures(found).items():
            print(f"  {name:28} {wilson(hits, of)}")
        for name, right, every in by_kind(found):
            print(f"    {name:28} {right:4} of {every}")
        if wrong:
            for row, fate in found:
                if (fate.reason is not None) == row["good"] or (row["good"] and fate.text != row["expected"]):
                    print(f"      {row['id']} {row['kind']} {fate.reason}: {row['reply'][:200]!r} -> {fate.text!r}")
    if data is not None:
        survival(data, wrong)


if __name__ == "__main__":
    sys.exit(main())
