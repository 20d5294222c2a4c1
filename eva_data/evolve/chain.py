"""The chain of rewrites that starts at a sampled prompt, as a generator over requests and completions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from eva_data.calls import Chain, Completion, Request, Row, valid_unicode
from eva_data.environments.tasks import PosedTask
from eva_data.evolve.candidates import Candidate, Prompt, one_goes_on
from eva_data.evolve.conversation import Conversation, read_conversation
from eva_data.evolve.rules import Ancestor, Limits, Verdict, judge, read_reply
from eva_data.evolve.scorer import score_prompts
from eva_data.evolve.self_check import check_prompts
from eva_data.evolve.strategy import Method, Strategy
from eva_data.tables.ids import draw_of, prompt_id_of


def start_chains(
    rows: Iterable[Row],
    method: Method,
    *,
    evolutions: int,
    iteration: int,
    seed: int,
    creator: str,
    limits: Limits,
    candidates: int = 1,
    score: bool = False,
    check: bool = False,
    siblings: bool = False,
    max_depth: int | None = None,
) -> list[Chain[list[Row]]]:
    """One chain per sampled prompt, in the order of `rows` (see `evolve_chain`)."""
    return [
        evolve_chain(
            row,
            method,
            evolutions=evolutions,
            iteration=iteration,
            seed=seed,
            creator=creator,
            limits=limits,
            candidates=candidates,
            score=score,
            check=check,
            siblings=siblings,
            max_depth=max_depth,
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
    candidates: int = 1,
    score: bool = False,
    check: bool = False,
    siblings: bool = False,
    max_depth: int | None = None,
) -> Chain[list[Row]]:
    """A chain whose result is rows of EVOLUTIONS: `candidates` rows for each of `evolutions` steps, in order.

    `row` is a sampled row of PROMPTS, of which `prompt_id`, `prompt`, `root_id` and `depth` are read, and `answer` and
    `info` if it has them, and
    `reply`, the solver's best answer, for strategies that add a turn to it. `creator` is the fingerprint of the model
    that answers. A sequential method yields the
    requests of one step at a time, since each step rewrites the last survivor. An independent method yields all
    requests at once. `status` is `eliminated` if a rule of this package ends the attempt (`reason` says which rule). It
    is null if the attempt must still be compared with other prompts (`eliminate`). `prompt` and `prompt_id` are null if
    the reply holds no prompt. `mutation` is null if no strategy of the method suits the prompt, so that nothing was
    asked.

    With several candidates, a step uses as many different strategies (paper: appendix F, figure 11). If fewer suit the
    prompt, all of them are used, and then again. The creator rates the survivors (`scorer`), the best goes on
    (`one_goes_on`), and the others are `unused` with the reason `not_best`. With `score`, the creator also rates a
    single candidate, which decides nothing.
    With `check`, the creator says before of each survivor whether it is a prompt at all (`self_check`).

    With `siblings`, all steps start from the sampled prompt, whatever the method, and all their strategies are
    different as far as there are so many (paper: appendices A and F). A chain ends at a prompt of `max_depth`, which is
    not rewritten any more, so that there may be fewer rows, or none.

    Raise DataError, at once and not at the first `next`, if the prompt does not end in a user turn.
    """
    sampled = Prompt(row["prompt_id"], read_conversation(row["prompt"]), row["depth"], _carried(row), row.get("reply"))
    suiting = method.suiting(sampled.conversation)
    attempts = _Attempts(
        chain_id=row["prompt_id"],
        root_id=row["root_id"],
        strategies=tuple(each for each in suiting if not each.adds_turn or sampled.reply is not None),
        iteration=iteration,
        seed=seed,
        creator=creator,
        limits=limits,
        candidates=candidates,
        scored=score or candidates > 1,
        checked=check,
        siblings=siblings,
        max_depth=max_depth,
    )
    steps = range(1, evolutions + 1)
    if not attempts.strategies:
        return _nothing_to_ask(attempts, sampled, steps)
    follow = _in_sequence if method.sequential and not siblings else _independently
    return follow(attempts, sampled, steps)


@dataclass(frozen=True)
class _Attempts:
    """The shared facts of a chain's attempts, and the request and the row of each attempt."""

    chain_id: str
    root_id: str
    strategies: tuple[Strategy, ...]
    iteration: int
    seed: int
    creator: str
    limits: Limits
    candidates: int
    scored: bool
    checked: bool
    siblings: bool
    max_depth: int | None

    def drawn(self, steps: Iterable[int]) -> list[tuple[int, int, Strategy]]:
        """(step, candidate, strategy) of each attempt of these steps.

        The strategies of a step, or of all siblings, are drawn without replacement until none is left.
        """
        drawn: list[tuple[int, int, Strategy]] = []
        left: list[Strategy] = []
        for step in steps:
            left = left if self.siblings else []
            for candidate in range(self.candidates):
                left = left or list(self.strategies)
                draw = draw_of(
                    seed=self.seed, iteration=self.iteration, chain_id=self.chain_id, step=step, candidate=candidate
                )
                drawn.append((step, candidate, left.pop(int(draw * len(left)))))
        return drawn

    def ends_at(self, prompt: Prompt) -> bool:
        """Whether a prompt is as deep as prompts may be."""
        return self.max_depth is not None and prompt.depth >= self.max_depth

    def request(self, parent: Prompt, step: int, candidate: int, strategy: Strategy) -> Request:
        # The first candidate makes the same request as a chain with one candidate, so that it is not paid twice.
        own = f":{candidate}" if candidate else ""
        return Request(strategy.render(parent.conversation, parent.reply), salt=f"evolve:{self.iteration}:{step}{own}")

    def composed(self, ancestors: Sequence[Prompt], step: int, candidate: int, strategy: Strategy) -> Candidate:
        """The result of an attempt whose strategy writes the prompt itself."""
        parent = ancestors[-1]
        draw = draw_of(
            seed=self.seed,
            iteration=self.iteration,
            chain_id=f"{parent.prompt_id}:{strategy.name}",
            step=step,
            candidate=candidate,
        )
        row = self.row(parent, step, candidate) | {"mutation": strategy.name}
        task, text = None, None
        if strategy.pose is not None:
            task = strategy.pose(parent.task, draw) if parent.task is not None else None
        elif strategy.compose is not None:
            text = strategy.compose(parent.conversation.last, draw)
        if task is not None:
            row |= {"answer": task.answer, "info": task.info}
            return self._judged(ancestors, row, task.text, strategy, task)
        if text is None:
            return Candidate(row | _elimination(Verdict("no_strategy")))
        return self._judged(ancestors, row, valid_unicode(text), strategy)

    def read(
        self, ancestors: Sequence[Prompt], step: int, candidate: int, strategy: Strategy, completion: Completion
    ) -> Candidate:
        """The result of an attempt. The last ancestor is the parent."""
        parent = ancestors[-1]
        row = self.row(parent, step, candidate) | {
            "mutation": strategy.name,
            "raw": None if completion.text is None else valid_unicode(completion.text),
            "completion_tokens": completion.completion_tokens,
        }
        text = read_reply(completion, strategy)
        if isinstance(text, Verdict):
            return Candidate(row | _elimination(text))
        return self._judged(ancestors, row, strategy.written(parent.conversation.last, text), strategy)

    def _judged(
        self, ancestors: Sequence[Prompt], row: Row, text: str, strategy: Strategy, task: PosedTask | None = None
    ) -> Candidate:
        parent = ancestors[-1]
        messages = parent.conversation.ending_in(text)
        if strategy.adds_turn and parent.reply is not None:
            messages = (*parent.conversation.answered(parent.reply), {"role": "user", "content": text})
        evolved = Prompt(prompt_id_of(messages), Conversation(messages[:-1], text), parent.depth + 1, task)
        row |= {"prompt_id": evolved.prompt_id, "prompt": [dict(message) for message in messages]}
        earlier = [Ancestor(ancestor.prompt_id, ancestor.conversation.last) for ancestor in ancestors]
        verdict = judge(text, strategy, earlier, self.limits)
        return Candidate(row, evolved) if verdict is None else Candidate(row | _elimination(verdict))

    def row(self, parent: Prompt, step: int, candidate: int = 0) -> Row:
        """A row that holds only its place in the chain so far."""
        return {
            "chain_id": self.chain_id,
            "step": step,
            "candidate": candidate,
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
            "complexity": None,
            "quality": None,
            "unscored": None,
            "completion_tokens": None,
            "creator": self.creator,
            "iteration": self.iteration,
            "answer": None,
            "info": None,
        }


