"""Who plays: from a block of the settings to a model that a job can ask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from eva_data.config import ApiModel, Evolve, Generation, Model, TransformersModel, VllmModel
from eva_data.errors import ConfigError
from eva_data.evolve.reply_form import RESPONSE_FORMAT
from eva_data.jobs import Job
from eva_data.models import resolve
from eva_data.run import SERVED_NAME, Run


@dataclass(frozen=True)
class Player:
    """A model that plays: how it is configured and what it is."""

    block: Model
    name: str
    """As the config calls it."""
    fingerprint: str
    """What it is, by content: the same fingerprint gives the same answers."""
    path: Path | None
    """Its folder on this machine; null where it runs elsewhere."""
    is_vllm: bool = False
    """Whether the server takes vLLM's own sampling parameters."""

    @property
    def started_here(self) -> bool:
        """Whether a server has to be started for it."""
        return isinstance(self.block, VllmModel) and not self.block.urls


def player_of(block: Model) -> Player:
    """The model of a block. Raises ModelError or EndpointError where it is not to be had."""
    if isinstance(block, TransformersModel) or (isinstance(block, VllmModel) and not block.urls):
        found = resolve(block.model, block.revision)
        return Player(block, found.name, found.fingerprint, found.path, isinstance(block, VllmModel))
    if isinstance(block, ApiModel) and not block.urls:
        from eva_data.llms.providers import key_variable

        key_variable(block)
        return Player(block, block.model, f"{block.model}@{block.revision or 'unknown'}", None)
    from eva_data.served import look

    served = look(block)
    return Player(block, block.model, served.fingerprint, None, served.is_vllm)


def solver_of(run: Run, iteration: int) -> Player:
    """Who answers in `iteration`: `--solver`, else the trained theta_{t-1}, else the configured model."""
    return player_of(solver_block(run, iteration))


def solver_block(run: Run, iteration: int) -> Model:
    """The settings of who answers in `iteration`; nothing is resolved."""
    block = run.config.model_solver
    if block is None:
        raise ConfigError(
            "`solver` is a table of responses, which can make iteration 1 only: to evolve from there, name the model "
            "that answers from iteration 2 on, `solver.then: {backend: transformers, model: ...}`"
        )
    trained = run.store.solver_folder(iteration - 1)
    if run.solver_override is not None:
        return block.model_copy(update=_named(run.solver_override))
    if trained.exists() and run.config.trains:
        return block.model_copy(update={"model": str(trained), "revision": None})
    return block


def _named(solver: str) -> dict[str, str | None]:
    """`model` and `revision` out of `--solver MODEL[@REVISION]`; a folder may have an @ in its name."""
    model, at, revision = solver.rpartition("@")
    if not at or not model or Path(solver).exists():
        return {"model": solver, "revision": None}
    return {"model": model, "revision": revision}


def creator_of(run: Run, solver: Player) -> Player:
    """Who rewrites prompts: the solver itself where the creator is shared."""
    if run.config.creator == "shared":
        return solver
    return player_of(run.config.creator)


def llm_fields(
    player: Player,
    sampling: Generation | Evolve,
    *,
    seed: int,
    stage: str,
    iteration: int,
    framed: bool = False,
    **overrides: Any,
) -> dict[str, Any]:
    """The fields of the LLM class for this player that determine what it says; `sampling` says how it samples.

    `framed`: the requests hold a prompt, or a prompt and a response, in a template; `max_prompt_tokens` is about
    prompts alone, so only the model's own length bounds them.
    """
    block = player.block
    common = {
        "backend": "transformers" if isinstance(block, TransformersModel) else "remote",
        "fingerprint": player.fingerprint,
        "sampling": {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        | overrides,
        "max_prompt_tokens": None if framed else block.max_prompt_tokens,
        "system": block.system,
        "seed": seed,
        "stage": stage,
        "iteration": iteration,
    }
    if isinstance(block, TransformersModel):
        return common | {
            "engine": {"dtype": block.dtype},
            "path": str(player.path),
            "device": block.device,
            "dtype": block.dtype,
            "batch_size": block.batch_size,
            "threads": block.threads,
            "trust_remote_code": block.trust_remote_code,
        }
    fields = common | _remote_fields(player, block)
    if isinstance(sampling, Evolve) and sampling.reply == "json":
        guided = {"response_format": RESPONSE_FORMAT}
        fields |= {"engine": fields["engine"] | guided, "extra_body": fields["extra_body"] | guided}
    return fields


def _remote_fields(player: Player, block: ApiModel | VllmModel) -> dict[str, Any]:
    from eva_data.llms.openai_server import COUNTED, NEUTRAL

    engine: dict[str, Any] = NEUTRAL if player.is_vllm else {}
    if isinstance(block, VllmModel):
        name, tokenizer = block.model, None if player.path is None else str(player.path)
        engine = engine | {"server": "vllm", "dtype": block.dtype, "quantization": block.quantization}
        extra_body = NEUTRAL
    else:
        name, tokenizer = block.model, block.tokenizer
        engine = extra_body = engine | block.extra_body
    return {
        "engine": engine,
        "model": SERVED_NAME if player.started_here else name,
        "extra_body": extra_body | (COUNTED if player.is_vllm else {}),
        "tokenizer": tokenizer,
    }


def connection(player: Player, *, url: str | None, budget: float | None) -> dict[str, Any]:
    """The fields of the LLM class that say how its server is reached; none of them changes an answer.

    `url` is that of the server that was started for it. Raises ConfigError where a budget is set and the price of
    the model is unknown.
    """
    block = player.block
    if isinstance(block, TransformersModel):
        return {}
    from eva_data.llms.prices import price_of

    price = price_of(block)
    if budget is not None and price is None:
        raise ConfigError(
            f"`--budget` is set, but the price of `{block.model}` is unknown: say what it costs in `prices`, "
            "{input: dollars per million tokens, output: ...}"
        )
    return {
        "urls": [url] if url else list(block.urls),
        "key_env": block.api_key_env,
        "key_name": block.api_key_env or _usual_key(block),
        "max_in_flight": block.max_in_flight,
        "timeout_seconds": block.timeout_seconds,
        "give_up_minutes": block.give_up_minutes,
        # What runs here is known by its files.
        "canary": block.canary and url is None,
        "price": price,
        "budget": budget,
    }


def _usual_key(block: ApiModel | VllmModel) -> str:
    """What error messages call the variable of the key where none is named."""
    if isinstance(block, VllmModel) or block.urls:
        return "that `api_key_env` names (none is named)"
    from eva_data.llms.providers import key_variable

    return key_variable(block)


def work_with(
    run: Run, player: Player, job: Job, rows: pl.DataFrame, iteration: int, name: str, *, key: str
) -> list[tuple[dict[str, object], object]]:
    """Do a job of a player, with its server started if it needs one; `key` is its block in the settings."""
    url = None
    if player.started_here:
        assert isinstance(player.block, VllmModel)
        url = run.served(player.block, player.path, job, rows, key=key)
    return run.work(replace(job, connection=connection(player, url=url, budget=run.budget)), rows, iteration, name)
