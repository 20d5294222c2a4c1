"""Computes from the settings alone how often each stage of an iteration asks its model at most, and with how much text.

Calls that are certainly in the ledger are left out: an unchanged solver has answered X_{t-1} in iteration t - 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from eva_data.comparing.tournament import most_matches, question_of
from eva_data.config import (
    ApiModel,
    Config,
    Consensus,
    Endpoint,
    Judge,
    LocalReward,
    Model,
    OneReward,
    Pairwise,
    RewardServer,
    Several,
    Tournament,
    Verifier,
    VllmModel,
)
from eva_data.errors import ConfigError
from eva_data.evolve.scorer import ASPECTS, QUESTIONS
from eva_data.evolve.self_check import QUESTION as SELF_CHECK
from eva_data.game.starting import CHARACTERS_PER_TOKEN, Start
from eva_data.iteration.players import solver_block
from eva_data.iteration.run import Run
from eva_data.method.rewrite import TEMPLATE as REWRITE_TEMPLATE
from eva_data.models.remote.growth import START
from eva_data.models.remote.litellm_provider import import_litellm
from eva_data.models.resolve import SANDBOX_MODELS, resolve
from eva_data.rewards.same_answer import QUESTION as SAME_QUESTION
from eva_data.rewards.same_answer import most_questions
from eva_data.tables.draws import share_of

EVOLVE_TEMPLATE = 1000
"""Characters of an instruction to the creator; the instruction of no method is longer."""
JUDGE_TEMPLATE = 1700
"""Characters of the default question to a judge."""


@dataclass(frozen=True)
class PlannedModel:
    """A model that will be asked, as far as the settings tell."""

    block: Model
    names: tuple[str, ...]
    """Possible beginnings of the model's fingerprint; a solver that is trained here has one for each theta."""

    def is_called(self, fingerprint: str) -> bool:
        """Whether a fingerprint can belong to this model."""
        return any(fingerprint == name or fingerprint.startswith((f"{name}@", f"{name}+")) for name in self.names)


@dataclass(frozen=True)
class Work:
    """The work of a language model in a stage."""

    stage: str
    player: PlannedModel
    calls: int
    """Number of requests to a server, or of batches of a model in this process."""
    completions: int
    tokens_in: int
    tokens_out: int
    at_once: int
    """Number of calls that run at the same time."""


@dataclass(frozen=True)
class Computed:
    """The work of a stage that scores without a language model."""

    stage: str
    model: str
    calls: int
    """Number of responses to score, or of comparisons by a pairwise reward model."""


def workload(run: Run, iteration: int, start: Start) -> list[Work | Computed]:
    """Every stage of an iteration that asks or scores, in order; empty if a table holds the responses."""
    config = run.config
    if iteration < config.first_answered:
        return []
    solver = planned_solver(run, iteration)
    length = solver.block.max_prompt_tokens if start.tokens is None else start.tokens
    if iteration == 1:
        tokens = start.count * length
        return [
            *_answering(config, solver, "respond", start.count, tokens),
            *_contrasting(config, start.count, tokens),
            *_rewriting(config, solver, start.count, tokens),
        ]
    known = is_known(run, iteration)
    works: list[Work | Computed] = []
    if config.mix.draws and config.estimate.source == "fresh":
        asked = 0 if known else start.count
        works += _answering(config, solver, "estimate", asked, asked * length)
    grown = length
    if config.mix.evolves:
        creator = (
            solver if config.creator == "shared" else PlannedModel(config.creator, (name_of_model(config.creator),))
        )
        chains = chains_needed(config, start.count, survival(run, iteration))
        if config.evolve.asks or config.evolve.rated or config.evolve.self_check:
            shown = length + solver.block.max_tokens * config.evolve.adds_turn
            works.append(_evolving(config, creator, chains, shown))
        if config.evolve.asks:
            kept = length * (config.evolve.method == "synthetic_context")
            kept += (length + solver.block.max_tokens) * config.evolve.adds_turn
            grown = min(kept + config.evolve.max_tokens, solver.block.max_prompt_tokens)
    new, kept = _sizes(config, start.count)
    originals = 0 if known or _estimated(config, iteration) else kept
    tokens = new * grown + originals * length
    answering = _answering(config, solver, "respond", new + originals, tokens)
    shown = new * grown + kept * length
    contrasting = _contrasting(config, new + kept, shown)
    return [*works, *answering, *contrasting, *_rewriting(config, solver, start.count, shown)]


def _sizes(config: Config, prompts: int) -> tuple[int, int]:
    """The number of prompts of X_t that are new to the solver, and of those that X_{t-1} held."""
    new = share_of(config.mix.evolved, prompts)
    if config.mix.source != "sampled" or not new:
        return new, prompts - new
    drawn = max(1, share_of(config.sample.fraction, prompts))
    share = Fraction(str(config.mix.evolved))
    return 0, drawn + share_of((1 - share) / share, drawn)


