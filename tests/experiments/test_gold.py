"""Supervised training of the sandbox's solver, beside the game."""

from __future__ import annotations

import pytest


@pytest.mark.slow
def test_right_answers_of_depth_3_become_likelier() -> None:
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    from eva_data.config.reading import SANDBOX_CONFIG
    from eva_data.experiments.gold import teach_gold
    from eva_data.sandbox.make_model import loss_on_replies

    folder = SANDBOX_CONFIG.parent / "model_steps"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    solver = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    puzzle = "Write the word tiger backwards, then put it in capital letters. Then add the word box to the end of it."
    # Another puzzle, whose steps it was not shown.
    unseen = [(puzzle, "regit>REGIT>REGITbox")]
    with torch.no_grad():
        before = float(loss_on_replies(solver, tokenizer, unseen))
    teach_gold(solver, tokenizer, 96, seed=1)
    with torch.no_grad():
        after = float(loss_on_replies(solver, tokenizer, unseen))
    assert after < before
