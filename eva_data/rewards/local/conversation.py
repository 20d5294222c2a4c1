"""Turns conversations into tokens by a model's own chat template."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from jinja2.exceptions import TemplateError

from eva_data.calls import Message, merge_system
from eva_data.models.rendering import render
from eva_data.rewards.local.batches import Item

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

W = TypeVar("W")

CHUNK = 256
"""Number of texts that are tokenised together."""


def write(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, ask: bool = False) -> str:
    """The conversation as text. With `ask` it ends where the assistant begins to speak.

    If the template has no system role, a system message goes before the text of the first user turn. Raise jinja2's
    TemplateError if the template still refuses the conversation, and ModelError if it takes too long.
    """
    try:
        return render(tokenizer, messages, ask=ask)
    except TemplateError:
        if messages[0]["role"] != "system":
            raise
        return render(tokenizer, merge_system(messages), ask=ask)


def items(
    tokenizer: PreTrainedTokenizerBase, wanted: Iterable[tuple[bytes, W]], text_of: Callable[[W], str], longest: int
) -> Iterator[Item]:
    """One Item per key of `wanted`, pairs of a key and what `text_of` writes, in which no key occurs twice.

    The template writes its special tokens itself, so none are added.
    """
    remaining = iter(wanted)
    while chunk := list(islice(remaining, CHUNK)):
        texts: dict[bytes, str] = {}
        for key, given in chunk:
            try:
                texts[key] = encodable(text_of(given))
            except TemplateError as error:
                yield Item(key, refused=f"chat_template_refuses: {error}")
            except UnicodeEncodeError:
                yield Item(key, refused="not_unicode")
        if texts:
            found = tokenizer([*texts.values()], add_special_tokens=False, return_attention_mask=False)
            for key, tokens in zip(texts, found["input_ids"], strict=True):
                yield fitted(key, tokens, longest)


def fitted(key: bytes, tokens: Sequence[int], longest: int) -> Item:
    """The Item of these tokens; it holds a reason instead if they are too many."""
    return Item(key, array("i", tokens)) if len(tokens) <= longest else Item(key, refused="too_long")


def encodable(text: str) -> str:
    """The text itself. Raise UnicodeEncodeError if it holds half a surrogate pair, which no tokenizer accepts."""
    text.encode()
    return text
