"""Lineages as trees: each seed with all its evolutions in an iteration, their answers, and the pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from eva_data.dataset.store import Store
from eva_data.report.examples import conversation
from eva_data.report.lineage import relatives
from eva_data.tables.metrics import column_of
from eva_data.tables.reasons import explained, kind_of

MOST_NODES = 200
"""So many nodes of a tree are shown. The rest is counted."""

PAIR, EARLIER, UNUSED = "gives a pair", "earlier", "unused"
"""The outcomes of nodes without a reason: in the pairs, made earlier, or not needed."""


@dataclass(frozen=True)
class ScoredAnswer:
    """An answer of the solver."""

    text: str | None
    reward: float | None
    part: str
    """`chosen`, `rejected`, `rewrite`, `original` or empty."""


@dataclass(frozen=True)
class Side:
    """One side of a pair."""

    name: str
    text: str
    score: float | None


@dataclass(frozen=True)
class Node:
    """A prompt or an attempt to evolve a prompt."""

    text: str | None
    strategy: str
    depth: int
    level: int
    """The depth below the root of the tree, for the indentation."""
    kind: str
    """`evolved`, `carried` or `seed` for a prompt of the iteration, else `attempt` or `ancestor`."""
    outcome: str
    """PAIR, EARLIER, UNUSED, or the kind of the reason why there is no pair or no prompt."""
    reason: str | None
    meaning: str
    metric: float | None
    replies: tuple[ScoredAnswer, ...] = ()
    pair: tuple[Side, ...] = ()


@dataclass(frozen=True)
class Tree:
    """All prompts and attempts of one seed."""

    nodes: tuple[Node, ...]
    left_out: int


@dataclass
class _Tables:
    """The rows of the shown prompts, by their ids."""

    attempts: list[dict[str, Any]]
    prompts: dict[str, dict[str, Any]]
    ancestors: dict[str, dict[str, Any]] = field(default_factory=dict)
    metric: dict[str, float | None] = field(default_factory=dict)
    replies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pairs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)


def trees(store: Store, iteration: int, count: int) -> tuple[list[Tree], int]:
    """Up to `count` trees, and the number of all trees. Half are the most informative, half are drawn by id, a hash."""
    metric = column_of(store.manifest(iteration).config["estimate"]["metric"])
    measured = store.scan("informativeness", iteration).filter(pl.col("stage") == "respond")
    roots = (
        store.scan("prompts", iteration)
        .select("prompt_id", "root_id")
        .join(measured.select("prompt_id", value=pl.col(metric)), on="prompt_id", how="left")
        .group_by("root_id")
        .agg(pl.col("value").max())
        .sort("value", "root_id", descending=[True, False], nulls_last=True)
        .collect(engine="streaming")
    )
    best = roots.head(-(-count // 2))
    drawn = roots.slice(best.height).sort("root_id").head(count - best.height)
    shown = pl.concat([best, drawn])["root_id"]
    tables = _read(store, iteration, shown, measured.select("prompt_id", value=pl.col(metric)))
    by_root: dict[str, list[dict[str, Any]]] = {root: [] for root in shown}
    for row in [*tables.ancestors.values(), *tables.prompts.values(), *tables.attempts]:
        by_root[row["root_id"]].append(row)
    return [_tree(rows, tables) for rows in by_root.values()], roots.height


def _read(store: Store, iteration: int, roots: pl.Series, values: pl.LazyFrame) -> _Tables:
    """The rows of all tables that belong to these roots."""
    of_roots = pl.col("root_id").is_in(roots.implode())
    prompts = store.scan("prompts", iteration).filter(of_roots).collect(engine="streaming")
    there = pl.col("prompt_id").is_in(prompts["prompt_id"].implode())
    attempts = store.scan("evolutions", iteration).filter(of_roots).drop("raw").collect(engine="streaming")
    tables = _Tables(
        # A mixed attempt is a prompt of the iteration.
        attempts.filter(pl.col("status") != "mixed").to_dicts(),
        {row["prompt_id"]: row for row in prompts.to_dicts()},
    )
    known = relatives(store, iteration, roots)
    listed = tables.prompts.keys() | {row["prompt_id"] for row in tables.attempts if row["reason"] is None}
    for row in [*prompts.to_dicts(), *tables.attempts]:
        for each in _ancestors(row, known):
            if each["prompt_id"] not in listed:
                tables.ancestors[each["prompt_id"]] = each | {"root_id": row["root_id"]}
    tables.metric = dict(values.filter(there).collect(engine="streaming").iter_rows())
    answers = store.scan("responses", iteration).filter((pl.col("stage") != "estimate") & there)
    for answer in answers.sort("stage", "response_idx").collect(engine="streaming").to_dicts():
        tables.replies.setdefault(answer["prompt_id"], []).append(answer)
    paired = store.scan("preferences", iteration).filter(there).collect(engine="streaming")
    for row in paired.sort(pl.col("score_rejected") - pl.col("score_chosen"), "pair_id").to_dicts():
        tables.pairs.setdefault(row["prompt_id"], []).append(row)
    failed = store.scan("rejects", iteration).filter(there & (pl.col("stage") != "estimate"))
    for row in failed.collect(engine="streaming").to_dicts():
        # The last stage decided.
        tables.reasons.setdefault(row["prompt_id"], []).insert(0 if row["stage"] == "pair" else 1, row["reason"])
    return tables


def _ancestors(row: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The ancestors of a row. None occurs twice, even if the ids of a table form a circle."""
    found, seen, parent = [], {row["prompt_id"]}, row["parent_id"]
    while (each := known.get(parent)) is not None and parent not in seen:
        found.append(dict(each))
        seen.add(parent)
        parent = each["parent_id"]
    return found


