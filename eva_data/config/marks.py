"""What each key can do. By this allow-list, settings of a stranger become active or wait for the user.

Every key of every block has exactly one mark. `eva-data pull` activates only keys that are marked `value`. A key that
is missing here counts as code, and a test fails until it has a mark.

value    a number, a choice among named things, or a text that only goes into a prompt or names a column
block    a block, whose own keys are marked
code     runs code on this machine, or lets it run
path     is read or written: a file or folder of this machine, or the rows of a data set
address  sends something to a place: requests, a dataset, a training's metrics
paid     goes out with a request that a key signs, or says what a request may cost
model    names a model, which is downloaded and run, or asked at the user's expense
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from eva_data.config.base import Settings
from eva_data.own_code import is_own

Mark = Literal["value", "block", "code", "path", "address", "paid", "model"]
MARKS_OF_KEYS: tuple[str, ...] = get_args(Mark)
NOT_MARKED: Mark = "code"
"""The mark of a key that has none: no other mark can do more."""


def _block(**keys: str) -> Mapping[str, Mark]:
    """Turn mark -> keys into key -> mark. Raise ValueError if a key has two marks, or a mark is unknown."""
    marks: dict[str, Mark] = {}
    for mark, names in keys.items():
        if mark not in MARKS_OF_KEYS:
            raise ValueError(f"`{mark}` is no mark")
        for name in names.split():
            if name in marks:
                raise ValueError(f"`{name}` has two marks, {marks[name]} and {mark}")
            marks[name] = mark  # type: ignore[assignment]
    return marks


MARKS: Mapping[str, Mapping[str, Mark]] = {
    "Config": _block(
        value="name seed stalled_minutes undecided",
        block=(
            "seeds reward estimate sample evolve mix pair train online evaluate publish review score embedding servers "
            "execution"
        ),
        path="folder ledger",
        model="solver creator contrast",
    ),
    "Generation": _block(value="responses temperature top_p max_tokens max_prompt_tokens system"),
    "TransformersModel": _block(
        value="backend dtype device batch_size threads", model="model revision", code="trust_remote_code"
    ),
    "Prices": _block(value="input output"),
    "Endpoint": _block(value="max_in_flight timeout_seconds give_up_minutes", address="base_url", paid="api_key_env"),
    "ApiModel": _block(
        value="backend canary", model="model revision tokenizer", paid="extra_body options fields prices"
    ),
    "Serving": _block(
        value="tensor_parallel data_parallel quantization max_model_len start_minutes", code="python arguments"
    ),
    "VllmModel": _block(
        value="backend dtype device max_in_flight canary", model="model revision", code="trust_remote_code"
    ),
    "TableModel": _block(
        value="backend prompt response reward model responses encoding shape input lower_is_better",
        path="path dataset config split revision",
        model="then",
    ),
    "Answers": _block(value="prompt answer", path="path"),
    "Verifier": _block(value="backend version", code="function", block="answers"),
    "LocalReward": _block(
        value="dtype device max_tokens batch_tokens threads invariance",
        model="model revision",
        code="trust_remote_code",
    ),
    "Classifier": _block(value="backend"),
    "Pairwise": _block(value="backend kind"),
    "RewardServer": _block(
        value="backend dtype max_tokens", model="model revision tokenizer", code="trust_remote_code"
    ),
    "Judge": _block(value="backend template lowest highest", model="judge"),
    "Sandboxed": _block(value="seconds memory_mb processes workers", code="allow python"),
    "Code": _block(value="backend score", block="answers"),
    "Programs": _block(code="calls", block="inputs"),
    "Tournament": _block(value="backend schedule rounds template", model="judges"),
    "Consensus": _block(value="backend equal min_votes min_agreement anchors", block="answers programs", model="judge"),
    "Several": _block(value="backend", block="rewards"),
    "Seeds": _block(
        value="sandbox world column input encoding per_iteration size seed",
        path="path dataset config split revision",
        code="environment",
    ),
    "Estimate": _block(value="source count_truncated adjust_length unequal min_best min_right", code="metric"),
    "Sample": _block(value="fraction method weights power strata band agreement_band by_topic"),
    "Strategy": _block(value="name template kind"),
    "BenchmarkSet": _block(value="name column", path="path"),
    "Evolve": _block(
        value=(
            "reply only_own evolutions candidates score self_check shape max_depth temperature top_p max_tokens "
            "min_chars max_chars near_duplicate ngram"
        ),
        block="strategies benchmarks",
        code="method",
    ),
    "OnlineTraining": _block(value="estimate"),
    "Mix": _block(value="evolved source original shortfall topic_cap"),
    "Pair": _block(
        value="margin min_chosen rule below per_prompt max_length_gap max_similarity "
        "rewrite rewrite_keep rewrite_length"
    ),
    "Accept": _block(value="min_win_rate max_drop max_length_ratio max_truncated max_chosen_drop max_kl"),
    "Train": _block(
        value="mode reference replay heldout", block="accept", code="recipe", path="accelerate", address="report_to"
    ),
    "EvaluationSet": _block(
        value="name sandbox depths column turn_2 reference category checklist right samples",
        block="function",
        code="rule",
        path="path dataset config split revision baseline judge_template gamed_baselines",
    ),
    "Evaluate": _block(
        value="heldout allow_same_judge max_tokens temperature after_training",
        block="sets second_reward contamination",
        model="judges",
    ),
    "Contamination": _block(value="check ngram changed_numbers embeddings"),
    "Embedding": _block(
        value="device dimensions batch similar margin alike", model="model revision api", paid="prices"
    ),
    "PromptScorer": _block(value="sample", model="model"),
    "Replicas": _block(value="replicas restarts"),
    "LocalServers": _block(value="launch"),
    "SlurmServers": _block(value="lease_minutes", code="launch options"),
    "RayServers": _block(code="launch", address="address"),
    "LocalEngine": _block(code="engine"),
    "RayEngine": _block(value="actors", code="engine", address="address"),
    "Publish": _block(value="licence licence_reason source_licences", address="repo private"),
    "Review": _block(value="min_submitted markdown", address="api_url workspace publish", paid="api_key_env"),
}
"""Name of the settings class -> key -> mark. An inherited key is marked at the class that declares it."""


OURS_OR_OWN = frozenset({("Estimate", "metric"), ("Evolve", "method"), ("EvaluationSet", "rule")})
"""Keys that are code only if they name a function of the user's own; a name from our registry is a value."""


