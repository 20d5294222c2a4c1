"""Scores responses (paper section 4), each once, and puts the rewards beside them."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from eva_data.errors import ConfigError, JobError
from eva_data.files import write_text
from eva_data.jobs import PROGRESS, Job
from eva_data.ledger import Ledger, Score, call_key
from eva_data.records import REJECTS, RESPONSES, conform

Verify = Callable[[str, str], float | None]
"""(text of the prompt's last turn, response) -> reward; None where there is no telling."""

CHUNK_ROWS = 1000
"""Rewards committed together."""


def load_verifier(function: str) -> Verify:
    """The callable named `package.module:function`; ConfigError where there is none."""
    module_name, _, name = function.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`reward.function` is `{function}`, but the module `{error.name}` cannot be found: "
            "install its package, or put its folder on PYTHONPATH"
        ) from None
    verify = vars(module).get(name)
    if not callable(verify):
        raise ConfigError(f"`reward.function` is `{function}`, but `{module_name}` has no function `{name}`")
    found: Verify = verify
    return found


def score_rows(job: Job, rows: Sequence[dict[str, Any]]) -> list[Score]:
    """One Score per row {prompt, response}; what the ledger has is not scored again. Runs in a child process."""
    verify = load_verifier(job.settings["function"])
    assert job.ledger is not None
    results: list[Score] = []
    raised: Exception | None = None
    with Ledger(job.ledger) as ledger:
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = rows[start : start + CHUNK_ROWS]
            keys = [reward_key(job.settings["fingerprint"], row["prompt"], row["response"]) for row in chunk]
            kept = ledger.scores(keys)
            fresh: dict[bytes, Score] = {}
            for key, row in zip(keys, chunk, strict=True):
                if key not in kept and key not in fresh:
                    score, error = _score(verify, row["prompt"], row["response"])
                    raised = raised or error
                    # A verdict that an exception prevented is no verdict: it is asked for again next time.
                    (fresh if error is None else kept)[key] = score
            ledger.keep_scores(fresh)
            results += [(kept | fresh)[key] for key in keys]
            write_text(job.folder / PROGRESS, json.dumps({"done": len(results), "total": len(rows)}))
    if raised is not None and all(score.reason and score.reason.startswith("verifier_raised") for score in results):
        raise JobError(
            f"the verifier `{job.settings['function']}` raised on every response, first "
            f"{type(raised).__name__}: {raised}"
        )
    return results


def reward_key(fingerprint: str, prompt: str, response: str) -> bytes:
    """The ledger's key of a reward."""
    return call_key({"reward_model": fingerprint, "prompt": prompt, "response": response})


def _score(verify: Verify, prompt: str, response: str) -> tuple[Score, Exception | None]:
    try:
        reward = verify(prompt, response)
    except Exception as error:
        # The user's own function: one bad row must not end a night's run, nor vanish from it.
        return Score(None, f"verifier_raised: {type(error).__name__}: {error}"), error
    if reward is None:
        return Score(None, "unverifiable"), None
    if not math.isfinite(reward):
        return Score(None, "not_finite"), None
    return Score(float(reward), None), None


def fingerprint(function: str, version: str) -> str:
    """What a verifier is in the ledger and in the column `reward_model`: its name, version and source file."""
    from hashlib import sha256

    verify = load_verifier(function)
    code = Path(verify.__code__.co_filename) if hasattr(verify, "__code__") else None
    source = sha256(code.read_bytes()).hexdigest()[:12] if code and code.exists() else "unknown"
    return f"verifier:{function}@{version or source}"


def rewarded(responses: pl.DataFrame, scores: pl.DataFrame, *, reward_model: str) -> pl.DataFrame:
    """RESPONSES with `reward` and `reward_model`; null rewards where there is no usable one.

    `scores` has one row per (`prompt_id`, `response_idx`) with `reward` and `reason`.
    """
    joined = responses.drop("reward", "reward_model").join(
        scores.select("prompt_id", "response_idx", "reward"), on=["prompt_id", "response_idx"], how="left"
    )
    return conform(joined.with_columns(reward_model=pl.lit(reward_model)), RESPONSES)


def unscored(responses: pl.DataFrame, scores: pl.DataFrame, *, iteration: int) -> pl.DataFrame:
    """REJECTS of the reward stage: one row per response without a usable reward."""
    failed = (
        scores.filter(pl.col("reason").is_not_null())
        .join(responses.select("prompt_id", "response_idx", "response"), on=["prompt_id", "response_idx"])
        .select("prompt_id", "reason", text=pl.col("response").str.slice(0, 2000))
        .with_columns(stage=pl.lit("reward"), iteration=pl.lit(iteration))
    )
    return conform(failed, REJECTS)
