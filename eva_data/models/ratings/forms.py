"""Reads the forms in which a language model writes a rating, line by line.

The request asks for `Rating: 7`. Models also write `**Score:** 7/10.`, `Rating - 7 out of 10`, `[[7]]`, `I would rate
this reply 7/10.`, `<rating>7</rating>` or `{"rating": 7}`. Each form is a whole line: a number in running text is not a
rating.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_LABELS = (
    "rating score grade mark "
    "bewertung gesamtbewertung wertung punktzahl "
    "note évaluation notation "
    "puntuación puntuacion calificación calificacion valoración valoracion nota "
    "avaliação avaliacao pontuação pontuacao classificação "
    "punteggio valutazione voto "
    "оценка рейтинг балл ocena beoordeling betyg puan değerlendirme "
    "التقييم تقييم रेटिंग "
    "评分 評分 得分 分数 分數 评级 総合評価 評価 スコア 点数 평점 평가 점수"
)
"""Words for a rating, in the languages in which judges are asked."""
_LABEL = "|".join(sorted(_LABELS.split(), key=len, reverse=True))
_NUMBER = r"(?P<number>[+-]?[0-9]+(?:\.[0-9]+|,[0-9]{1,2})?)"
_POINTS = r"(?:points?|pts?\.?|punkten?|puntos|pontos|punti|баллов|балла|балл|分|点|점)"
_OUT_OF = (
    rf"(?:(?:\s*{_POINTS})?\s*(?:/|out\s+of|of|von|sur|de|su|из|na|av|van)\s*(?P<highest>[0-9]+(?:[.,][0-9]+)?)"
    r"|\s*(?P<percent>%))"
)
_VALUE = rf"{_NUMBER}(?:{_OUT_OF})?(?:\s*{_POINTS})?"
_REMARK = r"(?:\s*\((?:out\s+of\s+(?P<aside>[0-9]+(?:\.[0-9]+)?)|[^()0-9]*)\))?"
_REASON = r"(?:(?:\s*[-\u2013\u2014;,.:]\s+|\s+because\s+|\s+since\s+)(?P<reason>[^0-9]+))?"
_HEDGE = re.compile(
    r"\b(?:or|if|but|although|though|not|minus|plus|would|could|should|maybe|perhaps|at\s+(?:least|most))\b", re.I
)
_SEPARATOR = (
    r"(?:\s*[:=]\s*|\s+(?:-+>?|[\u2013\u2014→])\s+|\s+(?:is|of|would\s+be|ist|est|es|è|é)\s+|\s*(?:是|为|は)\s*|\s*)"
)
_REPLY = r"(?:this|the)\s+(?:assistant(?:['\u2019]s)?\s+)?(?:reply|response|answer)"
_QUALITIES = r"(?:(?:my|the|final|overall|total|general|numerical|your|so|thus|therefore|hence),?\s+)*"

_LABELLED = re.compile(
    rf"{_QUALITIES}(?:{_LABEL})(?:\s*\((?P<scale>[^()]*)\))?"
    rf"(?:\s+(?:for|of)\s+{_REPLY})?{_SEPARATOR}{_VALUE}{_REMARK}{_REASON}",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"(?:(?:overall|so|thus|therefore|hence|in\s+(?:summary|conclusion|total)|based\s+on\s+(?:this|the\s+above)),?\s+)*"
    r"(?:i|we)(?:['\u2019]d|\s+would|\s+will|\s+therefore|\s+thus|['\u2019]ll)*\s+(?:rate|give|score|grade|assign|award)\s+"
    rf"(?:(?:it|this|{_REPLY}|the\s+assistant)\s+)?"
    rf"(?:(?:as|at|a|an|with|with\s+a)\s+)*(?:(?:{_LABEL})\s+of\s+)?{_VALUE}{_REMARK}{_REASON}",
    re.IGNORECASE,
)
_OF_SCALE = re.compile(rf"{_NUMBER}{_OUT_OF}(?:\s*{_POINTS})?{_REMARK}{_REASON}", re.IGNORECASE)
_ALONE = re.compile(rf"{_NUMBER}(?:\s*{_POINTS})?", re.IGNORECASE)
_HEADING = re.compile(rf"{_QUALITIES}(?:{_LABEL})\s*[:=]?", re.IGNORECASE)
_TAGGED = re.compile(r"<(?P<tag>rating|score|grade)>\s*(?P<inside>[^<>]*?)\s*</(?P=tag)>", re.IGNORECASE)
_KEYS = frozenset({"rating", "score", "grade", "overall_rating", "overall_score", "final_rating", "final_score"})
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0x2212: 0x2D}
"""Full-width characters, which Chinese and Japanese texts use, and the minus sign."""
_EMPHASIS = re.compile(
    r"[*_`\"\u2600-\u27bf\u2b50\ufe0f\U0001f300-\U0001faff“”„«»「」]+|(?<!\w)'|'(?!\w)|\\(?:boxed|text|textbf|mathbf)\b|[{}$\[\]]"
)
_FENCE = re.compile(r"\A```\w*")
_IN_ANGLES = re.compile(r"<([^<>]*)>")
_DIGIT = re.compile(r"[0-9]")
_LONGEST_LINE = 300


@dataclass(frozen=True)
class GivenNumber:
    """A number that a line gives as the rating."""

    text: str
    out_of: str | None
    """The highest rating according to the line, such as 10 in `7 out of 10`; None if the line does not say."""
    is_labelled: bool = True
    """Whether the line says that the number is a rating. Of a bare number, only its place can say so."""

    @property
    def value(self) -> float:
        return float(self.text.replace(",", "."))


def number_of_line(line: str) -> GivenNumber | None:
    """The rating of a line that holds nothing else; None if the line is not a rating."""
    if len(line) > _LONGEST_LINE:
        return None
    line = line.translate(_WIDE)
    if not _DIGIT.search(line):
        return None
    tagged = _TAGGED.fullmatch(line.strip(" \t*_`"))
    bare = _bare(tagged["inside"] if tagged else line)
    for form in (_LABELLED, _SENTENCE, _OF_SCALE):
        found = form.fullmatch(bare)
        if found and not _HEDGE.search(found["reason"] or ""):
            return GivenNumber(found["number"], _out_of(found.groupdict()))
    if found := _ALONE.fullmatch(bare):
        return GivenNumber(found["number"], None, is_labelled=tagged is not None or "[[" in line or "\\boxed" in line)
    return None


def is_heading(line: str) -> bool:
    """Whether a line announces that the next line is the rating."""
    return len(line) <= _LONGEST_LINE and _HEADING.fullmatch(_bare(line.translate(_WIDE))) is not None


def number_of_json(text: str) -> GivenNumber | None:
    """The rating in a reply that is a JSON object with one key for a rating, perhaps in a code fence; else None."""
    # Stripped first: a search for white space before a fence would take hours on a megabyte of it.
    text = _FENCE.sub("", text.strip()).removesuffix("```").strip()
    if not text.startswith("{"):
        return None
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = [value for key, value in values.items() if key.lower() in _KEYS] if isinstance(values, dict) else []
    if len(found) != 1 or isinstance(found[0], bool) or not isinstance(found[0], int | float | str):
        return None
    return number_of_line(f"Rating: {found[0]}")


def _out_of(groups: dict[str, str | None]) -> str | None:
    scale = re.findall(r"[0-9]+(?:\.[0-9]+)?", groups.get("scale") or "")
    return groups["highest"] or groups["aside"] or ("100" if groups["percent"] else scale[-1] if scale else None)


def _bare(line: str) -> str:
    """The line without emphasis, brackets, list marks and full stop."""
    line = _EMPHASIS.sub(" ", _IN_ANGLES.sub(r"\1", line))
    line = re.sub(r"\A\s*(?:#{1,6}\s|[-•>]\s)*", "", line)
    return " ".join(line.split()).rstrip(".!。, ").strip()
