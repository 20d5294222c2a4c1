"""The sandbox world: English instructions that compose one to five operations on a word or a number.

"Write the word tiger backwards, then put it in capital letters." has exactly one right answer, REGIT. A task is drawn
and rendered to text by one of several phrasings. A strict parser reads it back, so that any text of a model is either a
task with a known answer or not a task. A "letter" is any character of the present string (also the * in the place of a
vowel). Alphabetical order puts * first and a capital before its small letter.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

from eva_data.sandbox.operations import RULES, Kind, Rule

MAX_DEPTH = 5
MAX_ANSWER = 32
"""Most characters of any intermediate result of a drawn task; `parse` accepts longer results."""
CONNECTORS = (", then ", ", and then ", ". Then ", ". After that, ", ". Next, ")
_NOUN: dict[Kind, str] = {"text": "the word ", "number": "the number "}
_SOURCE: dict[Kind, str] = {"text": "[a-z]{2,16}", "number": "[1-9][0-9]{0,5}"}
_NUMBERS = tuple(str(n) for n in range(10, 500))
_NUMBER_SHARE = 0.12


@dataclass(frozen=True)
class Operation:
    """One step of a task: the name of a rule, and its argument ("" if it takes none)."""

    name: str
    argument: str = ""


@dataclass(frozen=True)
class Task:
    """A word or number, and the operations on it in order. The phrasing is not part of it."""

    source: str
    operations: tuple[Operation, ...]


def kind(source: str) -> Kind:
    """The kind of a source: digits are a number, everything else is text."""
    return "number" if source.isdigit() else "text"


def depth(task: Task) -> int:
    """The number of operations, 1 to 5."""
    return len(task.operations)


def solve(task: Task) -> str | None:
    """The only right answer; None if an operation meets the wrong kind of value or the result is empty."""
    value, value_kind = task.source, kind(task.source)
    for operation in task.operations:
        rule = RULES[operation.name]
        if rule.takes != value_kind:
            return None
        value, value_kind = rule.apply(value, operation.argument), rule.gives
        if not value:
            return None
    return value


def is_reserved(source: str) -> bool:
    """Whether a word or number belongs to the tenth, chosen by hash, that only held-out prompts use."""
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:4], "big") % 10 == 0


@cache
def sources(of: Kind, reserved: bool) -> tuple[str, ...]:
    """The words or numbers for tasks: either the reserved tenth or all others."""
    text = (files("eva_data.sandbox") / "words.txt").read_text(encoding="ascii")
    everything = text.split() if of == "text" else _NUMBERS
    return tuple(source for source in everything if is_reserved(source) == reserved)


def extensions(task: Task) -> list[Rule]:
    """The rules that may follow the last operation: they have the right kind, and no text rule is used twice."""
    last = RULES[task.operations[-1].name].gives if task.operations else kind(task.source)
    used = {operation.name for operation in task.operations}
    return [rule for rule in RULES.values() if rule.takes == last and (last == "number" or rule.name not in used)]


def extend(task: Task, rng: Random) -> Task | None:
    """The task with one more operation of `extensions`; None if the result would be too long or empty."""
    # Counting ends the text operations, so it is drawn a third as often as the others.
    rules = extensions(task)
    rule = rng.choices(rules, weights=[1 if rule.name == "count" else 3 for rule in rules])[0]
    longer = Task(task.source, (*task.operations, Operation(rule.name, rng.choice(rule.arguments))))
    answer = solve(longer)
    return longer if answer is not None and len(answer) <= MAX_ANSWER else None


def draw_source(rng: Random, *, reserved: bool = False) -> str:
    """Draw a word or, with probability 1/8, a number."""
    return rng.choice(sources("number" if rng.random() < _NUMBER_SHARE else "text", reserved))


def draw_task(depth: int, rng: Random, *, reserved: bool = False, source: str | None = None) -> Task:
    """Draw a task of `depth` operations on the given or a drawn source; `reserved` draws from the held-out tenth."""
    while True:
        task: Task | None = Task(source or draw_source(rng, reserved=reserved), ())
        while task is not None and len(task.operations) < depth:
            task = extend(task, rng)
        if task is not None:
            return task


def clause(operation: Operation, target: str, rng: Random | None = None) -> str:
    """One operation in words, on `target` ("it", "the word tiger"). Without `rng`, the first phrase is taken."""
    phrases = RULES[operation.name].phrases
    phrase = rng.choice(phrases) if rng else phrases[0]
    return phrase.replace("{a}", operation.argument).replace("{x}", target)


def render(task: Task, rng: Random | None = None) -> str:
    """The task as an English instruction. `rng` draws phrases and connectors; without it, the first are taken."""
    text = clause(task.operations[0], _NOUN[kind(task.source)] + task.source, rng)
    text = text[0].upper() + text[1:]
    for operation in task.operations[1:]:
        text += (rng.choice(CONNECTORS) if rng else CONNECTORS[0]) + clause(operation, "it", rng)
    return text + "."


@cache
def _patterns(first: bool) -> tuple[tuple[Rule, re.Pattern[str]], ...]:
    end = r"(?=\.\Z|" + "|".join(map(re.escape, CONNECTORS)) + ")"
    patterns = []
    for rule in RULES.values():
        for phrase in rule.phrases:
            target = _NOUN[rule.takes] + f"(?P<source>{_SOURCE[rule.takes]})" if first else "it"
            body = re.escape(phrase[0].upper() + phrase[1:] if first else phrase)
            body = body.replace(r"\{x\}", target).replace(r"\{a\}", f"(?P<argument>{'|'.join(rule.arguments)})")
            patterns.append((rule, re.compile(body + end, re.ASCII)))
    return tuple(patterns)


def parse(text: str) -> Task | None:
    """The task that a prompt states; None if `render` could not have written the prompt.

    Every character counts. There must be 1 to 5 operations, each on a value of its kind, and no empty result.
    """
    source, position, operations = "", 0, list[Operation]()
    while len(operations) < MAX_DEPTH:
        clauses = ((rule, pattern.match(text, position)) for rule, pattern in _patterns(not operations))
        rule, match = next(((rule, match) for rule, match in clauses if match), (None, None))
        if rule is None or match is None:
            return None
        found = match.groupdict()
        source = source or found["source"]
        operations.append(Operation(rule.name, found.get("argument", "")))
        position = match.end()
        if text[position:] == ".":
            task = Task(source, tuple(operations))
            return task if solve(task) is not None else None
        position += max(len(connector) for connector in CONNECTORS if text.startswith(connector, position))
    return None


def _distinct(n: int, depths: Sequence[int], rng: Random, *, reserved: bool) -> list[str]:
    prompts: dict[str, None] = {}
    while len(prompts) < n:
        prompts[render(draw_task(depths[len(prompts) % len(depths)], rng, reserved=reserved), rng)] = None
    return list(prompts)


def seed_prompts(n: int, seed: int, depths: Sequence[int] = (1, 2)) -> list[str]:
    """`n` different prompts on words that no held-out prompt uses, with `depths` in turn. `seed` fixes them."""
    return _distinct(n, depths, Random(f"sandbox seeds {seed}"), reserved=False)


def heldout_prompts(per_depth: int, depths: Sequence[int] = (1, 2, 3, 4, 5)) -> list[str]:
    """The held-out prompts, by depth: the first `per_depth` of a fixed sequence for each depth."""
    return [
        prompt
        for depth in depths
        for prompt in _distinct(per_depth, (depth,), Random(f"sandbox held-out {depth}"), reserved=True)
    ]
