"""The block that names who rates prompts, for all iterations alike."""

from __future__ import annotations

from pydantic import Field

from eva_data.config.base import Settings
from eva_data.config.models import Model


class PromptScorer(Settings):
    """Who rates how complex and how good prompts are, for `eva-data score`. Nothing here changes what is built."""

    model: Model
    """The model that rates. It stays the same for all iterations, so that their ratings compare; `temperature: 0` makes
    it give the same ratings wherever it can."""
    sample: int = Field(500, ge=2)
    """Prompts of each iteration that are rated, drawn by lot. Each is asked about twice, once for each rating."""
