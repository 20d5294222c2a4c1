"""Every reason in the code is explained, and its kind is the same wherever reasons are counted."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.method.verdicts import QUALITIES
from eva_data.tables import reasons
from eva_data.tables.reasons import REASONS, explained, kind, kind_of

PACKAGE = Path(reasons.__file__).parents[1]
COLUMNS = ("error", "why", "reason", "unusable", "")
"""What stands where a reason may stand and is none: columns that are read, a text that is none."""

KINDS = {
    "duplicate": "duplicate",
    "contamination:gsm8k": "contamination",
    "call_failed:timeout": "call_failed:timeout",
    "call_failed:gave_up: HTTP 500: overloaded": "call_failed:gave_up",
    "call_failed:the reply has no text": "call_failed",
    "call_failed: bad_request: no": "call_failed",
    "gave_up: HTTP 500: overloaded": "gave_up",
    "response_failed: gave_up: HTTP 500": "response_failed",
    "unscored_by: judge@1: unparsable: several ratings": "unscored_by",
    "prompt_unsafe: 2 of 3 reviewers": "prompt_unsafe",
    ":": ":",
    "": "",
}


def test_a_kind_is_a_reason_without_its_particulars() -> None:
    table = pl.DataFrame({"reason": [*KINDS, None]})
    assert table.select(kind(pl.col("reason")))["reason"].to_list() == [*KINDS.values(), None]
    assert {reason: kind_of(reason) for reason in KINDS} == KINDS


@given(st.lists(st.text(alphabet="call_failed: xé\n") | st.text()))
def test_python_and_polars_find_the_same_kind(texts: list[str]) -> None:
    found = pl.DataFrame({"reason": texts}, schema={"reason": pl.String}).select(kind(pl.col("reason")))
    assert found["reason"].to_list() == [kind_of(text) for text in texts]


def test_a_reason_is_explained_with_the_reason_behind_it() -> None:
    assert explained("response_failed: gave_up: HTTP 500") == [REASONS["response_failed"], REASONS["gave_up"]]
    assert explained("contamination:gsm8k") == [REASONS["contamination"]]
    assert explained("no such reason") == []


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_a_word_with_a_sentence(reason: str) -> None:
    assert reason.replace("_", "").isalpha()
    assert REASONS[reason][0].isupper() and REASONS[reason].endswith(".")


def given_reasons(path: Path) -> Iterator[str]:
    """The beginnings of all reasons that a module gives. Names of constants are looked up in the module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        for value in _reason_values(node, in_rewrite=path.name == "rewrite.py"):
            yield from _beginnings(value, constants)


def _reason_values(node: ast.AST, *, in_rewrite: bool) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if node.args and (name in ("Verdict", "Refused", "refused") or (name == "Unparsable" and in_rewrite)):
            yield node.args[0]
        if name == "Score" and len(node.args) == 2:
            yield node.args[1]
        yield from (keyword.value for keyword in node.keywords if keyword.arg in ("reason", "refused"))
        if name == "alias" and isinstance(node.args[0], ast.Constant) and node.args[0].value == "reason":
            yield node.func
    if isinstance(node, ast.Dict):
        yield from (
            value
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant) and key.value == "reason"
        )
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "reason" for t in node.targets):
        yield node.value


def _beginnings(value: ast.expr, constants: dict[str, ast.expr]) -> Iterator[str]:
    """The literals in an expression for a reason: a text, the head of an f-string, arguments of `then` and `lit`."""
    parts: list[ast.expr] = []
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value not in COLUMNS:
        yield value.value
    elif isinstance(value, ast.Name) and value.id in constants:
        parts = [constants[value.id]]
    elif isinstance(value, ast.JoinedStr):
        parts = [value.values[0]]
    elif isinstance(value, ast.FormattedValue | ast.Attribute):
        parts = [value.value]
    elif isinstance(value, ast.BoolOp):
        parts = [value.values[-1]]
    elif isinstance(value, ast.IfExp):
        parts = [value.body, value.orelse]
    elif isinstance(value, ast.BinOp):
        parts = [value.left]
    elif isinstance(value, ast.Call):
        takes = getattr(value.func, "attr", "") in ("then", "otherwise", "lit", "fill_null", "format")
        parts = [value.func, *(value.args if takes else ())]
    for part in parts:
        yield from _beginnings(part, constants)


def test_every_reason_in_the_code_is_explained() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), kind_of(text).partition(":")[0].strip())
        for path in PACKAGE.rglob("*.py")
        for text in given_reasons(path)
    }
    assert {text for _, text in found} >= {"refusal", "null_reward", "unverifiable", "bad_request", "all_rewards_equal"}
    assert {(path, text) for path, text in found if text and text not in REASONS} == set()
    assert {f"prompt_{quality}" for quality in QUALITIES[1:]} <= set(REASONS)
