"""The arguments of `online.py`, and the link between TRL's trainer and the curriculum."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object, set_seed
from training import Arguments, Json, fail, load_tokenizer, refuse_other_vocabulary, write_json
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import ModelConfig
from vllm_beside import VllmPolicy, refuse_divided, take_present_weights

from eva_data.calls import Chain, Completion, FinishReason, Request, Sampling, valid_unicode
from eva_data.config import Estimate, Evolve, Pair
from eva_data.evolve.while_training import LiveEvolve
from eva_data.jobs.job import Job
from eva_data.method.buffer import Rules, unit_draw
from eva_data.models.in_training import Policy
from eva_data.rewards.while_training import LiveReward
from eva_data.training.curriculum import Answer, Curriculum, Selection

CURRICULUM = "curriculum.json"
"""The file in each checkpoint with the state of the buffer."""

GENERATED_TOGETHER = 64
"""Number of rewrites that the shared creator computes at once."""


@dataclass(kw_only=True)
class OnlineArguments(Arguments):
    """Arguments beside TRL's own. The sizes are the fields of `eva_data.method.buffer.Rules`."""

    game: str = field(metadata={"help": "File that `eva-data online` writes: reward, creator, evolving."})
    prompts: int = field(default=8, metadata={"help": "Prompts per step over all devices."})
    evolved: float = field(default=0.5, metadata={"help": "Share of a step's prompts that is evolved."})
    n_new: int = field(default=4, metadata={"help": "Evolutions of each of them."})
    n_new_bootstrap: int = field(default=2, metadata={"help": "The same once all seeds are used."})
    capacity: int = field(default=3200, metadata={"help": "Prompts that the buffer holds."})
    from_buffer: float = field(default=0.5, metadata={"help": "Share of a step's prompts from the full buffer."})
    priority: str = field(default="parent", metadata={"choices": ["parent", "estimate"], "help": "Of new prompts."})
    max_resample: int = field(
        default=0, metadata={"help": "GRPO: rounds in which groups of equal rewards are replaced by new prompts."}
    )
    max_completions: int | None = field(
        default=None, metadata={"help": "End after the step in which so many responses were generated in all."}
    )
    static: bool = field(default=False, metadata={"help": "Evolve nothing: the same algorithm on the seeds."})


