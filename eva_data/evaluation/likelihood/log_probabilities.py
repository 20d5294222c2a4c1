"""Measures in a child process how far a model moved: log-probabilities of given answers, and the KL of its own.

The KL divergence of an answer is the sum, over the prefixes of an answer that theta sampled, of the exact divergence
of the next token's distribution. Its expectation is the divergence of whole answers, it is never negative, and it
varies less than the log-ratio of the sampled tokens, Schulman's k1 (joschu.net/blog/kl-approx.html; arXiv 2504.10637).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from jinja2.exceptions import TemplateError
from torch import Tensor
from torch.nn import functional

from eva_data.calls import Rows
from eva_data.errors import ModelError
from eva_data.evaluation.likelihood.measuring import LikelihoodJob
from eva_data.jobs.job import Progress
from eva_data.ledger import call_key, derived_seed
from eva_data.models.cluster.sampler import load_model
from eva_data.models.decode import sample_batch
from eva_data.models.rendering import render

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_LOGITS = 2**27
"""Most logits of a batch: half a gigabyte in float32."""

Row: TypeAlias = dict[str, Any]
T = TypeVar("T")
Sequenced: TypeAlias = tuple[list[int], int]
"""Tokens of a prompt with its answer, and the number of places, counted from the end, at which a token is predicted."""


def measured(settings: LikelihoodJob, rows: Rows, seed: int, progress: Progress) -> list[Row | None]:
    """The results of `moved.measure_rows`."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    pairs = {at: row for at, row in enumerate(rows) if row["chosen"] is not None}
    asked = {at: row for at, row in enumerate(rows) if row["chosen"] is None}
    found: dict[int, Row] = {}
    done, steps = 0, 2 * len(rows)

    def told(results: Iterator[tuple[int, T]]) -> dict[int, T]:
        nonlocal done
        kept: dict[int, T] = {}
        for at, result in results:
            kept[at] = result
            done += 1
            progress(done, steps)
        return kept

    if pairs:
        earlier, tokenizer = _load(settings, settings.before)
        given = {at: ids for at, row in pairs.items() if (ids := _answered(tokenizer, earlier, row)) is not None}
        before = told(_sums(earlier, settings, given))
        # No more than two models are in memory at a time.
        del earlier
        gc.collect()
    theta, tokenizer = _load(settings, settings.theta)
    if pairs:
        after = told(_sums(theta, settings, given))
        for at, (_, places) in given.items():
            found[at] = {"tokens": places - 1, "before": before[at], "after": after[at]}
    if asked:
        sampled = told(_sampled(theta, tokenizer, settings, asked, seed))
        initial, _ = _load(settings, settings.initial)
        for at, divergences in told(_divergences(theta, initial, settings, sampled)).items():
            found[at] = {"tokens": len(divergences), "kl": float(divergences.sum())}
    progress(steps, steps)
    return [found.get(at) for at in range(len(rows))]


def _load(settings: LikelihoodJob, path: str) -> tuple[PreTrainedModel, Any]:
    return load_model(path, dtype=settings.dtype, device=settings.device, trust_remote_code=settings.trust_remote_code)


def _longest(model: PreTrainedModel) -> int | None:
    longest: int | None = model.config.get_text_config().to_dict().get("max_position_embeddings")
    return longest


def _tokens(tokenizer: Any, messages: Sequence[Any], *, ask: bool) -> list[int] | None:
    """The tokens of a conversation; None if the chat template refuses it."""
    try:
        text = render(tokenizer, messages, ask=ask)
    except TemplateError:
        return None
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _answered(tokenizer: Any, model: PreTrainedModel, row: Row) -> Sequenced | None:
    """A prompt with its chosen response, tokenised as TRL does; None if it does not fit."""
    prompt = _tokens(tokenizer, row["prompt"], ask=True)
    whole = _tokens(tokenizer, [*row["prompt"], *row["chosen"]], ask=False)
    longest = _longest(model)
    if prompt is None or whole is None or len(whole) <= len(prompt) or len(whole) > (longest or len(whole)):
        return None
    # The last place predicts what would come after the response, which is not counted.
    return whole, len(whole) - len(prompt) + 1


