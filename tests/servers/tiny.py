"""Tiny real models and datasets: known architectures with random weights, in ordinary Hugging Face folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
import transformers
from small_store import a_manifest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import DebertaV2Config, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from eva_data.config.rewards import Classifier, Pairwise
from eva_data.files import sha256, write_json
from eva_data.jobs.job import Job, name_of
from eva_data.rewards import score_rows
from eva_data.tables.schemas import PREFERENCES, conform

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
"""The chat template of Gemma 2: it has no system role, and the assistant is called model."""
LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def save_model(folder: Path, architecture: Architecture = "llama", *, seed: int = 0, layers: int = 2) -> Path:
    """Save a model of about 20 000 random weights with tokenizer, chat template and generation config; return `folder`.

    Every byte is a token, so the length of a text in tokens is its length in bytes plus the length of the template.
    """
    tokenizer = _tokenizer(architecture)
    torch.manual_seed(seed)
    config = _config(architecture, tokenizer, layers)
    model: PreTrainedModel = getattr(transformers, f"{_NAMES[architecture]}ForCausalLM")(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=16,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_composite_model(folder: Path) -> Path:
    """Save a Gemma 3, which sees images too, so a part of its config is about text; return `folder`."""
    tokenizer = _tokenizer("gemma2")
    torch.manual_seed(0)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "sliding_window": 512,
    }
    sight = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 28,
        "patch_size": 14,
    }
    tokens = {
        "image_token_index": 5,
        "boi_token_index": 6,
        "eoi_token_index": 7,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = transformers.Gemma3Config(text_config=text, vision_config=sight, mm_tokens_per_image=4, **tokens)
    model = transformers.Gemma3ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


def save_own_language_model(folder: Path) -> Path:
    """Save a Llama that only the code in its own folder can load; return `folder`."""
    save_model(folder)
    (folder / "modeling_own.py").write_text(OWN_CODE)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "architectures": ["OwnForCausalLM"],
        "auto_map": {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def save_reward_model(
    folder: Path, architecture: Architecture = "llama", *, labels: int = 1, pad: bool = True, seed: int = 0
) -> Path:
    """Save a sequence-classification model whose scores of different texts differ by tenths; return `folder`.

    Without `pad`, its config names no padding token, like the configs of many models.
    """
    tokenizer = _tokenizer(architecture)
    torch.manual_seed(seed)
    config = _config(architecture, tokenizer, 2, num_labels=labels, initializer_range=0.3)
    config.pad_token_id = tokenizer.pad_token_id if pad else None
    model: PreTrainedModel = getattr(transformers, f"{_NAMES[architecture]}ForSequenceClassification")(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def reward_job(folder: Path, backend: str, model: Path, **settings: Any) -> Job:
    """A reward job for a model on this machine, with its own ledger, both in `folder`."""
    folder.mkdir(exist_ok=True)
    values = {"backend": backend, "model": str(model), "batch_tokens": 1024, "threads": 1} | settings
    kind = Classifier if backend == "classifier" else Pairwise
    block = kind.model_validate(values)
    ledger = folder / "ledger.sqlite"
    function = name_of(score_rows)
    return Job(folder, "reward", block, ledger=ledger, scorer="tiny@0", scorer_path=model, function=function)


def save_own_code(folder: Path, code: str) -> Path:
    """Save a Llama reward model whose class `TinyReward` is `code` in its own folder; return `folder`."""
    save_reward_model(folder)
    (folder / "modeling_tiny.py").write_text(code)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "architectures": ["TinyReward"],
        "auto_map": {"AutoModelForSequenceClassification": "modeling_tiny.TinyReward"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def save_armorm(folder: Path, *, seed: int = 0) -> Path:
    """Save a model with ArmoRM's layout, 3 objectives and the turns of Llama 3; return `folder`."""
    from eva_data.rewards.local.armorm import ARCHITECTURE, ArmoRM

    tokenizer = _tokenizer("llama")
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]})
    tokenizer.chat_template = LLAMA_3
    torch.manual_seed(seed)
    own = {"num_objectives": 3, "gating_temperature": 10, "gating_hidden_dim": 16, "gating_n_hidden": 2}
    model = ArmoRM(_config("llama", tokenizer, 2, initializer_range=0.3, **own))
    model.reward_transform_matrix.data = torch.randn(3, 3)
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [ARCHITECTURE]}))
    tokenizer.save_pretrained(folder)
    return folder


