"""What the training scripts share: arguments, data, checkpoints with their origin, and the saved model.

`preference.py` and `online.py` run by their paths, so this file lies beside them and is imported by its bare name.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from hashlib import file_digest
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import datasets
import torch
import transformers
import trl
from accelerate.utils import is_peft_model
from datasets import Dataset, DownloadManager, load_dataset, load_dataset_builder
from datasets.exceptions import DatasetNotFoundError
from datasets.fingerprint import Hasher
from peft import AutoPeftModelForCausalLM
from transformers import (
    AutoConfig,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils import cached_file
from trl import ModelConfig, TrlParser

from eva_data.models.rendering import bound_every_rendering

Json = dict[str, Any]

ORIGIN = "trained_on.json"
"""The file in each checkpoint that `--resume` compares."""

BY_CONTENT = ("algorithm", "dataset", "split", "revision", "model_", "reference_", "replay")
NO_EFFECT = (
    *("output_dir", "resume", "progress", "logging_", "save_", "report_to", "run_name", "disable_tqdm"),
    *("vllm_server_", "vllm_group_port", "vllm_gpu_"),
)
COMPUTED = ("accelerator_config", "dataloader_", "debug", "gradient_checkpointing", "hub_", "pad_", "use_c")
"""Beginnings of arguments that `settings` leaves out. They are recorded elsewhere, do not change the weights, or leave
their defaults without the user."""


@dataclass(kw_only=True)
class Arguments:
    """Arguments on the data and the training, beside TRL's own."""

    algorithm: str = field(metadata={"help": "How to train; the script's docstring has the names."})
    dataset: str = field(metadata={"help": "Dataset folder or Hub id."})
    split: str = field(metadata={"help": "Iterations to train on, such as iter_2 or iter_1+iter_2."})
    revision: str | None = field(default=None, metadata={"help": "Tag, branch or commit of a Hub dataset."})
    batch_size: int | None = field(
        default=None,
        metadata={"help": "Rows per optimizer step over all devices; sets gradient_accumulation_steps."},
    )
    max_prompt_length: int | None = field(
        default=None, metadata={"help": "Rows whose prompt has more tokens are left out, and counted."}
    )
    resume: bool = field(default=False, metadata={"help": "Go on from the last checkpoint in output_dir."})
    progress: str | None = field(default=None, metadata={"help": "File to keep steps done and total in."})
    processes: int | None = field(
        default=None, metadata={"help": "How many processes the launcher was told to start; others are an error."}
    )


BESIDE_THE_TOKENIZER = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")

Own = TypeVar("Own", bound=Arguments)
Training = TypeVar("Training", bound=TrainingArguments)


@dataclass
class _Algorithm:
    algorithm: str | None = None


def chosen_algorithm(arguments: Sequence[str] | None, known: Sequence[str]) -> str:
    """The `algorithm` in the recipe or on the command line, which decides the classes of all other arguments."""
    classes: Any = (_Algorithm,)
    chosen: str | None = (
        TrlParser(classes, add_help=False).parse_args_and_config(arguments, return_remaining_strings=True)[0].algorithm
    )
    if chosen is None or chosen not in known:
        found = "is missing" if chosen is None else f"is `{chosen}`"
        fail(f"`algorithm` {found}: known are {', '.join(known)}")
    return chosen


