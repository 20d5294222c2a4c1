"""Rewards by a model that compares two responses: mean win probabilities, as in SPPO (Wu et al. 2024)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations

from eva_data.calls import Message, Row, Rows
from eva_data.config import Pairwise
from eva_data.jobs.job import Job
from eva_data.ledger import Score, call_key
from eva_data.rewards.local.comparisons import Comparison, Read
from eva_data.rewards.local.loading import LocalModel, local_model
from eva_data.rewards.local.scoring import Loaded, scores
from eva_data.rewards.scorers import model_here

WHILE_TRAINING = False

scorer_of = model_here


def score_rows(job: Job, rows: Rows) -> Iterator[list[Score]]:
    """One Score per response. Its reason is nothing_to_compare if it is the prompt's only response.

    The ledger keeps the probability that the first response wins, one entry per ordered comparison.
    """

    def texts_of(row: Row) -> list[tuple[bytes, Comparison]]:
        return [
            (comparison_key(job.scorer, row["prompt"], *pair), Comparison(row["prompt"], *pair))
            for pair in _ordered(row["responses"])
        ]

    read, load = _model_of(local_model(job))
    found = scores(job, rows, texts_of, read, load, elsewhere=load_elsewhere)
    for row, wins in zip(rows, found, strict=True):
        yield mean_wins(row["responses"], dict(zip(_ordered(row["responses"]), wins, strict=True)))


def _ordered(responses: Sequence[str]) -> Iterator[tuple[str, str]]:
    """All ordered pairs of different texts."""
    return permutations(dict.fromkeys(responses), 2)


def comparison_key(fingerprint: str, prompt: Sequence[Message], response: str, other: str) -> bytes:
    """The ledger's key of the probability that `response`, which is shown first, wins over `other`."""
    turns = [[message["role"], message["content"]] for message in prompt]
    parts = {"reward_model": fingerprint, "prompt": turns, "response": response, "other": other}
    return call_key(parts | {"order": "response_first"})


def load_elsewhere(local: LocalModel) -> Loaded:
    """Load the model in a process that has read nothing of it yet."""
    return _model_of(local)[1]()


def _model_of(local: LocalModel) -> tuple[Read, Callable[[], Loaded]]:
    assert isinstance(local.block, Pairwise)
    if local.block.kind == "pairrm":
        from eva_data.rewards.local.pairrm import reader

        return reader(local)
    from eva_data.rewards.local.causal import reader as causal_reader

    return causal_reader(local)


def mean_wins(responses: Sequence[str], first_wins: Mapping[tuple[str, str], Score]) -> list[Score]:
    """Each response's mean win probability against all others, averaged over both orders; in [0, 1].

    `first_wins` has every ordered pair of distinct texts. Equal texts beat each other with 0.5. If comparisons failed,
    the response with the most failures (the longest of several) is left out with the reason of a failure, until all
    remaining responses were compared with each other. So the rewards of a prompt are means over the same opponents.
    """
    times = Counter(responses)
    left = list(times)
    lost: dict[str, str] = {}
    while failed := [pair for pair in permutations(left, 2) if first_wins[pair].reward is None]:
        failures = Counter(text for pair in failed for text in pair)
        worst = max(left, key=lambda text: (failures[text], len(text), text))
        lost[worst] = next(first_wins[pair].reason or "" for pair in failed if worst in pair)
        left.remove(worst)
    others = sum(times[text] for text in left) - 1
    if others < 1:
        # There was only one response from the beginning, or every comparison failed.
        reason = next(iter(lost.values()), "nothing_to_compare")
        return [Score(None, lost.get(text, reason)) for text in responses]

    def reward(text: str) -> float:
        wins = [
            times[other] * ((first_wins[text, other].reward or 0.0) + 1 - (first_wins[other, text].reward or 0.0)) / 2
            for other in left
            if other != text
        ]
        return (sum(wins) + 0.5 * (times[text] - 1)) / others

    rewards = {text: Score(reward(text), None) for text in left}
    return [rewards.get(text) or Score(None, lost[text]) for text in responses]
