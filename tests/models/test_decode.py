"""Sampling from a causal language model: exact if possible, with randomness of its own per row, equal in any batch."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from eva_data.models.decode import pick, sample_batch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=256, initializer_range=0.2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.eval()
    return model


def sampled(model: LlamaForCausalLM, prompts: list[list[int]], seeds: list[int], **changes: float) -> list[list[int]]:
    settings = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 12} | changes
    found = sample_batch(model, prompts, seeds, end_tokens=[1], pad_token=0, **settings)  # type: ignore[arg-type]
    return [sample.tokens for sample in found]


PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15], [5, 6, 7], [20, 21]]
SEEDS = [1, 2, 3, 4, 5]


def test_the_point_in_the_cumulative_distribution_picks_the_token() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.6, 0.3]]))
    # Most likely first: token 1 up to 0.6, token 2 up to 0.9, token 0 up to 1.
    for point, token in [(0.0, 1), (0.59, 1), (0.61, 2), (0.89, 2), (0.91, 0), (0.999999, 0)]:
        assert pick(logits, torch.tensor([point], dtype=torch.float64), temperature=1.0, top_p=1.0).item() == token


def test_top_p_keeps_the_smallest_set_that_holds_the_mass() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.6, 0.3]]))
    points = torch.linspace(0, 0.9999, 50, dtype=torch.float64)
    found = {
        p: pick(logits.repeat(50, 1), points, temperature=1.0, top_p=p).unique().tolist() for p in (0.5, 0.7, 0.95)
    }
    assert found == {0.5: [1], 0.7: [1, 2], 0.95: [0, 1, 2]}


def test_temperature_0_is_greedy_and_half_sharpens() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.8]]))
    assert pick(logits, torch.tensor([0.99], dtype=torch.float64), temperature=0.0, top_p=1.0).item() == 1
    # At temperature 1/2 probabilities are squared: 0.64 / 0.68 = 0.941 for token 1.
    for point, token in [(0.94, 1), (0.942, 0)]:
        assert pick(logits, torch.tensor([point], dtype=torch.float64), temperature=0.5, top_p=1.0).item() == token


def test_logits_are_the_same_within_1e_5_alone_and_in_a_padded_batch(model: LlamaForCausalLM) -> None:
    seen: list[torch.Tensor] = []
    handle = model.lm_head.register_forward_hook(lambda _m, _i, output: seen.append(output[:, -1].clone()))
    distinct = [PROMPTS[place] for place in (0, 1, 2, 4)]
    sampled(model, distinct, SEEDS[:4], max_tokens=1)
    together = seen.pop()
    alone = []
    for prompt, seed in zip(distinct, SEEDS, strict=False):
        sampled(model, [prompt], [seed], max_tokens=1)
        alone.append(seen.pop())
    handle.remove()
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_a_row_samples_the_same_alone_and_in_any_company(model: LlamaForCausalLM) -> None:
    together = sampled(model, PROMPTS, SEEDS)
    assert together == [sampled(model, [p], [s])[0] for p, s in zip(PROMPTS, SEEDS, strict=True)]
    assert together == sampled(model, PROMPTS[::-1], SEEDS[::-1])[::-1]
    assert together[0] != together[3]


def test_equal_prompts_are_read_once(model: LlamaForCausalLM) -> None:
    read: list[int] = []
    handle = model.lm_head.register_forward_hook(lambda _m, _i, output: read.append(len(output)))
    sampled(model, PROMPTS, SEEDS, max_tokens=2)
    handle.remove()
    assert read == [4, 5]


def test_greedy_agrees_with_transformers_own_generation(model: LlamaForCausalLM) -> None:
    ours = sampled(model, [PROMPTS[2]], [0], temperature=0.0)[0]
    theirs = model.generate(  # type: ignore[misc]
        torch.tensor([PROMPTS[2]]), attention_mask=torch.ones(1, 7, dtype=torch.long), do_sample=False,
        max_new_tokens=12, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    tokens = theirs[0, 7:].tolist()
    assert ours == (tokens[: tokens.index(1)] if 1 in tokens else tokens)


def test_sampling_follows_the_model_distribution(model: LlamaForCausalLM) -> None:
    count = 4000
    first = [row[0] if row else 1 for row in sampled(model, [[5, 6, 7]] * count, list(range(count)), max_tokens=1)]
    frequencies = torch.bincount(torch.tensor(first), minlength=50) / count
    expected = model(torch.tensor([[5, 6, 7]])).logits[0, -1].detach().softmax(-1)
    # Four standard errors of a proportion at most 1/2.
    assert (frequencies - expected).abs().max() < 4 * 0.5 / count**0.5


def test_a_row_that_ends_leaves_the_others_undisturbed(model: LlamaForCausalLM) -> None:
    found = sample_batch(
        model, PROMPTS * 20, list(range(100)), end_tokens=[1, 2, 3, 4], pad_token=0, temperature=1.0, top_p=1.0,
        max_tokens=12,
    )  # fmt: skip
    lengths = {len(sample.tokens) for sample in found if sample.ended}
    assert len(lengths) > 3
    assert all(len(sample.tokens) == 12 for sample in found if not sample.ended)
    assert all(1 not in sample.tokens for sample in found)
    for number in (0, 17, 99):
        alone = sample_batch(
            model, [(PROMPTS * 20)[number]], [number], end_tokens=[1, 2, 3, 4], pad_token=0, temperature=1.0, top_p=1.0,
            max_tokens=12,
        )  # fmt: skip
        assert alone == [found[number]]
