# ruff: noqa: RUF001, RUF002 - numbers and announcements in the scripts that people write
"""Reads the final number of a response, in the ways in which people and models write it: `#### 1,000`, `答案是42`.

Everything is in one file, because the ledger identifies a verifier by the content of its file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from eva_data.calls import Unparsable
from eva_data.thoughts import without_thoughts

LONGEST_NUMBER = 1000
"""Most characters of a number. Python refuses to read much longer numbers, and no answer is so long."""
LARGEST_POWER = 400
"""Largest exponent, positive or negative. No double could hold a number beyond it."""
WINDOW = 300
"""Characters after an announcement in which its number must stand."""


def final_number(prompt: str, response: str, answer: object) -> float | None:
    """1 if the response's final number is exactly the number of the reference answer, else 0 (GSM8K).

    The final number is the last announced number. Announcements are `####`, `\\boxed{}`, `<answer>`, "answer is",
    "answer:" and their forms in other languages. Without an announcement, it is the last number of the text. Of
    `5 + 3 = 8` it is 8, and a denied number ("not 42") does not count. Each of these is one number: `1,000`,
    `1.000.000`, `1 000`, `1'000`, `-$1.50`, `3/4`, `1 1/2`, `\\frac{1}{2}`, `2e3`, `4.2 × 10^3` and `42 million`. `%`
    and units are ignored. In a text of a language with a decimal comma, `1.000` is a thousand and `1,500` is one and a
    half. A reasoning model's thoughts are not read. The result is None if the reference answer holds no number.
    """
    reference = read_final_number(str(answer))
    if reference is None:
        return None
    spoken = without_thoughts(response)
    return float(not isinstance(spoken, Unparsable) and read_final_number(spoken) == reference)


_LETTERS = r"A-Za-z_\u00c0-\u024f\u0370-\u03ff\u0400-\u052f"
"""Letters of scripts with spaces. A number does not begin directly after such a letter, but it does after 是."""
_GROUPED = (
    r"\d{1,3}(?:,\d{3})+(?!\d)"  # 1,000,000
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)"  # 1,00,000
    r"|\d{1,3}(?:['’]\d{3})+(?!\d)"  # 1'000
)
_AMOUNT = (
    rf"(?>(?P<points>\d{{1,3}}(?:\.\d{{3}}){{2,}}(?![.\d])(?:,\d+)?|[1-9]\d{{0,2}}(?:\.\d{{3}})+,\d+(?!\d))"  # 1.000,5
    r"|(?P<spaced>[1-9]\d{0,2}(?: \d{3})+(?:[.,]\d+)?(?![\d.,]?\d|\s?/|-))"  # 1 000
    rf"|(?:{_GROUPED})(?:\.\d+)?(?!\d)"
    r"|(?P<comma>(?<!\d,)\d+,(?:\d{1,2}|\d{4,})(?![\d,]|\.\d))"  # 3,5
    r"|\d+(?:\.\d+)?|\.\d+)"
)
_TIMES = r"\s?(?:\\times|\\cdot|[×·⋅*x])\s?"
_SUPERSCRIPT = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
_EXPONENT = r"(?:\^|\*\*)\s?\{?\s?(?P<NAME>[+-]?\d{1,4})(?![\d.])\s?\}?"
_NUMBER = re.compile(
    rf"(?P<sign>(?<![\w)\]}}])-)?(?:[$€£¥₹]\s?)?(?P<inner>-)?"
    rf"(?<![{_LETTERS}\d^])(?<!\^\{{)(?<!\d\.)(?:(?P<whole>\d+)\s{{1,3}}(?=\d+/\d))?"
    rf"(?P<above>{_AMOUNT})(?:[eE](?P<e>[+-]?\d{{1,3}})(?!\w))?(?![eE][+-]?\d)"
    rf"(?:{_EXPONENT.replace('NAME', 'power')})?"
    rf"(?:\s?/\s?(?P<below>\d+(?:\.\d+)?))?"
    rf"(?:{_TIMES}10(?:{_EXPONENT.replace('NAME', 'ten')}))?"
)
_WORDS = {
    3: r"thousand|tausend|mille|mil|тысяч\w*|хиляди|tusen|duizend|bin|ribu|nghìn|ngàn|千|천|हज़ार|ألف",
    6: r"million\w*|millón|millones|milhão|milhões|milion\w*|miljoen|миллион\w*|juta|triệu|백만|مليون|mio\b\.?",
    9: r"billions?|milliard\w*|miliard\w*|milyar|миллиард\w*|bilhão|bilhões|tỷ|십억|mrd\b\.?|mld\b\.?",
    12: r"trillions?|billionen|billones|兆|조",
    2: r"hundred|hundert|百|백",
    4: r"万|萬|만",
    5: r"lakhs?|लाख",
    7: r"crores?|करोड़",
    8: r"亿|億|억",
}
_SCALES = re.compile(
    "|".join(rf"(?P<p{power}>\s{{0,3}}(?:{words})(?![{_LETTERS}]))" for power, words in _WORDS.items())
    + rf"|(?P<k>[kK](?![{_LETTERS}\d]))|(?P<m>(?-i:M|mn)(?![{_LETTERS}\d]))|(?P<b>(?-i:B|bn)(?![{_LETTERS}\d]))",
    re.IGNORECASE,
)
_LETTER_SCALES = {"k": 3, "m": 6, "b": 9}

_NOT = re.compile(
    r"(?:\b(?:not|isn['’]?t|aren['’]?t|wasn['’]?t|never|neither|nor|rather\s+than|instead\s+of|nicht|kein\w*|pas|non|no\s+es|"
    r"no\s+son|não|nao|niet|inte|ikke|ei|nie|не)|不是|不等于|不等於|并非|並非|而不是|≠|!=|\\neq?|\\ne)\s*"
    r"(?:(?:equal\s+to|equals?|simply|just|really|exactly|the|a|an|be|gleich|die|der|das|le|la|el)\s+){0,3}"
    r"[\"'“„(*_`$€£¥\s]*\Z",
    re.IGNORECASE,
)
_DENIED = re.compile(
    rf"[\"'”*_`$]*\s?(?:[^\W\d{_LETTERS}]{{0,3}}(?:ではな|じゃな|ではあり|이\s?아니|가\s?아니)|değil|नहीं)",
    re.IGNORECASE,
)

_COMMA_LANGUAGES = (
    r"\b(?:antwort|lösung|endergebnis|ergebnis)\s*(?:ist|lautet|beträgt|:|=)|\br[ée]ponse(?:\s+finale)?\s*(?:est|:|=)"
    r"|\brespuesta(?:\s+final)?\s*(?:es|:|=)|\bresultado\s*(?:es|é|:|=)|\bresposta(?:\s+final)?\s*(?:é|e|:|=)"
    r"|\brisposta(?:\s+finale)?\s*(?:è|e'|:|=)|\bantwoord\s*(?:is|:|=)|\bsvare?t\s*(?:är|er|:|=)|\bsvar\s*[:=]"
    r"|\bvastaus\s*(?:on|:|=)|\bodpowied\w*\s*(?:to|jest|brzmi|:|=)|\bodpověď\s*(?:je|:|=)|\bválasz\s*[:=]?"
    r"|\bcevap\s*[:=]?|\bsonuç\s*[:=]?|\bjawaban(?:nya)?\s*(?:adalah|ialah|:|=)|\bđáp\s+(?:án|số)\s*(?:là|:|=)"
    r"|\bответ\s*(?:равен|[:=—–-])?|\bвідповідь\s*[:=—–-]?|\brăspunsul\s*(?:este|:|=)|\bαπάντηση\s*(?:είναι|:|=)"
)
_POINT_LANGUAGES = (
    r"(?:答案|答|解答|答え|回答|最终结果|最終結果)\s*(?:应该|應該|应|應)?\s*(?:是|为|為|等于|等於|は|[:=])"
    r"|(?:정답|답)\s*(?:은|는|:|=)|(?:الجواب|الإجابة|الاجابة)\s*(?:النهائية\s*)?(?:هو|هي|:|=)?|उत्तर\s*[:=]?|คำตอบ\s*(?:คือ|:|=)"
)
_ENGLISH = (
    r"\banswer(?:\s+(?:to|of|for|in)\s[^.!?\n:=]{1,80}?)?"
    r"(?:\W{0,6}\b(?:is|was|equals|becomes|comes\s+(?:out\s+)?to|would\s+be|should\s+be|must\s+be|will\s+be)\b|\W{0,4}[:=])"
    r"|\bfinal\s+(?:result|value|number|total)(?:\W{0,6}\bis\b|\W{0,4}[:=])"
)
_ANNOUNCED = re.compile(
    rf"(?P<hashes>####)|(?P<boxed>\\(?:boxed|fbox)\s*\{{)"
    r"|<(?P<tag>(?:final[_ ]?)?answers?|ans|result|solution)>"
    rf"|(?P<continental>{_COMMA_LANGUAGES})|{_ENGLISH}|{_POINT_LANGUAGES}"
    r"|(?P<behind>\b(?:is|are)\s+(?:the|my|our)\s+(?:final\s+|correct\s+|right\s+)?answer\b(?!\W{0,6}\bis\b|\W{0,4}[:=]))",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？]|\n")
_HEADING = re.compile(r"[.):]\s+[^\W\d]")
_TAG_END = re.compile(r"</")


class _Found(NamedTuple):
    start: int
    end: int
    value: Fraction


def read_final_number(text: str) -> Fraction | None:
    """The final number of a text, by the rules of `final_number`; None if there is none."""
    text = _plain(text)
    announcements = list(_ANNOUNCED.finditer(text))
    by_comma = any(found["continental"] for found in announcements) or _has_comma_decimals(text)
    for announced in reversed(announcements):
        following = text[announced.end() : announced.end() + WINDOW]
        before = text[max(0, announced.start() - WINDOW) : announced.start()]
        if announced["hashes"]:
            found = _after_hashes(following, by_comma)
        elif announced["boxed"]:
            found = _first_number(_up_to_brace(following), by_comma)
        elif announced["tag"]:
            found = _first_number(_TAG_END.split(following, maxsplit=1)[0], by_comma)
        elif announced["behind"]:
            found = _last_number(_SENTENCE_END.split(before)[-1], by_comma)
        else:
            sentence = _SENTENCE_END.split(following.lstrip(" \t\n*_:$[(\\"), maxsplit=1)[0]
            found = _first_number(sentence, by_comma)
        if found is not None:
            return found
    return _last_number(text, by_comma)


_FRACTIONS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅛": "1/8"}


def _plain(text: str) -> str:
    """The text with ASCII digits, and with LaTeX's numbers as plain text."""
    if not text.isascii():
        text = re.sub(r"(?=[^0-9])\d", lambda digit: str(unicodedata.digit(digit[0])), text)
        text = text.replace("\u2212", "-").replace("\uff0d", "-").replace("\u066b", ".").replace("\u066c", ",")
        text = text.replace("\uff0e", ".").replace("\uff0c", ", ").replace("\uff1a", ":").replace("\uff1d", "=")
        text = re.sub("[½⅓⅔¼¾⅕⅛]", lambda found: f" {_FRACTIONS[found[0]]}", text)
        text = re.sub(
            rf"(?<=\d)[{_SUPERSCRIPT}]+",
            lambda found: "^" + "".join("-" if c == "⁻" else str(unicodedata.digit(c)) for c in found[0]),
            text,
        )
    if "\\" in text or "{" in text:
        text = text.replace("\\$", "$").replace("\\%", "%").replace("\\left", "").replace("\\right", "")
        text = re.sub(r"(?<=\d)(?:\{,\}|\\[,!;:]|~)(?=\d{3}(?!\d))", ",", text)
        text = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r" \1 ", text)
        text = re.sub(r"(?<=\d)(?=\\[dtc]?frac\{)", " ", text)
        text = re.sub(r"\\[dtc]?frac\{\s*([\d.,]+)\s*\}\s*\{\s*([\d.,]+)\s*\}", r"\1/\2", text)
    return re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", ",", text)


