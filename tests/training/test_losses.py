"""Each recipe minimises its paper's formula, which the tests compute from a model's log-probabilities on one batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
import torch
import torch.nn.functional as F
from scripts import arguments
from tiny import Architecture, preferences, save_dataset, save_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from eva_data.errors import DataError

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


def dpo_tenth(chosen: Answer, rejected: Answer) -> Tensor:
    """The same as `dpo` with beta 0.1."""
    return -torch.log(torch.sigmoid(0.1 * (chosen.log_ratio - rejected.log_ratio)))


def authors_code(chosen: Answer, rejected: Answer) -> Tensor:
    """DPO with beta 0.1, and the likelihood divided by the length twice."""
    return dpo_tenth(chosen, rejected) - chosen.policy.sum() / len(chosen.policy) ** 2


def iterative_rpo(chosen: Answer, rejected: Answer) -> Tensor:
    """arXiv 2404.19733, equation 1, with its beta 0.1 and alpha 1."""
    return dpo_tenth(chosen, rejected) - chosen.policy.sum() / len(chosen.policy)


def ipo(chosen: Answer, rejected: Answer) -> Tensor:
    """arXiv 2310.12036, equation 17, with beta 0.1 and log-ratios that are means over tokens."""
    return (chosen.log_ratio / len(chosen.policy) - rejected.log_ratio / len(rejected.policy) - 1 / 0.2) ** 2


def cpo(chosen: Answer, rejected: Answer) -> Tensor:
    """arXiv 2401.08417, with beta 0.1 and the mean likelihood of the chosen response's tokens."""
    return -torch.log(torch.sigmoid(0.1 * (chosen.policy.sum() - rejected.policy.sum()))) - chosen.policy.mean()


def sft(chosen: Answer, rejected: Answer) -> Tensor:
    """The mean over the tokens of the chosen response."""
    return -chosen.policy.mean()


def sppo(chosen: Answer, rejected: Answer) -> Tensor:
    """arXiv 2405.00675, equation 4.7, of both responses, with eta = 1 / 0.001 and P = 1 and 0."""
    return sppo_by(chosen, rejected, (1.0, 0.0))


def sppo_by(chosen: Answer, rejected: Answer, wins: tuple[float, float]) -> Tensor:
    """The same with other probabilities of winning."""
    targets = [1000 * (win - 0.5) for win in wins]
    return (chosen.log_ratio - targets[0]) ** 2 + (rejected.log_ratio - targets[1]) ** 2


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
    [
        *[("dpo", dpo), ("dpo_nll", dpo_and_likelihood), ("sppo", sppo), ("simpo", simpo), ("orpo", orpo)],
        *[("dpo_nll_code", authors_code), ("irpo", iterative_rpo), ("ipo", ipo), ("cpo", cpo), ("sft", sft)],
    ],
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
    end = [tokenizer.eos_token_id] if recipe in ("simpo", "orpo", "cpo") else []

    def answer(prompt: str, response: str) -> Answer:
        ids, start = tokens(tokenizer, prompt, response)
        policy, before = (log_probabilities(of, ids + end) for of in (trainer.model, reference))
        return Answer(policy[start - 1 :], before[start - 1 :], policy)

    by_hand = [formula(answer(prompt, a), answer(prompt, b)).item() for prompt, a, b in PAIRS]
    # A device takes one pair at a time, in the order of the seed.
    assert sorted(losses) == pytest.approx(sorted(by_hand), rel=1e-5)
    assert recipe != "dpo" or losses != pytest.approx([math.log(2)] * 3, rel=1e-3)


WINS = [(0.75, 0.25), (0.3, 0.1), (0.6, 0.55)]
"""P of the chosen and the rejected response of each pair. The second chosen response is below 1/2."""


