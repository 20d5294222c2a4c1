"""Trains online (paper 3.3.2): runs `train/online.py` once, and makes a dataset of everything that it trained on.

The dataset is a folder of its own with one iteration. Its prompts are the seeds and evolved prompts of the training,
and its responses are the answers of the training. Every attempt to evolve a prompt is in `evolutions`. The trained
model is theta_1 of that folder, so that `build --iter 2` goes on from it there.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eva_data.config import Config, RewardServer, Settings, Train
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.seeds import seed_block
from eva_data.dataset.staleness import differences, what_counts
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, StaleError
from eva_data.evolve.reply_form import guide_of
from eva_data.files import sha256, write_json, write_parquet, write_text
from eva_data.iteration.heldout import split_seeds
from eva_data.iteration.players import creator_of, solver_of
from eva_data.iteration.ready import refuse_unready
from eva_data.iteration.run import Run
from eva_data.iteration.stale import changed_inputs, inputs_now, inputs_to_record
from eva_data.jobs.job import Job
from eva_data.ledger import call_key
from eva_data.method.buffer import Rules
from eva_data.models.player import Player, connection, llm_fields
from eva_data.project import train_dir
from eva_data.report.card import write_card
from eva_data.report.model_card import finish_online
from eva_data.rewards.scorers import reward_model
from eva_data.rewards.while_training import refuse_others
from eva_data.tables.rules import RULES
from eva_data.training.launch import run_script, script_arguments, take_model
from eva_data.training.modes import refuse_unknown_online
from eva_data.training.online_dataset import policy_name, write_dataset
from eva_data.training.online_tables import ITERATION
from eva_data.training.recipes import find_recipe, refuse_missing_packages, value_in

ALGORITHMS = ("rloo", "grpo", "oaif")
METRIC = "a_avg"
"""The informativeness online (paper: equation 5)."""
METHOD = "eva"
"""The evolving method online: the strategies of the paper's appendix F."""
DEFAULTS_SINCE = 3
"""The rules since which METRIC, METHOD and siblings are the defaults."""
BEGUN = "begun_with.json"
"""In the job folder: what the run was begun with, so that it goes on with nothing else."""
_SEEDS_CARD = """\
---
configs:
- config_name: prompts
  data_files: [{split: iter_1, path: prompts/iter_1.parquet}]
---
"""


@dataclass(frozen=True)
class Online:
    """The options of an online run."""

    recipe: str
    """Name or path of a recipe whose `algorithm` is one of ALGORITHMS."""
    steps: int | None = None
    epochs: float | None = None
    """In the place of `steps`: so many prompts as there are seeds, so often (1x of the paper's table 8)."""
    static: bool = False
    """Whether nothing is evolved: the same algorithm trains on the seeds alone, for comparison."""


def online_config(config: Config, algorithm: str, static: bool, recipe: str | None = None) -> tuple[Config, str]:
    """The settings with the name and folder of the online run's own dataset, and the recipe: `recipe`, if it is given.

    Raise ConfigError if there is no such algorithm, if the recipe is of another, or if there are settings that an
    online run does not take.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"`--algorithm` is `{algorithm}`: known are {', '.join(ALGORITHMS)}")
    refuse_unknown_online(config)
    suffix = f"-{algorithm}" + ("-static" if static else "")
    folder = config.folder.with_name(config.folder.name + suffix)
    config = config.model_copy(update={"name": config.name + suffix, "folder": folder})
    store = Store(folder)
    if ITERATION not in store.iterations() or store.manifest(ITERATION).rules >= DEFAULTS_SINCE:
        config = _with_defaults(config)
    if recipe is None:
        return config, _recipe(config, algorithm)
    of = value_in(find_recipe(recipe), "algorithm")
    if of != algorithm:
        raise ConfigError(f"`--recipe` is `{recipe}`, which trains by {of}: give `--algorithm {of}`, or another recipe")
    return config, recipe


def _with_defaults(config: Config) -> Config:
    """The settings with the paper's choices for online training, as far as they do not say otherwise."""
    estimate, evolve = config.estimate, config.evolve
    if "metric" not in estimate.model_fields_set:
        estimate = estimate.model_copy(update={"metric": METRIC})
    if "method" not in evolve.model_fields_set:
        evolve = evolve.model_copy(update={"method": METHOD})
    if evolve.shape is None:
        evolve = evolve.model_copy(update={"shape": "siblings"})
    return config.model_copy(update={"estimate": estimate, "evolve": evolve})


