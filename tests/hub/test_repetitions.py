"""`verify` finds evolutions that repeat a prompt or a benchmark, if it can read that prompt or benchmark."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from small_store import SETTINGS, prompt, replace_table, small_store

from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import parse_config
from eva_data.dataset.seeds import as_prompts, read_seeds
from eva_data.dataset.store import Store
from eva_data.files import sha256
from eva_data.hub.checks.as_written import read_as_written
from eva_data.hub.checks.recount import misnamed_prompts
from eva_data.hub.checks.replay import replay_repetitions
from eva_data.iteration.run import Run
from eva_data.secrets import SHOWN
from eva_data.tables.schemas import EVOLUTIONS, PROMPTS, conform

pytestmark = pytest.mark.slow

WHAT = "which evolutions repeat a prompt or a benchmark"


def ready(folder: Path, text: str) -> tuple[Store, Run]:
    """A dataset whose iteration 2 evolved `Say ab and ba, twice.`, with this text as its benchmark."""
    benchmark = folder / "bench.jsonl"
    benchmark.write_text(json.dumps({"text": text}) + "\n")
    evolve = {"benchmarks": [{"name": "bench", "path": str(benchmark), "column": "text"}]}
    store = small_store(folder / "small", settings={"evolve": evolve})
    rows = store.scan("evolutions", 2).collect()
    replace_table(store, "evolutions", 2, rows.filter(pl.col("prompt_id") == "55"))
    path = store.manifest_path(2)
    values = json.loads(path.read_text()) | {"inputs": {"evolve.benchmarks.bench": sha256(benchmark)}, "rules": 2}
    path.write_text(json.dumps(values))
    values = SETTINGS | {"folder": str(store.folder), "evolve": evolve}
    return store, Run(parse_config(values, "the test"), ConsoleReporter())


def judged(store: Store, run: Run | None) -> tuple[list[str], list[str]]:
    unknown: list[str] = []
    tables = read_as_written(store, 2).tables
    return replay_repetitions(store, store.manifest(2), tables, run, unknown), unknown


def told(store: Store, **columns: Any) -> None:
    rows = store.scan("evolutions", 2).collect()
    replace_table(
        store, "evolutions", 2, rows.with_columns(pl.lit(value).alias(name) for name, value in columns.items())
    )


def test_an_evolution_that_meets_a_benchmark_is_found_and_an_honest_one_is_not(tmp_path: Path) -> None:
    honest, run = ready(tmp_path, "What is the height of the tallest tree?")
    assert judged(honest, run) == ([], [])
    (tmp_path / "lying").mkdir()
    store, run = ready(tmp_path / "lying", "Now say AB and ba -- twice!")
    assert judged(store, run) == ([], [])
    (tmp_path / "met").mkdir()
    store, run = ready(tmp_path / "met", "Say AB and ba -- twice!")
    (problem,), unknown = judged(store, run)
    assert problem.startswith("evolutions: 1 rows are not what follows from the other tables, in reason: ")
    assert unknown == []


def test_an_elimination_that_does_not_follow_is_found(tmp_path: Path) -> None:
    store, run = ready(tmp_path, "What is the height of the tallest tree?")
    for reason in ("duplicate", "near_duplicate", "contamination:bench"):
        told(store, status="eliminated", reason=reason)
        (problem,), _ = judged(store, run)
        assert "1 rows are not what follows from the other tables, in reason" in problem
    # What a chain itself judged is not judged again.
    told(store, status="eliminated", reason="too_short")
    assert judged(store, run) == ([], [])


def test_a_repeated_seed_that_is_in_no_table_is_found(tmp_path: Path) -> None:
    store, run = ready(tmp_path, "What is the height of the tallest tree?")
    assert run.config.seeds is not None
    seeds = as_prompts(read_seeds(run.config.seeds, run.config.seed)[0], 1)
    assert not {*seeds["prompt_id"]} & {*store.scan("prompts", 1).collect()["prompt_id"]}
    told(store, prompt_id=seeds["prompt_id"][0])
    (problem,), _ = judged(store, run)
    assert "in reason, duplicate_of" in problem


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    store, run = ready(tmp_path, "Say AB and ba -- twice!")
    assert judged(store, None) == ([], [f"{WHAT}, of which not all are here"])
    (tmp_path / "bench.jsonl").write_text('{"text": "Another one."}\n')
    assert judged(store, run) == ([], [f"{WHAT}, of which not all are here"])
    (tmp_path / "bench.jsonl").unlink()
    assert judged(store, run) == ([], [f"{WHAT}, of which not all are here"])


def made_by(store: Store, rules: int) -> Store:
    path = store.manifest_path(2)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rules": rules}))
    return store


def test_a_table_is_judged_by_the_rules_that_made_it(tmp_path: Path) -> None:
    """By rules 1, a short text of a benchmark is met by no longer prompt: `Say ab and ba, twice.` survived."""
    store, run = ready(tmp_path, "Say ab and ba")
    assert judged(made_by(store, 1), run) == ([], [])
    # Four words are fewer than SHORTEST by rules 2 as well; five in a row are enough.
    assert judged(made_by(store, 2), run) == ([], [])
    (tmp_path / "exactly").mkdir()
    store, run = ready(tmp_path / "exactly", "say AB and ba -- twice")
    (problem,), _ = judged(made_by(store, 1), run)
    assert "1 rows are not what follows from the other tables, in reason" in problem
    told(store, status="eliminated", reason="contamination:bench")
    assert judged(made_by(store, 1), run) == ([], [])


def test_a_longer_prompt_with_a_short_question_inside_is_contaminated_since_rules_2(tmp_path: Path) -> None:
    store, run = ready(tmp_path, "What is the height of the tallest tree?")
    longer = "In two lines: what is the height of the tallest tree in Asia?"
    named = hashlib.sha256(f"user\x1f{longer}".encode()).hexdigest()[:32]
    told(store, prompt_id=named, prompt=[{"role": "user", "content": longer}])
    assert judged(made_by(store, 1), run) == ([], [])
    (problem,), _ = judged(made_by(store, 2), run)
    assert "1 rows are not what follows from the other tables, in reason" in problem
    told(store, status="eliminated", reason="contamination:bench")
    assert judged(made_by(store, 2), run) == ([], [])
    (problem,), _ = judged(made_by(store, 1), run)
    assert "1 rows are not what follows from the other tables, in reason" in problem


def test_a_prompt_under_another_prompts_id_is_found() -> None:
    right = hashlib.sha256(b"user\x1fSay ab.").hexdigest()[:32]
    masked = hashlib.sha256(f"user\x1fMask {SHOWN}.".encode()).hexdigest()[:32]
    rows = [prompt(right, "Say ab."), prompt("11", "Say ab."), prompt("x", f"My key is {SHOWN}.")]
    rows.append(prompt(masked, f"Mask {SHOWN}."))
    prompts = conform(pl.DataFrame(rows, schema={name: PROMPTS[name] for name in rows[0]}), PROMPTS)
    tables = {"prompts": prompts, "evolutions": pl.DataFrame(schema=EVOLUTIONS)}
    unknown: list[str] = []
    assert misnamed_prompts(tables, unknown) == ["prompts: 1 prompts are not what their ids are hashes of: 11 ..."]
    # A text with a mask is unclear only if its id is not that of the masked text.
    assert unknown == ["the ids of 1 prompts in which `***` stands, perhaps in the place of a secret"]
