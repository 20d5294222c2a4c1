"""Train the next solver on preference pairs with DPO, or any other loss of TRL's DPOTrainer.

One GPU or none, on iteration 2 alone (incremental, the paper's table 6), from a folder or from the Hub:

    accelerate launch train/preference.py --config train/recipes/dpo.yaml \
        --dataset data/eva-ultrafeedback --split iter_2 \
        --model_name_or_path google/gemma-2-9b-it --output_dir theta_2

    accelerate launch train/preference.py --config train/recipes/dpo.yaml \
        --dataset acme/eva-ultrafeedback --revision iter-2 --split iter_1+iter_2 ...

All of TRL's `DPOConfig` and `ModelConfig` can stand in the recipe or on the command line. With LoRA:
`--use_peft --learning_rate 5e-6 --lora_r 32`; the adapter is merged into the model that is saved. Several
GPUs and sharding are accelerate's business: `accelerate launch --config_file fsdp.yaml ...`.

`--output_dir` becomes an ordinary model folder; `training.json` in it says what it was trained on and how
that went. With `--resume` a training that was cut off goes on from its last checkpoint, if data, model and
settings are still the same, and else begins anew.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from hashlib import file_digest
from pathlib import Path
from typing import Any, NoReturn

import torch
import transformers
import trl
from accelerate.utils import is_peft_model
from datasets import Dataset, DownloadManager, load_dataset, load_dataset_builder
from datasets.exceptions import DatasetNotFoundError
from peft import AutoPeftModelForCausalLM
from transformers import (
    AutoConfig,
    AutoTokenizer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import DPOConfig, DPOTrainer, ModelConfig, TrlParser, get_peft_config, get_quantization_config

Json = dict[str, Any]

ORIGIN = "trained_on.json"
"""In each checkpoint: what `--resume` compares."""

BY_CONTENT = ("dataset", "split", "revision", "model_")
NO_EFFECT = ("output_dir", "resume", "progress", "logging_", "save_", "report_to", "run_name", "disable_tqdm")
COMPUTED = ("accelerator_config", "dataloader_", "debug", "gradient_checkpointing", "hub_", "pad_", "use_c")
"""Beginnings of arguments that `settings` leaves out: what they name is recorded by its content, they do not
change the weights, or they leave their defaults by themselves."""


@dataclass
class PairArguments:
    """What to train on, and what TRL's own arguments do not say."""

    dataset: str = field(metadata={"help": "Dataset folder or Hub id."})
    split: str = field(metadata={"help": "Iterations to train on, such as iter_2 or iter_1+iter_2."})
    revision: str | None = field(default=None, metadata={"help": "Tag, branch or commit of a Hub dataset."})
    table: str = field(default="preferences", metadata={"help": "Config of the dataset."})
    batch_size: int | None = field(
        default=None,
        metadata={"help": "Pairs per optimizer step over all devices; sets gradient_accumulation_steps."},
    )
    max_prompt_length: int | None = field(
        default=None, metadata={"help": "Pairs whose prompt has more tokens are left out, and counted."}
    )
    resume: bool = field(default=False, metadata={"help": "Go on from the last checkpoint in output_dir."})
    progress: str | None = field(default=None, metadata={"help": "File to keep steps done and total in."})


def main(arguments: Sequence[str] | None = None) -> None:
    pairs, training, model = parse(arguments)
    folder = Path(training.output_dir or "")
    dataset, files = load_pairs(pairs)
    dataset, counts = drop_long_pairs(dataset, pairs, training, model)
    print("pairs:", counts)
    origin = {
        "split": pairs.split,
        "files": files,
        "model": model_identity(model),
        "settings": settings(pairs, training, model),
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, trl)},
    }
    trainer = build_trainer(dataset, training, model)
    trainer.add_callback(Bookkeeping(origin, pairs.progress))
    trainer.train(resume_from_checkpoint=last_checkpoint(folder, origin) if pairs.resume else None)
    save(trainer, folder)
    if trainer.is_world_process_zero():
        write_json(folder / "training.json", {**origin, "pairs": counts, **outcome(trainer)})
    trainer.end()


