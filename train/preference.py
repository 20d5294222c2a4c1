"""Train the next solver on preference pairs, with TRL: by DPO, SPPO, SimPO, ORPO, IPO, CPO, KTO or SFT.

One GPU or none, on iteration 2 alone (incremental, the paper's table 6), from a folder or from the Hub:

    accelerate launch train/preference.py --config train/recipes/dpo.yaml \
        --dataset data/eva-ultrafeedback --split iter_2 \
        --model_name_or_path google/gemma-2-9b-it --output_dir theta_2

    accelerate launch train/preference.py --config train/recipes/simpo.yaml \
        --dataset acme/eva-ultrafeedback --revision iter-2 --split iter_1+iter_2 ...

Iteration 3, a quarter of the pairs of iterations 1 and 2 again, and theta_0 as DPO's reference:

    accelerate launch train/preference.py --config train/recipes/dpo.yaml --dataset data/eva-ultrafeedback \
        --split iter_3 --replay 0.25 --replay_split iter_1+iter_2 --reference_model google/gemma-2-9b-it ...

The recipe's `algorithm` (dpo, sppo, simpo, orpo, ipo, cpo, kto, sft) chooses TRL's trainer. All arguments of the
trainer's config and of `ModelConfig` can stand in the recipe or on the command line. `loss_type` chooses TRL's other
losses for DPO, and those of `pair_losses.py`. KTO takes each response by itself, SFT the chosen responses. For LoRA,
use `--use_peft --learning_rate 5e-6 --lora_r 32`; the adapter is merged into the saved model. accelerate handles
several GPUs and sharding: `accelerate launch --config_file fsdp.yaml ...`. A tracker, such as `--report_to wandb`, must
be installed.

`--output_dir` becomes an ordinary model folder. `training.json` in it holds the data and the results of the training.
With `--resume`, a training that was cut off goes on from its last checkpoint if data, model and settings are the same,
and otherwise starts again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from datasets import Dataset, concatenate_datasets
from pair_losses import PairTrainer, with_probabilities
from training import (
    Arguments,
    Bookkeeping,
    Json,
    chosen_algorithm,
    fail,
    has_parts,
    last_checkpoint,
    load_arguments,
    load_config,
    load_table,
    load_tokenizer,
    model_identity,
    origin_of,
    outcome,
    parse,
    refuse_other_vocabulary,
    save,
    write_json,
)
from transformers import Trainer
from trl import (
    DPOConfig,
    KTOConfig,
    KTOTrainer,
    ModelConfig,
    SFTConfig,
    SFTTrainer,
    apply_chat_template,
    get_peft_config,
    get_quantization_config,
)
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.trainer.utils import create_model_from_path

from eva_data.errors import EvaError
from eva_data.method.replay import replayed


class Algorithm(NamedTuple):
    """TRL's classes for an algorithm, and the arguments that define the algorithm."""

    config: type[Any]
    trainer: type[Any]
    defaults: Json


ALGORITHMS = {
    "dpo": Algorithm(DPOConfig, PairTrainer, {}),
    "sppo": Algorithm(DPOConfig, PairTrainer, {"loss_type": ["sppo"]}),
    "simpo": Algorithm(CPOConfig, CPOTrainer, {"loss_type": "simpo", "cpo_alpha": 0.0}),
    "orpo": Algorithm(ORPOConfig, ORPOTrainer, {}),
    "ipo": Algorithm(DPOConfig, PairTrainer, {"loss_type": ["ipo"]}),
    "cpo": Algorithm(CPOConfig, CPOTrainer, {}),
    "kto": Algorithm(KTOConfig, KTOTrainer, {}),
    "sft": Algorithm(SFTConfig, SFTTrainer, {}),
}
WITH_REFERENCE = (PairTrainer, KTOTrainer)
"""The trainers whose losses have a reference model."""


COLUMNS = ("prompt", "chosen", "rejected")


