"""The reward stage: every response scored by the configured reward, or by each of several, and by nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from eva_data.config import Judge, LocalReward, OneReward, Reward, RewardServer, Several, Verifier
from eva_data.errors import ConfigError
from eva_data.ledger import call_key
from eva_data.models import resolve
from eva_data.players import Player, llm_fields, player_of, work_with
from eva_data.reward import rewarded, unscored
from eva_data.run import Run

SCORES = pl.Schema(
    {
        "prompt_id": pl.String,
        "response_idx": pl.Int32,
        "reward_model": pl.String,
        "reward": pl.Float64,
        "reason": pl.String,
        "raw": pl.String,
    }
)
"""One row per response and reward model; `reason` says why `reward` is null, `raw` is what a judge wrote then."""


@dataclass(frozen=True)
class Scorer:
    """A reward as it is configured and what it is."""

    block: OneReward
    fingerprint: str
    """Its name in the column `reward_model` and in the ledger."""
    path: Path | None = None
    """The reward model's folder on this machine."""
    judge: Player | None = None


def scorers_of(reward: Reward | None) -> tuple[Scorer, ...]:
    """The configured reward, or all of several; ConfigError where there is none."""
    if reward is None:
        raise ConfigError("`reward` is missing: name what scores a response, for example a verifier")
    blocks = reward.rewards if isinstance(reward, Several) else (reward,)
    return tuple(_scorer_of(block) for block in blocks)


def reward_model(scorers: Sequence[Scorer]) -> str:
    """What the rewards come from, for the column `reward_model`."""
    names = [scorer.fingerprint for scorer in scorers]
    return names[0] if len(names) == 1 else f"mean({', '.join(names)})"


def _scorer_of(block: OneReward) -> Scorer:
    if isinstance(block, Verifier):
        from eva_data.rewards.verifier import fingerprint

        return Scorer(block, fingerprint(block.function, block.version, block.answers))
    if isinstance(block, Judge):
        judge = player_of(block.judge)
        asked = _short_hash(block.data() | {"judge": judge.block.data()})
        return Scorer(block, f"judge:{judge.fingerprint}:{asked}", judge=judge)
    if isinstance(block, RewardServer) and block.urls:
        from eva_data.served import look

        return Scorer(block, f"server:{look(block).fingerprint}:{_short_hash({'tokenizer': block.tokenizer})}")
    found = resolve(block.model, block.revision)
    kept = {"model", "revision", "device"}
    settings = {key: value for key, value in block.data().items() if key not in kept}
    return Scorer(block, f"{block.backend}:{found.fingerprint}:{_short_hash(settings)}", found.path)


def _short_hash(values: dict[str, Any]) -> str:
    return call_key(values).hex()[:8]


def score(
    run: Run, answered: pl.DataFrame, prompts: pl.DataFrame, *, stage: str, iteration: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """RESPONSES with rewards, and the REJECTS of those that got none."""
    rows = (
        answered.sort("prompt_id", "response_idx")
        .group_by("prompt_id", maintain_order=True)
        .agg("response_idx", responses=pl.col("response"))
        .join(prompts.select("prompt_id", "prompt"), on="prompt_id", maintain_order="left")
        .select("prompt_id", "prompt", "response_idx", "responses")
    )
    found = pl.concat(
        [
            _score_by(run, scorer, rows, stage=stage, name=f"reward-{stage}-{number}", iteration=iteration)
            for number, scorer in enumerate(run.scorers)
        ]
    )
    if len(run.scorers) > 1:
        found = _averaged(run, found)
    scores = found.with_columns(reward_model=pl.lit(reward_model(run.scorers)))
    return rewarded(answered, scores, reward_model=reward_model(run.scorers)), unscored(
        answered, scores, iteration=iteration
    )


def _averaged(run: Run, found: pl.DataFrame) -> pl.DataFrame:
    """SCORES of several rewards as one: standardised by the constants of the first iteration that had them."""
    from eva_data.rewards.several import averaged, reward_scales

    if not run.reward_scales:
        run.reward_scales.update(reward_scales(found))
    raw = found.group_by("prompt_id", "response_idx").agg(raw=pl.col("raw").drop_nulls().first())
    return averaged(found, run.reward_scales).join(raw, on=["prompt_id", "response_idx"], how="left")


def _score_by(run: Run, scorer: Scorer, rows: pl.DataFrame, *, stage: str, name: str, iteration: int) -> pl.DataFrame:
    """SCORES of one reward."""
    block = scorer.block
    if isinstance(block, LocalReward):
        # It may need the memory that a server holds.
        run.servers.stop()
    if isinstance(block, Judge):
        assert scorer.judge is not None
        job = run.job(
            "judge",
            iteration,
            name,
            settings={"template": block.template, "lowest": block.lowest, "highest": block.highest},
            model=llm_fields(
                scorer.judge,
                block.judge,
                seed=run.config.seed,
                stage=f"judge ({stage})",
                iteration=iteration,
                framed=True,
            ),
        )
        results: Any = work_with(run, scorer.judge, job, rows, iteration, "judge", key="reward.judge")
        verdicts = [[(score["reward"], score["reason"], score["raw"]) for score in scores] for _, scores in results]
    else:
        settings = block.model_dump(mode="json") | {
            "fingerprint": scorer.fingerprint,
            "path": None if scorer.path is None else str(scorer.path),
        }
        job = run.job("reward", iteration, name, settings=settings)
        if isinstance(block, RewardServer):
            urls = list(block.urls) or [run.served(block, scorer.path, job, rows, key="reward")]
            job = replace(job, connection={"urls": urls})
        results = run.work(job, rows, iteration, "reward")
        verdicts = [[(reward, reason, None) for reward, reason in scores] for _, scores in results]
    return pl.DataFrame(
        [
            (row["prompt_id"], index, scorer.fingerprint, *verdict)
            for (row, _), scores in zip(results, verdicts, strict=True)
            for index, verdict in zip(row["response_idx"], scores, strict=True)
        ],
        schema=SCORES,
        orient="row",
    )
