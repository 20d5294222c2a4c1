"""Pulling from a local Hub, building on the result, and verifying published data."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hub_server import WRITE, Files, Hub, Repo, sha256
from published import accept
from sandbox_runs import error_of, hashes
from small_store import a_manifest

from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import load_config
from eva_data.dataset.store import Store
from eva_data.game.ahead import to_train, untrained
from eva_data.iteration.run import Run

pytestmark = pytest.mark.slow

REPO = "alice/game"


@pytest.fixture
def hub(built: Path, tmp_path: Path) -> Iterator[Hub]:
    """A Hub that has the two iterations, each with its tag."""
    with Hub(tmp_path / "hub") as hub:
        repo = hub.repos[REPO] = Repo(private=True)
        files: Files = {"README.md": (built / "README.md").read_bytes(), "plots/shift.png": b"not pulled"}
        for iteration in (1, 2):
            names = [*Store(built).manifest(iteration).files, f"manifests/iter_{iteration}.json"]
            files = files | {name: (built / name).read_bytes() for name in names}
            repo.tags[f"iter-{iteration}"] = repo.add(files, f"Iteration {iteration}").sha
        yield hub


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The second user's working folder."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def pull(hub: Hub, home: Path, *options: str, token: str | None = WRITE) -> subprocess.CompletedProcess[str]:
    return hub.run(home, "pull", REPO, *options, token=token)


def change(hub: Hub, name: str, data: bytes) -> None:
    """Damage a file in every commit."""
    repo = hub.repos[REPO]
    repo.commits = [
        replace(commit, files=commit.files | {name: data}) if name in commit.files else commit
        for commit in repo.commits
    ]


def test_what_is_pulled_is_the_folder_as_it_was(hub: Hub, home: Path, built: Path) -> None:
    done = pull(hub, home, "--revision", "iter-2")
    assert done.returncode == 0, done.stderr
    pulled = home / "data" / "game"
    assert hashes(pulled) == hashes(built)
    for iteration in (1, 2):
        assert Store(pulled).manifest_path(iteration).read_bytes() == Store(built).manifest_path(iteration).read_bytes()
    assert (pulled / "README.md").read_text().startswith("---\n")
    assert sorted(path.name for path in (pulled / ".eva").iterdir()) == ["checked.json", "lock"]
    assert done.stdout.splitlines() == [
        f"Pulled iterations 1 to 2 of {REPO} to data/game: every file is what its manifest says.",
        "Wrote eva.yaml, the settings of iteration 2: its values are active.",
        "These of its settings wait for you, commented out: `solver`, `reward`, `train.recipe`. They would do this:",
        "  `solver.model` loads the model sandbox on this machine",
        "  `reward.function` calls eva_data.sandbox.verifier:score on this machine with prompts and responses",
        "  `train.recipe` trains by the recipe sandbox",
        "The trained solvers are not in it: the next build trains them anew from the pairs, or name theta_2 with "
        "`--solver`.",
        "Next: decide these in eva.yaml, then: eva-data build --iter 3",
    ]
    assert "`solver`, `reward`, `train.recipe` came with a pulled dataset" in error_of(
        hub.run(home, "build", "--iter", "3", "--dry-run")
    )
    accept(home / "eva.yaml")
    outline = hub.run(home, "build", "--iter", "3", "--dry-run").stdout.splitlines()
    assert outline[-11:] == [
        "What it runs, reads, asks and sends:",
        "- `solver.model` loads the model sandbox on this machine",
        "- `reward.function` calls eva_data.sandbox.verifier:score on this machine with prompts and responses",
        "- `train.recipe` trains by the recipe sandbox",
        "",
        "Steps:",
        "- iteration 1: is there",
        "- iteration 2: is there",
        "- train theta_1 on iteration 1",
        "- train theta_2 on iteration 2",
        "- iteration 3: build",
    ]


def test_who_pulls_an_iteration_builds_the_same_next_one(hub: Hub, home: Path, built: Path) -> None:
    assert pull(hub, home, "--revision", "iter-1").returncode == 0
    assert Store(home / "data" / "game").iterations() == [1]
    accept(home / "eva.yaml")
    done = hub.run(home, "build", "--iter", "2", "--set", "train.heldout=0")
    assert done.returncode == 0, done.stderr
    assert hashes(home / "data" / "game") == hashes(built)


def test_a_folder_that_has_some_of_it_gets_the_rest_and_keeps_its_own(hub: Hub, home: Path, built: Path) -> None:
    folder = Path(shutil.copytree(built, home / "mine"))
    (folder / "prompts" / "iter_1.parquet").unlink()
    (folder / "manifests" / "iter_2.json").unlink()
    (home / "eva.yaml").write_text(
        "name: mine\nseeds: {sandbox: 5}\nsolver: {model: sandbox}\nreward: {function: a:b}\n"
    )
    done = pull(hub, home, "--folder", "mine")
    assert done.returncode == 0, done.stderr
    assert hashes(folder) == hashes(built)
    assert len([call for call in hub.calls if call.startswith("GET /lfs/")]) == 1 + len(Store(built).manifest(2).files)
    assert (folder / ".eva" / "solvers" / "iter_1").is_dir()
    assert "eva.yaml was there already and is left as it is. To go on, set: " in done.stdout
    assert "`seeds.sandbox` is 5, was 24" in done.stdout
    assert "`folder` is data/mine, and the dataset is in mine" in done.stdout


def test_a_pull_that_is_cut_off_leaves_no_half_iteration_and_can_be_repeated(hub: Hub, home: Path, built: Path) -> None:
    table = sha256((built / "responses" / "iter_2.parquet").read_bytes())
    hub.fail(f"GET /lfs/{table}", "die")
    assert f"the Hub at {hub.url} cannot be reached (" in error_of(pull(hub, home))
    assert Store(home / "data" / "game").iterations() == []
    assert not (home / "eva.yaml").exists()
    hub.start()
    hub.calls.clear()
    assert pull(hub, home).returncode == 0
    assert hashes(home / "data" / "game") == hashes(built)
    assert len([call for call in hub.calls if call.startswith("GET /lfs/")]) == 1


def test_a_damaged_file_is_found_and_nothing_is_put_into_the_folder(hub: Hub, home: Path, built: Path) -> None:
    change(hub, "responses/iter_1.parquet", (built / "responses" / "iter_2.parquet").read_bytes())
    sentence = f"responses/iter_1.parquet of {REPO} is not the file that its manifest names, by size or SHA-256"
    assert sentence in error_of(pull(hub, home))
    assert [path.name for path in (home / "data" / "game").iterdir()] == [".eva"]
    assert sentence in error_of(hub.run(home, "verify", REPO, "--iter", "2"))
    change(hub, "responses/iter_1.parquet", (built / "responses" / "iter_1.parquet").read_bytes())
    assert pull(hub, home).returncode == 0
    assert hashes(home / "data" / "game") == hashes(built)


def test_what_is_not_there_is_said(hub: Hub, home: Path) -> None:
    none = (
        f"Error: there is no dataset repo {REPO} at {hub.url}/datasets/{REPO}, or this login may not see it: check the "
    )
    assert error_of(pull(hub, home, token=None)).startswith(none)
    assert error_of(pull(hub, home, "--revision", "iter-3")) == (
        f"Error: {REPO} has no revision `iter-3`: it has iter-1, iter-2; name one of them, or `main`"
    )
    assert "the Hub refuses the login (401: " in error_of(pull(hub, home, token="hf_wrong"))
    hub.repos[REPO].add({"README.md": b"# Photographs\n"}, "other data")
    assert "holds manifests of the iterations none" in error_of(pull(hub, home))
    assert list(home.iterdir()) == []


def test_a_folder_with_other_data_is_left_as_it_is(hub: Hub, home: Path, built: Path) -> None:
    (home / "photos").mkdir()
    (home / "photos" / "a.jpg").write_bytes(b"x")
    assert "photos holds other data (a.jpg) and no dataset of eva-data" in error_of(
        pull(hub, home, "--folder", "photos")
    )
    edited = Path(shutil.copytree(built, home / "edited", ignore=shutil.ignore_patterns(".eva", "evaluations*")))
    pl.read_parquet(edited / "prompts" / "iter_2.parquet").head(2).write_parquet(edited / "prompts" / "iter_2.parquet")
    before = (edited / "prompts" / "iter_2.parquet").read_bytes()
    assert "holds iteration 2 with changes in prompts/iter_2.parquet" in error_of(pull(hub, home, "--folder", "edited"))
    assert (edited / "prompts" / "iter_2.parquet").read_bytes() == before
    path = Store(edited).manifest_path(1)
    path.write_text(path.read_text().replace('"eva_data": "', '"eva_data": "9'))
    said = error_of(pull(hub, home, "--folder", "edited"))
    assert (
        said
        == f"Error: edited holds another iteration 1 than {REPO} has, and is left as it is: pull into another "
        + ("folder with `--folder`")
    )


def test_verify_replays_what_is_published(hub: Hub, home: Path, built: Path) -> None:
    done = hub.run(home, "verify", REPO, "--iter", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"Iteration 2 in {REPO} is what its tables and manifest say. Not checked: whether ")
    assert list(home.iterdir()) == []
    changed = pl.read_parquet(built / "preferences" / "iter_2.parquet").with_columns(pl.col("chosen_idx") + 1)
    changed.write_parquet(home / "changed.parquet")
    data, manifest = (home / "changed.parquet").read_bytes(), Store(built).manifest(2)
    entry = manifest.files["preferences/iter_2.parquet"]
    manifest.files["preferences/iter_2.parquet"] = entry.model_copy(update={"sha256": sha256(data), "bytes": len(data)})
    change(hub, "preferences/iter_2.parquet", data)
    change(hub, "manifests/iter_2.json", json.dumps(manifest.values()).encode())
    lied = hub.run(home, "verify", REPO, "--iter", "2", "--revision", "main")
    assert lied.returncode == 1
    assert lied.stdout.startswith(f"preferences: {changed.height} rows are not what follows from the other tables, in ")


SEEDS = """
import sys
from eva_data.config import Seeds
from eva_data.errors import DataError
from eva_data.dataset.seeds import read_seeds
try:
    seeds, rejects = read_seeds(Seeds(dataset=sys.argv[1], config="prompts", split="iter_2", revision="iter-2"), 1)
