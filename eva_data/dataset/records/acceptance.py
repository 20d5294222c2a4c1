"""What is kept of a theta beside its folder: how far training moved it, and by which bounds it may play."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eva_data.config.base import Settings
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.files import write_json


class Moved(Settings):
    """How far a theta is from the model before it and from theta_0, in nats."""

    before: str
    """Fingerprint of the model that answered the iteration on which theta was trained."""
    initial: str
    """Fingerprint of theta_0."""
    pairs: int
    """Chosen responses that were measured."""
    pairs_left_out: int = 0
    """Chosen responses that do not fit the model or its chat template."""
    chosen_per_token: float | None = None
    """Mean change of the log-probability of a token of the chosen responses; None if none was measured."""
    chosen_per_response: float | None = None
    """Mean change of the log-probability of a chosen response; None if none was measured."""
    prompts: int
    """Prompts that theta answered, once each."""
    prompts_left_out: int = 0
    """Prompts that do not fit the model or its chat template."""
    asked: str
    """Where these prompts come from, in words."""
    kl_per_token: float | None = None
    """Mean KL divergence to theta_0 of a token's distribution in theta's own answers; None if none was measured."""
    kl_per_answer: float | None = None
    """Mean KL divergence to theta_0 of an answer; None if none was measured."""


class Acceptance(Settings):
    """The result of comparing theta with bounds."""

    fingerprint: str
    """The hash of theta's folder."""
    bounds: dict[str, Any]
    """The bounds of `train.accept` at that time."""
    why: tuple[str, ...] = ()
    """The broken bounds, in words; empty if theta was accepted."""
    moved: Moved | None = None
    """None if no bound needed it."""


def read_acceptance(store: Store, theta: int) -> Acceptance | None:
    """What is kept of theta_t, accepted or not; None if it was not compared with bounds.

    Raise DataError if the file cannot be read.
    """
    path = _file(store, theta)
    if not path.exists():
        return None
    try:
        return Acceptance.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError):
        raise DataError(
            f"{path} is no record of how theta_{theta} kept `train.accept`: remove it to compare theta_{theta} again"
        ) from None


def write_acceptance(store: Store, theta: int, acceptance: Acceptance) -> None:
    """Keep the result for theta_t in place of an earlier result."""
    write_json(_file(store, theta), acceptance.model_dump(mode="json"))


def rejected_folder(store: Store, theta: int) -> Path:
    """The folder of a theta_t that was not accepted."""
    return store.solver_folder(theta).with_name(f"iter_{theta}.rejected")


def how_far(moved: Moved | None) -> list[str]:
    """How far training moved a theta, in words; empty if it was not measured."""
    if moved is None:
        return []
    found = []
    if moved.chosen_per_token is not None and moved.chosen_per_response is not None:
        found.append(
            f"chosen responses {moved.chosen_per_token:+z.3g} nats per token, {moved.chosen_per_response:+z.3g} per "
            f"response (n {moved.pairs:,})"
        )
    if moved.kl_per_token is not None and moved.kl_per_answer is not None:
        found.append(
            f"KL to theta_0 {moved.kl_per_token:z.3g} nats per token, {moved.kl_per_answer:z.3g} per answer "
            f"(n {moved.prompts:,})"
        )
    return found


def _file(store: Store, theta: int) -> Path:
    return store.solver_folder(theta).with_name(f"iter_{theta}.accepted.json")
