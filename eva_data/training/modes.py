"""Which settings an online run takes. It refuses every other setting by name, so that none is dropped in silence.

A key is refused only if its value is not the default: a value that nobody chose says nothing. Keys that no table names
here are refused online, so that a new key is either taken or refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eva_data.config import Config, Settings, Several, Verifier
from eva_data.errors import ConfigError

TAKEN: Mapping[str, frozenset[str]] = {
    "estimate": frozenset({"metric", "count_truncated", "unequal", "min_best", "min_right"}),
    "sample": frozenset({"band"}),
    "evolve": frozenset(
        {
            *("method", "strategies", "only_own", "candidates", "score", "self_check", "shape", "max_depth", "reply"),
            *("temperature", "top_p", "max_tokens", "min_chars", "max_chars", "near_duplicate", "benchmarks", "ngram"),
        }
    ),
    "mix": frozenset(),
    "pair": frozenset({"margin", "min_chosen"}),
    "train": frozenset({"recipe", "accelerate", "report_to", "heldout"}),
    "online": frozenset({"estimate"}),
}
"""Block -> the keys that an online run takes. `train.heldout` is for later builds in the run's folder."""

OFFLINE_ONLY: Mapping[str, str] = {
    "sample": "online, the most informative share `evolved` of every batch is evolved: see the recipe",
    "mix": "online, the recipe's `from_buffer` says how much of a batch is evolved",
    "evolve.evolutions": "online, the recipe's `n_new` says how many rewrites a prompt gets",
    "estimate.source": "online, every step has responses of the present model",
    "estimate.adjust_length": "online, the trainer pairs the responses of every step itself",
    "pair.rule": "online, the trainer pairs the responses of every step itself",
    "pair.below": "online, the trainer pairs the responses of every step itself",
    "pair.per_prompt": "online, the trainer pairs the responses of every step itself",
    "pair.max_similarity": "online, the trainer pairs the responses of every step itself",
    "pair.max_length_gap": "online, the trainer pairs the responses of every step itself",
    "pair.rewrite": "online, the model is trained on its own responses",
    "pair.rewrite_length": "online, the model is trained on its own responses",
}
"""Why online training has no use for a block or a key."""

_NO_USE = "online training does not know it"


def refuse_unknown_online(config: Config) -> None:
    """Raise ConfigError, which names them, if settings differ from their defaults that an online run does not take."""
    rewards = config.reward.rewards if isinstance(config.reward, Several) else (config.reward,)
    if config.evolve.method == "environment" or any(isinstance(each, Verifier) and each.carried for each in rewards):
        raise ConfigError(
            "`evolve.method: environment` and `reward.answers: carried` need the columns in which prompts carry their "
            "answers, and a trainer is given only the text of a prompt: use `eva-data run` for an environment"
        )
    if config.contrast is not None:
        raise ConfigError(
            "`contrast` is set, and online, the model is trained on its own responses: take it out of eva.yaml"
        )
    found = [
        f"`{key}` is {value!r}, and {OFFLINE_ONLY.get(key) or OFFLINE_ONLY.get(key.partition('.')[0], _NO_USE)}"
        for key, value in _set_keys(config)
        if key.partition(".")[2] not in TAKEN[key.partition(".")[0]]
    ]
    if found:
        raise ConfigError(f"{'; '.join(found)}: take it out of eva.yaml, or set it back with `--set` for this run")


def _set_keys(config: Config) -> Iterator[tuple[str, object]]:
    """The keys of the blocks in TAKEN that differ from their defaults."""
    for block in TAKEN:
        settings = getattr(config, block)
        assert isinstance(settings, Settings)
        for key, field in type(settings).model_fields.items():
            value = getattr(settings, key)
            if value != field.get_default(call_default_factory=True):
                yield f"{block}.{key}", value