def parse(
    own: type[Own], training: type[Training], arguments: Sequence[str] | None, **defaults: Any
) -> tuple[Own, Training, ModelConfig]:
    """The arguments from recipe and command line. `defaults` replace TRL's own defaults."""
    classes: Any = (own, training, ModelConfig)
    parser = TrlParser(classes)
    # Otherwise the trained model's config would forbid a cache in generation.
    parser.set_defaults(use_cache=True, **defaults)
    if not torch.cuda.is_available():
        # TRL uses bfloat16 by default. Without a GPU, it is slower and less exact than float32.
        parser.set_defaults(bf16=False, dataloader_pin_memory=False)
    mine, args, model = parser.parse_args_and_config(arguments)
    if model.model_name_or_path is None:
        fail("`model_name_or_path` is missing: name the model to train, a folder or a Hub id")
    if mine.processes is not None and args.world_size != mine.processes:
        # Each would train alone, and all would write to one folder.
        fail(
            f"the launcher was to start {mine.processes} processes, and this one trains among {args.world_size}: "
            "`accelerate launch` starts several with `distributed_type` MULTI_GPU, FSDP or DEEPSPEED, where there are "
            "GPUs; on processors name one process"
        )
    if mine.batch_size is not None:
        together = args.per_device_train_batch_size * args.world_size
        if mine.batch_size % together:
            fail(
                f"`batch_size` {mine.batch_size} is no multiple of {together}, which is what "
                f"{args.world_size} devices take at `per_device_train_batch_size` "
                f"{args.per_device_train_batch_size}: change one of the two"
            )
        args.gradient_accumulation_steps = mine.batch_size // together
    return mine, args, model


def load_table(own: Arguments, table: str, columns: Sequence[str]) -> tuple[Dataset, dict[str, str]]:
    """These columns of a config's splits, and the SHA-256 of each of their files."""
    names = re.split(r"[+\[\]]", own.split)
    try:
        builder = load_dataset_builder(own.dataset, table, revision=own.revision)
        found = [file for name, files in builder.config.data_files.items() if name in names for file in files]
        hashes = {file.rpartition("/")[2]: sha256(DownloadManager().download(file)) for file in found}
        # `datasets` would confuse folders with the same name and README, whatever their tables hold.
        cache = Path(datasets.config.HF_DATASETS_CACHE, Hasher.hash(hashes)) if Path(own.dataset).is_dir() else None
        dataset = load_dataset(own.dataset, table, split=own.split, revision=own.revision, cache_dir=cache)
    except (DatasetNotFoundError, FileNotFoundError, ValueError) as error:
        fail(f"cannot load `{table}`, split `{own.split}`, of {own.dataset}: {error}")
    missing = [name for name in columns if name not in dataset.column_names]
    if missing:
        fail(f"`{table}` of {own.dataset} has no column `{missing[0]}`, only {', '.join(dataset.column_names)}")
    return dataset.select_columns(list(columns)), hashes


def load_tokenizer(training: Any, model: ModelConfig) -> Any:
    # Whoever made the model wrote its chat template, which TRL renders by itself, in loops of its own.
    bound_every_rendering()
    return AutoTokenizer.from_pretrained(
        model.model_name_or_path, revision=model.model_revision, trust_remote_code=training.trust_remote_code
    )


def load_config(training: Any, model: ModelConfig) -> Any:
    return AutoConfig.from_pretrained(
        str(model.model_name_or_path), revision=model.model_revision, trust_remote_code=training.trust_remote_code
    )


def has_parts(training: Any, model: ModelConfig) -> bool:
    """Whether the model accepts more than text, so that a part of its config is about text."""
    config = load_config(training, model)
    return config.get_text_config() is not config


def refuse_other_vocabulary(largest: int, training: Any, model: ModelConfig) -> None:
    """Fail if a token has no row in the embedding, which would be an index error deep in the model or worse."""
    size = load_config(training, model).get_text_config().vocab_size
    if largest >= size:
        fail(
            f"the tokenizer of {model.model_name_or_path} gives token {largest}, but the model knows {size} tokens "
            "only: it is another model's tokenizer, put the right one beside the weights"
        )


def load_arguments(training: Any, model: ModelConfig) -> Json:
    """The `model_init_kwargs` of TRL's trainers, by which `from_pretrained` loads the model."""
    return {
        "revision": model.model_revision,
        "trust_remote_code": training.trust_remote_code,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }


def origin_of(own: Arguments, training: TrainingArguments, model: ModelConfig, files: dict[str, str]) -> Json:
    """The origin of a training: trainings with the same origin give the same weights."""
    return {
        "algorithm": own.algorithm,
        "split": own.split,
        "files": files,
        "model": model_identity(model, training),
        "settings": settings(own, training, model),
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, trl)},
    }