@dataclass(kw_only=True)
class PairArguments(Arguments):
    """Arguments beside TRL's own."""

    table: str = field(default="preferences", metadata={"help": "Config of the dataset."})
    replay: float = field(default=0.0, metadata={"help": "Share of the pairs of `replay_split` to train on again."})
    replay_split: str = field(default="", metadata={"help": "Earlier iterations to replay, such as iter_1+iter_2."})
    reference_model: str | None = field(
        default=None,
        metadata={"help": "Reference model of DPO, SPPO, IPO and KTO; by default the model that is trained."},
    )
    reference_revision: str | None = field(default=None, metadata={"help": "Tag, branch or commit of the reference."})
    win_probabilities_since: int | None = field(
        default=None,
        metadata={
            "help": "First iteration whose scores are probabilities of winning, by a pairwise reward; SPPO's targets "
            "follow from them. Without it, the chosen response counts as the certain winner."
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    own, training, model = parse_arguments(arguments)
    folder = Path(training.output_dir or "")
    columns = COLUMNS if own.win_probabilities_since is None else COLUMNS + SCORES
    dataset, files = load_table(own, own.table, columns)
    earlier, files_of_earlier, replay = replay_pairs(own, training.seed, columns)
    dataset, counts = usable_pairs(concatenate_datasets([dataset, *earlier]), own, training, model)
    if own.win_probabilities_since is not None:
        dataset, targets = with_probabilities(dataset, own.win_probabilities_since)
        counts |= targets
    print("pairs:", counts)
    origin = origin_of(own, training, model, files | files_of_earlier) | replay
    if own.reference_model is not None:
        origin["reference"] = model_identity(reference_of(own, model), training)
    trainer = build_trainer(dataset, own, training, model)
    trainer.add_callback(Bookkeeping(origin, own.progress))
    trainer.train(resume_from_checkpoint=last_checkpoint(folder, origin) if own.resume else None)
    save(trainer, folder, model)
    if trainer.is_world_process_zero():
        write_json(folder / "training.json", {**origin, "pairs": counts, **outcome(trainer)})
    trainer.end()


COLUMNS = ("prompt", "chosen", "rejected")
SCORES = ("score_chosen", "score_rejected", "verdict_by", "iteration")


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[PairArguments, Any, ModelConfig]:
    algorithm = ALGORITHMS[chosen_algorithm(arguments, list(ALGORITHMS))]
    return parse(PairArguments, algorithm.config, arguments, **algorithm.defaults)


def replay_pairs(own: PairArguments, seed: int, columns: Sequence[str]) -> tuple[list[Dataset], dict[str, str], Json]:
    """The drawn pairs of each earlier split, the hashes of their files, and what `training.json` says of them."""
    if not (own.replay and own.replay_split):
        return [], {}, {}
    drawn: list[Dataset] = []
    hashes: dict[str, str] = {}
    counts: dict[str, int] = {}
    for name in own.replay_split.split("+"):
        table, files = load_table(replace(own, split=name), own.table, (*columns, "pair_id"))
        ids = pl.DataFrame({"pair_id": table["pair_id"][:]})
        into, iteration = (int(split.rpartition("_")[2]) for split in (own.split, name))
        chosen = replayed(ids.lazy(), share=own.replay, seed=seed, into=into, iteration=iteration).collect()
        rows = ids.with_row_index().join(chosen, on="pair_id", how="semi", maintain_order="left")["index"]
        drawn.append(table.select(rows.to_list()).select_columns(list(columns)))
        hashes |= files
        counts[name] = rows.len()
    return drawn, hashes, {"replay": {"share": own.replay, "seed": seed, "pairs": counts}}


def reference_of(own: PairArguments, model: ModelConfig) -> ModelConfig:
    return replace(model, model_name_or_path=own.reference_model, model_revision=own.reference_revision or "main")


def usable_pairs(
    dataset: Dataset, own: PairArguments, training: Any, model: ModelConfig
) -> tuple[Dataset, dict[str, int]]:
    """Leave out and count pairs that teach nothing, and pairs that TRL would cut. A response without its end would
    teach a model not to stop."""
    measured = measure(dataset, load_tokenizer(training, model), training.dataset_num_proc).with_format("numpy")
    same = measured["same"][:]
    long_prompt = ~same & (measured["prompt"][:] > (own.max_prompt_length or sys.maxsize))
    long_sequence = ~same & ~long_prompt & (measured["sequence"][:] > (training.max_length or sys.maxsize))
    kept = (~same & ~long_prompt & ~long_sequence).nonzero()[0]
    counts = {
        "read": len(dataset),
        "same_response": int(same.sum()),
        "prompt_too_long": int(long_prompt.sum()),
        "sequence_too_long": int(long_sequence.sum()),
        "trained": len(kept),
    }
    if len(kept) == 0:
        fail(
            f"none of {len(dataset)} pairs can be trained on: in {counts['same_response']} the two responses are the "
            f"same, {counts['prompt_too_long']} prompts have more tokens than `max_prompt_length` "
            f"{own.max_prompt_length}, and {counts['sequence_too_long']} other pairs more than `max_length` "
            f"{training.max_length}: make other pairs, or raise what is too low in the recipe"
        )
    refuse_other_vocabulary(int(measured["largest"][:].max()), training, model)
    return dataset.select(kept), counts


def measure(dataset: Dataset, tokenizer: Any, processes: int | None) -> Dataset:
    """Per pair: tokens of the prompt and of the longer sequence, the largest token, and whether responses are equal."""

    def tokens(turns: list[list[Json]], answered: bool) -> list[list[int]]:
        ids: Any = tokenizer.apply_chat_template(turns, add_generation_prompt=not answered, return_dict=False)
        return list(ids)

    def of_batch(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        chosen, rejected = (
            tokens([turns + answer for turns, answer in zip(batch["prompt"], batch[name], strict=True)], True)
            for name in ("chosen", "rejected")
        )
        both = list(zip(chosen, rejected, strict=True))
        return {
            "prompt": [len(ids) for ids in tokens(batch["prompt"], False)],
            "sequence": [max(map(len, pair)) for pair in both],
            "largest": [max(map(max, pair)) for pair in both],
            "same": [pair[0] == pair[1] for pair in both],
        }

    return dataset.map(of_batch, batched=True, remove_columns=dataset.column_names, num_proc=processes)


def build_trainer(dataset: Dataset, own: PairArguments, training: Any, model: ModelConfig) -> Trainer:
    trainer = ALGORITHMS[own.algorithm].trainer
    if own.reference_model is not None and trainer not in WITH_REFERENCE:
        fail(f"`reference_model` is given, but the loss of {own.algorithm} has no reference model: leave it out")
    if trainer in (CPOTrainer, ORPOTrainer):
        return without_reference(trainer, dataset, training, model)
    if trainer is KTOTrainer:
        dataset = one_by_one(dataset, training.seed)
    elif trainer is SFTTrainer:
        dataset = dataset.select_columns(["prompt", "chosen"]).rename_column("chosen", "completion")
    training.model_init_kwargs = load_arguments(training, model)
    reference = {}
    if own.reference_model is not None:
        reference["ref_model"] = load_reference(own, training, model)
    built: Any = trainer(
        model=str(model.model_name_or_path),
        args=training,
        train_dataset=dataset,
        # For a model that sees images, TRL would ask for the image processor, which pairs of texts do not need.
        processing_class=load_tokenizer(training, model) if has_parts(training, model) else None,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
        **reference,
    )
    if reference and training.precompute_ref_log_probs:
        # Its log-probabilities are in the data by now. Otherwise a reference of its own would stay in memory.
        built.ref_model = None
    ready: Trainer = built
    return ready


def load_reference(own: PairArguments, training: Any, model: ModelConfig) -> Any:
    """Another reference model than the model that is trained, loaded as TRL loads its own."""
    reference = reference_of(own, model)
    sizes = [load_config(training, each).get_text_config().vocab_size for each in (model, reference)]
    if sizes[0] != sizes[1]:
        fail(
            f"the reference model {own.reference_model} knows {sizes[1]} tokens, and the model that is trained "
            f"{sizes[0]}: name a model with the same tokenizer, such as the model that training began with"
        )
    arguments = load_arguments(training, reference) | {"quantization_config": get_quantization_config(model)}
    if training.distributed_state.distributed_type in ("MULTI_GPU", "DEEPSPEED"):
        # The default, "auto", does not work with distributed training.
        arguments["device_map"] = None
    return create_model_from_path(str(reference.model_name_or_path), **arguments)


def one_by_one(dataset: Dataset, seed: int) -> Dataset:
    """A row for each response: prompt, completion, and whether it is the chosen one. There are two passes.

    TRL takes these rows in order. It estimates KTO's KL term from the prompt of a row with the completion of the row
    before it. So neighbours are of different prompts, and chosen and rejected responses alternate.
    """
    mixed = dataset.shuffle(seed=seed)

    def row(pair: Json, number: int, first: int) -> Json:
        chosen = number % 2 == first
        return {"completion": pair["chosen" if chosen else "rejected"], "label": chosen}

    passes = [
        mixed.map(row, with_indices=True, fn_kwargs={"first": first}, remove_columns=["chosen", "rejected"])
        for first in (0, 1)
    ]
    return concatenate_datasets(passes)


def without_reference(trainer: type[Any], dataset: Dataset, training: Any, model: ModelConfig) -> Trainer:
    """One of TRL's experimental trainers, with the devices and tokens of its DPOTrainer.

    One token differs: if a template does not end with an end-of-sequence token, these trainers add one.
    """
    training.model_init_kwargs = load_arguments(training, model) | {
        # The default, "auto", does not work with distributed training.
        "device_map": None,
        "quantization_config": get_quantization_config(model),
    }
    training.remove_unused_columns = False
    tokenizer = load_tokenizer(training, model)
    # Without a padding token, they would pad with None.
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    dataset = dataset.map(
        apply_chat_template, fn_kwargs={"processing_class": tokenizer}, num_proc=training.dataset_num_proc
    )
    # They put a beginning-of-sequence token before every prompt. If the template has none, the model would not see it
    # when it answers.
    beginning, tokenizer.bos_token = tokenizer.bos_token, None
    built: Trainer = trainer(
        model=str(model.model_name_or_path),
        args=training,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=get_peft_config(model),
    )
    tokenizer.bos_token = beginning
    return built


if __name__ == "__main__":
    try:
        main()
    except EvaError as error:
        fail(str(error))
