"""A dataset of two iterations and a handful of rows. Everything that eva-data does not compute is written by hand."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from eva_data.config import Config
from eva_data.config.reading import parse_config
from eva_data.dataset.compose import counts_of
from eva_data.dataset.manifest import FileEntry, Manifest
from eva_data.dataset.staleness import what_counts
from eva_data.dataset.store import Store
from eva_data.files import sha256, write_json
from eva_data.method.estimate import informativeness
from eva_data.method.outcome import outcome_of
from eva_data.report.card import write_card
from eva_data.tables.schemas import EVOLUTIONS, INFORMATIVENESS, PROMPTS, REJECTS, RESPONSES, conform, empty

SETTINGS: dict[str, Any] = {
    "name": "small",
    "seeds": {"sandbox": 3},
    "solver": {"backend": "transformers", "model": "acme/base", "responses": 2},
    "reward": {"backend": "verifier", "function": "eva_data.sandbox.verifier:score"},
}
BASE = f"acme/base@{'0' * 40}"
REWARD = "verifier:eva_data.sandbox.verifier:score@abc"
THETA = "iter_1@0123456789abcdef"


def messages(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def small_store(folder: Path, *, settings: dict[str, Any] | None = None, **texts: str) -> Store:
    """Iteration 1 has three seeds and two pairs; iteration 2 has an evolved prompt, a carried prompt and a pair.

    The dataset is made once a process for each set of texts, and written to `folder`.
    """
    # The card holds the folder's name. No file holds its place.
    for name, content in _files(folder.resolve().name, json.dumps(settings or {}), **texts).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Store(folder)


def make_small_store(
    folder: Path,
    *,
    settings: dict[str, Any] | None = None,
    seed: str = "Say ab.",
    evolved: str = "Say ab and ba, twice.",
    chosen: str = "good one",
    rejected: str = "bad",
    mutation: str = "deepen",
) -> Store:
    """Write the dataset of `small_store` table by table, as a build does."""
    config = parse_config(SETTINGS | (settings or {}) | {"folder": str(folder)}, "the test")
    store = Store(folder)
    _first(store, config, seed, chosen, rejected)
    _second(store, config, evolved, chosen, rejected, mutation)
    write_card(store)
    return store


@cache
def _files(name: str, settings: str, **texts: str) -> dict[str, bytes]:
    """Path -> content of each file of the dataset."""
    with TemporaryDirectory() as place:
        folder = make_small_store(Path(place) / name, settings=json.loads(settings), **texts).folder
        written = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
        return {str(path): file.read_bytes() for path, file in written.items() if path.parts[0] != ".eva"}


def write(store: Store, config: Config, iteration: int, tables: dict[str, pl.DataFrame], **manifest: Any) -> None:
    settings = {"config": config.data() | {"name": config.name}, "settings": what_counts(config, iteration)}
    if "rejects" in tables:
        settings["counts"] = counts_of(tables).model_dump()
    store.write_iteration(a_manifest(iteration, **settings | manifest), tables)


def a_manifest(iteration: int, **fields: Any) -> Manifest:
    """A manifest in which only these fields matter."""
    bare: dict[str, Any] = {
        "eva_data": "0.1.0",
        "config": {},
        "settings": {},
        "models": {"solver": BASE},
        "counts": {"prompts": 0, "evolved": 0, "pairs": 0, "rejects": 0, "rejects_by_reason": {}},
        "flow": [],
        "spent": [],
        "licences": {},
        "previous": None,
    }
    bill: dict[str, Any] = {"stage": "respond", "model": BASE}
    bill |= dict.fromkeys(("replies", "completions", "prompt_tokens", "completion_tokens"), 0)
    given = bare | {"iteration": iteration} | fields
    return Manifest.model_validate(given | {"spent": [bill | each for each in given["spent"]]})


def prompt(prompt_id: str, text: str, **columns: Any) -> dict[str, Any]:
    seed = {"origin": "seed", "mix_role": "seed", "root_id": prompt_id, "depth": 0, "source": "seeds.jsonl"}
    row = {"prompt_id": prompt_id, "prompt": messages("user", text), "created_iteration": 1, "iteration": 1}
    return row | seed | columns


def answers(prompt_id: str, *scored: tuple[str, float | None], **columns: Any) -> list[dict[str, Any]]:
    common = {"prompt_id": prompt_id, "stage": "respond", "solver": BASE, "reward_model": REWARD, "reused": False}
    common |= {"finish_reason": "stop", "prompt_tokens": 5, "completion_tokens": 10, "iteration": 1}
    return [
        common | {"response_idx": place, "response": text, "reward": reward} | columns
        for place, (text, reward) in enumerate(scored)
    ]


def frame(rows: list[dict[str, Any]], schema: pl.Schema) -> pl.DataFrame:
    given = {name: dtype for name, dtype in schema.items() if any(name in row for row in rows)}
    return conform(pl.DataFrame(rows, schema=given), schema)


def _first(store: Store, config: Config, seed: str, chosen: str, rejected: str) -> None:
    prompts = frame([prompt("11", seed), prompt("22", "Count to 2."), prompt("33", "Name a tree.")], PROMPTS)
    responses = frame(
        [
            *answers("11", (chosen, 1.0), (rejected, 0.0)),
            *answers("22", ("one two", 0.5), ("one two", 0.5)),
            *answers("33", ("oak", 0.75), ("a stone", 0.25)),
        ],
        RESPONSES,
    )
    judged = outcome_of(config, 1, prompts, responses, n=2, on_policy=True)
    failed = {"stage": "reward", "reason": "unverifiable: no answer is known", "prompt_id": "33", "iteration": 1}
    tables = {
        "preferences": judged.preferences,
        "prompts": prompts,
        "evolutions": empty(EVOLUTIONS),
        "informativeness": judged.informativeness,
        "responses": responses,
        "rejects": pl.concat([judged.rejects, frame([failed], REJECTS)]),
    }
    write(
        store,
        config,
        1,
        tables,
        models={"solver": BASE, "creator": None, "reward": REWARD},
        licences={BASE: "apache-2.0"},
        spent=[{"cost": 0.5, "unpriced": 0}, {"cost": 0.25, "unpriced": 0}],
    )


def _second(store: Store, config: Config, evolved: str, chosen: str, rejected: str, mutation: str) -> None:
    common = {"chain_id": "11", "root_id": "11", "creator": THETA, "iteration": 2, "completion_tokens": 7}
    evolutions = frame(
        [
            common
            | {"step": 1, "prompt_id": "44", "parent_id": "11", "depth": 1, "mutation": "concretise"}
            | {"prompt": messages("user", "Say ab and ba."), "status": "unused"},
            common
            | {"step": 2, "prompt_id": "55", "parent_id": "44", "depth": 2, "mutation": mutation}
            | {"prompt": messages("user", evolved), "status": "mixed"},
            common
            | {"step": 3, "parent_id": "55", "depth": 3, "mutation": mutation}
            | {"status": "eliminated", "reason": "contamination:arena"},
        ],
        EVOLUTIONS,
    )
    lineage = {"origin": "evolved", "mix_role": "evolved", "parent_id": "44", "root_id": "11", "depth": 2}
    prompts = frame(
        [
            prompt("22", "Count to 2.", mix_role="carried", iteration=2),
            prompt("55", evolved, **lineage, mutation=mutation, creator=THETA, created_iteration=2, iteration=2),
        ],
        PROMPTS,
    )
    here = {"solver": THETA, "iteration": 2}
    estimated = frame(
        [
            *answers("11", ("ab", 1.0), ("ba", 0.0), stage="estimate", **here),
            *answers("22", ("one two", 0.5), ("two", 0.25), stage="estimate", **here),
            *answers("33", ("elm", 0.5), ("fir", 0.5), stage="estimate", **here),
        ],
        RESPONSES,
    )
    responses = frame(
        [
            *answers("22", ("one two", 0.5), ("two", 0.25), reused=True, **here),
            *answers("55", (chosen, 0.9), (rejected, 0.1), **here),
        ],
        RESPONSES,
    )
    judged = outcome_of(config, 2, prompts, responses, n=2, on_policy=True)
    drawn = informativeness(estimated.lazy(), stage="estimate", iteration=2, n=2, seed=config.seed).collect()
    drawn = drawn.with_columns(selected=pl.col("prompt_id") == "11").cast(dict(INFORMATIVENESS))  # type: ignore[arg-type]
    tables = {
        "preferences": judged.preferences.filter(pl.col("prompt_id") == "55"),
        "prompts": prompts,
        "evolutions": evolutions,
        "informativeness": pl.concat([drawn, judged.informativeness]),
        "responses": pl.concat([estimated, responses]),
        "rejects": judged.rejects,
    }
    models = {"solver": THETA, "creator": THETA, "reward": REWARD}
    write(store, config, 2, tables, models=models, theta=1, spent=[{"cost": 0.0, "unpriced": 4}])


def replace_table(store: Store, name: str, iteration: int, table: pl.DataFrame) -> None:
    """Replace a table, and its entry in the manifest, as if the build had made it."""
    path, manifest_path = store.folder / name / f"iter_{iteration}.parquet", store.manifest_path(iteration)
    table.write_parquet(path)
    manifest = store.manifest(iteration)
    entry = FileEntry(sha256=sha256(path), rows=table.height, bytes=path.stat().st_size)
    files = manifest.files | {f"{name}/{path.name}": entry}
    write_json(manifest_path, manifest.model_copy(update={"files": files}).values())
