"""The settings of the job that measures how far training moved a solver."""

from __future__ import annotations

from eva_data.config.base import Settings


class LikelihoodJob(Settings):
    """The settings of the job."""

    theta: str
    """Folder of the trained model."""
    before: str
    """Folder of the model before it."""
    initial: str
    """Folder of theta_0."""
    dtype: str
    device: str
    threads: int | None
    trust_remote_code: bool
    batch_size: int
    max_tokens: int
    """Longest sampled answer, in tokens."""
