"""Examples for the sandbox model: answers to prompts, and prompts rewritten by Distilabel's templates."""

from collections.abc import Mapping
from random import Random

from eva_data.sandbox.steps import shown
from eva_data.sandbox.world import (
    CONNECTORS,
    MAX_DEPTH,
    Task,
    clause,
    depth,
    draw_source,
    draw_task,
    extend,
    is_reserved,
    kind,
    parse,
    render,
    solve,
    sources,
)

Example = tuple[str, str]
"""A user message and the reply to it."""

DEEPER = ("CONSTRAINTS", "DEEPENING", "INCREASED_REASONING_STEPS")
"""Mutations that ask for more: one more operation, or another last operation if there are five already."""
_INVENTED_SHARE = 0.25
_STRIPPED_SHARE = 0.2


def _source(rng: Random) -> str:
    # Some sources are random letters, since the model must also copy words that it does not know.
    while rng.random() < _INVENTED_SHARE:
        invented = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(4, 10)))
        if not is_reserved(invented):
            return invented
    return draw_source(rng)


def solving(rng: Random, depth_weights: Mapping[int, float], careless: float = 0.0) -> Example:
    """A prompt and its answer. The depth is drawn by weight.

    With probability `careless`, the answer to a prompt of depth 3 or more leaves the last operation out.
    """
    chosen = rng.choices(list(depth_weights), weights=list(depth_weights.values()))[0]
    task = draw_task(chosen, rng, source=_source(rng))
    prompt = render(task, rng)
    if careless and chosen >= 3 and rng.random() < careless:
        task = Task(task.source, task.operations[:-1])
    answer = solve(task)
    assert answer is not None  # draw_task only draws tasks with an answer
    return prompt, answer


def showing_steps(rng: Random, depth_weights: Mapping[int, float], numbers: float = 0.0) -> Example:
    """A prompt and the answer that shows its steps. The depth is drawn by weight, and a number with its own share."""
    chosen = rng.choices(list(depth_weights), weights=list(depth_weights.values()))[0]
    of_number = numbers > 0 and rng.random() < numbers
    task = draw_task(chosen, rng, source=rng.choice(sources("number", False)) if of_number else _source(rng))
    return render(task, rng), shown(task)


def _deeper(prompt: str, task: Task, rng: Random) -> str:
    """The prompt, word for word, with one more clause; if it has five clauses, the last is replaced."""
    if depth(task) == MAX_DEPTH:
        cut = max(prompt.rfind(connector) for connector in CONNECTORS)
        prompt, task = prompt[:cut] + ".", Task(task.source, task.operations[:-1])
    while (longer := extend(task, rng)) is None:
        pass
    return prompt[:-1] + rng.choice(CONNECTORS) + clause(longer.operations[-1], "it", rng) + "."


def _more_concrete(prompt: str, task: Task, rng: Random) -> str:
    """The same text about another number or word; the word is at least as long, up to seven letters."""
    noun = "the " + ("number " if kind(task.source) == "number" else "word ")
    while True:
        other = rng.choice(sources(kind(task.source), False))
        rewritten = prompt.replace(noun + task.source, noun + other, 1)
        if other != task.source and len(other) >= min(len(task.source), 7) and parse(rewritten):
            return rewritten


def rewriting(rng: Random, templates: Mapping[str, str]) -> Example:
    """A filled-in mutation template and the rewritten prompt. All templates and depths are equally likely."""
    mutation = rng.choice(list(templates))
    task = draw_task(rng.randint(1, MAX_DEPTH), rng, source=_source(rng))
    prompt = render(task, rng)
    request = templates[mutation].replace("<PROMPT>", prompt)
    if rng.random() < _STRIPPED_SHARE:
        request = request.strip()
    if mutation in DEEPER:
        return request, _deeper(prompt, task, rng)
    if mutation == "CONCRETIZING":
        return request, _more_concrete(prompt, task, rng)
    return request, render(draw_task(depth(task), rng), rng)