def chains_needed(config: Config, prompts: int, survival: float | None) -> int:
    """The number of prompts to evolve: the sampled fraction, or more if that gives too few survivors."""
    first = max(1, share_of(config.sample.fraction, prompts))
    if survival is None:
        return first
    each = config.evolve.evolutions * survival
    needed = share_of(config.mix.evolved, prompts) / each if each else math.inf
    return max(first, math.ceil(min(needed, prompts)))


def survival(run: Run, iteration: int) -> float | None:
    """The share of the steps in iteration t - 1 that gave a prompt; None if there were no steps."""
    if iteration - 1 not in run.store.iterations():
        return None
    manifest = run.store.manifest(iteration - 1)
    attempts = sum(flow.rows_in for flow in manifest.flow if flow.stage == "evolve")
    if not attempts or manifest.evolving is None:
        return None
    # One of the candidates of a step goes on.
    return float(manifest.evolving.found * manifest.settings.get("evolve.candidates", 1) / attempts)


def is_known(run: Run, iteration: int) -> bool:
    """Whether the solver of iteration t also answered in t - 1, so that X_{t-1} need not be asked again."""
    if run.config.trains and run.solver_override is None:
        return False
    if iteration - 1 not in run.store.iterations():
        return run.solver_override is None and iteration > run.config.first_answered
    if not run.ledger.exists():
        return False
    answered = run.store.manifest(iteration - 1).models.solver
    block = solver_block(run, iteration)
    if not _is_remote(block) and (block.model in SANDBOX_MODELS or Path(block.model).expanduser().is_dir()):
        # Many folders may have the same name, so the content decides.
        return bool(resolve(block.model).fingerprint == answered)
    return PlannedModel(block, (name_of_model(block),)).is_called(answered)


def _estimated(config: Config, iteration: int) -> bool:
    """Whether *estimate* of this iteration has already answered the prompts that X_t takes over."""
    return (
        config.mix.draws and config.estimate.source == "fresh" and (config.mix.original == "previous" or iteration == 2)
    )


def planned_solver(run: Run, iteration: int) -> PlannedModel:
    block, configured = solver_block(run, iteration), run.config.model_solver
    names = [name_of_model(block)]
    if run.config.trains and run.solver_override is None and configured is not None:
        names += [name_of_model(configured), *(f"iter_{number}" for number in range(1, iteration))]
    return PlannedModel(block, tuple(dict.fromkeys(names)))


def name_of_model(block: Model) -> str:
    """The beginning of the fingerprint of a block's model."""
    if _is_remote(block):
        return f"{block.model}@{block.revision or 'unknown'}"
    path = Path(block.model).expanduser()
    return path.resolve().name if path.is_dir() and block.model not in SANDBOX_MODELS else block.model


def _is_remote(block: Model) -> bool:
    return isinstance(block, ApiModel) or (isinstance(block, VllmModel) and bool(block.urls))


def _answering(config: Config, solver: PlannedModel, stage: str, prompts: int, tokens: int) -> list[Work | Computed]:
    """The solver's and the rewards' work for some prompts of `tokens` tokens together."""
    n, block = solver.block.responses, solver.block
    completions = prompts * n
    alone = not isinstance(block, Endpoint) or not _takes_n(block)
    asked = work_of(
        stage,
        solver,
        requests=completions if alone else prompts,
        completions=completions,
        tokens_in=tokens * (n if alone else 1),
        tokens_out=completions * block.max_tokens,
    )
    shown = n * tokens + completions * block.max_tokens
    scored = [_scoring(reward, stage, prompts, completions, shown, n) for reward in _rewards(config)]
    return [asked, *(work for works in scored for work in works)]


def _contrasting(config: Config, prompts: int, tokens: int) -> list[Work | Computed]:
    """The work of the weaker model and of the rewards for all prompts of X_t, of `tokens` tokens together."""
    if config.contrast is None:
        return []
    weaker = PlannedModel(config.contrast, (name_of_model(config.contrast),))
    return _answering(config, weaker, "contrast", prompts, tokens)


def _rewriting(config: Config, solver: PlannedModel, prompts: int, tokens: int) -> list[Work | Computed]:
    """The work to rewrite a response to each of `prompts` prompts, which have `tokens` tokens together."""
    if not config.pair.rewrite:
        return []
    longest = solver.block.max_tokens
    template = math.ceil(len(REWRITE_TEMPLATE) / CHARACTERS_PER_TOKEN)
    shown = tokens + prompts * longest
    asked = work_of(
        "rewrite",
        solver,
        requests=prompts,
        completions=prompts,
        tokens_in=shown + prompts * template,
        tokens_out=prompts * longest,
    )
    scored = [_scoring(reward, "rewrite", prompts, prompts, shown, 1) for reward in _rewards(config)]
    return [asked, *(work for works in scored for work in works)]