@pytest.mark.parametrize("batch", [1, 3])
def test_the_targets_of_sppo_are_the_probabilities_of_winning(
    preference: ModuleType, tmp_path: Path, batch: int
) -> None:
    model = save_model(tmp_path / "model")
    by_people = ("Count.", "1 2", "2 1")
    scores = [*WINS, (0.2, 0.8)]
    table = preferences([*PAIRS, by_people]).with_columns(
        pl.Series("score_chosen", [chosen for chosen, _ in scores]),
        pl.Series("score_rejected", [rejected for _, rejected in scores]),
        verdict_by=pl.Series(["reward"] * 3 + ["human"]),
        iteration=pl.lit(1, pl.Int32),
    )
    save_dataset(tmp_path / "data", {"iter_1": table})
    own, *parsed = preference.parse_arguments(
        arguments(tmp_path, model, "--per_device_train_batch_size", str(batch), "--batch_size", "3", recipe="sppo")
    )
    columns = preference.COLUMNS + preference.SCORES
    dataset, counts = preference.with_probabilities(preference.load_table(own, "preferences", columns)[0], 1)
    assert counts == {"hard": 1, "by_probability": 3}
    trainer = preference.build_trainer(dataset, own, *parsed)
    move(trainer.model)
    with torch.no_grad():
        losses = [trainer.compute_loss(trainer.model, part).item() for part in trainer.get_train_dataloader()]
    reference, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)

    def answer(prompt: str, response: str) -> Answer:
        ids, start = tokens(tokenizer, prompt, response)
        policy, before = (log_probabilities(of, ids) for of in (trainer.model, reference))
        return Answer(policy[start - 1 :], before[start - 1 :], policy)

    # People chose the response with the lower score, so its target is hard.
    hard = (1.0, 0.0)
    by_hand, away = [], []
    for (prompt, *responses), wins in zip([*PAIRS, by_people], [*WINS, hard], strict=True):
        both = [answer(prompt, response) for response in responses]
        by_hand.append(sppo_by(both[0], both[1], wins).item())
        away += [abs(each.log_ratio.item() - 1000 * (win - 0.5)) for each, win in zip(both, wins, strict=True)]
    if batch == 1:
        assert sorted(losses) == pytest.approx(sorted(by_hand), rel=1e-5)
        distances = trainer._metrics["eval"]["sppo/distance_to_target"]
        assert sum(distances) / len(distances) == pytest.approx(sum(away) / len(away), rel=1e-5)
    else:
        assert 3 * losses[0] + losses[1] == pytest.approx(sum(by_hand), rel=1e-5), "means over three pairs and over one"


def test_a_score_that_is_no_probability_is_no_target(preference: ModuleType, tmp_path: Path) -> None:
    scored = {"score_chosen": pl.lit(1.5), "score_rejected": pl.lit(0.5), "verdict_by": pl.lit("reward")}
    table = preferences(PAIRS).with_columns(**scored, iteration=pl.lit(2, pl.Int32))
    save_dataset(tmp_path / "data", {"iter_1": table})
    own, *_ = preference.parse_arguments(arguments(tmp_path, tmp_path, recipe="sppo"))
    dataset, _ = preference.load_table(own, "preferences", preference.COLUMNS + preference.SCORES)
    with pytest.raises(DataError, match=r"3 pairs have a score that is no probability, such as 1\.5: leave"):
        preference.with_probabilities(dataset, 2)
    assert preference.with_probabilities(dataset, 3)[1] == {"hard": 3, "by_probability": 0}, "earlier scores are no P"


def test_kto_counts_each_response_by_itself_against_a_mean_over_other_prompts(
    preference: ModuleType, tmp_path: Path
) -> None:
    model = save_model(tmp_path / "model")
    save_dataset(tmp_path / "data", {"iter_1": preferences(PAIRS)})
    small = ("--per_device_train_batch_size", "3", "--batch_size", "3")
    parsed = preference.parse_arguments(arguments(tmp_path, model, *small, recipe="kto"))
    dataset, _ = preference.load_table(parsed[0], "preferences", preference.COLUMNS)
    trainer = preference.build_trainer(dataset, *parsed)
    move(trainer.model)
    with torch.no_grad():
        losses = [trainer.compute_loss(trainer.model, part).item() for part in trainer.get_train_dataloader()]
    rows = preference.one_by_one(dataset, parsed[1].seed)
    reference, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)

    def log_ratio(prompt: str, response: str) -> float:
        ids, start = tokens(tokenizer, prompt, response)
        policy, before = (log_probabilities(of, ids)[start - 1 :].sum() for of in (trainer.model, reference))
        return float(policy - before)

    asked = [(row["prompt"][0]["content"], row["completion"][0]["content"], row["label"]) for row in rows]
    assert sorted(asked) == sorted(
        (prompt, text, text == best) for prompt, best, worst in PAIRS for text in (best, worst)
    )
    by_hand = []
    for part in (asked[:3], asked[3:]):
        assert len({prompt for prompt, _, _ in part}) == 3
        others = [part[number - 1][1] for number in range(3)]
        kl = max(0.0, sum(log_ratio(row[0], other) for row, other in zip(part, others, strict=True)) / 3)
        values = [0.1 * (log_ratio(p, r) - kl) * (1 if chosen else -1) for p, r, chosen in part]
        by_hand.append(sum(1 - 1 / (1 + math.exp(-value)) for value in values) / 3)
    # arXiv 2402.01306, equation 8, with beta 0.1 and both weights 1.
    assert sorted(losses) == pytest.approx(sorted(by_hand), rel=1e-5)


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
