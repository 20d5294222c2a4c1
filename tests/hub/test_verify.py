"""`verify` finds every lie that tables, manifest or the chain of iterations reveal, and checks the rest too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sandbox_runs import eva

from eva_data.dataset.store import Store
from eva_data.files import sha256
from eva_data.hub.verify import verify_iteration
from eva_data.ledger import Ledger

pytestmark = pytest.mark.slow

PUBLISHED = Path(__file__).parents[1] / "fixtures" / "published_by_0_1_0"

Manifest = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two iterations and a revision of the second, as release 0.1.0 published them."""
    return Path(shutil.copytree(PUBLISHED, tmp_path / "published"))


def problems(folder: Path, iteration: int = 2) -> list[str]:
    return verify_iteration(Store(folder), iteration).problems


def edit(folder: Path, name: str, change: Callable[[Manifest], object]) -> None:
    path = folder / "manifests" / f"{name}.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def replace(folder: Path, name: str, change: Callable[[pl.DataFrame], pl.DataFrame], *, lie: bool = False) -> Path:
    """Change a table. A lie also changes its hash in all manifests."""
    path = folder / name
    change(pl.read_parquet(path)).write_parquet(path)
    entry = {"sha256": sha256(path), "rows": pl.read_parquet(path).height, "bytes": path.stat().st_size}

    def told(manifest: Manifest) -> None:
        for files in (manifest["files"], (manifest["previous"] or {"files": {}})["files"]):
            if name in files:
                files[name] = entry

    for manifest in (folder / "manifests").glob("*.json") if lie else ():
        edit(folder, manifest.stem, told)
    return path


def test_what_the_first_release_published_is_honest_and_what_cannot_be_known_is_named(folder: Path) -> None:
    for iteration in (1, 2):
        found = verify_iteration(Store(folder), iteration)
        assert found.problems == []
        assert found.unknown[0] == "whether the models named there wrote the texts and gave the rewards"
    assert "the weights of theta_1, which are not here" in found.unknown
    assert "what was spent, of which no ledger here knows" in found.unknown