class MarkedKey(NamedTuple):
    """A key that does more than set a value."""

    key: str
    """The key after the names of its blocks, such as `solver.model`."""
    mark: Mark
    value: Any
    block: Settings
    """The block that holds it."""


def mark_of(block: type[Settings], key: str) -> Mark:
    """The mark of a key of a block."""
    for kind in block.__mro__:
        mark = MARKS.get(kind.__name__, {}).get(key)
        if mark is not None:
            return mark
    return NOT_MARKED


def named(block: Settings, prefix: str = "") -> Iterator[MarkedKey]:
    """Every key of a block, and of the blocks in it, that differs from its default and is not marked `value`."""
    for key, field in type(block).model_fields.items():
        value, mark, place = getattr(block, key), mark_of(type(block), key), f"{prefix}{key}"
        inner = value if isinstance(value, tuple) else (value,)
        if value == field.get_default(call_default_factory=True):
            continue
        if any(isinstance(item, Settings) for item in inner):
            several = isinstance(value, tuple)
            for number, item in enumerate(inner):
                yield from named(item, f"{place}.{number}." if several else f"{place}.")
        elif (type(block).__name__, key) in OURS_OR_OWN and not is_own(value):
            continue
        elif mark not in ("value", "block"):
            yield MarkedKey(place, mark, value, block)


def own_functions(block: Settings) -> frozenset[str]:
    """The functions that a block, or a block in it, names: those to which these settings consent."""
    return frozenset(str(one.value) for one in named(block) if one.mark == "code" and is_own(str(one.value)))


def key_variables(block: Settings) -> set[str]:
    """The environment variables of keys that a block, or a block in it, names."""
    found: set[str] = set()
    for key in type(block).model_fields:
        value = getattr(block, key)
        if key == "api_key_env" and isinstance(value, str):
            found.add(value)
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, Settings):
                found |= key_variables(inner)
    return found
