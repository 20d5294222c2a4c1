"""What an online run will take, said before any weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass

from eva_data.game.online import Online, prompts_per_step, sampled_otherwise, seeds_for, steps_for
from eva_data.iteration.players import solver_of
from eva_data.iteration.ready import refuse_unready
from eva_data.iteration.run import Run
from eva_data.models.listing import trouble_at
from eva_data.training.online_tables import ITERATION
from eva_data.training.recipes import find_recipe, generated_by, refuse_missing_packages, value_in

_HEALTH = "/health"


@dataclass(frozen=True)
class OnlinePlan:
    """The size of an online run, and who samples its responses."""

    algorithm: str
    recipe: str
    steps: int
    prompts: int
    """Prompts that are trained on, repeated ones included: steps x prompts per step."""
    seeds: int
    responses: int
    """Responses per prompt."""
    completions: int
    """Responses that are generated and scored, without those to prompts that replace others."""
    replaced_at_most: int
    """Responses to prompts that replace groups of equal rewards, at most; 0 if the recipe replaces none."""
    generation: str
    """`transformers`, `vllm colocate` or `vllm server`."""
    server: str | None
    """The URL of the vLLM server; None for the other ways."""
    server_error: str | None
    """Why the server cannot be used now; None if it answers, or if there is none."""
    creator: str | None
    """The model that rewrites prompts; None if nothing is evolved."""
    notes: tuple[str, ...]
    """One sentence per setting that the recipe decides otherwise than the solver's block."""


def plan_online(run: Run, online: Online) -> OnlinePlan:
    """Check what an online run needs, and say what it takes. No model is loaded or asked.

    Raise ConfigError or DataError as the run would, and MissingExtraError if a package is missing. A vLLM server that
    does not answer is said in the plan, as it may be started later.
    """
    recipe = find_recipe(online.recipe)
    refuse_unready(run, ITERATION)
    refuse_missing_packages(recipe)
    seeds = seeds_for(run, begin=False)
    algorithm = str(value_in(recipe, "algorithm"))
    responses = 2 if algorithm == "oaif" else (value_in(recipe, "num_generations") or 8)
    steps = steps_for(online, seeds)
    prompts = steps * prompts_per_step(recipe)
    generation, url = generated_by(recipe)
    creator = run.config.creator
    return OnlinePlan(
        algorithm=algorithm,
        recipe=recipe.stem,
        steps=steps,
        prompts=prompts,
        seeds=seeds,
        responses=responses,
        completions=prompts * responses,
        replaced_at_most=prompts * responses * (value_in(recipe, "max_resample") or 0),
        generation=generation,
        server=url,
        server_error=None if url is None else trouble_at(url + _HEALTH),
        creator=None if online.static else "the trained model" if isinstance(creator, str) else creator.model,
        notes=tuple(sampled_otherwise(solver_of(run, ITERATION).block, recipe)),
    )