_COMMA_DECIMALS = re.compile(r"(?<![\d.,(])\d{1,3}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})(?![\d.,]*\d)")


def _has_comma_decimals(text: str) -> bool:
    """Whether any number shows beyond doubt that the text has points between thousands."""
    return _COMMA_DECIMALS.search(text) is not None


def _amount(match: re.Match[str], by_comma: bool) -> Fraction:
    above = match["above"]
    if match["points"]:
        return Fraction(above.replace(".", "").replace(",", "."))
    if match["comma"] or match["spaced"]:
        return Fraction(above.replace(" ", "").replace(",", "."))
    if by_comma and re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", above):
        return Fraction(above.replace(".", ""))
    if by_comma and re.fullmatch(r"\d{1,3},\d{3}", above) and not above.endswith(",000"):
        return Fraction(above.replace(",", "."))
    return Fraction(re.sub(r"[,'’\s]", "", above))


def _value(match: re.Match[str], by_comma: bool) -> Fraction | None:
    """The value of a match of _NUMBER, without its sign."""
    value, below = _amount(match, by_comma), Fraction(match["below"] or 1)
    powers = [int(match[name] or 0) for name in ("e", "power", "ten")]
    if not below or (match["e"] is None and max(map(abs, powers)) > LARGEST_POWER):
        return None
    if match["power"] is not None:
        if not value and powers[1] < 0:
            return None
        if len(match["above"]) > 20:
            return None
        value = value ** powers[1]
    return Fraction(match["whole"] or 0) + value * Fraction(10) ** (powers[0] + powers[2]) / below


