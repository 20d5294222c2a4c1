"""Tells an answer from a prompt: an answer asks for nothing, or asks only on the way through what it explains.

Only texts that could be answers are judged: sentences, lists, code. A few words without a verb ("A poem on rain") are
a prompt. What counts is where a text asks: prompts do so in their first sentences or their last, answers open with
"Yes," or "Here are three ways:", set out lists, and give their reader advice in the imperative.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from eva_data.evolve.replies.requests import (
    MASK,
    Asking,
    asking,
    begins_as_question,
    is_offer,
    is_question,
    masked,
    sentences,
)
from eva_data.evolve.replies.words import compiled, patterns, straight

_ITEM = re.compile(r"[ \t]*(?:[-*•–]|\d{1,2}[.)]|#{1,4}|\|)\s+\S|[ \t]*\*\*[^*\n]{1,240}\*\*|[^\n|]+\|[^\n|]+\|?")
_AGREEING = re.compile(
    r"\W*(?:(?:sure|certainly|of course|absolutely|definitely|great question|good question|yes|no|yeah|nope)\b[,!.—–: -]|how about (?:an?|some|the) [^?\n]{3,60}\?\s+(?:it|they|you|this)\b|as an ai\b(?: language)?(?: model| assistant| system)?,? (?:i|my)\b|"
    r"(?:ja|nein|natürlich|oui|non|bien sûr|sí|claro|no|sì|certo|sim|não|да|нет|конечно|evet|hayır|elbette|tak|nie|ja hoor)[,!.:]\s|"
    r"(?:好的|当然|是的|不是|はい|いいえ|もちろん|네|예|아니|물론|نعم|لا،|بالتأكيد|بالطبع|हाँ|हां|नहीं|ज़रूर|जी हाँ)[，,、。!！: ])",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"\W*(?:to answer (?:your|the|this)|the answer (?:is|to)\b|in summary|"
    r"(?:below|here)(?:'s| is| are)(?! (?:my|our|what (?:i|we))\b)[^\n?]{0,140}|"
    r"subject:|dear (?!(?:ai|chatgpt|assistant|bot|gpt|claude)\b)[\w\[]|title: ?\S|"
    r"there are (?:many|several|a few|various|some|a number of|two|three|four|five) (?:\w+ )?(?:ways|reasons|types|methods|options|things|factors|steps|kinds|differences|benefits)\b|"
    r"(?:to|in order to) [^\n.?]{3,120}(?:, (?:you can|you'll|you will|you need|you should|we|let's|first|follow|divide|start|use)\b|follow these)|"
    r"(?:hier (?:ist|sind) (?:ein|die|drei|einige|der)|voici|aquí (?:tienes|están|está)|ecco|aqui está|aqui estão|вот|işte|oto|hier zijn)"
    r"[,!.:]?\s(?=\S)(?!(?:mein|mon|ma|mi|il mio|la mia|meu|minha|мой|моя|mój))|"
    r"(?:以下是|下面是|以下(?:は|に|の)|다음은|إليك|यहाँ)[，,、。!！:： ]?)",
    re.IGNORECASE,
)
_LABELLED_TASK = re.compile(
    r"^\W*(?:your )?(?:tasks?|instructions?|questions?|request|assignment|problem|goal|aufgabe|frage|tâche|consigne|tarea|tarefa|compito|задача|задание|任务|问题|課題|質問|과제|질문|المهمة|السؤال|कार्य|प्रश्न)[*_]{0,2} ?[:：]",
    re.IGNORECASE | re.MULTILINE,
)
_GREETING = re.compile(
    r"\W*(?:hello|hi|hey|hallo|bonjour|hola|ciao|olá|привет|你好|您好|こんにちは|안녕하세요|مرحبا|नमस्ते)\b[\w ]{0,12}\W*",
    re.IGNORECASE,
)
_LETTER = re.compile(
    r"\W*(?:(?:subject|betreff|objet|asunto|oggetto|assunto|тема) ?:[^\n]*\n+)?\W*(?:dear|hi|hello|sehr geehrte\w*|liebe[r]?|chère?|estimad[oa]|querid[oa]|gentile|prezad[oa]|уважаем\w+)\b"
    r".{1,60}[,!]\s*\n.{20,}\n\s*(?:(?:yours )?(?:sincerely|faithfully|truly)|(?:best|kind|warm) (?:regards|wishes)|best,|cheers,|thanks,|love,|mit freundlichen|liebe grüße|"
    r"cordialement|atentamente|saludos|cordiali saluti|atenciosamente|с уважением)",
    re.IGNORECASE | re.DOTALL,
)
_CODE = re.compile(
    r"\s*(?:select\s.+\sfrom\s|insert into |update \w+ set |create table |def \w+\(|class \w+[(:{]|function \w+\(|import \w+|from \w+ import |#include ?<|public (?:static|class) |"
    r"(?:const|let|var) \w+ ?=|<!doctype|<html|print\(|\w+ ?= ?lambda |for \w+ in [^\n]+:\s*\n\s|(?:while|if) [^\n]+:\s*\n\s+\S)",
    re.IGNORECASE,
)
_WANTS_ADVICE = re.compile(
    r"^(?:how (?:do|can|should|would|to)\b|what(?:'s| is) the best way|wie (?:kann|lerne|mache)|comment|cómo|come (?:si|posso)|como)|कैसे|어떻게|怎么|怎样|如何|كيف|\bкак\b|\bnasıl\b|\bjak\b|\bhoe\b|には[?？]|方法|"
    r"\b(?:tips?|steps|advice|ways|recipe|instructions|guide)\b",
    re.IGNORECASE,
)
_GENRE = re.compile(
    r"\W*(?:\w+\W+){0,5}?(?:poem|story|essay|letter|script|list|recipe|plan|names?|ideas?|summary|review|song|haiku|sonnet|speech|article|dialogue|examples?|guide|table|code|program|translation)\b",
    re.IGNORECASE,
)
_EQUATION = re.compile(r"\W*[\d.,]+ ?[^\n=≈]{0,20}[=≈] ?[\d.,]+")
_FIRST_STEP = re.compile(
    r"\W*(?:first(?:ly)?,|to begin|zuerst|zunächst|(?:tout )?d'abord|primero|en primer lugar|сначала|во-первых|首先|まず|먼저|우선|أولا|सबसे पहले|primeiro|prima di tutto|innanzitutto|öncelikle|ilk olarak|najpierw|po pierwsze|eerst)",
    re.IGNORECASE,
)
_BECAUSE = re.compile(
    r"\W*(?:because|weil|parce qu|porque |perché |потому что|因为|因為|なぜなら|왜냐하면|لأن|क्योंकि|çünkü|ponieważ|omdat|eftersom)",
    re.IGNORECASE,
)
_EXPLAINING = re.compile(r"\W*(?:to|in order to|there are) ", re.IGNORECASE)
_answer_label = compiled(
    lambda: (
        rf"(?:\A|\n)[#*_\s>]{{0,8}}(?:{patterns('answers')})[*_#\s]{{0,4}}\d{{0,2}}[*_]{{0,2}}\s?[:：][*_]{{0,3}}[ \t]*(?P<text>[^\n]*)(?P<more>.*)"
    ),
    re.IGNORECASE | re.DOTALL,
)
_QUESTION_LABEL = re.compile(
    r"\A[#*_\s>]*(?:q|question|frage|pregunta|domanda|pergunta|вопрос|问题|問題|質問|질문|سؤال|प्रश्न|soru|pytanie|vraag)\b"
    r"[*_#\s]{0,4}\d{0,2}[*_]{0,2}\s?[:：]",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|can|could|will|would|may|might|must|should|do|does|did|"
    r"ist|sind|war|hat|haben|wird|werden|kann|est|sont|était|ont|peut|es|son|era|ha|han|puede|è|sono|hanno|può|"
    r"é|são|foi|tem|pode|zijn|heeft|jest|są|är|har)\b|[a-z]{3,}(?:s|ed)\b",
    re.IGNORECASE,
)
_USERS_OWN = re.compile(r"\b(?:i|my|me)\b", re.IGNORECASE)
_OPINION = re.compile(
    r"\bi(?:'d| would| think| believe| recommend| suggest| can| will| do not know| don't know|'m not sure|(?: am|'m) (?:excited|thrilled|happy|pleased|writing|proud|honou?red)|"
    r" (?:have|haven't) (?:compiled|seen|prepared|put together))",
    re.IGNORECASE,
)
_FIRST, _LAST = 4, 3
"""Sentences at either end in which a prompt asks, if it is long."""
_FEW_WORDS = 3
_FULL_STOP = (".", "!", "。", "！", "।", "…")
_LONG = 6
"""Sentences from which a request in the middle alone does not make a prompt of what looks like an answer."""


@dataclass(frozen=True)
class _Shape:
    """How a text is set out."""

    prose: tuple[str, ...]
    """Sentences that are not items of a list, without an assistant's offers."""
    asking: tuple[Asking, ...]
    """What each of them asks."""
    items: int
    questions: int
    """Items that are questions."""
    code: bool