def save_pairrm(folder: Path, *, seed: int = 0) -> Path:
    """Save a model with the layout of llm-blender/PairRM-hf, a DeBERTa with relative positions; return `folder`.

    Every byte is a token.
    """
    from eva_data.rewards.local.pairrm import EITHER, FIRST, SECOND, SOURCE, PairRM

    tokenizer = _tokenizer("deberta")
    tokenizer.add_tokens([SOURCE, FIRST, SECOND, EITHER])
    marks = {"source": SOURCE, "cand1": FIRST, "cand2": SECOND, "cand": EITHER}
    torch.manual_seed(seed)
    config = DebertaV2Config.from_dict(
        {
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "initializer_range": 0.3,
            "pad_token_id": tokenizer.pad_token_id,
            "n_tasks": 1,
            **{f"{name}_prefix_id": tokenizer.convert_tokens_to_ids(mark) for name, mark in marks.items()},
        }
    )
    PairRM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_dataset(folder: Path, splits: dict[str, pl.DataFrame]) -> Path:
    """Save a dataset folder of one table, `preferences`, with these splits (`iter_1`, ...); return `folder`."""
    (folder / "preferences").mkdir(parents=True, exist_ok=True)
    lines = ["---", "configs:", "- config_name: preferences", "  data_files:"]
    for name, table in splits.items():
        path = folder / "preferences" / f"{name}.parquet"
        table.write_parquet(path)
        lines += [f"  - split: {name}", f"    path: preferences/{name}.parquet"]
        entry = {"sha256": sha256(path), "rows": table.height, "bytes": path.stat().st_size}
        manifest = a_manifest(int(name[5:]), files={f"preferences/{name}.parquet": entry} if table.height else {})
        write_json(folder / "manifests" / f"{name}.json", manifest.values())
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


def pairs(count: int, *, start: int = 0) -> pl.DataFrame:
    """`count` pairs in the full schema. The prompt asks to repeat a word, and the rejected response reverses it."""
    words = [f"word{start + index:04d}" for index in range(count)]
    return preferences([(f"Say {word}.", word, word[::-1]) for word in words])


def preferences(rows: list[tuple[str, str, str]]) -> pl.DataFrame:
    """PREFERENCES from triples (prompt, chosen, rejected)."""
    table = pl.DataFrame(
        {
            "prompt": [[{"role": "user", "content": prompt}] for prompt, _, _ in rows],
            "chosen": [[{"role": "assistant", "content": chosen}] for _, chosen, _ in rows],
            "rejected": [[{"role": "assistant", "content": rejected}] for _, _, rejected in rows],
        },
        schema={name: PREFERENCES[name] for name in ("prompt", "chosen", "rejected")},
    )
    return conform(table, PREFERENCES)


_NAMES: dict[Architecture, str] = {"llama": "Llama", "gemma2": "Gemma2", "qwen2": "Qwen2", "qwen3": "Qwen3"}


def _config(architecture: Architecture, tokenizer: PreTrainedTokenizerFast, layers: int, **more: Any) -> Any:
    return getattr(transformers, f"{_NAMES[architecture]}Config")(
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
        **more,
    )


_SPECIAL = {
    "gemma2": ["<pad>", "<bos>", "<start_of_turn>", "<end_of_turn>"],
    "deberta": ["[PAD]", "[CLS]", "[MASK]", "[SEP]"],
}


def _tokenizer(architecture: Architecture | Literal["deberta"]) -> PreTrainedTokenizerFast:
    special = _SPECIAL.get(architecture, ["<|endoftext|>", "<|begin|>", "<|im_start|>", "<|im_end|>"])
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(special)
    ends = {"cls_token": special[1], "sep_token": special[3]} if architecture == "deberta" else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=special[0], bos_token=special[1], eos_token=special[3], **ends
    )
    tokenizer.chat_template = {"gemma2": GEMMA, "deberta": None}.get(architecture, CHATML)
    return tokenizer
