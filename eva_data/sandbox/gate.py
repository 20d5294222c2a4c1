"""Whether a solver can show what the worlds `steps` and `crowded` are for; run before a sweep in them begins.

    python -m eva_data.sandbox.gate MODEL

A solver that fails at depth 2 would be mended by static prompts too, and at depth 3 there must be something to learn
from and something to learn.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

DEPTH_2 = 0.95
"""Least share of right answers at depth 2, greedily."""
DEPTH_3 = (0.2, 0.6)
"""Bounds of the share of prompts of depth 3 that any of six samples gets right."""
PROMPTS = 500
"""Held-out prompts of each depth."""


def failure(solved: Sequence[Mapping[str, float]]) -> str | None:
    """What is wrong with the rows of `solving_table` for depths 2 and 3, in a sentence; None if the gate holds."""
    by_depth = {int(row["depth"]): row for row in solved}
    second, third = by_depth[2]["greedy"], by_depth[3]["any_of_6"]
    if second < DEPTH_2:
        return f"theta_0 solves {second:.1%} of the puzzles of two operations, expected at least {DEPTH_2:.0%}"
    if not DEPTH_3[0] <= third <= DEPTH_3[1]:
        return (
            f"any of six samples of theta_0 solves {third:.1%} of the puzzles of three operations, expected "
            f"{DEPTH_3[0]:.0%} to {DEPTH_3[1]:.0%}"
        )
    return None


def main(model: Path) -> None:
    """Print `solving_table` of depths 2 and 3 as JSON."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    from eva_data.sandbox.measure import solving_table
    from eva_data.sandbox.steps import score

    torch.set_num_threads(1)
    solver = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    solved = solving_table(solver, AutoTokenizer.from_pretrained(model), PROMPTS, score=score, depths=(2, 3))
    print(json.dumps(solved))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
