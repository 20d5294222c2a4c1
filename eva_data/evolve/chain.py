"""The chain of rewrites that starts at one sampled prompt, as a generator over requests and completions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eva_data.calls import Chain, Completion, Request, Row
from eva_data.evolve.conversation import Conversation, read_conversation
from eva_data.evolve.identity import draw_of, prompt_id_of
from eva_data.evolve.rules import Ancestor, Limits, Verdict, judge, read_reply
from eva_data.evolve.strategy import Method, Strategy
from eva_data.replies import valid_unicode


def start_chains(
    rows: Iterable[Row],
    method: Method,
    *,
    evolutions: int,
    iteration: int,
    seed: int,
    creator: str,
    limits: Limits,
) -> list[Chain[list[Row]]]:
    """One chain per sampled prompt, in the order of `rows`; see `evolve_chain`."""
    return [
        evolve_chain(
            row,
            method,
            evolutions=evolutions,
            iteration=iteration,
            seed=seed,
            creator=creator,
            limits=limits,
        )
        for row in rows
    ]


def evolve_chain(
    row: Row,
    method: Method,
    *,
    evolutions: int,
    iteration: int,
    seed: int,
    creator: str,
    limits: Limits,
) -> Chain[list[Row]]:
    """A chain whose result is `evolutions` rows of records.EVOLUTIONS, one per step, in their order.

    `row` is a sampled row of records.PROMPTS, of which `prompt_id`, `prompt`, `root_id` and `depth` are read;
    `creator` is the fingerprint of the model that answers. A sequential method yields one request at a time,
    since each step rewrites the last survivor; an independent one yields all of them at once. `status` is
    `eliminated` where a rule of this package ends the attempt (`reason` says which) and null where the
    attempt is still to be judged against other prompts (`eliminate`). `prompt` and `prompt_id` are null where
    the reply holds no prompt, `mutation` is null where no strategy of the method suits the prompt and nothing
    was asked.

    Raises DataError, at once and not at the first `next`, for a prompt that does not end in a user turn.
    """
    sampled = _Prompt(row["prompt_id"], read_conversation(row["prompt"]), row["depth"])
    attempts = _Attempts(
        chain_id=row["prompt_id"],
        root_id=row["root_id"],
        strategies=method.suiting(sampled.conversation),
        iteration=iteration,
        seed=seed,
        creator=creator,
        limits=limits,
    )
    steps = range(1, evolutions + 1)
    if not attempts.strategies:
        return _nothing_to_ask(attempts, sampled, steps)
    follow = _in_sequence if method.sequential else _independently
    return follow(attempts, sampled, steps)


@dataclass(frozen=True)
class _Prompt:
    """A surviving prompt of the chain, the sampled one included."""

    prompt_id: str
    conversation: Conversation
    depth: int


@dataclass(frozen=True)
class _Attempts:
    """What the attempts of one chain share, and how one of them is asked for and recorded."""

    chain_id: str
    root_id: str
    strategies: tuple[Strategy, ...]
    iteration: int
    seed: int
    creator: str
    limits: Limits

    def strategy(self, step: int) -> Strategy:
        draw = draw_of(seed=self.seed, iteration=self.iteration, chain_id=self.chain_id, step=step)
        return self.strategies[int(draw * len(self.strategies))]

    def request(self, parent: _Prompt, step: int) -> Request:
        messages = self.strategy(step).render(parent.conversation)
        return Request(messages, salt=f"evolve:{self.iteration}:{step}")

    def read(self, ancestors: Sequence[_Prompt], step: int, completion: Completion) -> tuple[Row, _Prompt | None]:
        """The row of an attempt, and the new prompt if it survived; the last ancestor is the parent."""
        strategy, parent = self.strategy(step), ancestors[-1]
        row = self.row(parent, step) | {
            "mutation": strategy.name,
            "raw": None if completion.text is None else valid_unicode(completion.text),
            "completion_tokens": completion.completion_tokens,
        }
        text = read_reply(completion, strategy)
        if isinstance(text, Verdict):
            return row | _elimination(text), None
        messages = parent.conversation.ending_in(text)
        evolved = _Prompt(prompt_id_of(messages), Conversation(messages[:-1], text), parent.depth + 1)
        row |= {"prompt_id": evolved.prompt_id, "prompt": [dict(message) for message in messages]}
        earlier = [Ancestor(ancestor.prompt_id, ancestor.conversation.last) for ancestor in ancestors]
        verdict = judge(text, strategy, earlier, self.limits)
        return (row, evolved) if verdict is None else (row | _elimination(verdict), None)

    def row(self, parent: _Prompt, step: int) -> Row:
        """A row of which nothing is known yet but where it stands."""
        return {
            "chain_id": self.chain_id,
            "step": step,
            "prompt_id": None,
            "prompt": None,
            "parent_id": parent.prompt_id,
            "root_id": self.root_id,
            "depth": parent.depth + 1,
            "mutation": None,
            "raw": None,
            "status": None,
            "reason": None,
            "duplicate_of": None,
            "completion_tokens": None,
            "creator": self.creator,
            "iteration": self.iteration,
        }


def _elimination(verdict: Verdict) -> Row:
    return {"status": "eliminated", "reason": verdict.reason, "duplicate_of": verdict.duplicate_of}


def _in_sequence(attempts: _Attempts, sampled: _Prompt, steps: range) -> Chain[list[Row]]:
    rows, ancestors = [], [sampled]
    for step in steps:
        [completion] = yield [attempts.request(ancestors[-1], step)]
        row, survivor = attempts.read(ancestors, step, completion)
        rows.append(row)
        if survivor is not None:
            ancestors.append(survivor)
    return rows


def _independently(attempts: _Attempts, sampled: _Prompt, steps: range) -> Chain[list[Row]]:
    completions = yield [attempts.request(sampled, step) for step in steps]
    return [attempts.read([sampled], step, completion)[0] for step, completion in zip(steps, completions, strict=True)]


def _nothing_to_ask(attempts: _Attempts, sampled: _Prompt, steps: range) -> Chain[list[Row]]:
    yield from ()
    return [attempts.row(sampled, step) | _elimination(Verdict("no_strategy")) for step in steps]