def parse(arguments: Sequence[str] | None = None) -> tuple[PairArguments, DPOConfig, ModelConfig]:
    classes: Any = (PairArguments, DPOConfig, ModelConfig)
    parser = TrlParser(classes)
    # Otherwise the trained model's config says that it must not use a cache when it generates.
    parser.set_defaults(use_cache=True)
    if not torch.cuda.is_available():
        # TRL asks for bfloat16 everywhere; without a GPU it is slower and less exact than float32.
        parser.set_defaults(bf16=False, dataloader_pin_memory=False)
    pairs, training, model = parser.parse_args_and_config(arguments)
    if model.model_name_or_path is None:
        fail("`model_name_or_path` is missing: name the model to train, a folder or a Hub id")
    if pairs.batch_size is not None:
        together = training.per_device_train_batch_size * training.world_size
        if pairs.batch_size % together:
            fail(
                f"`batch_size` {pairs.batch_size} is no multiple of {together}, which is what "
                f"{training.world_size} devices take at `per_device_train_batch_size` "
                f"{training.per_device_train_batch_size}: change one of the two"
            )
        training.gradient_accumulation_steps = pairs.batch_size // together
    return pairs, training, model


def load_pairs(pairs: PairArguments) -> tuple[Dataset, dict[str, str]]:
    """The columns that TRL reads, and the SHA-256 of each file that they come from."""
    try:
        builder = load_dataset_builder(pairs.dataset, pairs.table, revision=pairs.revision)
        dataset = load_dataset(pairs.dataset, pairs.table, split=pairs.split, revision=pairs.revision)
    except (DatasetNotFoundError, FileNotFoundError, ValueError) as error:
        fail(f"cannot load `{pairs.table}`, split `{pairs.split}`, of {pairs.dataset}: {error}")
    names = re.split(r"[+\[\]]", pairs.split)
    files = [file for name, files in builder.config.data_files.items() if name in names for file in files]
    hashes = {file.rpartition("/")[2]: sha256(DownloadManager().download(file)) for file in files}
    return dataset.select_columns(["prompt", "chosen", "rejected"]), hashes


def drop_long_pairs(
    dataset: Dataset, pairs: PairArguments, training: DPOConfig, model: ModelConfig
) -> tuple[Dataset, dict[str, int]]:
    """Leave out, and count, what TRL would cut: a response without its end teaches a model not to stop."""
    tokenizer = AutoTokenizer.from_pretrained(
        model.model_name_or_path,
        revision=model.model_revision,
        trust_remote_code=training.trust_remote_code,
    )

    def tokens(turns: list[list[Json]], answered: bool) -> list[int]:
        ids: Any = tokenizer.apply_chat_template(turns, add_generation_prompt=not answered, return_dict=False)
        return [len(row) for row in ids]

    def lengths(batch: dict[str, list[Any]]) -> dict[str, list[int]]:
        both = (
            tokens([turns + answer for turns, answer in zip(batch["prompt"], batch[name], strict=True)], True)
            for name in ("chosen", "rejected")
        )
        return {"prompt": tokens(batch["prompt"], False), "sequence": list(map(max, *both))}

    measured = dataset.map(
        lengths, batched=True, remove_columns=dataset.column_names, num_proc=training.dataset_num_proc
    ).with_format("numpy")
    long_prompt = measured["prompt"][:] > (pairs.max_prompt_length or sys.maxsize)
    long_sequence = measured["sequence"][:] > (training.max_length or sys.maxsize)
    kept = (~long_prompt & ~long_sequence).nonzero()[0]
    counts = {
        "read": len(dataset),
        "prompt_too_long": int(long_prompt.sum()),
        "sequence_too_long": int((long_sequence & ~long_prompt).sum()),
        "trained": len(kept),
    }
    if len(kept) == 0:
        fail(
            f"all {len(dataset)} pairs are too long: {counts['prompt_too_long']} prompts have more tokens "
            f"than `max_prompt_length` {pairs.max_prompt_length}, and {counts['sequence_too_long']} other "
            f"pairs more than `max_length` {training.max_length}: raise what is too low in the recipe"
        )
    return dataset.select(kept), counts