LIES: dict[str, tuple[Callable[[Manifest], object], str]] = {
    "counts": (lambda m: m["counts"].update(pairs=9), "manifest: `counts.pairs` is 9, and 5 follows from the tables"),
    "reasons": (
        lambda m: m["counts"]["rejects_by_reason"]["reward"].update(unverifiable=8),
        "manifest: `counts.rejects_by_reason.reward.unverifiable` is 8, and 9 follows from the tables",
    ),
    "flow": (
        lambda m: m["flow"][3].update(rows_out=12, set_aside=4),
        "manifest: `flow.evolve.rows_out` is 12, and 13 follows from the tables",
    ),
    "tokens": (
        lambda m: m["tokens"].update(responses_completion=1),
        "manifest: `tokens.responses_completion` is 1, and 434 follows from the tables",
    ),
    "informativeness": (
        lambda m: m["informativeness"][0].update(mean=0.5),
        "manifest: `informativeness[0].mean` is 0.5, and 0.1316",
    ),
    "solver": (
        lambda m: m["models"].update(solver="acme/better@abc"),
        "responses.solver: it holds iter_1@9b6640f1a98eeecf, and the manifest names acme/better@abc",
    ),
    "reward": (
        lambda m: m["models"].update(reward="acme/reward@abc"),
        "responses.reward_model: it holds verifier:eva_data.sandbox.verifier:score@e10488b4e36f, and the manifest",
    ),
    "creator": (
        lambda m: m["models"].update(creator="acme/a@b"),
        "evolutions.creator: it holds iter_1@9b6640f1a98eeecf",
    ),
    "evolving": (
        lambda m: m["evolving"].update(taken=12),
        "manifest: `evolving.taken` is 12, and 13 follows",
    ),
    "eliminated": (
        lambda m: m["evolving"].update(eliminated={"too_short": 1}),
        "manifest: `evolving.eliminated` is 1, and 0 follows from the tables",
    ),
    "settings": (
        lambda m: m["settings"].update({"sample.fraction": 0.5}),
        "manifest: `settings` are not those that follow from its `config`",
    ),
    "size": (
        lambda m: m["files"]["prompts/iter_2.parquet"].update(rows=99),
        "prompts/iter_2.parquet: the manifest says 99 rows",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_every_statement_of_a_manifest_that_follows_from_the_tables_is_recomputed(folder: Path, name: str) -> None:
    change, said = LIES[name]
    edit(folder, "iter_2", change)
    found = [problem for problem in problems(folder) if not problem.startswith("revision 1: ")]
    assert [problem for problem in found if problem.startswith(said)], found


def test_the_prompts_that_iteration_1_began_with_are_recomputed(folder: Path) -> None:
    edit(folder, "iter_1", lambda m: m["inputs"].update(prompts="0" * 64))
    assert [p for p in problems(folder, 1) if p.startswith(f"manifest: `inputs.prompts` is {'0' * 64}, and ")]


def test_what_reviews_come_to_is_recomputed(folder: Path) -> None:
    edit(folder, "iter_2.r1", lambda m: m["review"].update(agreement=1.0))
    assert problems(folder) == ["revision 1: manifest: `review` is not what the reviews come to"]
    edit(folder, "iter_2.r1", lambda m: m["flow"][-1].update(rows_in=6, rejected=2))
    assert "revision 1: manifest: `flow` is not that of the build and of its reviews" in problems(folder)


def test_the_chain_is_bound_back_to_iteration_1(folder: Path) -> None:
    edit(folder, "iter_2", lambda m: m["previous"].update(settings_hash="0" * 16))
    assert "iteration 2 was built from an iteration 1 of other settings or models" in problems(folder)
    name = "rejects/iter_1.parquet"
    edit(folder, "iter_1", lambda m: m["files"][name].update(sha256="0" * 64))
    found = problems(folder)
    assert "iteration 2 was not built from the tables of iteration 1 that are here" in found
    assert f"{name}: it is missing, or not what iteration 2 was built from" in found
    edit(folder, "iter_2", lambda m: m.update(previous=None))
    assert "iteration 2 does not say from which iteration 1 it was built" in problems(folder)


def test_a_table_that_was_changed_with_its_hash_does_not_fit_the_others(folder: Path) -> None:
    sides = {"chosen": "rejected", "rejected": "chosen"}
    replace(folder, "preferences/iter_2.parquet", lambda t: t.rename(sides).select(t.columns), lie=True)
    assert [p for p in problems(folder) if p.startswith("preferences: 5 rows are not what follows")]


@pytest.mark.parametrize("by_lie", [False, True])
def test_a_status_of_an_evolution_is_recomputed(folder: Path, by_lie: bool) -> None:
    other = pl.when(pl.col("status") == "unused").then(pl.lit("mixed")).otherwise("status").alias("status")
    replace(folder, "evolutions/iter_2.parquet", lambda t: t.with_columns(other), lie=by_lie)
    found = problems(folder)
    assert [
        p for p in found if p.startswith("evolutions: 3 rows are not what follows from the other tables, in status")
    ]
    assert "manifest: `flow.evolve.set_aside` is 3, and 0 follows from the tables" in found
    assert any("its SHA-256" in p for p in found) != by_lie


@pytest.mark.parametrize(
    ("moved", "change"),
    [
        ("rows", lambda table: table.reverse()),
        ("columns", lambda table: table.select(reversed(table.columns))),
    ],
)
def test_another_order_is_called_that_and_nothing_else(
    folder: Path, moved: str, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    replace(folder, "responses/iter_2.parquet", change)
    assert problems(folder) == [
        f"responses/iter_2.parquet: the {moved} are in another order; their content is the same"
    ]


def test_every_damaged_file_is_told_and_the_rest_is_checked(folder: Path) -> None:
    (folder / "responses" / "iter_2.parquet").write_bytes(b"")
    path = folder / "prompts" / "iter_2.parquet"
    path.write_bytes(path.read_bytes()[:200])
    (folder / "rejects" / "iter_2.parquet").unlink()
    replace(folder, "reviews/iter_2.r1.parquet", lambda table: table.drop("verdict"))
    edit(folder, "iter_2", lambda m: m["previous"].update(settings_hash="0" * 16))
    found = verify_iteration(Store(folder), 2)
    for said in (
        "iteration 2 was built from an iteration 1 of other settings or models",
        "responses/iter_2.parquet cannot be read as a table (",
        "prompts/iter_2.parquet cannot be read as a table (",
        f"the table {folder / 'rejects' / 'iter_2.parquet'} is missing",
        "columns ['verdict'] are missing",
    ):
        assert [problem for problem in found.problems if said in problem], found.problems
    assert "what follows from prompts and rejects and responses, which cannot be read" in found.unknown


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}", b"[1]", bytes(100)])
@pytest.mark.parametrize("name", ["iter_1", "iter_2", "iter_2.r1"])
def test_a_damaged_manifest_is_a_finding(folder: Path, name: str, content: bytes) -> None:
    (folder / "manifests" / f"{name}.json").write_bytes(content)
    found = problems(folder)
    assert [p for p in found if f"{name}.json is n" in p and "restore it" in p], found


def test_settings_that_cannot_be_read_are_a_finding(folder: Path) -> None:
    edit(folder, "iter_2", lambda m: m.update(config={"name": "a/b"}))
    assert problems(folder)
    edit(folder, "iter_2", lambda m: m["models"].pop("solver"))
    assert problems(folder)


def test_tables_of_rules_that_are_not_replayed_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eva_data.hub.verify.REPLAYED", frozenset({7}))
    found = verify_iteration(Store(folder), 1)
    assert found.problems == []
    assert (
        "metrics, draw, repetitions, mix and pairs, which were made by rules 1 (this eva-data replays 7)"
        in found.unknown
    )


# --- where it was built ----------------------------------------------------------------------------------------


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "sandbox"))


