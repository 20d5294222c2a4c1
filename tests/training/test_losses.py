"""Each recipe minimises its paper's formula, which the tests compute from a model's log-probabilities on one batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scripts import arguments
from tiny import Architecture, preferences, save_dataset, save_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

# TRL 1.16 calls by their old names what transformers 5.23 has renamed.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread_and_a_cache_of_its_own"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
]

PAIRS = [("Say ab.", "ab", "ba"), ("Say a longer word.", "elephant", "ant"), ("Hi", "Hello!", "No.")]


@dataclass
class Answer:
    """Log-probabilities of a response's tokens, under the trained model and under the model it is trained from."""

    policy: Tensor
    reference: Tensor
    whole: Tensor
    """Of the prompt's tokens but the first, and the response's, under the trained model."""

    @property
    def log_ratio(self) -> Tensor:
        return self.policy.sum() - self.reference.sum()


def dpo(chosen: Answer, rejected: Answer) -> Tensor:
    """arXiv 2305.18290, equation 7, with beta 0.05."""
    return -torch.log(torch.sigmoid(0.05 * (chosen.log_ratio - rejected.log_ratio)))


def dpo_and_likelihood(chosen: Answer, rejected: Answer) -> Tensor:
    """arXiv 2404.19733, equation 1, with beta 0.05 and alpha 1."""
    return dpo(chosen, rejected) - chosen.policy.sum() / len(chosen.policy)


def sppo(chosen: Answer, rejected: Answer) -> Tensor:
    """arXiv 2405.00675, equation 4.7, of both responses, with eta = 1 / 0.001 and P = 1 and 0."""
    return (chosen.log_ratio - 1000 * (1 - 0.5)) ** 2 + (rejected.log_ratio - 1000 * (0 - 0.5)) ** 2


def simpo(chosen: Answer, rejected: Answer) -> Tensor:
    """arXiv 2405.14734, equation 6, with beta 10 and gamma 5."""
    difference = 10 * chosen.policy.sum() / len(chosen.policy) - 10 * rejected.policy.sum() / len(rejected.policy)
    return -torch.log(torch.sigmoid(difference - 5))


def orpo(chosen: Answer, rejected: Answer) -> Tensor:
    """arXiv 2403.07691, equations 3 to 7, with lambda 0.5; the likelihood is that of prompt and response together."""
    probabilities = [torch.exp(answer.policy.mean()) for answer in (chosen, rejected)]
    odds = [probability / (1 - probability) for probability in probabilities]
    return -chosen.whole.mean() - 0.5 * torch.log(torch.sigmoid(torch.log(odds[0] / odds[1])))


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize(
    ("recipe", "formula"),
    [("dpo", dpo), ("dpo_nll", dpo_and_likelihood), ("sppo", sppo), ("simpo", simpo), ("orpo", orpo)],
)
def test_the_loss_of_a_recipe_is_the_formula_of_its_paper(
    preference: ModuleType,
    tmp_path: Path,
    architecture: Architecture,
    recipe: str,
    formula: Callable[[Answer, Answer], Tensor],
) -> None:
    model = save_model(tmp_path / "model", architecture)
    save_dataset(tmp_path / "data", {"iter_1": preferences(PAIRS)})
    parsed = preference.parse_arguments(arguments(tmp_path, model, recipe=recipe))
    dataset, _ = preference.load_table(parsed[0], "preferences", ("prompt", "chosen", "rejected"))
    trainer = preference.build_trainer(dataset, *parsed)
    move(trainer.model)
    with torch.no_grad():
        losses = [trainer.compute_loss(trainer.model, batch).item() for batch in trainer.get_train_dataloader()]

    reference = AutoModelForCausalLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    # TRL's experimental trainers add it to what the template ends in, here a line's end.
    end = [tokenizer.eos_token_id] if recipe in ("simpo", "orpo") else []

    def answer(prompt: str, response: str) -> Answer:
        ids, start = tokens(tokenizer, prompt, response)
        policy, before = (log_probabilities(of, ids + end) for of in (trainer.model, reference))
        return Answer(policy[start - 1 :], before[start - 1 :], policy)

    by_hand = [formula(answer(prompt, a), answer(prompt, b)).item() for prompt, a, b in PAIRS]
    # A device takes one pair at a time, in the order of the seed.
    assert sorted(losses) == pytest.approx(sorted(by_hand), rel=1e-5)
    assert recipe != "dpo" or losses != pytest.approx([math.log(2)] * 3, rel=1e-3)


def test_the_sandboxs_likelihood_is_a_mean_over_the_tokens_of_its_batch(preference: ModuleType, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    save_dataset(tmp_path / "data", {"iter_1": preferences(PAIRS)})
    parsed = preference.parse_arguments(arguments(tmp_path, model))
    dataset, _ = preference.load_table(parsed[0], "preferences", ("prompt", "chosen", "rejected"))
    trainer = preference.build_trainer(dataset, *parsed)
    move(trainer.model)
    (batch,) = trainer.get_train_dataloader()
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model, batch).item()

    reference = AutoModelForCausalLM.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    ratios, likelihoods = [], []
    for prompt, *responses in PAIRS:
        both = []
        for response in responses:
            ids, start = tokens(tokenizer, prompt, response)
            both.append([log_probabilities(of, ids)[start - 1 :] for of in (trainer.model, reference)])
        (chosen, before), (rejected, rejected_before) = both
        ratios.append((chosen.sum() - before.sum()) - (rejected.sum() - rejected_before.sum()))
        likelihoods.append(chosen)
    by_hand = -F.logsigmoid(0.1 * torch.stack(ratios)).mean() - 0.2 * torch.cat(likelihoods).mean()
    assert loss == pytest.approx(by_hand.item(), rel=1e-5)


def tokens(tokenizer: Any, prompt: str, response: str) -> tuple[list[int], int]:
    """The tokens of a rendered prompt with its response, and the number of tokens before the response."""
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    start: list[int] = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
    ids: list[int] = tokenizer.apply_chat_template(turns, return_dict=False)
    assert ids[: len(start)] == start
    return ids, len(start)


def move(model: PreTrainedModel) -> None:
    """Move the model far enough from the reference that a loss without a reference would differ."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))


def log_probabilities(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """Log-probabilities of all tokens but the first, given the earlier tokens."""
    with torch.no_grad():
        logits: Any = model(torch.tensor([ids])).logits[0]
    every = F.log_softmax(logits, dim=-1)
    return torch.stack([every[at - 1, ids[at]] for at in range(1, len(ids))])
