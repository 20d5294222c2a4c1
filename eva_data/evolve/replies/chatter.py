"""Removes the words of a chat model around a prompt: a label, an announcement, an explanation, an offer.

An announcement is a line before the prompt that ends in a colon and names a new prompt. A label is a phrase that only
a rewriter writes ("Rewritten prompt:"). An explanation is a last part that speaks of the rewriting. A user's own "Here
is my prompt:" and "Note: use no loops" belong to the prompt.
"""

from __future__ import annotations

import re

from eva_data.evolve.replies.possible import has
from eva_data.evolve.replies.requests import is_command, is_offer, masked, sentences
from eva_data.evolve.replies.words import compiled, patterns, straight

_RULE = re.compile(r"\n[ \t]*(?:-{3,}|\*{3,}|_{3,}|={3,}|—{2,})[ \t]*(?:\n|\Z)")
_EDGE = r"[#*_`\s>\[(【「-]{0,8}"
_COLON = r"[*_#`\]】)」]{0,4}\s?[:：]"


def _renewed_noun() -> str:
    """The pattern of a creator's name for its prompt: a word for *new* and a word for *prompt*, in either order."""
    return (
        rf"(?:(?:{patterns('renewed')})[\s的のな]{{0,2}}(?:\w+\s){{0,2}}?(?:{patterns('nouns')})|"
        rf"(?:{patterns('nouns')})\s(?:\w+\s){{0,2}}?(?:{patterns('renewed')}))"
    )


_label = compiled(
    lambda: (
        rf"(?:\A|\n|(?<=[.!?。！] ))(?P<label>{_EDGE}(?:(?:the|your|my|der|die|das|le|la|el|il|o|a)\s)?"
        rf"{_renewed_noun()}(?:\s?#?\s?\d{{1,2}})?(?:\s?\([^)\n]{{0,40}}\))?#?{_COLON}[*_#]{{0,3}}[ \t]*)(?!\w*//)"
    )
)
_heading = compiled(
    lambda: (
        rf"\A(?:(?:#{{1,4}} |\*\*|__)(?:(?:the|your) )?{_renewed_noun()}(?:\*\*|__)?|[【\[]{_renewed_noun()}[】\]]"
        r"|#[A-Z][\w ]{2,40}#)[ \t]*\n"
    )
)
"""A line that names the new prompt, or any name between two number signs, as in a template."""
_plain_label = compiled(
    lambda: (
        rf"\A{_EDGE}(?:(?:user )?(?:{patterns('plain_labels')})|(?P<renewed>{patterns('renewed')}))"
        rf"(?:\s?#?\s?\d{{1,2}})?#?{_COLON}[*_#]{{0,3}}[ \t]*\n?"
    )
)
_pair = compiled(lambda: patterns("pairs"))
_BRACKETED = re.compile(
    r"\s*[\[(（](?:added|note|constraint|changes?|reason|hinweis|note)\b[^\])）\n]*[\])）]\s*\Z", re.IGNORECASE
)
_announcing = compiled(lambda: rf"\W*(?:{patterns('announces')})")
_names_a_prompt = compiled(lambda: rf"(?:{_renewed_noun()}|\b(?:{patterns('nouns')}))")
_renewing = compiled(lambda: rf"(?:{patterns('renewed')})")
_remark = compiled(lambda: rf"\A[#*_\s>(\[（【※＊-]{{0,8}}(?P<heading>(?:{patterns('remarks')}))")
_names_the_new_prompt = compiled(_renewed_noun)
_agreement = compiled(
    lambda: (
        rf"\W*(?:{patterns('agreements')})[,!.。！、 ]*"
        r"(?:(?:i'd|i would|i'll|i will|i am|i'm|let me|here)\b[^\n]{0,90})?\W*"
    )
)
_bare_agreement = compiled(lambda: rf"\W*(?:{patterns('agreements')})\W*")
_LEADING_RULE = re.compile(r"\s*(?:-{3,}|\*{3,}|_{3,}|={3,}|—{2,})[ \t]*\n")
_this_follows = compiled(lambda: rf"\W*(?:{patterns('how_about_this')})\W*")
_PROMISE = re.compile(
    r"\bmy (?:own )?(?:rewritten|rewrite|re-written|revised|reworked|rephrased|improved|evolved|attempt)\b|"
    r"\bi(?:'ve|'ll|'d| have| will| would| can| am|'m)\b|\blet me\b",
    re.IGNORECASE,
)
_BRACKETS = re.compile(
    r"\[{1,2}[^\[\]\n]{3,80}\]{1,2}|\{{1,2}[^{}\n]{3,80}\}{1,2}|<[^<>\n]{3,80}>|\([^()\n]{3,80}\)"
    r"|[【（][^【】（）\n]{2,80}[】）]"
)
_A_SENTENCE = 24
_OWN = re.compile(r"\b(?:i|my|me|we|our)\b", re.IGNORECASE)


def is_placeholder(text: str) -> bool:
    """Whether the text is a name of the new prompt in brackets: "[insert the new prompt here]"."""
    words = text.strip().replace("_", " ")
    return _BRACKETS.fullmatch(words) is not None and _names_the_new_prompt().search(words) is not None


