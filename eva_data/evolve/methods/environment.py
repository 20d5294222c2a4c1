"""A curriculum without a creator: the environment that posed a prompt poses another one, a level harder.

An environment's own knobs decide what is harder, as in reasoning-gym's curricula (Stojanovski et al. 2025, arXiv
2505.24760). Every new prompt carries its right answer, so that it can be scored exactly.
"""

from __future__ import annotations

from eva_data.environments.posing import one_level_up
from eva_data.evolve.parse import bare
from eva_data.evolve.strategy import Method, Strategy


def environment() -> Method:
    """One strategy: one knob of the parent's environment is raised by one level. No model is asked.

    Which knob is raised is in the column `info`. A prompt that no environment posed, and a prompt at the highest level
    of all its knobs, have no strategy.
    """
    strategy = Strategy("one_level_up", "in_depth", "{prompt}", "{prompt}", bare, pose=one_level_up)
    return Method("environment", (strategy,))
