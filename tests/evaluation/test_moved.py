"""How far training moved a solver: the figures by hand from both models' log-probabilities, and in TRL's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from scripts import arguments
from tiny import preferences, save_dataset, save_model
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from eva_data.dataset.records.acceptance import Moved
from eva_data.errors import ModelError
from eva_data.evaluation.likelihood import log_probabilities
from eva_data.evaluation.likelihood.measuring import LikelihoodJob
from eva_data.evaluation.likelihood.moved import measure_rows, summed
from eva_data.jobs.job import Job

TRIPLES = [("Say ab.", "ab", "ba"), ("Say a longer word.", "elephant", "ant"), ("Hi", "Hello there!", "No.")]


def row(prompt: str, chosen: str | None = None) -> dict[str, Any]:
    answer = None if chosen is None else [{"role": "assistant", "content": chosen}]
    return {"prompt_id": prompt, "prompt": [{"role": "user", "content": prompt}], "chosen": answer}


def measured(
    folder: Path, rows: Sequence[dict[str, Any]], *models: Path, **changes: Any
) -> list[dict[str, Any] | None]:
    folder.mkdir(exist_ok=True)
    return measure_rows(Job(folder, "evaluate", settings(*models, **changes), seed=42), rows)


def settings(theta: Path, before: Path, initial: Path, **changes: Any) -> LikelihoodJob:
    values = {"dtype": "float32", "device": "cpu", "threads": 1, "trust_remote_code": False}
    values |= {"batch_size": 2, "max_tokens": 12, "theta": str(theta), "before": str(before), "initial": str(initial)}
    return LikelihoodJob.model_validate(values | changes)


def logits(folder: Path, ids: list[int]) -> Tensor:
    with torch.no_grad():
        found: Tensor = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([ids])).logits[0].log_softmax(-1)
    return found


def in_words(folder: Path, prompt: str, response: str) -> float:
    """The log-probability of a response, one row at a time and without padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    start = len(tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False))
    ids: Any = tokenizer.apply_chat_template(turns, return_dict=False)
    every = logits(folder, ids)
    return sum(float(every[at - 1, ids[at]]) for at in range(start, len(ids)))


