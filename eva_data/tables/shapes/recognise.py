"""Decides which shape a table of scored responses has: by its settings, else by its columns."""

from __future__ import annotations

import polars as pl

from eva_data.errors import DataError
from eva_data.tables.reading.kinds import described
from eva_data.tables.reading.source import Schema, Source
from eva_data.tables.shapes import completions, lists, pairs, rows
from eva_data.tables.shapes.paths import Path, path_of, type_at
from eva_data.tables.shapes.prompts import DEFAULT
from eva_data.tables.shapes.scored import Named, Shape
from eva_data.tables.shapes.values import column, is_number, may_be_number

_DEFAULTS = {"response": "response", "reward": "reward"}


def shape_of(source: Source, named: Named) -> Shape:
    """The shape of a table, which says how its responses are found.

    Columns that the settings name decide. A default name that no column has counts as not given. Raise DataError,
    which names the columns, if no shape fits.
    """
    schema = source.schema
    model = _named(named.model, f"{named.block}model", source) if named.model else None
    paths = {key: path_of(getattr(named, key), schema) for key in _DEFAULTS}
    for key, default in _DEFAULTS.items():
        if getattr(named, key) != default or paths[key] is not None:
            paths[key] = _named(getattr(named, key), f"{named.block}{key}", source)
    response, reward = paths["response"], paths["reward"]
    says = None
    if (response is None) != (reward is None):
        response, reward = _completed(response, reward, schema)
        if response is not None and reward is not None:
            says = f"the responses are `{response.written}`, with the rewards `{reward.written}`"
    if response is not None and reward is not None and named.shape in (None, _kind(response)):
        _check(response, reward, source, named.block)
        return rows.shape_at(response, reward, model, says, _kind(response))
    # A column that a key names must not be replaced by a column that merely looks right.
    found = _recognised(schema, named, model) if response is None or named.shape is not None else None
    if found is None or any(getattr(named, key) != default for key, default in _DEFAULTS.items()):
        raise DataError(_nothing(source, named))
    return found


def _completed(response: Path | None, reward: Path | None, schema: Schema) -> tuple[Path | None, Path | None]:
    """Both paths, if one of them is known: the other is looked for beside it."""
    known = response or reward
    assert known is not None
    if known.is_list and known.inner:
        other = completions.beside(known, schema, response=response is None)
        return (other, reward) if response is None else (response, other)
    if known.is_list:
        answers, scores = lists.names_in(schema, known.written, known.written)
        name = answers if response is None else scores
        path = None if name is None else Path((name,), (), True)
        return (path, reward) if response is None else (response, path)
    names = rows.RESPONSES if response is None else rows.REWARDS
    fits = rows.may_answer if response is None else is_number
    name = next((name for name in names if name in schema and fits(schema[name])), None)
    path = None if name is None else path_of(name, schema)
    if path is None or path.is_list:
        return response, reward
    return (path, reward) if response is None else (response, path)


def _recognised(schema: Schema, named: Named, model: Path | None) -> Shape | None:
    for kind in (named.shape,) if named.shape else ("completions", "lists", "pairs", "rows"):
        found: Shape | None = None
        if kind == "lists":
            found = lists.recognise(schema, named.response, named.reward, model)
        elif kind == "completions":
            found = completions.recognise(schema, named.response, named.reward, model)
        elif kind == "pairs" and named.response in ("response", pairs.CHOSEN):
            found = pairs.recognise(schema, has_prompt=_has_prompt(schema, named))
        elif kind == "rows":
            found = rows.recognise(schema, named.response, named.reward, model)
        if found is not None:
            return found
    return None


def _has_prompt(schema: Schema, named: Named) -> bool:
    return named.prompt in schema or (named.prompt == DEFAULT and "instruction" in schema)


def _kind(response: Path) -> str:
    return "rows" if not response.is_list else "completions" if response.inner else "lists"


def _named(name: str, key: str, source: Source) -> Path:
    if name in source.twice or path_of(name, source.schema) is None:
        column(name, source.schema, source.twice, key, source.name)
    found = path_of(name, source.schema)
    assert found is not None
    return found


def _check(response: Path, reward: Path, source: Source, block: str) -> None:
    """Raise DataError if the values at the paths cannot be texts and numbers, or do not belong together."""
    answer_type, reward_type = type_at(response, source.schema), type_at(reward, source.schema)
    if not rows.may_answer(answer_type):
        raise DataError(
            f"`{block}response` is `{response.written}`, which holds {described(answer_type)}: expected text, or a "
            "list of messages whose last is the assistant's"
        )
    if not may_be_number(reward_type) and reward_type != pl.Null:
        raise DataError(
            f"`{block}reward` is `{reward.written}`, which holds {described(reward_type)}: expected numbers"
        )
    if response.is_list != reward.is_list:
        one, many = (reward, response) if response.is_list else (response, reward)
        raise DataError(
            f"`{many.written}` has a list per row in {source.name} and `{one.written}` has one value: name the "
            "response and the reward of the same list"
        )


def _nothing(source: Source, named: Named) -> str:
    schema = source.schema
    columns = ", ".join(f"{name} ({described(dtype)})" for name, dtype in list(schema.items())[:20])
    if pairs.CHOSEN in schema and pairs.REJECTED in schema and named.shape in (None, "pairs"):
        return (
            f"{source.name} holds chosen and rejected responses without their scores: it needs numbers such as "
            f"score_chosen and score_rejected; its columns are {columns}"
        )
    missing = named.block + ("response" if path_of(named.response, schema) is None else "reward")
    value = named.response if missing.endswith("response") else named.reward
    shape = f" and `{named.block}shape` is `{named.shape}`" if named.shape else ""
    return (
        f"`{missing}` is `{value}`{shape}, but {source.name} has the columns {columns}: name the column of the "
        "response and of the reward, or a field such as `completions[].overall_score`"
    )
