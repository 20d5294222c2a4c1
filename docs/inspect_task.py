"""A task of inspect_ai on the prompts of eva-data: a model answers, and a grader compares with the kept answers.

    pip install inspect_ai pyarrow      # in an environment of its own
    inspect eval docs/inspect_task.py -T path=data/NAME/evaluations/theta_2.parquet \
        --model openai/gpt-4o-mini --model-role grader=anthropic/claude-sonnet-4-0

`path` is a file of `evaluations` (a model answers the evaluated sets again, and is compared with that theta), of
`preferences` (compared with the chosen responses) or of `prompts` (answered and logged, not scored). It may be a
pattern, or a file on the Hub, `hf://datasets/OWNER/NAME/preferences/iter_2.parquet`. The grader sees every pair of
answers in both orders. The score is the share of the verdicts that prefer the model; a tie counts as half.
"""

from __future__ import annotations

import re
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import TaskState, generate

MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}

QUESTION = """Two assistants answered the last message of a conversation. Which answer is better?

[Conversation]
{conversation}

[Answer A]
{first}

[Answer B]
{second}

Reply with [[A]] if answer A is better, [[B]] if answer B is better, and [[C]] if neither is."""


@task
def eva_data(path: str, set_name: str | None = None, limit: int | None = None) -> Task:
    """`set_name` takes one of the sets in a file of evaluations, `limit` the first prompts."""
    samples = read_samples(path, set_name)[:limit]
    scored = any(sample.target for sample in samples)
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=preferred() if scored else None)


def read_samples(path: str, set_name: str | None = None) -> list[Sample]:
    """One sample per prompt, in the order of the file. A prompt without a kept answer has no target."""
    found: dict[str, Sample] = {}
    for file in fsspec.open_files(path, "rb"):
        with file as opened:
            table: pa.Table = pq.read_table(opened)
        for row in table.to_pylist():
            if set_name is not None and row.get("set") != set_name:
                continue
            name = f"{row['prompt_id']}-{row.get('turn', 1)}"
            turns = [MESSAGES[turn["role"]](content=turn["content"]) for turn in row["prompt"]]
            kept = row.get("response") or (row["chosen"][-1]["content"] if row.get("chosen") else "")
            found.setdefault(name, Sample(id=name, input=turns, target=kept))
    return list(found.values())


@scorer(metrics=[mean(), stderr()])
def preferred() -> Scorer:
    """The share of both orders in which the grader prefers the model's answer; a tie is half."""

    async def score(state: TaskState, target: Target) -> Score:
        ours, theirs = state.output.completion, target.text
        conversation = "\n\n".join(f"{turn.role}: {turn.text}" for turn in state.messages[:-1])
        grader = get_model(role="grader")
        points: list[float | None] = []
        replies = []
        for letter, first, second in (("A", ours, theirs), ("B", theirs, ours)):
            asked = QUESTION.format(conversation=conversation, first=first, second=second)
            replies.append((await grader.generate(asked)).completion)
            points.append(verdict(replies[-1], letter))
        told = [point for point in points if point is not None]
        # A reply without a verdict is no tie: without any, there is no score.
        return Score(value=sum(told) / len(told) if told else float("nan"), explanation="\n\n".join(replies))

    return score


def verdict(reply: str, letter: str) -> float | None:
    """1 if the reply prefers the answer with this letter, 0.5 for a tie, 0 for the other, None without a verdict."""
    found: list[Any] = re.findall(r"\[\[([ABC])\]\]", reply)
    if not found:
        return None
    return 0.5 if found[-1] == "C" else float(found[-1] == letter)
