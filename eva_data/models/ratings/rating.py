"""Asks a language model for ratings, reads them from its replies, and asks once more if a reply holds none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypedDict

from eva_data.calls import GAVE_UP, Chain, Completion, Request, Unparsable, valid_unicode
from eva_data.models.ratings.forms import GivenNumber, is_heading, number_of_json, number_of_line
from eva_data.thoughts import without_thoughts

RETRY = "judge:retry"
"""Salt of the second and last request, after a reply without a rating."""

UNPARSABLE = "unparsable: "

_AS_ASKED = re.compile(r"\**Rating:\**\s*\**(-?[0-9]+(?:\.[0-9]+)?)(?:\s*/\s*([0-9]+(?:\.[0-9]+)?))?\**")


class Rated(TypedDict):
    """The result for one response: its reward, or the reason why it has none."""

    reward: float | None
    """The reward on the given scale; None if there is none."""
    reason: str | None
    """`unparsable: ...`, `call_failed: ...`, or `gave_up: ...` if the failure may pass; None if there is a reward."""
    raw: str | None
    """The judge's last reply if there is no reward; None if there is a reward or no reply."""


def rate(questions: Sequence[str], lowest: float, highest: float) -> Chain[list[Rated]]:
    """Ask all distinct questions at once. Ask again if a reply holds no rating."""
    found: dict[str, Rated] = {}
    asked = list(dict.fromkeys(questions))
    for salt in ("", RETRY):
        if not asked:
            break
        completions = yield [Request(({"role": "user", "content": text},), salt=salt) for text in asked]
        for question, completion in zip(asked, completions, strict=True):
            rated = read_rating(completion, lowest, highest)
            if rated["reward"] is None and rated["raw"] is None and question in found:
                rated["raw"] = found[question]["raw"]
            found[question] = rated
        asked = [text for text in asked if (found[text]["reason"] or "").startswith(UNPARSABLE)]
    return [found[question] for question in questions]


def read_rating(completion: Completion, lowest: float, highest: float) -> Rated:
    """The result of a judge's reply. A reply that was cut holds no rating, since its last line may be incomplete."""
    if completion.text is None or completion.finish_reason == "error":
        error = completion.error or "the reply has no text"
        reason = error if error.startswith(GAVE_UP) else f"call_failed: {error}"
        return Rated(reward=None, reason=reason, raw=None)
    rating: float | Unparsable
    if completion.finish_reason == "length":
        rating = Unparsable("the reply was cut at max_tokens")
    elif completion.finish_reason == "content_filter":
        rating = Unparsable("the reply was cut by a content filter")
    else:
        rating = parse_rating(completion.text, lowest, highest)
    if isinstance(rating, Unparsable):
        return Rated(reward=None, reason=f"{UNPARSABLE}{rating.why}", raw=valid_unicode(completion.text))
    return Rated(reward=rating, reason=None, raw=None)


def parse_rating(text: str, lowest: float, highest: float) -> float | Unparsable:
    """The rating at the end of a reply, or else at its beginning, after the thoughts of a reasoning model.

    The rating stands on a line of its own, in the form that was asked for (`Rating: 7`) or in a form of `forms`; or the
    reply is a JSON object that names it. If it says `out of` a number, this must be `highest`. The result is Unparsable
    if the rating is below `lowest` or above `highest`, or if several ratings differ. If the last line has exactly the
    form that was asked for, it counts alone.
    """
    answer = without_thoughts(text)
    if isinstance(answer, Unparsable):
        return answer
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    if not lines:
        return Unparsable("the reply is empty")
    as_asked = [GivenNumber(found[1], found[2]) for line in lines if (found := _AS_ASKED.fullmatch(line))]
    if as_asked and _AS_ASKED.fullmatch(lines[-1]):
        return _only(as_asked, lowest, highest)
    in_json = number_of_json(answer)
    if in_json is not None:
        return _only([in_json], lowest, highest)
    numbers = [number_of_line(line) for line in lines]
    labelled = [number for number in numbers if number is not None and number.is_labelled]
    last = numbers[-1]
    if last is not None and not last.is_labelled and (len(lines) == 1 or is_heading(lines[-2])):
        return _only([*labelled, last], lowest, highest)
    for end in (last, numbers[0]):
        if end is not None and end.is_labelled:
            return _only(labelled, lowest, highest)
    return Unparsable("the last line is no rating")


def _only(numbers: Sequence[GivenNumber], lowest: float, highest: float) -> float | Unparsable:
    """The common value of the numbers if they agree and it is on the scale, else Unparsable."""
    if len({number.value for number in numbers}) > 1:
        return Unparsable("several ratings")
    for number in numbers:
        if number.out_of is not None and float(number.out_of.replace(",", ".")) != highest:
            return Unparsable(f"a rating out of {number.out_of[:20]} where the highest is {highest:g}")
        if not lowest <= number.value <= highest:
            return Unparsable(f"the rating {number.text[:20]} is not from {lowest:g} to {highest:g}")
    return numbers[0].value
