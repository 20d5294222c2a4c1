"""Tiny real models and datasets: random weights of known architectures, ordinary Hugging Face folders."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from eva_data.records import PREFERENCES, conform

Architecture = Literal["llama", "gemma2", "qwen2", "qwen3"]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""Gemma 2's own: no system message, and the assistant is called model."""


def save_model(folder: Path, architecture: Architecture = "llama", *, seed: int = 0, layers: int = 2) -> Path:
    """A model of some 20 000 random weights with tokenizer, chat template, generation config; gives `folder`.

    Every byte is a token, so a text's length in tokens is its length in bytes plus the template's.
    """
    tokenizer = _tokenizer(architecture)
    torch.manual_seed(seed)
    names = {"llama": "Llama", "gemma2": "Gemma2", "qwen2": "Qwen2", "qwen3": "Qwen3"}
    config = getattr(transformers, f"{names[architecture]}Config")(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: PreTrainedModel = getattr(transformers, f"{names[architecture]}ForCausalLM")(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=16,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_dataset(folder: Path, splits: dict[str, pl.DataFrame]) -> Path:
    """A dataset folder of one table, `preferences`, with these splits; returns `folder`."""
    (folder / "preferences").mkdir(parents=True, exist_ok=True)
    lines = ["---", "configs:", "- config_name: preferences", "  data_files:"]
    for name, table in splits.items():
        table.write_parquet(folder / "preferences" / f"{name}.parquet")
        lines += [f"  - split: {name}", f"    path: preferences/{name}.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


def pairs(count: int, *, start: int = 0) -> pl.DataFrame:
    """`count` pairs in the full schema: a word is to be repeated, the rejected response turns it round."""
    words = [f"word{start + index:04d}" for index in range(count)]
    return preferences([(f"Say {word}.", word, word[::-1]) for word in words])


def preferences(rows: list[tuple[str, str, str]]) -> pl.DataFrame:
    """The table of these (prompt, chosen, rejected)."""
    table = pl.DataFrame(
        {
            "prompt": [[{"role": "user", "content": prompt}] for prompt, _, _ in rows],
            "chosen": [[{"role": "assistant", "content": chosen}] for _, chosen, _ in rows],
            "rejected": [[{"role": "assistant", "content": rejected}] for _, _, rejected in rows],
        },
        schema={name: PREFERENCES[name] for name in ("prompt", "chosen", "rejected")},
    )
    return conform(table, PREFERENCES)


def _tokenizer(architecture: Architecture) -> PreTrainedTokenizerFast:
    gemma = architecture == "gemma2"
    special = ["<pad>", "<bos>", "<start_of_turn>", "<end_of_turn>"] if gemma else []
    special = special or ["<|endoftext|>", "<|begin|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=special[0], bos_token=special[1], eos_token=special[3]
    )
    tokenizer.chat_template = GEMMA if gemma else CHATML
    return tokenizer
