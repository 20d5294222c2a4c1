"""Train online, on prompts that grow while the model learns: TRL's RLOO, GRPO or online DPO (OAIF) with eva's buffer.

`eva-data online --steps N` writes the file `--game`, with the reward and the creator, and runs this:

    accelerate launch train/online.py --config train/recipes/rloo.yaml --game game.json \
        --dataset data/seeds --split iter_1 --model_name_or_path google/gemma-2-9b-it \
        --max_steps 400 --output_dir theta

TRL does the generation, advantages, losses and the loop. This script decides which prompts a step gets. The dataloader
brings empty rows, because accelerate fetches a batch before the step that decides its prompts. `training_step` then
puts the prompts of the curriculum in their place. Rewards are computed once, by a function that TRL calls, and kept for
the informativeness. After each optimizer step, the model itself or the creator of the game evolves the most informative
prompts, and `record.jsonl` beside the game gets a line.

Several processes share a batch. If a model is sharded over them (FSDP, ZeRO-3), the creator must be another model. With
`--resume`, a run that was cut off goes on from its last checkpoint: weights, optimizer and buffer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from growing_prompts import CURRICULUM, OnlineArguments, Play
from resampling import REFUSED, resampled, scaled
from training import (
    Bookkeeping,
    Json,
    chosen_algorithm,
    fail,
    last_checkpoint,
    load_arguments,
    load_table,
    load_tokenizer,
    origin_of,
    outcome,
    parse,
    save,
    write_json,
)
from trl import GRPOConfig, GRPOTrainer, ModelConfig, RLOOConfig, RLOOTrainer, get_peft_config
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer
from vllm_beside import refuse_missing_vllm

from eva_data.errors import EvaError
from eva_data.tables.schemas import PROMPTS


def main(arguments: Sequence[str] | None = None) -> None:
    own, training, model = parse_arguments(arguments)
    folder = Path(training.output_dir or "")
    game = json.loads(Path(own.game).read_text(encoding="utf-8"))
    seeds, files = load_table(own, "prompts", PROMPTS.names())
    origin = origin_of(own, training, model, files) | {"game": game["content"]}
    # This is a path of this machine. The content of the file is in the origin.
    del origin["settings"]["game"]
    checkpoint = last_checkpoint(folder, origin) if own.resume else None
    play = Play(own, training, game)
    trainer = build_trainer(own, training, model, play)
    play.start(trainer, seeds.to_list(), model)
    if checkpoint:
        play.curriculum.load(json.loads(Path(checkpoint, CURRICULUM).read_text(encoding="utf-8")))
    # The order matters: a checkpoint counts once `Bookkeeping` has written its origin.
    trainer.add_callback(play)
    trainer.add_callback(Bookkeeping(origin, own.progress))
    trainer.train(resume_from_checkpoint=checkpoint)
    save(trainer, folder, model)
    if trainer.is_world_process_zero():
        result = untimed(outcome(trainer)) | {"seeds": play.counts, "sampling": play.sampling}
        write_json(folder / "training.json", {**origin, **result})
    trainer.end()


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[OnlineArguments, Any, ModelConfig]:
    """The arguments. A step is one batch of `prompts` prompts, which is generated and trained on once."""
    algorithm = chosen_algorithm(arguments, list(TRAINERS))
    own, training, model = parse(OnlineArguments, TRAINERS[algorithm][0], arguments)
    if training.max_steps < 1:
        fail("`max_steps` is missing: say how many steps to train, since the prompts have no end")
    in_groups = algorithm != "oaif"
    rows = own.prompts * (training.num_generations if in_groups else 1)
    together = training.per_device_train_batch_size * training.world_size
    if rows % together or own.batch_size is not None:
        fail(
            f"a step has `prompts` {own.prompts}, {rows} rows, which {training.world_size} devices cannot share at "
            f"`per_device_train_batch_size` {training.per_device_train_batch_size}: change one of the two, and leave "
            "`batch_size` out"
        )
    training.gradient_accumulation_steps = rows // together
    refuse_resampling(own, training)
    refuse_missing_vllm(training)
    if in_groups:
        if training.num_iterations != 1:
            fail("`num_iterations` is not 1, but each step's prompts are trained on once: leave it out")
        training.steps_per_generation, training.generation_batch_size = rows // together, rows
    return own, training, model


def refuse_resampling(own: OnlineArguments, training: Any) -> None:
    if not own.max_resample:
        return
    if own.algorithm != "grpo":
        fail(f"`max_resample` is {own.max_resample}, but only grpo replaces groups of equal rewards: leave it out")
    for name, values in REFUSED.items():
        if getattr(training, name) in values:
            fail(
                f"`{name}` is {getattr(training, name)}, with which groups of equal rewards cannot be replaced: change "
                "it, or leave `max_resample` out"
            )


def build_trainer(own: OnlineArguments, training: Any, model: ModelConfig, play: Play) -> Any:
    """TRL's trainer, with an empty row for each prompt that it will ask for."""
    empty = Dataset.from_dict({"prompt": [[{"role": "user", "content": "-"}]] * (own.prompts * training.max_steps)})
    training.model_init_kwargs = load_arguments(training, model)
    tokenizer = load_tokenizer(training, model)
    if own.algorithm == "oaif":
        # The default, "auto", does not work with distributed training.
        training.model_init_kwargs["device_map"] = None
    trainer = TRAINERS[own.algorithm][1](
        model=str(model.model_name_or_path),
        args=training,
        reward_funcs=play.reward,
        train_dataset=empty,
        processing_class=tokenizer,
        peft_config=get_peft_config(model),
    )
    trainer.play = play
    return trainer


