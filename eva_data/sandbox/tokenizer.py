"""The sandbox model's tokenizer: bytes, plus a token for each phrase of the world and the templates.

Words are spelled out byte by byte, so that the model can work on their letters. Decoding gives any text back
unchanged. A phrase of an instruction is one token, which keeps prompts and rewrite requests short.
"""

import re
from collections.abc import Iterable, Mapping

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from eva_data.sandbox.operations import RULES
from eva_data.sandbox.world import CONNECTORS

PAD, USER, ASSISTANT, END = SPECIAL = ("<|pad|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{ '<|user|>' + message['content'] + '<|end|>' }}
{%- elif message['role'] == 'assistant' -%}
{{ '<|assistant|>' + message['content'] + '<|end|>' }}
{%- else -%}
{{ raise_exception('This model knows the roles user and assistant only, found ' + message['role'] + '.') }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|assistant|>' }}
{%- endif -%}
"""


def _phrase_pieces() -> Iterable[str]:
    for rule in RULES.values():
        noun = "the number " if rule.takes == "number" else "the word "
        for phrase in rule.phrases:
            first = phrase[0].upper() + phrase[1:]
            # The source and the argument are spelled out, so a phrase is cut before and after them.
            yield from re.split(r"\{x\}|\{a\}", first.replace("{x}", noun + "{x}"))
            yield from phrase.replace("{x}", "it").split("{a}")


def _template_pieces(templates: Mapping[str, str]) -> Iterable[str]:
    """The texts before, between and after `<PROMPT>`, cut where the templates begin to differ."""
    for template in templates.values():
        for part in template.split("<PROMPT>"):
            for sentence in re.split(r"(?<=method: \n)|\n\n(?=You should try)", part):
                # The line end is separate, so that a request with stripped ends has the same tokens.
                yield sentence.rstrip("\n") if sentence.endswith(":\n\n") else sentence
    yield "\n\n"


def asked(message: str) -> str:
    """A user message as the chat template renders it, up to the beginning of the reply."""
    return f"{USER}{message}{END}{ASSISTANT}"


def build_tokenizer(templates: Mapping[str, str]) -> PreTrainedTokenizerFast:
    """A tokenizer with a chat template; added tokens cover the world's phrases and the given templates."""
    byte_tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(byte_tokens)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    pieces = dict.fromkeys((*CONNECTORS, *_phrase_pieces(), *_template_pieces(templates)))
    core.add_special_tokens(list(SPECIAL))
    core.add_tokens([AddedToken(piece, normalized=False) for piece in pieces if len(piece) > 1])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
