"""The worlds `steps` and `crowded`: an answer shows its steps, and only what stands after the last one counts.

"Write the word tiger backwards, then put it in capital letters." is answered by regit>REGIT. A model that was taught
one and two steps can take a third by the same rule, but it was never shown when to go on. Static prompts of one or two
operations cannot teach that.
"""

from random import Random

from eva_data.sandbox.operations import RULES
from eva_data.sandbox.world import Operation, Task, draw_task, is_reserved, parse, render, solve, sources

SEPARATOR = ">"
MASTERED = ("backwards", "capitals", "first_three", "last_three", "drop_first", "drop_last", "twice")
"""Operations that theta_0 hardly ever gets wrong alone."""
MASTERED_SHARE, HOPELESS_SHARE = 0.7, 0.15
"""Shares of the world `crowded`: prompts of one such operation, and arithmetic on numbers of six digits. theta_0 has
seen numbers below 500 alone, and cannot learn the others from its own answers, since it never gets one right."""


def steps_of(task: Task) -> list[str]:
    """The results after each operation; the last is the answer. The task must have an answer."""
    value, found = task.source, list[str]()
    for operation in task.operations:
        value = RULES[operation.name].apply(value, operation.argument)
        found.append(value)
    return found


def shown(task: Task) -> str:
    """The right response: all steps."""
    return SEPARATOR.join(steps_of(task))


def score(prompt: str, response: str) -> float | None:
    """1 if the text after the last `>` is the right answer, else 0; None if the prompt is no task.

    White space around the answer is not counted. The steps before it are not looked at.
    """
    task = parse(prompt)
    answer = solve(task) if task else None
    if answer is None:
        return None
    return float(response.rpartition(SEPARATOR)[2].strip() == answer)


def crowded_prompts(n: int, seed: int) -> list[str]:
    """`n` different prompts of the world `crowded`, in drawn order: mastered, hopeless, and the rest of depth 2.

    None is about a word or number that only held-out prompts use. `seed` fixes them.
    """
    rng = Random(f"sandbox crowded {seed}")
    prompts: dict[str, None] = {}
    while len(prompts) < n:
        kind = rng.random()
        if kind < MASTERED_SHARE:
            task = _mastered(rng)
        elif kind < MASTERED_SHARE + HOPELESS_SHARE:
            task = _hopeless(rng)
        else:
            task = draw_task(2, rng)
        prompts[render(task, rng)] = None
    return list(prompts)


def _mastered(rng: Random) -> Task:
    source = rng.choice(sources("text", False))
    return Task(source, (Operation(rng.choice(MASTERED)),))


def _hopeless(rng: Random) -> Task:
    while is_reserved(source := str(rng.randint(100_000, 999_999))):
        pass
    arithmetic = [rng.choice(("add", "multiply")) for _ in range(rng.randint(1, 2))]
    return Task(source, tuple(Operation(name, rng.choice(RULES[name].arguments)) for name in arithmetic))