def without_chatter(text: str) -> str:
    """The text without one layer of chatter before the prompt and one layer after it."""
    return _without_remarks(_without_beginning(text))


def _without_beginning(text: str) -> str:
    labels = [label for label in _label().finditer(straight(text)) if _begins_a_prompt(text, label)]
    if labels and text[labels[-1].end() :].strip():
        return text[labels[-1].end() :]
    pair = _pair().match(text)
    if pair is not None:
        return text[pair.end() :]
    heading = _heading().match(straight(text))
    if heading is not None and text[heading.end() :].strip():
        return text[heading.end() :]
    plain = _plain_label().match(straight(text))
    if (
        plain is not None
        and text[plain.end() :].strip()
        and _is_long_enough(text[plain.end() :].strip(), plain["renewed"])
    ):
        return text[plain.end() :]
    first, newline, rest = text.partition("\n")
    if newline and rest.strip() and _is_announcement(first, alone=not rest.split("\n")[0].strip()):
        return _LEADING_RULE.sub("", rest, count=1)
    announced = re.match(r"[^\n:：]{8,140}[:：][*_]{0,3}\s+(?=[\"“「«*`A-ZÀ-Þ])", text)
    if announced is not None and _is_announcement(announced[0], inline=True):
        return text[announced.end() :]
    return text


def _is_long_enough(rest: str, renewed: str | None) -> bool:
    """Whether a prompt can follow the label. "Updated: 3 May" and "New: lamps that hear" have no label."""
    return renewed is None or (len(rest.partition("\n")[0]) >= _A_SENTENCE and not rest[0].islower())


def _begins_a_prompt(text: str, label: re.Match[str]) -> bool:
    """Whether the label is independent of the words before it. After "Edit this text:" it is part of the prompt."""
    before = text[: label.start("label")].strip()
    return not before or not before.endswith((",", ":", "：")) or _announcing().match(straight(before)) is not None


def _is_announcement(line: str, *, inline: bool = False, alone: bool = False) -> bool:
    """Whether a first line says no more than that the new prompt follows."""
    line = straight(line.strip())
    announces = _announcing().match(line) is not None
    if line.rstrip("*_ ").endswith((":", "：")):
        if not inline and (_this_follows().fullmatch(line) is not None or _bare_agreement().fullmatch(line)):
            return True
        if len(line) > 220 or not announces or is_command(re.split(r"[!.]\s", line)[-1]):
            return False
        if _names_a_prompt().search(line) is None or _OWN.search(_PROMISE.sub("", line)):
            return False
        return _renewing().search(line) is not None or not inline
    if inline or len(line) >= 120 or line[-1:] not in ("!", ".", "。", "！"):
        return False
    if alone and _says_that_it_follows(line, announces):
        return True
    return announces and _only_agrees(line)


def _says_that_it_follows(line: str, announces: bool) -> bool:
    """Whether a separate line without a colon says that the new prompt follows."""
    if _names_the_new_prompt().search(line) is None or is_command(re.split(r"[!.]\s", line)[-1]):
        return False
    return announces or has("follows", line)


def _only_agrees(line: str) -> bool:
    """Whether a line without a colon says no more than "Sure, I'll do it"."""
    return _agreement().fullmatch(line) is not None


_LAST_PARTS = 100
"""A remark is looked for in so many paragraphs at the end of a reply."""


def _without_remarks(text: str) -> str:
    """The text without a last part that explains or offers. A part begins after a rule or an empty line."""
    bracketed = _BRACKETED.search(text)
    if bracketed is not None and re.search(r"[.?!]\s*\Z", text[: bracketed.start()]):
        return text[: bracketed.start()]
    for rule in reversed(list(_RULE.finditer(text))):
        rest = text[rule.end() :]
        if text[: rule.start()].strip() and (not rest.strip() or _is_remark(rest)):
            return text[: rule.start()]
    parts = list(re.finditer(r"\n[ \t]*\n+", text))
    for part in parts[-_LAST_PARTS:]:
        rest = text[part.end() :]
        if _is_remark(rest):
            return text[: part.start()]
    lines = text.rstrip().split("\n")
    if len(lines) > 1 and (
        _is_remark(lines[-1]) or (lines[-1].startswith(("(", "（", "*(")) and _speaks_of_rewriting(straight(lines[-1])))
    ):
        return "\n".join(lines[:-1])
    return text


def _is_remark(rest: str) -> bool:
    """Whether a part explains the rewriting, or consists of offers."""
    straightened = masked(rest.strip())
    said = sentences(straightened)
    if said and len(said) <= 4 and is_offer(said[0]) and all(is_offer(each) or len(each) < 25 for each in said):
        return not re.match(r"\W*\w+ ?[:=(]", straightened)
    found = _remark().match(straightened)
    if found is None:
        return False
    heading = straightened.partition("\n")[0]
    near = (
        straightened
        if len(heading) < 60 and heading.rstrip("*_ ").endswith((":", "："))
        else straightened.split("\n\n")[0]
    )
    return _speaks_of_rewriting(near[:1200])


def _speaks_of_rewriting(text: str) -> bool:
    return has("speaks_of_rewriting", text) or _names_the_new_prompt().search(text) is not None