def is_answer(text: str, parent: str) -> bool:
    """Whether the text answers, or does, something instead of asking for it."""
    if _has_a_labelled_answer(text):
        return not _has_a_labelled_answer(parent)
    hidden = masked(text)
    shape = _shape(hidden)
    if not shape.prose and not shape.items:
        return False
    if _LABELLED_TASK.search(hidden):
        return False
    if shape.questions and shape.questions * 3 >= shape.items:
        return False
    if not shape.prose:
        return shape.items > 1
    if _LETTER.match(hidden):
        return True
    clear = sum(each.clearly for each in shape.asking)
    few = clear < 0.15 * len(shape.prose)
    if _AGREEING.match(hidden):
        return not _ends_asking(shape)
    if _OPENING.match(hidden):
        if _USERS_OWN.search(shape.prose[0]) and (clear or not shape.items):
            return False
        if shape.asking[-1] and len(shape.prose) > 1 and shape.items < 2 and not _EXPLAINING.match(hidden):
            return False
        return not clear or (few and shape.items >= 3 and not shape.asking[-1].clearly)
    if _CODE.match(hidden):
        said = [
            each for sentence, each in zip(shape.prose, shape.asking, strict=True) if not re.search(r"[(;={]", sentence)
        ]
        return not any(each.clearly for each in said) and _CODE.match(parent) is None
    if not clear and len(shape.prose) > 1 and not _is_users_own(shape.prose[0]) and _WANTS_ADVICE.search(parent):
        return True
    questions = any(map(is_question, shape.prose))
    if not questions and _FIRST_STEP.match(hidden) and _WANTS_ADVICE.search(parent):
        return True
    if len(shape.prose) == 2 and is_question(shape.prose[0]) and _BECAUSE.match(shape.prose[1]):
        return True
    if shape.asking[0] or shape.asking[-1].clearly or any(map(begins_as_question, (shape.prose[0], shape.prose[-1]))):
        return False
    if shape.asking[-1] and not shape.items and len(shape.prose) <= _LONG:
        return False
    if _is_users_own(shape.prose[0]) and _is_users_own(parent):
        return False
    if clear:
        edges = (*shape.asking[:_FIRST], *shape.asking[-_LAST:])
        return few and len(shape.prose) > _LONG and not any(each.clearly for each in edges)
    if any(shape.asking) and len(shape.prose) <= 3:
        return False
    return _could_answer(hidden, shape, asked=parent.rstrip().endswith(("?", "？", "؟")))