def _recipe(config: Config, algorithm: str) -> str:
    """The recipe of the settings if it is for this algorithm, else eva-data's own."""
    configured = config.train.recipe
    if value_in(find_recipe(configured), "algorithm") == algorithm:
        return configured
    if configured.startswith("sandbox"):
        return f"sandbox_{algorithm}"
    if configured != Train().recipe:
        raise ConfigError(
            f"`train.recipe` is `{configured}`, which does not train by {algorithm}: name a recipe that does with "
            "`--recipe`, or set it back with `--set train.recipe=dpo`"
        )
    return algorithm


def train_online(run: Run, online: Online) -> Manifest:
    """Finish the training of an online run, and return the manifest of its dataset.

    The trained model is then in `run.store.solver_folder(1)`. A run that was cut off goes on from its last checkpoint,
    with its buffer. Raise StaleError if the folder holds something else, ConfigError if the solver cannot be trained
    here or the reward cannot score while a model trains, and JobError if the training fails.
    """
    recipe = find_recipe(online.recipe)
    refuse_unready(run, ITERATION)
    store, start = run.store, solver_of(run, ITERATION)
    done = store.manifest(ITERATION).rules if ITERATION in store.iterations() else RULES
    content = _content(run, start, done)
    steps = online.steps or steps_for(online, seeds_for(run))
    asked = {
        "steps": steps,
        "static": online.static,
        "recipe_sha256": sha256(recipe),
        "seed": run.config.seed,
        "settings": call_key(content).hex()[:16],
    }
    if ITERATION in store.iterations():
        _refuse_another(run, asked)
    else:
        _train(run, steps, online.static, recipe, start)
        # The seeds are read again for the dataset. They must be the seeds of the training.
        write_dataset(run, asked, start, begun_with(run))
    write_card(store, run.config.publish.licence)
    job = store.job_folder(ITERATION, "online")
    if not store.solver_folder(ITERATION).exists():
        if not (job / "output" / "training.json").exists():
            _train(run, steps, online.static, recipe, start)
        take_model(job / "output", store.solver_folder(ITERATION), partial(finish_online, store, start.fingerprint))
    shutil.rmtree(job, ignore_errors=True)
    return store.manifest(ITERATION)


def _refuse_another(run: Run, asked: dict[str, Any]) -> None:
    manifest = run.store.manifest(ITERATION)
    done = manifest.online or {}
    run.store.refuse_changed(ITERATION)
    changed = [f"`{key}` is {asked[key]!r}, was {done.get(key)!r}" for key in asked if asked[key] != done.get(key)]
    changed += [said for said in differences(run.config, manifest) if said.startswith("`seeds.")]
    changed += changed_inputs(run, manifest)
    if changed:
        raise StaleError(
            f"{run.store.folder} holds another run: {'; '.join(changed)}; train into a folder of its own with "
            "`--set folder=...`"
        )


def seeds_for(run: Run, *, begin: bool = True) -> int:
    """The number of seeds that an online run trains on. Without `begin` no new run is recorded."""
    store = run.store
    if run.config.seeds is None:
        raise ConfigError("`solver` is a table of responses: training online needs `seeds`, prompts to begin with")
    inputs = store.manifest(ITERATION).inputs if ITERATION in store.iterations() else begun_with(run, begin=begin)
    return seed_block(split_seeds(run.config, store, inputs).training, 1, run.config.seeds.per_iteration).height


def steps_for(online: Online, seeds: int) -> int:
    """The steps of the run; those of `epochs` are rounded up."""
    if online.epochs is None:
        assert online.steps is not None
        return online.steps
    return math.ceil(online.epochs * seeds / prompts_per_step(find_recipe(online.recipe)))


def prompts_per_step(recipe: Path) -> int:
    return int(value_in(recipe, "prompts") or Rules.batch)


