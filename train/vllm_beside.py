"""vLLM beside a trainer (`use_vllm` in a recipe): what it needs, the present weights, and the creator.

TRL samples the responses of the training by vLLM, in its process (`vllm_mode: colocate`) or by a server
(`vllm_mode: server`), and gives it the weights of each step. Here the policy that rewrites prompts, or answers new
ones, asks the same engine. It asks after the step, so it gets the weights first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from training import fail

from eva_data.calls import Sampling
from eva_data.models.cluster.computing import Here
from eva_data.models.cluster.sampler import TokenBatch
from eva_data.models.decode import Decoded
from eva_data.models.in_training import Policy

AT_ONCE = 64
"""Requests that wait at a server together."""


def refuse_missing_vllm(training: Any) -> None:
    if training.use_vllm and find_spec("vllm") is None:
        fail(
            "`use_vllm` is true, but the package `vllm`, which would sample the responses, is not installed: install "
            "it with `pip install 'trl[vllm]'` on a machine with a GPU, or leave `use_vllm` out"
        )


def refuse_divided(training: Any) -> None:
    """End if the policy cannot ask the engine between steps, when the main process alone asks."""
    if training.use_vllm and training.vllm_mode == "colocate":
        for name, usual in (("vllm_tensor_parallel_size", 1), ("vllm_enable_sleep_mode", False)):
            if getattr(training, name) != usual:
                fail(
                    f"`{name}` is {getattr(training, name)}, with which the model that is trained cannot rewrite "
                    f"prompts in between: leave it at {usual}, use `vllm_mode: server`, or name a `creator` of its own "
                    "in eva.yaml"
                )


def take_present_weights(trainer: Any) -> None:
    """Give vLLM the weights after the last step, unless it has them. Every process takes part."""
    step = trainer.state.global_step
    if trainer._last_loaded_step == step:
        return
    if "vllm_generation" in vars(trainer):
        trainer.vllm_generation.sync_weights()
    else:
        trainer._move_model_to_vllm()
    # TRL then gives it no weights again before the responses of the next step.
    trainer._last_loaded_step = step


class VllmPolicy(Policy):
    """The policy, whose completions vLLM samples. Each has a seed of its own."""

    def beside(self, trainer: Any) -> VllmPolicy:
        self._computing = Here(_Engine(trainer, Sampling(**self.sampling), self._computing.facts))
        return self


class _Engine:
    """Samples one completion for each prompt of a batch by the trainer's vLLM."""

    def __init__(self, trainer: Any, sampling: Sampling, facts: Mapping[str, Any]) -> None:
        self._trainer, self._sampling, self.facts = trainer, sampling, facts

    def __call__(self, batch: TokenBatch) -> list[Decoded]:
        engine = vars(self._trainer).get("vllm_generation", self._trainer)
        if self._trainer.args.vllm_mode == "server":
            found = _by_server(engine.vllm_client, batch.prompts, batch.seeds, self._sampling)
        else:
            found = _in_process(engine.llm, batch.prompts, batch.seeds, self._sampling)
        return [self._decoded(tokens) for tokens in found]

    def _decoded(self, tokens: list[int]) -> Decoded:
        place = next((place for place, token in enumerate(tokens) if token in self.facts["ends"]), None)
        return Decoded(tokens[:place], place is not None)


def _by_server(client: Any, prompts: Sequence[list[int]], seeds: Sequence[int], sampling: Sampling) -> list[list[int]]:
    def ask(prompt: list[int], seed: int) -> list[int]:
        found = client.generate(
            [prompt],
            n=1,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            logprobs=None,
            generation_kwargs={"seed": seed},
        )
        tokens: list[int] = found["completion_ids"][0]
        return tokens

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, prompts, seeds))


def _in_process(llm: Any, prompts: Sequence[list[int]], seeds: Sequence[int], sampling: Sampling) -> list[list[int]]:
    from vllm import SamplingParams  # type: ignore[import-not-found, unused-ignore]

    each = [
        SamplingParams(
            n=1,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=seed,
            detokenize=False,
        )
        for seed in seeds
    ]
    outputs = llm.generate([{"prompt_token_ids": list(prompt)} for prompt in prompts], each, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]
