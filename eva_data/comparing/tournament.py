"""Who meets whom when a judge compares all responses to a prompt, and what it is asked.

In a round robin every two responses meet once. In a Swiss system the responses with equal points meet, in a few rounds
and never twice, so that close calls get most of the comparisons: https://en.wikipedia.org/wiki/Swiss-system_tournament.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, count
from typing import Any, TypeAlias, TypedDict

from eva_data.calls import Chain, Row, conversation_text
from eva_data.comparing.question import TEMPLATE, asked, fill, reference_block
from eva_data.comparing.together import together
from eva_data.comparing.verdict import IN_JSON, SCORES, Judged, judge_once, read_verdict
from eva_data.config import Tournament

MOST_STEPS = 10_000
"""Steps of the search for a full round. A round that takes longer leaves some responses out."""


class MatchVerdict(TypedDict):
    """One verdict: two responses in the order in which they were shown."""

    round: int
    """1, 2, ..."""
    first_idx: int
    second_idx: int
    verdict: str | None
    """`first`, `second` or `tie`; None if there is none."""
    reason: str | None
    """Why there is no verdict; None if there is one."""
    raw: str | None
    """The judge's last reply if it could not be read, else None."""


Match: TypeAlias = tuple[int, int]
"""Two responses by their `response_idx`, the lower one first."""


def most_matches(block: Tournament, responses: int) -> int:
    """The largest number of matches of a tournament. Each match is two questions to each judge."""
    everyone = responses * (responses - 1) // 2
    return everyone if block.schedule == "round_robin" else min(everyone, block.rounds * (responses // 2))


def matches_of(number: int, block: Tournament, players: Sequence[int], points: Mapping[Match, float]) -> list[Match]:
    """The matches of round `number`, which is 1 or more; none after the last round.

    `points` holds the matches of earlier rounds with the points of the lower index: 1 for a win, 0 for a loss, and
    between them for a tie, a verdict that turned or one that is missing.
    """
    if block.schedule == "round_robin":
        return list(combinations(sorted(players), 2)) if number == 1 else []
    if number > block.rounds:
        return []
    met, total = set(points), dict.fromkeys(players, 0.0)
    for (one, other), won in points.items():
        total[one] += won
        total[other] += 1 - won
    games = {player: sum(player in match for match in met) for player in players}
    order = sorted(players, key=lambda player: (-total[player], player))
    if len(order) % 2:
        # The lowest of those who did not sit out so far sits out.
        order.remove(max(order, key=lambda player: (games[player], order.index(player))))
    return sorted(_matched(order, met))


def _matched(order: Sequence[int], met: set[Match]) -> list[Match]:
    """The players of `order` two by two, neighbours where possible and nobody twice with the same one."""
    steps = 0

    def match(left: tuple[int, ...]) -> list[Match] | None:
        nonlocal steps
        if not left:
            return []
        steps += 1
        first, *others = left
        for place, other in enumerate(others):
            pair = (min(first, other), max(first, other))
            if pair in met or steps > MOST_STEPS:
                continue
            rest = match((*others[:place], *others[place + 1 :]))
            if rest is not None:
                return [pair, *rest]
        return None

    found = match(tuple(order))
    return _greedy(order, met) if found is None else found


def _greedy(order: Sequence[int], met: set[Match]) -> list[Match]:
    """The same, but whoever finds nobody sits out."""
    left, found = list(order), []
    while left:
        first = left.pop(0)
        free = (other for other in left if (min(first, other), max(first, other)) not in met)
        other = next(free, None)
        if other is not None:
            left.remove(other)
            found.append((min(first, other), max(first, other)))
    return found


def points_of(verdicts: Iterable[Mapping[str, Any]]) -> dict[Match, float]:
    """Match -> the points of the lower index: the mean of both orders, 0.5 for a verdict that is missing."""
    found: dict[Match, float] = {}
    for each in verdicts:
        shown = (each["first_idx"], each["second_idx"])
        won = SCORES.get(each["verdict"] or "", 0.5)
        lower = won if shown[0] < shown[1] else 1 - won
        match = (min(shown), max(shown))
        found[match] = found.get(match, 0.0) + lower / 2
    return found


def distinct(indices: Sequence[int], responses: Sequence[str]) -> dict[int, str]:
    """The lowest `response_idx` of each text -> the text."""
    texts: dict[str, int] = {}
    for index, text in sorted(zip(indices, responses, strict=True)):
        texts.setdefault(text, index)
    return {index: text for text, index in texts.items()}


def play(row: Row, block: Tournament) -> Chain[list[MatchVerdict]]:
    """All verdicts of one judge on the responses of a row, each match in both orders. Equal texts are one response."""
    texts, prompt = distinct(row["response_idx"], row["responses"]), conversation_text(row["prompt"])
    verdicts: list[MatchVerdict] = []
    for number in count(1):
        matches = matches_of(number, block, list(texts), points_of(verdicts))
        if not matches:
            break
        shown = [order for one, other in matches for order in ((one, other), (other, one))]
        questions = [
            fill(
                question_of(block),
                {
                    **{"prompt": prompt, "reference": reference_block(None)},
                    **{"first": texts[first], "second": texts[second]},
                },
            )
            for first, second in shown
        ]
        judged = yield from together([judge_once(asked(question), read_verdict) for question in questions])
        verdicts += [_compared(number, order, each) for order, each in zip(shown, judged, strict=True)]
    return verdicts


def question_of(block: Tournament) -> str:
    """The template of the question to a judge. Servers that guide the decoding need its part on JSON."""
    return TEMPLATE + IN_JSON if block.template is None else block.template


def _compared(number: int, shown: tuple[int, int], judged: Judged) -> MatchVerdict:
    return MatchVerdict(
        round=number,
        first_idx=shown[0],
        second_idx=shown[1],
        verdict=judged["label"],
        reason=judged["reason"],
        raw=judged["raw"],
    )