def _train(run: Run, steps: int, static: bool, recipe: Path, start: Player) -> None:
    """Run the script. It leaves `output`, `record.jsonl` and `too_long.json` in the job folder."""
    config, store = run.config, run.store
    refuse_missing_packages(recipe)
    job = store.job_folder(ITERATION, "online").resolve()
    if others := sampled_otherwise(start.block, recipe):
        run.reporter.note(f"the recipe {recipe.stem} says how the solver is sampled: {'; '.join(others)}")
    prepare(run, start, job, begun_with(run))
    script = [
        *(str(train_dir() / "online.py"), "--config", str(recipe), "--game", str(job / "game.json")),
        *("--dataset", str(job / "seeds"), "--split", "iter_1", "--static", str(static).lower()),
        *("--model_name_or_path", str(start.path), "--max_steps", str(steps)),
        *("--output_dir", str(job / "output"), "--progress", str(job / "progress.json"), "--resume", "true"),
        *("--seed", str(config.seed), *script_arguments(config)),
    ]
    environment = os.environ | {"HF_DATASETS_CACHE": str(job / "datasets")}
    progress = run.reporter.stage("online training", 0)
    run_script(config, script, job, store.log("online"), environment, "online", progress)


def sampled_otherwise(solver: Settings, recipe: Path) -> list[str]:
    """The keys of the solver's block that are set and differ from what the recipe has in their place."""
    pairs = value_in(recipe, "algorithm") == "oaif"
    places = {
        "responses": "num_generations",
        "temperature": "temperature",
        "top_p": "top_p",
        "max_tokens": "max_new_tokens" if pairs else "max_completion_length",
        "max_prompt_tokens": "max_prompt_length",
    }
    there = {place: value_in(recipe, place) for place in places.values()}
    if pairs:
        there["num_generations"] = 2
    return [
        f"`{place}` is {there[place]}, not `solver.{key}`, {getattr(solver, key)}"
        for key, place in places.items()
        if key in solver.model_fields_set and there[place] not in (None, getattr(solver, key))
    ]


def begun_with(run: Run, *, begin: bool = True) -> Mapping[str, str]:
    """The hashes of the inputs of the run in the job folder; of the present inputs if there is no run.

    A run that was cut off goes on with the same inputs or not at all: raise StaleError, which names each changed input.
    A Hub dataset is read at the commit at which the run began. With `begin`, a new run is recorded as begun.
    """
    job = run.store.job_folder(ITERATION, "online")
    counting = json.loads(json.dumps(what_counts(run.config, ITERATION)))
    path, seeds = job / BEGUN, {key: value for key, value in counting.items() if key.startswith("seeds.")}
    if not path.exists():
        found = inputs_to_record(run, ITERATION)
        if begin:
            write_json(path, {"inputs": found, "seeds": seeds, "rules": RULES})
        return found
    begun = json.loads(path.read_text(encoding="utf-8"))
    if begun.get("rules") != RULES:
        raise StaleError(
            f"the online run in {run.store.folder} is not finished, and an eva-data with other rules began it "
            f"({begun.get('rules', 'up to 2')}, these are {RULES}): other prompts would be evolved from now on. Finish "
            f"it with that eva-data, train into a folder of its own with `--set folder=...`, or remove {job} to begin "
            "it anew"
        )
    now = inputs_now(run, ITERATION)
    inputs: dict[str, str] = begun["inputs"]
    settings: dict[str, Any] = begun["seeds"]
    changed = [
        f"`{key}` is {seeds.get(key)!r}, was {settings.get(key)!r}"
        for key in sorted(seeds.keys() | settings.keys())
        if seeds.get(key) != settings.get(key)
    ]
    changed += [f"`{key}` holds other content" for key, then in inputs.items() if now.hashes.get(key, then) != then]
    changed += [f"`{key}` cannot be read" for key in now.missing if key in inputs]
    if changed:
        raise StaleError(
            f"the online run in {run.store.folder} is not finished, and its inputs are not those that it began with: "
            f"{'; '.join(changed)}; restore them, train into a folder of its own with `--set folder=...`, or remove "
            f"{job} to begin it anew"
        )
    return inputs