class Rloo(RLOOTrainer):
    """RLOO on the curriculum's prompts. Each prompt is repeated for its completions."""

    play: Play

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        mine = own_rows(self)
        return super().training_step(model, mine, num_items_in_batch)  # type: ignore[no-untyped-call]


class Grpo(GRPOTrainer):
    """GRPO on the curriculum's prompts. Groups of equal rewards are replaced, see `resampling`."""

    play: Play

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        mine = own_rows(self)
        return super().training_step(model, mine, num_items_in_batch)  # type: ignore[no-untyped-call]

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        return resampled(self, inputs, super()._generate_and_score_completions)

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        return scaled(self, super()._compute_loss(model, inputs), inputs)  # type: ignore[no-untyped-call]


def own_rows(trainer: Any) -> list[Json]:
    """The rows of this process: each prompt of the step as often as it is answered."""
    rows = [row for row in trainer.play.batch(trainer) for _ in range(trainer.num_generations)]
    size, place = len(rows) // trainer.accelerator.num_processes, trainer.accelerator.process_index
    return rows[place * size : (place + 1) * size]


class OnlineDpo(OnlineDPOTrainer):
    """Online DPO on the curriculum's prompts, which are cut into pieces for gradient accumulation.

    A pair that the block `pair` of the settings does not want has no gradient.
    """

    play: Play

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        rows, size = self.play.batch(self), self.args.per_device_train_batch_size
        piece = self.play.pieces * self.accelerator.num_processes + self.accelerator.process_index
        mine = rows[piece * size : (piece + 1) * size]
        self.play.pieces += 1
        return super().training_step(model, {key: [row[key] for row in mine] for key in mine[0]}, num_items_in_batch)

    def _forward(self, *arguments: Any, **more: Any) -> Any:
        logprobs = super()._forward(*arguments, **more)  # type: ignore[no-untyped-call]
        if logprobs.requires_grad:
            # TRL scores the responses after this pass and before the gradient.
            logprobs.register_hook(lambda gradient: gradient * gradient.new_tensor(self.play.kept)[:, None])
        return logprobs


TRAINERS: dict[str, tuple[type[Any], type[Any]]] = {
    "rloo": (RLOOConfig, Rloo),
    "grpo": (GRPOConfig, Grpo),
    "oaif": (OnlineDPOConfig, OnlineDpo),
}


def untimed(result: Json) -> Json:
    """The result without values that differ from run to run."""
    history = [{name: value for name, value in row.items() if name != "step_time"} for row in result["history"]]
    return result | {"history": history}


if __name__ == "__main__":
    try:
        main()
    except EvaError as error:
        fail(str(error))