def _carried(row: Row) -> PosedTask | None:
    """What a row of PROMPTS carries; None if no environment made its prompt."""
    if row.get("info") is None:
        return None
    return PosedTask(row["prompt"][-1]["content"], row.get("answer"), row["info"])


def _elimination(verdict: Verdict) -> Row:
    return {"status": "eliminated", "reason": verdict.reason, "duplicate_of": verdict.duplicate_of}


def _in_sequence(attempts: _Attempts, sampled: Prompt, steps: range) -> Chain[list[Row]]:
    rows, ancestors = [], [sampled]
    for step in steps:
        if attempts.ends_at(ancestors[-1]):
            break
        candidates = yield from _asked(attempts, ancestors, [step])
        found, survivor = one_goes_on(candidates)
        rows += found
        if survivor is not None:
            ancestors.append(survivor)
    return rows


def _independently(attempts: _Attempts, sampled: Prompt, steps: range) -> Chain[list[Row]]:
    if attempts.ends_at(sampled):
        return []
    candidates = yield from _asked(attempts, [sampled], steps)
    of_step = [[each for each in candidates if each.row["step"] == step] for step in steps]
    return [row for each in of_step for row in one_goes_on(each)[0]]


def _asked(attempts: _Attempts, ancestors: Sequence[Prompt], steps: Sequence[int]) -> Chain[list[Candidate]]:
    """All candidates of these steps from one parent: requested together, and then the survivors are rated together."""
    wanted = attempts.drawn(steps)
    asked = [attempts.request(ancestors[-1], *which) for which in wanted if which[2].asks]
    replies = iter((yield asked) if asked else [])
    read = [
        attempts.read(ancestors, *which, next(replies)) if which[2].asks else attempts.composed(ancestors, *which)
        for which in wanted
    ]
    if attempts.checked:
        read = yield from _checked(read)
    if not attempts.scored:
        return read
    alive = [candidate for candidate in read if candidate.prompt is not None]
    scores = iter((yield from score_prompts([candidate.row["prompt"] for candidate in alive])))
    return [replace(each, scores=next(scores)) if each.prompt is not None else each for each in read]


def _checked(candidates: Sequence[Candidate]) -> Chain[list[Candidate]]:
    """The candidates, those without a prompt of which the creator does not say that they are prompts."""
    alive = [candidate.prompt.conversation.last for candidate in candidates if candidate.prompt is not None]
    verdicts = iter((yield from check_prompts(alive)))
    found = []
    for candidate in candidates:
        verdict = next(verdicts) if candidate.prompt is not None else None
        found.append(candidate if verdict is None else Candidate(candidate.row | _elimination(verdict)))
    return found


def _nothing_to_ask(attempts: _Attempts, sampled: Prompt, steps: range) -> Chain[list[Row]]:
    yield from ()
    return [attempts.row(sampled, step) | _elimination(Verdict("no_strategy")) for step in steps]
