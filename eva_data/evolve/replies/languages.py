"""Finds out if a new prompt is written in another language than its parent.

The script decides first, then py3langid. Its model is part of its wheel and gives the same probabilities on every
machine. A prompt may contain foreign text to work on, so one sentence in the parent's language is enough.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache, lru_cache
from typing import Any

from eva_data.evolve.replies.requests import MASK, masked, sentences
from eva_data.evolve.replies.words import languages

_LIKELY = 0.8
"""A language counts as known from this probability."""
_UNLIKELY = 0.02
"""The parent's language is ruled out below this probability."""
_POSSIBLE = 0.3
"""An uncertain parent may be in a language of at least this probability."""
_ENOUGH = 18
"""A text in Latin script needs so many letters. Texts in other scripts need `_FEW`."""
_FEW = 4
_TEXTS = 16
"""The probabilities of so many texts are remembered: a parent is looked at several times."""
_SCRIPTS = {
    "LATIN": "latin",
    "CYRILLIC": "cyrillic",
    "GREEK": "greek",
    "ARABIC": "arabic",
    "HEBREW": "hebrew",
    "DEVANAGARI": "devanagari",
    "BENGALI": "bengali",
    "TAMIL": "tamil",
    "TELUGU": "telugu",
    "THAI": "thai",
    "CJK": "han",
    "HIRAGANA": "kana",
    "KATAKANA": "kana",
    "HANGUL": "hangul",
    "GEORGIAN": "georgian",
    "ARMENIAN": "armenian",
}
_LATIN = [
    "af",
    "ca",
    "cs",
    "cy",
    "da",
    "de",
    "en",
    "es",
    "et",
    "eu",
    "fi",
    "fr",
    "ga",
    "hr",
    "hu",
    "id",
    "is",
    "it",
    "lt",
    "lv",
    "ms",
    "nl",
    "no",
    "pl",
    "pt",
    "ro",
    "sk",
    "sl",
    "sq",
    "sv",
    "sw",
    "tl",
    "tr",
    "vi",
]
_CYRILLIC = ["be", "bg", "kk", "mk", "ru", "sr", "uk"]
_ARABIC = ["ar", "fa", "ur", "ug"]
_DEVANAGARI = ["hi", "mr", "ne"]
_OF_SCRIPT = {"latin": _LATIN, "cyrillic": _CYRILLIC, "arabic": _ARABIC, "devanagari": _DEVANAGARI}
_TELLING = {
    "es": "¿¡ñ",
    "pt": "ãõç",
    "ru": "ыэъё",
    "uk": "іїєґ",
    "be": "ўі",
    "sv": "äö",
    "da": "æø",
    "no": "æø",
}
"""Characters that distinguish similar languages."""
_ALIKE = (
    {"da", "no", "sv"},
    {"id", "ms"},
    {"cs", "sk"},
    {"hr", "sl", "sr"},
    {"es", "ca", "pt"},
    {"af", "nl"},
    {"bg", "mk"},
    {"ru", "uk", "be"},
    {"hi", "mr", "ne"},
)
"""Groups of languages that short texts do not distinguish."""


def is_other_language(text: str, parent: str) -> bool:
    """Whether no sentence of the text is in the parent's language. False if either language is unknown."""
    own, new = masked(parent), masked(text)
    script = _script(own)
    if script is None:
        script = _script(own, least=_FEW)
    if script is None:
        return False
    found = _script(new)
    if found is None:
        return False
    if script != found:
        return not any(_script(part) == script for part in re.split(r"[：:；;，,、.!?。！？\n]", new))
    if script not in _OF_SCRIPT:
        return False
    known = _language(own, script) or _by_words(own)
    if known is None:
        return False
    whole = _probabilities(new, script)
    if whole is None:
        return False
    likeliest = max(whole, key=lambda name: whole[name])
    if _language(own, script) is None and ((_probabilities(own, script) or {}).get(likeliest, 0.0)) > _POSSIBLE:
        # Too short to be sure: the parent itself may be in the language of the new text.
        return False
    alike = any({known, likeliest} <= group for group in _ALIKE)
    if alike and _is_told(text, likeliest, known):
        return True
    if likeliest == known or whole[likeliest] < (0.97 if alike else _LIKELY) or whole.get(known, 0.0) > _UNLIKELY:
        return False
    return not any(_language(sentence, script) == known for sentence in sentences(new))


def _is_told(text: str, likeliest: str, known: str) -> bool:
    """Whether the text has characters that only `likeliest` uses, and none that only `known` uses."""
    said = set(masked(text).lower())
    own, other = set(_TELLING.get(likeliest, "")), set(_TELLING.get(known, ""))
    return bool(said & (own - other)) and not said & (other - own)


def _script(text: str, least: int = _ENOUGH) -> str | None:
    """The script of most letters, or None without a clear majority. Han with some kana counts as kana (Japanese)."""
    counts: dict[str, int] = {}
    for character, number in Counter(text).items():
        if unicodedata.category(character)[0] in "LM" and character != MASK:
            name = unicodedata.name(character, "").split(" ")[0].split("-")[0]
            script = _SCRIPTS.get(name, "other")
            counts[script] = counts.get(script, 0) + number
    if not counts:
        return None
    if counts.get("kana", 0) * 10 >= sum(counts.values()):
        return "kana" if counts["kana"] >= 2 else None
    script, most = max(counts.items(), key=lambda item: (item[1], item[0]))
    weight = {"han": 3, "kana": 2, "hangul": 2}
    total = sum(number * weight.get(name, 1) for name, number in counts.items())
    if most * weight.get(script, 1) < 0.6 * total:
        return None
    return script if most >= (least if script == "latin" else 2 if script == "han" else _FEW) else None


def _by_words(text: str) -> str | None:
    """The language with the most request words in a text that is too short for probabilities. None for a draw."""
    said = Counter(re.findall(r"\w+", text.lower()))
    hits = {
        name: sum(said[word] for word in (*words.get("openers", ()), *words.get("commands", ())))
        for name, words in languages().items()
        if "openers" in words or "commands" in words
    }
    most = max(hits.values())
    best = [name for name, number in hits.items() if number == most]
    return best[0] if most and len(best) == 1 else None


def _language(text: str, script: str) -> str | None:
    found = _probabilities(text, script)
    if found is None:
        return None
    name = max(found, key=lambda each: found[each])
    return name if found[name] >= _LIKELY else None


@lru_cache(_TEXTS)
def _probabilities(text: str, script: str) -> dict[str, float] | None:
    plain = re.sub(r"[^\w\s.,;:!?'’¿¡-]|[\d_]|https?://\S+", " ", text.replace(MASK, " "))
    if sum(map(str.isalpha, plain)) < _ENOUGH:
        return None
    return dict(_identifier(script).rank(" ".join(plain.split()).lower()))


@cache
def _identifier(script: str) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(_OF_SCRIPT[script])
    return identifier