class Bookkeeping(TrainerCallback):
    """Writes the number of finished steps to a file, and the origin into each checkpoint."""

    def __init__(self, origin: Json, progress: str | None) -> None:
        self.origin = origin
        self.progress = progress

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.on_step_end(args, state, control)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # A resumed run does not know the steps since the last log, so its history would differ.
        control.should_log = control.should_log or control.should_save
        if self.progress and state.is_world_process_zero:
            write_json(Path(self.progress), {"done": state.global_step, "total": state.max_steps})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            write_json(Path(args.output_dir or "", f"checkpoint-{state.global_step}", ORIGIN), self.origin)


def last_checkpoint(folder: Path, origin: Json) -> str | None:
    """The last checkpoint with the same origin, or None. It is whole, because `ORIGIN` is written last."""
    found = folder.glob(f"checkpoint-*/{ORIGIN}")
    same = [path.parent for path in found if json.loads(path.read_text(encoding="utf-8")) == origin]
    return str(max(same, key=lambda path: int(path.name.rpartition("-")[2]))) if same else None


def save(trainer: Trainer, folder: Path, model: ModelConfig) -> None:
    """Save model, tokenizer and chat template as an ordinary model folder. An adapter is merged first.

    A model that sees images has further files, such as its image processor. They are copied, because servers need them.
    """
    assert trainer.model is not None
    training: Any = trainer.args
    adapted, trusted = is_peft_model(trainer.model), training.trust_remote_code
    trainer.save_model(str(folder / "adapter" if adapted else folder))
    if not trainer.is_world_process_zero():
        return
    if adapted:
        # The model is read back from disk, since a model that is sharded over devices cannot be merged in place.
        merged: Any = AutoPeftModelForCausalLM.from_pretrained(
            folder / "adapter", dtype=trainer.model.dtype, trust_remote_code=trusted
        )
        merged.merge_and_unload().save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder / "adapter", trust_remote_code=trusted)
        tokenizer.save_pretrained(folder)
    for name in BESIDE_THE_TOKENIZER if has_parts(training, model) else ():
        found = cached_file(
            str(model.model_name_or_path),
            name,
            revision=model.model_revision,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found is not None:
            shutil.copyfile(found, folder / name)
    # This file is a pickle with paths of this machine. Nobody who loads the model needs it.
    (folder / "training_args.bin").unlink(missing_ok=True)


def outcome(trainer: Trainer) -> Json:
    """The results without times, which differ from run to run. A row of `history` is a mean over steps."""
    # TRL counts `num_tokens` from 0 again after a resume.
    history = [
        {name: value for name, value in entry.items() if name != "num_tokens"}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    return {"steps": trainer.state.global_step, "epochs": trainer.state.epoch, "history": history}


def model_identity(model: ModelConfig, training: Any) -> Json:
    """Name and commit of a Hub model, or name of a local folder and SHA-256 of its weights."""
    name = str(model.model_name_or_path)
    if Path(name).is_dir():
        weights = sorted(Path(name).glob("*.safetensors"))
        return {"name": Path(name).name, "files": {path.name: sha256(path) for path in weights}}
    return {"name": name, "commit": load_config(training, model)._commit_hash}


def settings(own: Arguments, training: TrainingArguments, model: ModelConfig) -> Json:
    """The arguments that differ from their defaults and change the weights."""
    given: Json = {**asdict(own), **training.to_dict(), **asdict(model)}
    return {
        each.name: given[each.name]
        for each in (*fields(own), *fields(training), *fields(model))
        if each.init and not each.name.startswith(BY_CONTENT + NO_EFFECT + COMPUTED)
        if given[each.name] != (each.default if each.default_factory is MISSING else each.default_factory())
    }


def write_json(path: Path, value: Json) -> None:
    """Write JSON, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


def sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def fail(sentence: str) -> NoReturn:
    sys.exit(f"error: {sentence}")