@pytest.mark.slow
def test_where_it_was_built_the_ledger_and_the_theta_are_checked_too(copied: Path) -> None:
    done = eva(copied, "verify", "--iter", "2")
    assert done.returncode == 0, done.stdout
    assert "theta_1" not in done.stdout
    assert "spent" not in done.stdout
    edit(copied, "iter_2", lambda m: m["spent"][0].update(replies=99))
    done = eva(copied, "verify", "--iter", "2")
    assert "manifest: `spent` of iter_1@" in done.stdout
    assert "is 99 replies, and the ledger holds " in done.stdout
    Store(copied).solver_folder(1).rename(copied / ".eva" / "gone")
    assert "the weights of theta_1, which are not here" in eva(copied, "verify", "--iter", "2").stdout


@pytest.mark.slow
def test_random_responses_are_scored_again_by_the_reward_and_not_by_the_ledger(copied: Path) -> None:
    done = eva(copied, "verify", "--iter", "1", "--rescore", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "Not checked: whether the models named there wrote the texts, and all rewards but 20 scored again"
        in done.stdout
    )
    path = copied / "responses" / "iter_1.parquet"
    table = pl.read_parquet(path).with_columns(pl.col("reward") + 0.125)
    table.write_parquet(path)
    entry = {"sha256": sha256(path), "rows": table.height, "bytes": path.stat().st_size}
    edit(copied, "iter_1", lambda m: m["files"].update({"responses/iter_1.parquet": entry}))
    done = eva(copied, "verify", "--iter", "1", "--rescore", "5")
    assert "responses: of 5 that were scored again, 5 have another reward than verifier:eva_data" in done.stdout
    other = ("--set", "reward.version=mine")
    assert "so they cannot be compared" in eva(copied, "verify", "--iter", "1", "--rescore", "5", *other).stdout
    with Ledger(copied / ".eva" / "ledger.sqlite") as ledger:
        assert ledger.totals()["repeated"] == 0