def prepare(run: Run, start: Player, job: Path, inputs: Mapping[str, str]) -> None:
    """Write the inputs of the script to the job folder: `seeds`, a dataset, and `game.json`. `start` is theta_0.

    `inputs` are the hashes from the start of the run. A Hub dataset is read at the commit in them.
    """
    seeds_of = run.config.seeds
    if seeds_of is None:
        raise ConfigError("`solver` is a table of responses: training online needs `seeds`, prompts to begin with")
    seeds = split_seeds(run.config, run.store, inputs).training
    game = _game(run, start, job)
    write_parquet(job / "seeds" / "prompts" / "iter_1.parquet", seed_block(seeds, 1, seeds_of.per_iteration).to_arrow())
    write_text(job / "seeds" / "README.md", _SEEDS_CARD)
    write_json(job / "game.json", game)


def _game(run: Run, start: Player, job: Path) -> dict[str, Any]:
    """The script's settings beside its arguments. `content` is everything that the weights depend on."""
    reward = _reward_job(run, job / "reward")
    reward.save()
    creator = None if run.config.creator == "shared" else _creator_job(run, start, job / "creator")
    if creator is not None:
        creator.save()
    return {
        "reward": str(reward.folder),
        "creator": None if creator is None else str(creator.folder),
        "evolve": run.config.evolve.model_dump(mode="json"),
        "estimate": run.config.estimate.model_dump(mode="json"),
        "pair": run.config.pair.model_dump(mode="json"),
        "band": run.config.sample.band,
        "content": _content(run, start, RULES),
    }


def _content(run: Run, start: Player, rules: int) -> dict[str, Any]:
    """Everything that the weights depend on beside the script's arguments, as runs by these rules have it."""
    config = run.config
    shared = config.creator == "shared"
    if rules < DEFAULTS_SINCE:
        more: dict[str, Any] = {"count_truncated": config.estimate.count_truncated}
    else:
        blocks = {"estimate": config.estimate, "pair": config.pair, "online": config.online}
        more = {"rules": rules} | {name: block.data() for name, block in blocks.items()}
        more |= {"band": [*config.sample.band]} if config.sample.band is not None else {}
    return more | {
        "policy": policy_name(start),
        "system": start.block.system,
        "reward": reward_model(run.scorers),
        "creator": None if shared else _creator_fields(run, creator_of(run, start)),
        "evolve": config.evolve.identity(),
    }


def _reward_job(run: Run, folder: Path) -> Job:
    if len(run.scorers) != 1:
        raise ConfigError("`reward` is several rewards, which are standardised over a whole iteration: use one of them")
    (scorer,) = run.scorers
    refuse_others(scorer.block.backend)
    connection: dict[str, Any] = {}
    if isinstance(scorer.block, RewardServer):
        if not scorer.block.urls:
            raise ConfigError(
                "`reward` is a server to be started here, beside the training: start it yourself and name its "
                "`base_url`, or use `backend: classifier`"
            )
        connection["urls"] = list(scorer.block.urls)
    folder.mkdir(parents=True, exist_ok=True)
    return Job(
        folder,
        "reward",
        scorer.block,
        connection=connection,
        ledger=run.ledger.resolve(),
        scorer=scorer.fingerprint,
        scorer_path=scorer.path,
    )


def _creator_job(run: Run, start: Player, folder: Path) -> Job:
    creator = creator_of(run, start)
    if creator.started_here:
        raise ConfigError(
            "`creator` is a vLLM server to be started here, beside the training: start it yourself and name its "
            "`base_url`"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return Job(
        folder,
        "evolve",
        model=_creator_fields(run, creator),
        connection=connection(creator, served=None, budget=run.budget),
        ledger=run.ledger.resolve(),
    )


def _creator_fields(run: Run, creator: Player) -> dict[str, Any]:
    config = run.config
    guide = guide_of(config.evolve.reply)
    return llm_fields(
        creator, config.evolve, seed=config.seed, stage="evolve", iteration=ITERATION, framed=True, guide=guide
    )