class Play(TrainerCallback):
    """Hands out prompts, receives rewards, and lets prompts evolve after a step."""

    curriculum: Curriculum

    def __init__(self, own: OnlineArguments, training: Any, game: Json) -> None:
        self.own, self.training, self.game = own, training, game
        self.score = LiveReward(Job.load(Path(game["reward"])))
        self.answers: list[Answer] = []
        self.rows: list[Json] = []
        self.pieces = 0
        self.counts: dict[str, int] = {}
        self.told, self.rounds = 0, 0
        self.trained: list[str] | None = None

    def start(self, trainer: Any, seeds: list[Json], model: ModelConfig) -> None:
        """Prepare everything that needs the model. Only the main process evolves prompts, but each has a curriculum."""
        self.trainer, self.main = trainer, trainer.accelerator.is_main_process
        self.model = trainer.accelerator.unwrap_model(trainer.model)
        self.tokenizer = load_tokenizer(self.training, model)
        refuse_other_vocabulary(len(self.tokenizer) - 1, self.training, model)
        usable = {row["prompt_id"]: row for row in seeds if self.fits(row["prompt"])}
        self.counts = {"read": len(seeds), "prompt_too_long": len(seeds) - len(usable)}
        if self.asks_policy:
            refuse_divided(self.training)
        beside = Path(self.own.game)
        if self.main:
            too_long = [row["prompt_id"] for row in seeds if row["prompt_id"] not in usable]
            beside.with_name("too_long.json").write_text(json.dumps(too_long), encoding="utf-8")
        own, settings = self.own, Evolve.model_validate(self.game["evolve"])
        fresh = self.game["content"]["online"]["estimate"] == "fresh"
        self.curriculum = Curriculum(
            seeds=usable,
            rules=Rules(own.prompts, own.evolved, own.n_new, own.n_new_bootstrap, own.capacity, own.from_buffer),
            seed=self.training.seed,
            record=beside.with_name("record.jsonl") if self.main else None,
            evolve=None if own.static else self.on_main(self.evolver(settings), by_policy=self.game["creator"] is None),
            estimate=self.on_main(self.estimate, by_policy=True) if fresh or own.priority == "estimate" else None,
            only_high=fresh,
            selection=Selection(
                Estimate.model_validate(self.game["estimate"]),
                Pair.model_validate(self.game["pair"]),
                settings.max_depth,
                self.game["band"],
            ),
        )

    @property
    def asks_policy(self) -> bool:
        """Whether the model that is trained is asked between the steps."""
        fresh = self.game["content"]["online"]["estimate"] == "fresh" or self.own.priority == "estimate"
        return fresh or (self.game["creator"] is None and not self.own.static)

    def evolver(self, settings: Evolve) -> LiveEvolve | None:
        if not self.main:
            return None
        if self.game["creator"] is not None:
            creator = Job.load(Path(self.game["creator"])).llm()
            creator.load()
        else:
            if self.trainer.is_fsdp_enabled or self.trainer.is_deepspeed_enabled:
                fail(
                    "the model is sharded over devices, so it cannot rewrite prompts in between: name a `creator` of "
                    "its own in eva.yaml, or train without FSDP and DeepSpeed"
                )
            creator = self.policy(Sampling(settings.temperature, settings.top_p, settings.max_tokens))
        return LiveEvolve.of(creator, settings, seed=self.training.seed, fits=self.fits)

    def policy(self, sampling: Sampling) -> Policy:
        kind = VllmPolicy if self.training.use_vllm else Policy
        policy = kind.of(
            self.model,
            self.tokenizer,
            sampling,
            fingerprint=self.game["content"]["policy"],
            seed=self.training.seed,
            batch_size=GENERATED_TOGETHER,
            system=self.game["content"]["system"],
        )
        return policy.beside(self.trainer) if isinstance(policy, VllmPolicy) else policy

    def estimate(self, rows: Sequence[Json], step: int) -> dict[str, list[Answer]]:
        """Answers to new prompts, as many to each as a step takes."""
        sampling = dict(self.sampling)
        n = sampling.pop("responses")
        policy = self.policy(Sampling(**sampling))
        chains = [ask(row["prompt"], n, f"estimate:{step}") for row in rows]
        found = policy.drive(chains, n * len(rows))
        asked = [(row, answer) for row, answers in zip(rows, found, strict=True) for answer in answers]
        texts = [answer.text or "" for _, answer in asked]
        scores = self.score([row["prompt"] for row, _ in asked], texts)
        given: dict[str, list[Answer]] = {row["prompt_id"]: [] for row in rows}
        for (row, answer), text, score in zip(asked, texts, scores, strict=True):
            name = row["prompt_id"]
            given[name].append(Answer(name, text, *score, answer.finish_reason, answer.completion_tokens))
        return given

    @property
    def sampling(self) -> Json:
        """How responses are sampled, with the keys of a `solver` block."""
        training, pairs = self.training, self.own.algorithm == "oaif"
        return {
            "responses": self.trainer.num_generations,
            "temperature": training.temperature,
            "top_p": training.top_p,
            "max_tokens": training.max_new_tokens if pairs else training.max_completion_length,
        }

    def on_main(self, work: Any, *, by_policy: bool) -> Any:
        """Let the main process do `work`, with the model in evaluation mode, and give the result to every process.

        `by_policy` says whether the model that is trained is asked for it.
        """

        def done(*arguments: Any) -> Any:
            result = [None]
            if by_policy and self.training.use_vllm:
                take_present_weights(self.trainer)
            if self.main:
                training = self.model.training
                self.model.eval()
                with self.trainer.accelerator.autocast():
                    result = [work(*arguments)]
                self.model.train(training)
            return broadcast_object_list(result)[0]

        return done

    def fits(self, prompt: Sequence[Json]) -> bool:
        ids: Any = self.tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True, return_dict=False)
        return len(ids) <= (self.own.max_prompt_length or sys.maxsize)

    def batch(self, trainer: Any) -> list[Json]:
        """The prompts of the present step, whose sampling starts from its own seed."""
        step = trainer.state.global_step + 1
        if step != self.curriculum.step:
            self.rows = [{key: row[key] for key in ("prompt", "prompt_id")} for row in self.curriculum.begin(step)]
            self.answers, self.pieces, self.told, self.rounds, self.trained = [], 0, 0, 0, None
            set_seed(int(unit_draw(self.training.seed, "sampling", step) * 2**31), device_specific=True)
        return self.rows

    def round(self) -> list[Answer]:
        """The answers of all processes since the last call, in the order of the rows."""
        new, self.told = self.answers[self.told :], len(self.answers)
        found: list[Answer] = gather_object(new)
        return found

    def more(self, count: int, multiple: int) -> list[Json]:
        """New prompts in the place of `count` others, as rows of a batch."""
        self.rounds += 1
        rows = self.curriculum.more(count, multiple=multiple)
        return [{key: row[key] for key in ("prompt", "prompt_id")} for row in rows]

    def reward(
        self,
        prompts: list[Any],
        completions: list[Any],
        completion_ids: list[list[int]],
        prompt_id: list[str],
        **_: Any,
    ) -> list[float | None]:
        """The rewards for TRL, which are kept for the curriculum too."""
        texts = [valid_unicode(completion[0]["content"]) for completion in completions]
        scores = self.score(prompts, texts)
        for name, text, score, ids in zip(prompt_id, texts, scores, completion_ids, strict=True):
            end = next((place for place, token in enumerate(ids) if token in self.trainer.eos_token_ids), None)
            finish: FinishReason = "length" if end is None else "stop"
            self.answers.append(Answer(name, text, *score, finish, len(ids) if end is None else end))
        rewards = [score.reward for score in scores]
        if self.own.algorithm != "oaif":
            return rewards
        self.kept = kept(rewards, Pair.model_validate(self.game["pair"]))
        return tied(rewards)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.curriculum.finish(gather_object(self.answers), self.trained, self.rounds)
        most = self.own.max_completions
        control.should_training_stop |= most is not None and self.curriculum.generated >= most

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.main:
            path = Path(args.output_dir or "", f"checkpoint-{state.global_step}", CURRICULUM)
            write_json(path, self.curriculum.dump())


def tied(rewards: list[float | None]) -> list[float | None]:
    """The rewards of all first responses, then of all second responses. A missing reward is copied from the other one.

    OnlineDPOTrainer would count a missing reward as 0, which is more than many rewards of reward models.
    """
    half = len(rewards) // 2
    others = rewards[half:] + rewards[:half]
    return [other if reward is None else reward for reward, other in zip(rewards, others, strict=True)]


def kept(rewards: list[float | None], pair: Pair) -> list[bool]:
    """Whether `pair` lets a response be trained on, in the order of `tied`: both responses of a pair, or none."""
    half = len(rewards) // 2
    both = [
        first is not None
        and second is not None
        and max(first, second) >= (-math.inf if pair.min_chosen is None else pair.min_chosen)
        and abs(first - second) >= (pair.margin or 0.0)
        for first, second in zip(rewards[:half], rewards[half:], strict=True)
    ]
    return both + both


def ask(prompt: Sequence[Json], n: int, salt: str) -> Chain[list[Completion]]:
    return (yield [Request(tuple(prompt), index, salt) for index in range(n)])