except DataError as error:
    sys.exit(f"Error: {error}")
print(sorted(seeds["prompt_id"]) == sorted(sys.stdin.read().split()), rejects.height, set(seeds["source"]))
"""


def test_a_published_dataset_gives_seeds(hub: Hub, home: Path, built: Path) -> None:
    ids = home / "ids"
    ids.write_text(" ".join(pl.read_parquet(built / "prompts" / "iter_2.parquet")["prompt_id"]))
    done = hub.python(home, "-c", f"import sys; sys.stdin = open({str(ids)!r})\n" + SEEDS, REPO)
    assert (done.returncode, done.stdout) == (0, f"True 0 {{'{REPO}'}}\n"), done.stderr
    for token in ("hf_wrong", None):
        refused = hub.python(home, "-c", SEEDS, REPO, token=token)
        assert f"Error: the Hub dataset {REPO} (split iter_2) cannot be loaded: " in refused.stderr
        assert "Traceback" not in refused.stderr


def _run(folder: Path) -> Run:
    return Run(load_config(None, [f"folder={folder}"]), ConsoleReporter())


def _played(folder: Path, solvers: list[str]) -> Run:
    """A folder of 0.1.0 with iterations of these solvers. Manifests of 0.1.0 do not say which theta answered."""
    for iteration, solver in enumerate(solvers, 1):
        path = Store(folder).manifest_path(iteration)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(a_manifest(iteration, models={"solver": solver}).values() | {"format": 1}))
    return _run(folder)


def test_thetas_that_are_missing_are_trained_from_the_first(tmp_path: Path) -> None:
    run = _played(tmp_path, ["sandbox@0", "iter_1@1", "iter_2@2"])
    assert (to_train(run, 4), to_train(run, 3)) == ([1, 2, 3], [])
    run.store.solver_folder(1).mkdir(parents=True)
    assert untrained(run, 3) == [2, 3]
    run.store.solver_folder(3).mkdir(parents=True)
    assert (untrained(run, 3), to_train(run, 4)) == ([], [])


def test_no_theta_is_trained_where_somebody_elses_solver_answered(tmp_path: Path) -> None:
    run = _played(tmp_path, ["sandbox@0", "org/trained-elsewhere@abc"])
    assert to_train(run, 3) == [2]
    assert to_train(Run(run.config, run.reporter, solver_override="org/other"), 3) == []