def _tree(rows: Sequence[dict[str, Any]], tables: _Tables) -> Tree:
    """The rows of one root, parents before their children."""
    ids = {row["prompt_id"] for row in rows}
    below: dict[str | None, list[dict[str, Any]]] = {}
    for row in rows:
        below.setdefault(row["parent_id"] if row["parent_id"] in ids else None, []).append(row)
    nodes: list[Node] = []
    seen: set[str] = set()
    waiting = [(row, 0) for row in reversed(below.get(None, []))]
    while waiting:
        row, level = waiting.pop()
        nodes.append(_node(row, level, tables))
        # An attempt that did not survive may repeat the id of another prompt, and has no children.
        if row.get("reason") is None and row["prompt_id"] not in seen:
            seen.add(row["prompt_id"])
            waiting += [(child, level + 1) for child in reversed(below.get(row["prompt_id"], []))]
    return Tree(tuple(nodes[:MOST_NODES]), len(nodes[MOST_NODES:]))


def _node(row: Mapping[str, Any], level: int, tables: _Tables) -> Node:
    prompt_id = row["prompt_id"]
    text = None if row["prompt"] is None else conversation(row["prompt"])
    common = {"text": text, "strategy": row["mutation"] or "seed", "level": level, "depth": row.get("depth", level)}
    if prompt_id in tables.prompts and "status" not in row:
        pairs = tables.pairs.get(prompt_id, [])
        reason = None if pairs else next(iter(tables.reasons.get(prompt_id, [])), None)
        return Node(
            **common,
            kind=row["mix_role"],
            outcome=PAIR if pairs else kind_of(reason) if reason else UNUSED,
            reason=reason,
            meaning=_meaning(reason),
            metric=tables.metric.get(prompt_id),
            replies=tuple(_replies(tables.replies.get(prompt_id, []), pairs)),
            pair=tuple(side for pair in pairs for side in _sides(pair)),
        )
    reason = row.get("reason")
    outcome = kind_of(reason) if reason else UNUSED if "status" in row else EARLIER
    kind = "attempt" if "status" in row else "ancestor"
    return Node(**common, kind=kind, outcome=outcome, reason=reason, meaning=_meaning(reason), metric=None)


def _meaning(reason: str | None) -> str:
    return " ".join(explained(reason)) if reason else ""


def _sides(pair: Mapping[str, Any]) -> tuple[Side, ...]:
    return tuple(Side(name, conversation(pair[name]), pair[f"score_{name}"]) for name in ("chosen", "rejected"))


def _replies(rows: Iterable[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]) -> Iterable[ScoredAnswer]:
    """The answers to a prompt, with their parts in the pairs."""
    sides = {pair[f"{side}_idx"]: (side, pair) for pair in pairs for side in ("chosen", "rejected")}
    for row in rows:
        part, pair = sides.get(row["response_idx"], ("", None))
        if pair is not None and row["response"] != pair[part][-1]["content"]:
            # A rewritten response has the index of its original.
            part = "rewrite" if row["stage"] == "rewrite" else "original"
        yield ScoredAnswer(row["response"], row["reward"], part)