@pytest.mark.slow
def test_log_probabilities_of_chosen_responses_are_each_models_own(tmp_path: Path) -> None:
    theta, before = save_model(tmp_path / "theta", seed=1), save_model(tmp_path / "before")
    found = measured(tmp_path / "job", [row(prompt, chosen) for prompt, chosen, _ in TRIPLES], theta, before, before)
    for (prompt, chosen, _), each in zip(TRIPLES, found, strict=True):
        assert each is not None
        assert each["tokens"] == len(chosen) + 2  # a letter is a token; the template adds its end and a line's end
        assert each["after"] == pytest.approx(in_words(theta, prompt, chosen), abs=1e-3)
        assert each["before"] == pytest.approx(in_words(before, prompt, chosen), abs=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread_and_a_cache_of_its_own")
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_they_are_the_log_probabilities_that_trl_trains_by(preference: ModuleType, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    save_dataset(tmp_path / "data", {"iter_1": preferences(TRIPLES)})
    parsed = preference.parse_arguments(arguments(tmp_path, model))
    dataset, _ = preference.load_table(parsed[0], "preferences", ("prompt", "chosen", "rejected"))
    trainer = preference.build_trainer(dataset, *parsed)
    found = measured(tmp_path / "job", [row(prompt, chosen) for prompt, chosen, _ in TRIPLES], model, model, model)
    ours = [each["after"] for each in found if each is not None]
    assert ours == pytest.approx(trainer.train_dataset["ref_chosen_logps"][:], abs=1e-3)


def loaded(theta: Path, **changes: Any) -> tuple[Any, Any, LikelihoodJob]:
    found = settings(theta, theta, theta, **changes)
    return *log_probabilities._load(found, str(theta)), found


@pytest.mark.slow
def test_the_divergence_is_summed_over_the_prefixes_of_sampled_answers(tmp_path: Path) -> None:
    theta, initial = save_model(tmp_path / "theta", seed=1), save_model(tmp_path / "initial")
    rows = [row(prompt) for prompt, _, _ in TRIPLES]
    found = measured(tmp_path / "job", rows, theta, theta, initial)
    sampled = dict(log_probabilities._sampled(*loaded(theta), dict(enumerate(rows)), 42))
    for at, each in enumerate(found):
        assert each is not None
        ids, places = sampled[at]
        ours, theirs = (logits(folder, ids)[-places:] for folder in (theta, initial))
        by_hand = (ours.exp() * (ours - theirs)).sum()
        assert each["kl"] == pytest.approx(float(by_hand), rel=1e-3)
        assert each["tokens"] == places <= 12
    again = measured(tmp_path / "again", rows, theta, theta, initial, batch_size=1)
    assert again == [pytest.approx(each, rel=1e-3) for each in found]
    same = measured(tmp_path / "same", rows, theta, theta, theta)
    assert [each and each["kl"] for each in same] == pytest.approx([0.0] * 3, abs=1e-6)


@pytest.mark.slow
def test_the_log_ratio_of_sampled_answers_has_the_same_mean(tmp_path: Path) -> None:
    """The exact sum and Schulman's k1 estimate one divergence: over many answers they agree within their error."""
    theta, initial = save_model(tmp_path / "theta", seed=1), save_model(tmp_path / "initial")
    rows = [row(f"Say {number}.") for number in range(300)]
    asked = measured(tmp_path / "job", rows, theta, theta, initial, batch_size=64, max_tokens=4)
    exact = torch.tensor([each["kl"] for each in asked if each is not None])
    model, tokenizer, chosen = loaded(theta, batch_size=64, max_tokens=4)
    other, _ = log_probabilities._load(chosen, str(initial))
    ratios: list[float] = []
    # Other answers, by another seed; few of them end before their fourth token.
    for _, (ids, places) in log_probabilities._sampled(model, tokenizer, chosen, dict(enumerate(rows)), 7):
        if places == 4:
            ours, theirs = (log_probabilities._predicted(each, [(ids, 4)])[0] for each in (model, other))
            # The fourth token is drawn here, since the measured prefixes end before it.
            last = ours[-1].exp().multinomial(1, generator=torch.Generator().manual_seed(len(ratios)))
            tokens = torch.cat([torch.tensor(ids[-3:]), last])
            ratios.append(float((ours - theirs).gather(-1, tokens[:, None]).sum()))
    k1 = torch.tensor(ratios)
    error = float((k1.var() / len(k1) + exact.var() / len(exact)) ** 0.5)
    assert len(ratios) > 250
    assert abs(float(k1.mean() - exact.mean())) < 3 * error
    assert float(exact.std()) < float(k1.std())


@pytest.mark.slow
def test_what_does_not_fit_is_left_out_and_other_vocabularies_are_refused(tmp_path: Path) -> None:
    theta, other = save_model(tmp_path / "theta"), save_model(tmp_path / "other", "gemma2")
    rows = [row("Hi", "x" * 600), row("y" * 600), row("Hi", "Hello")]
    first, second, third = measured(tmp_path / "job", rows, theta, theta, theta)
    assert (first, second) == (None, None) and third is not None
    config = (other / "config.json").read_text()
    (other / "config.json").write_text(config.replace('"vocab_size": ', '"vocab_size": 1'))
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(other)).save_pretrained(other)
    with pytest.raises(ModelError, match=r"theta_0 knows 1\d+ tokens and the trained model \d+, so their"):
        measured(tmp_path / "refused", [row("Hi")], theta, theta, other)


def test_means_count_tokens_and_responses() -> None:
    results = [
        (row("a", "x"), {"tokens": 2, "before": -3.0, "after": -2.0}),
        (row("b", "x"), {"tokens": 6, "before": -5.0, "after": -8.0}),
        (row("c", "x"), None),
        (row("d"), {"tokens": 4, "kl": 0.5}),
        (row("e"), {"tokens": 1, "kl": 1.0}),
    ]
    assert summed(results, before="b", initial="i", asked="iteration 1") == Moved(
        before="b",
        initial="i",
        pairs=2,
        pairs_left_out=1,
        chosen_per_token=-0.25,
        chosen_per_response=-1.0,
        prompts=2,
        prompts_left_out=0,
        asked="iteration 1",
        kl_per_token=0.3,
        kl_per_answer=0.75,
    )


def test_what_was_not_measured_or_is_not_finite_is_unknown() -> None:
    results = [(row("a", "x"), None), (row("b"), {"tokens": 1, "kl": float("nan")})]
    found = summed(results, before="b", initial="i", asked="iteration 1")
    assert (found.chosen_per_token, found.kl_per_token, found.kl_per_answer) == (None, None, None)
    assert (found.pairs, found.pairs_left_out, found.prompts) == (0, 1, 1)