def _numbers(text: str, by_comma: bool) -> Iterator[_Found]:
    """The numbers of a text, without the numbers that it denies."""
    for match in _NUMBER.finditer(text):
        if len(match[0]) > LONGEST_NUMBER:
            continue
        value, end = _value(match, by_comma), match.end()
        if value is None:
            continue
        if scale := _SCALES.match(text, end):
            name = str(scale.lastgroup)
            value *= 10 ** (_LETTER_SCALES[name] if name in _LETTER_SCALES else int(name[1:]))
            end = scale.end()
        if _NOT.search(text[max(0, match.start() - 40) : match.start()]) or _DENIED.match(text, end):
            continue
        yield _Found(match.start(), end, -value if match["sign"] or match["inner"] else value)


def _first_number(text: str, by_comma: bool) -> Fraction | None:
    """The first number after the last equals sign, else the first number of the text."""
    for part in (text.rpartition("=")[2], text):
        for found in _numbers(part, by_comma):
            return found.value
    return None


def _last_number(text: str, by_comma: bool) -> Fraction | None:
    numbers = [found.value for found in _numbers(text, by_comma)]
    return numbers[-1] if numbers else None


def _after_hashes(following: str, by_comma: bool) -> Fraction | None:
    """The number after GSM8K's mark. `#### Step 2` and `#### 2. Then ...` are headings and hold none."""
    line = following.split("\n", 1)[0].rpartition("=")[2]
    for found in _numbers(line, by_comma):
        heading = any(map(str.isalpha, line[: found.start])) or _HEADING.match(line, found.end)
        return None if heading else found.value
    return None


def _up_to_brace(text: str) -> str:
    """The text up to the brace that closes the opened brace."""
    depth = 1
    for place, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:place]
    return text