def build_trainer(dataset: Dataset, training: DPOConfig, model: ModelConfig) -> DPOTrainer:
    training.model_init_kwargs = {
        "revision": model.model_revision,
        "trust_remote_code": training.trust_remote_code,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    return DPOTrainer(
        model=str(model.model_name_or_path),
        args=training,
        train_dataset=dataset,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
    )


class Bookkeeping(TrainerCallback):
    """Keeps the number of steps done in a file, and writes into each checkpoint what it was trained on."""

    def __init__(self, origin: Json, progress: str | None) -> None:
        self.origin = origin
        self.progress = progress

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.on_step_end(args, state, control)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # A resumed run knows nothing of the steps since the last log, and its history would differ.
        control.should_log = control.should_log or control.should_save
        if self.progress and state.is_world_process_zero:
            write_json(Path(self.progress), {"done": state.global_step, "total": state.max_steps})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            write_json(Path(args.output_dir or "", f"checkpoint-{state.global_step}", ORIGIN), self.origin)


def last_checkpoint(folder: Path, origin: Json) -> str | None:
    """The last checkpoint of the same origin; it is whole, since `ORIGIN` is written when all else is."""
    found = folder.glob(f"checkpoint-*/{ORIGIN}")
    same = [path.parent for path in found if json.loads(path.read_text(encoding="utf-8")) == origin]
    return str(max(same, key=lambda path: int(path.name.rpartition("-")[2]))) if same else None


def save(trainer: DPOTrainer, folder: Path) -> None:
    """Save model, tokenizer and chat template as an ordinary model folder; an adapter is merged first."""
    assert trainer.model is not None
    adapted = is_peft_model(trainer.model)
    trainer.save_model(str(folder / "adapter" if adapted else folder))
    if not trainer.is_world_process_zero():
        return
    if adapted:
        # Read back from disk, since a model that is sharded over devices cannot be merged where it is.
        merged: Any = AutoPeftModelForCausalLM.from_pretrained(folder / "adapter", dtype=trainer.model.dtype)
        merged.merge_and_unload().save_pretrained(folder)
        AutoTokenizer.from_pretrained(folder / "adapter").save_pretrained(folder)
    # A pickle of this machine's paths, of no use to whoever loads the model.
    (folder / "training_args.bin").unlink(missing_ok=True)


def outcome(trainer: DPOTrainer) -> Json:
    """How it went, without times, which differ from run to run; a row of `history` is a mean over steps."""
    # TRL counts `num_tokens` anew after a resume.
    history = [
        {name: value for name, value in entry.items() if name != "num_tokens"}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return {"steps": trainer.state.global_step, "epochs": trainer.state.epoch, "history": history}


def model_identity(model: ModelConfig) -> Json:
    """Name and commit of a Hub model; name and SHA-256 of the weights of a local folder."""
    name = str(model.model_name_or_path)
    if Path(name).is_dir():
        weights = sorted(Path(name).glob("*.safetensors"))
        return {"name": Path(name).name, "files": {path.name: sha256(path) for path in weights}}
    config: Any = AutoConfig.from_pretrained(name, revision=model.model_revision)
    return {"name": name, "commit": config._commit_hash}


def settings(pairs: PairArguments, training: DPOConfig, model: ModelConfig) -> Json:
    """The arguments that are not at their defaults and say how the weights came about."""
    given: Json = {**asdict(pairs), **training.to_dict(), **asdict(model)}
    return {
        each.name: given[each.name]
        for each in (*fields(pairs), *fields(training), *fields(model))
        if each.init and not each.name.startswith(BY_CONTENT + NO_EFFECT + COMPUTED)
        if given[each.name] != (each.default if each.default_factory is MISSING else each.default_factory())
    }


def write_json(path: Path, value: Json) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


def sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def fail(sentence: str) -> NoReturn:
    sys.exit(f"error: {sentence}")


if __name__ == "__main__":
    main()