def _sampled(
    model: PreTrainedModel, tokenizer: Any, settings: LikelihoodJob, rows: dict[int, Row], seed: int
) -> Iterator[tuple[int, Sequenced]]:
    """An answer of theta to each prompt that fits, at temperature 1, from its whole distribution."""
    configured: Any = model.generation_config.eos_token_id
    named = [*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id]
    ends = {token for token in named if token is not None}
    room = _longest(model)
    prompts = {at: ids for at, row in rows.items() if (ids := _tokens(tokenizer, row["prompt"], ask=True)) is not None}
    fitting = [at for at, ids in prompts.items() if room is None or len(ids) + settings.max_tokens <= room]
    fitting.sort(key=lambda at: (len(prompts[at]), rows[at]["prompt_id"]))
    for start in range(0, len(fitting), settings.batch_size):
        batch = fitting[start : start + settings.batch_size]
        keys = [call_key({"stage": "moved", "seed": seed, "prompt_id": rows[at]["prompt_id"]}) for at in batch]
        answers = sample_batch(
            model,
            [prompts[at] for at in batch],
            [derived_seed(key) for key in keys],
            temperature=1.0,
            top_p=1.0,
            max_tokens=settings.max_tokens,
            end_tokens=sorted(ends),
            pad_token=tokenizer.pad_token_id or 0,
        )
        for at, answer in zip(batch, answers, strict=True):
            # An end is predicted after the last token, and of an answer that was cut, nothing is.
            tokens = answer.tokens if answer.ended else answer.tokens[:-1]
            yield at, (prompts[at] + tokens, len(tokens) + 1)


def _batches(model: PreTrainedModel, settings: LikelihoodJob, given: dict[int, Sequenced]) -> Iterator[list[int]]:
    """The rows in batches of similar length, each with a bounded number of logits."""
    size = model.config.get_text_config().vocab_size
    batch: list[int] = []
    for at in sorted(given, key=lambda at: (given[at][1], len(given[at][0]), at)):
        if batch and (len(batch) == settings.batch_size or (len(batch) + 1) * given[at][1] * size > MOST_LOGITS):
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


@torch.inference_mode()
def _predicted(model: PreTrainedModel, batch: Sequence[Sequenced]) -> list[Tensor]:
    """Log-probabilities of every token at the last places of each row, as (places, vocabulary) in float32."""
    width, kept = max(len(ids) for ids, _ in batch), max(places for _, places in batch)
    ids = torch.tensor([[0] * (width - len(row)) + row for row, _ in batch], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row, _ in batch], device=model.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=kept)
    return [row[-places:].float().log_softmax(-1) for row, (_, places) in zip(logits.logits, batch, strict=True)]


def _sums(model: PreTrainedModel, settings: LikelihoodJob, given: dict[int, Sequenced]) -> Iterator[tuple[int, float]]:
    """The log-probability of each answer."""
    for batch in _batches(model, settings, given):
        rows = [given[at] for at in batch]
        for at, (ids, places), every in zip(batch, rows, _predicted(model, rows), strict=True):
            answer = torch.tensor(ids[1 - places :], device=every.device)
            yield at, float(every[:-1].gather(-1, answer[:, None]).double().sum())


def _divergences(
    theta: PreTrainedModel, initial: PreTrainedModel, settings: LikelihoodJob, sampled: dict[int, Sequenced]
) -> Iterator[tuple[int, Tensor]]:
    """The divergence of theta's distribution from theta_0's at every predicted token of each answer."""
    sizes = [model.config.get_text_config().vocab_size for model in (theta, initial)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"theta_0 knows {sizes[1]} tokens and the trained model {sizes[0]}, so their distributions cannot be "
            "compared: take `max_kl` out of `train.accept`"
        )
    for batch in _batches(theta, settings, sampled):
        rows = [sampled[at] for at in batch]
        for at, ours, theirs in zip(batch, _predicted(theta, rows), _predicted(initial, rows), strict=True):
            yield at, functional.kl_div(theirs, ours, log_target=True, reduction="none").double().sum(-1)