def _rewards(config: Config) -> tuple[OneReward, ...]:
    if config.reward is None:
        raise ConfigError("`reward` is missing: name what scores a response, for example a verifier")
    return config.reward.rewards if isinstance(config.reward, Several) else (config.reward,)


def _scoring(reward: OneReward, stage: str, prompts: int, responses: int, shown: int, n: int) -> list[Work | Computed]:
    """The work of one reward. `shown` is the length of all responses with their prompts, in tokens."""
    if isinstance(reward, Tournament):
        matches, turns = most_matches(reward, n), reward.rounds if reward.schedule == "swiss" else 1
        asking = 2 * prompts * matches, len(question_of(reward)), turns
        return [_comparing(judge, stage, shown / max(1, prompts * n), *asking) for judge in reward.judges]
    if isinstance(reward, Consensus) and reward.judge is not None:
        known = reward.answers is not None
        asking = prompts * (most_questions(n) - (0 if known else n)), len(SAME_QUESTION), max(1, n - 1 + known)
        return [_comparing(reward.judge, stage, shown / max(1, prompts * n), *asking)]
    if not isinstance(reward, Judge):
        name = reward.model if isinstance(reward, LocalReward | RewardServer) else reward.backend
        name = reward.function if isinstance(reward, Verifier) else name
        calls = prompts * n * (n - 1) if isinstance(reward, Pairwise) else responses
        return [Computed(f"reward ({stage})", name, calls)]
    template = len(reward.template) if reward.template else JUDGE_TEMPLATE
    return [
        work_of(
            f"judge ({stage})",
            PlannedModel(reward.judge, (name_of_model(reward.judge),)),
            requests=responses,
            completions=responses,
            tokens_in=shown + responses * math.ceil(template / CHARACTERS_PER_TOKEN),
            tokens_out=responses * reward.judge.max_tokens,
        )
    ]


def _comparing(judge: Model, stage: str, each: float, requests: int, template: int, in_turn: int) -> Work:
    """The work of a judge that compares, of which each request shows a prompt and two responses of `each` tokens."""
    return work_of(
        f"judge ({stage})",
        PlannedModel(judge, (name_of_model(judge),)),
        requests=requests,
        completions=requests,
        tokens_in=math.ceil(requests * (2 * each + template / CHARACTERS_PER_TOKEN)),
        tokens_out=requests * judge.max_tokens,
        in_turn=in_turn,
    )


def _evolving(config: Config, creator: PlannedModel, chains: int, length: int) -> Work:
    """The work of `chains` from prompts of `length` tokens. Each step but of siblings rewrites the last result."""
    evolve = config.evolve
    own = max((len(strategy.template) for strategy in evolve.strategies), default=0)
    template = math.ceil(max(own, 0 if evolve.only_own else EVOLVE_TEMPLATE) / CHARACTERS_PER_TOKEN)
    steps, each = chains * evolve.evolutions, evolve.candidates
    checked = steps * each if evolve.self_check else 0
    checking = math.ceil(len(SELF_CHECK) / CHARACTERS_PER_TOKEN) + evolve.max_tokens
    later = max(length, evolve.max_tokens)
    in_sequence = 0 if evolve.shape == "siblings" else evolve.evolutions - 1
    rated = steps * each * len(ASPECTS) if evolve.rated else 0
    rating = math.ceil(max(map(len, QUESTIONS.values())) / CHARACTERS_PER_TOKEN) + evolve.max_tokens
    written = steps * each if evolve.asks else 0
    requests = written + rated + checked
    return work_of(
        "evolve",
        creator,
        requests=requests,
        completions=requests,
        tokens_in=(each if evolve.asks else 0)
        * (steps * template + chains * ((evolve.evolutions - in_sequence) * length + in_sequence * later))
        + rated * rating
        + checked * checking,
        tokens_out=requests * evolve.max_tokens,
        in_turn=(1 + in_sequence) * (1 + bool(rated) + bool(checked)),
    )


def work_of(
    stage: str,
    player: PlannedModel,
    *,
    requests: int,
    completions: int,
    tokens_in: int,
    tokens_out: int,
    in_turn: int = 1,
) -> Work:
    """Work of `requests` requests. Groups of `in_turn` requests run one after the other."""
    block = player.block
    side_by_side = requests // in_turn
    if not isinstance(block, Endpoint):
        calls = in_turn * math.ceil(side_by_side / block.together)
        return Work(stage, player, calls, completions, tokens_in, tokens_out, 1)
    bound = START if block.max_in_flight == "auto" else block.max_in_flight
    at_once = min(bound * max(1, len(block.urls)), side_by_side)
    return Work(stage, player, requests, completions, tokens_in, tokens_out, at_once)


def _takes_n(block: Model) -> bool:
    """Whether one request can bring several samples. An unknown provider counts as one that can."""
    if not isinstance(block, ApiModel) or block.urls:
        return True
    known = import_litellm().get_supported_openai_params(model=block.model)
    return known is None or "n" in known
