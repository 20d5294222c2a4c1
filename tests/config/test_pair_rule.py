"""Keys of `pair` that need each other."""

from __future__ import annotations

import pytest

from eva_data.config.reading import parse_config
from eva_data.errors import ConfigError

BASE = {
    "name": "acme/eva",
    "seeds": {"path": "seeds.jsonl"},
    "solver": {"backend": "transformers", "model": "m"},
    "reward": {"backend": "verifier", "function": "scores:score"},
}


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (
            {"rule": "margin"},
            r"`pair\.rule: margin` takes the smallest difference that is not below `pair\.margin`: set it",
        ),
        ({"below": 2}, r"`pair\.below` is for `rule: best_below`, and the rule is best_worst: leave it out"),
        ({"max_length_gap": 1.5}, r"max_length_gap"),
        ({"per_prompt": 2}, r"`pair\.per_prompt` is for `rule: ranked`, and the rule is best_worst: leave it out"),
        ({"rule": "ranked", "rewrite": True}, r"`pair\.rewrite` rewrites the best response alone"),
        ({"max_similarity": 1.0}, r"max_similarity"),
    ],
)
def test_a_key_that_nothing_would_read_is_refused(pair: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config(BASE | {"pair": pair}, "eva.yaml")


def test_each_rule_with_what_it_reads() -> None:
    for pair in (
        {"rule": "margin", "margin": 0.1},
        {"rule": "best_below", "below": 3},
        {"rule": "best_random"},
        {"rule": "ranked"},
    ):
        assert parse_config(BASE | {"pair": pair}, "eva.yaml").pair.rule == pair["rule"]


MODEL = {"backend": "transformers", "model": "weaker"}


def test_a_contrast_stands_beside_the_solver_or_in_it() -> None:
    beside = parse_config(BASE | {"contrast": MODEL}, "eva.yaml")
    inside = parse_config(BASE | {"solver": BASE["solver"] | {"contrast": {"model": "weaker"}}}, "eva.yaml")  # type: ignore[operator]
    assert beside == inside
    with pytest.raises(ConfigError, match=r"`contrast` and `solver\.contrast` mean the same: say it once"):
        parse_config(BASE | {"contrast": MODEL, "solver": {"model": "m", "contrast": MODEL}}, "eva.yaml")


CLASSIFIER = {"backend": "classifier", "model": "r"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"contrast": MODEL, "reward": CLASSIFIER, "estimate": {"adjust_length": True}},
            r"`estimate\.adjust_length` compares",
        ),
        ({"contrast": MODEL, "reward": {"backend": "consensus"}}, r"`contrast` needs a reward that scores a response"),
        (
            {"estimate": {"adjust_length": True}},
            r"tests of code or a consensus say what is right, long or short",
        ),
        (
            {"reward": CLASSIFIER, "estimate": {"adjust_length": True}, "pair": {"rewrite": True}},
            r"turn one of the two off",
        ),
    ],
)
def test_what_compares_other_responses_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config(BASE | settings, "eva.yaml")