def _shape(hidden: str) -> _Shape:
    lines = hidden.split("\n")
    items = [line for line in lines if _ITEM.match(line)]
    rest = "\n".join(line for line in lines if not _ITEM.match(line))
    prose = tuple(each for each in sentences(rest) if not is_offer(each) and _GREETING.fullmatch(each) is None)
    return _Shape(
        prose,
        tuple(map(asking, prose)),
        len(items),
        sum(1 for item in items if item.rstrip().endswith(("?", "？", "؟"))),
        hidden.strip().startswith(MASK) and len(hidden.strip()) > 1,
    )


def _ends_asking(shape: _Shape) -> bool:
    return bool(shape.prose) and len(shape.prose) > 1 and shape.asking[-1].clearly and shape.items < 3


def _has_a_labelled_answer(text: str) -> bool:
    """Whether a heading "Answer:" stands before words, in a text with one question."""
    found = list(_answer_label().finditer(straight(text)))
    if len(found) != 1:
        return False
    answer = found[0]["text"] + found[0]["more"]
    if not any(c.isalnum() for c in answer):
        return False
    if found[0].start() == 0:
        return not any(asking(sentence).clearly for sentence in sentences(masked(answer)))
    return _QUESTION_LABEL.match(text) is not None


def _is_users_own(sentence: str) -> bool:
    """Whether a user speaks of himself in a sentence; what an assistant says of itself is an opinion."""
    return _USERS_OWN.search(sentence) is not None and _OPINION.search(sentence) is None


def _could_answer(hidden: str, shape: _Shape, asked: bool) -> bool:
    """Whether a text that asks for nothing is more than a few words: sentences, a list, or code."""
    if shape.items >= 2 or shape.code:
        return True
    first = shape.prose[0]
    if _is_users_own(first) and len(shape.prose) <= 5:
        return False
    if (
        _BECAUSE.match(hidden)
        or _EQUATION.match(hidden)
        or len(shape.prose) >= 3
        or (asked and len(hidden.split()) <= _FEW_WORDS and hidden.isascii())
    ):
        return True
    ended = [s for s in shape.prose if s.rstrip('"”»)*_ ').endswith(_FULL_STOP)]
    return any(_VERB.search(s) or not s.isascii() or not _GENRE.match(s) for s in ended)
