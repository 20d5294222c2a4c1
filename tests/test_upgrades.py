"""Data of release 0.1.0 can still be used.

Its ledgers serve builds. Its datasets load, verify, are pulled and built on. Tables of different age load together.
`tests/fixtures/` holds data of that release and the scripts that made it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from datasets import load_dataset
from hub_server import Files, Hub, Repo
from misbehaving import Misbehaving
from published import accept
from recorded import calls, differing, probes
from sandbox_runs import command

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parent / "fixtures"
LEDGERS = FIXTURES / "ledgers"
PUBLISHED = FIXTURES / "published_by_0_1_0"
REPO = "alice/game"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.name, marks=[pytest.mark.long] if path.name in ("pairwise", "rewrite") else [])
        for path in sorted(LEDGERS.iterdir())
    ],
)
def test_a_ledger_of_the_first_release_serves_the_same_build_without_one_model_call(name: str, tmp_path: Path) -> None:
    work = Path(shutil.copytree(LEDGERS / name, tmp_path / name))
    folder, record = work / "data", json.loads((work / "build.json").read_text(encoding="utf-8"))
    ledger = folder / ".eva" / "ledger.sqlite"
    ledger.parent.mkdir(parents=True)
    shutil.move(work / "ledger.sqlite", ledger)
    before, known = calls(ledger), probes(ledger)
    assert before["generations"] == before["generations made"] > 0
    with Misbehaving() as server:
        settings = (work / "eva.yaml").read_text(encoding="utf-8")
        (work / "eva.yaml").write_text(
            settings.replace("http://server", server.url.removesuffix("/v1")), encoding="utf-8"
        )
        # What the release did: by default, a new folder does not evolve unsolved prompts any more.
        done = build(work, [*record["arguments"], "--set", "estimate.min_best=null"], server)
        assert done.returncode == 0, done.stderr
        assert [seen.prompt for seen in server.seen if seen.prompt not in known] == []
    assert calls(ledger) == before
    assert differing(folder, record["tables"]) == []


def build(work: Path, arguments: list[str], server: Misbehaving) -> subprocess.CompletedProcess[str]:
    """Run `eva-data build` in a folder with an eva.yaml, with this server for a provider."""
    here = "127.0.0.1,localhost"
    return subprocess.run(
        command(work / "data", "build", *arguments, settings=()),
        cwd=work,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(work), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "OPENAI_API_BASE": server.url,
            "OPENAI_API_KEY": "sk-none",
            "no_proxy": here,
            "NO_PROXY": here,
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def manifest(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifests" / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A Hub with a repo of the first release: two iterations, and a revision of the second."""
    with Hub(tmp_path / "hub") as hub:
        repo, files = Repo(private=True), Files()
        hub.repos[REPO] = repo
        for name, tag in (("iter_1", "iter-1"), ("iter_2", "iter-2"), ("iter_2.r1", "iter-2.r1")):
            new = ["README.md", f"manifests/{name}.json", *manifest(PUBLISHED, name)["files"]]
            files = files | {path: (PUBLISHED / path).read_bytes() for path in new}
            repo.tags[tag] = repo.add(files, name).sha
        yield hub


LOAD = """
import json, sys
from datasets import load_dataset
splits = json.loads(sys.argv[2])
print(json.dumps({name: len(load_dataset(sys.argv[1], name, split="+".join(splits[name]))) for name in splits}))
"""


def rows(folder: Path, *names: str) -> dict[str, dict[str, int]]:
    """Table -> split -> number of rows, by the manifests of these names. Tables without a file are left out."""
    found: dict[str, dict[str, int]] = {}
    for name in names:
        for path, entry in manifest(folder, name)["files"].items():
            found.setdefault(path.partition("/")[0], {})[name.partition(".")[0]] = entry["rows"]
    return found


def test_a_dataset_of_the_first_release_loads_from_its_folder(tmp_path: Path) -> None:
    loaded = load_dataset(str(PUBLISHED), "preferences", split="iter_1+iter_2", cache_dir=str(tmp_path))
    assert len(loaded) == sum(rows(PUBLISHED, "iter_1", "iter_2.r1")["preferences"].values())
    files = (PUBLISHED / "preferences" / name for name in ("iter_1.parquet", "iter_2.r1.parquet"))
    assert loaded.to_list() == [row for file in files for row in pl.read_parquet(file).to_dicts()]


def test_a_repo_of_the_first_release_verifies_is_pulled_and_built_on_and_all_of_it_loads_together(
    hub: Hub, tmp_path: Path
) -> None:
    home, folder = tmp_path / "home", tmp_path / "home" / "data" / "game"
    home.mkdir()
    verified = hub.run(home, "verify", REPO, "--iter", "2", "--revision", "iter-2.r1")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.startswith(f"Iteration 2 in {REPO} is what its tables and manifest say. Not checked: ")
    pulled = hub.run(home, "pull", REPO)
    assert pulled.returncode == 0, pulled.stderr
    before = {path: path.read_bytes() for path in folder.rglob("iter_*") if path.is_file()}
    assert len(before) == 3 + len({*manifest(folder, "iter_1")["files"], *manifest(folder, "iter_2")["files"]}) + 3

    # The sandbox's own model answers, so that no theta has to be trained.
    accept(home / "eva.yaml")
    built = hub.run(home, "build", "--iter", "3", "--solver", "sandbox")
    assert built.returncode == 0, built.stderr
    assert manifest(folder, "iter_3")["previous"]["revision"] == 1
    assert manifest(folder, "iter_3")["previous"]["files"] == manifest(folder, "iter_2.r1")["files"]
    assert {path: path.read_bytes() for path in before} == before
    again = hub.run(home, "verify", "--iter", "3")
    assert again.returncode == 0, again.stdout + again.stderr

    known = rows(folder, "iter_1", "iter_2.r1", "iter_3")
    assert {*known["prompts"], *known["responses"]} == {"iter_1", "iter_2", "iter_3"}
    splits, expected = json.dumps(known), {name: sum(of.values()) for name, of in known.items()}
    here = hub.python(home, "-c", LOAD, "data/game", splits)
    assert here.returncode == 0, here.stderr
    assert json.loads(here.stdout) == expected
    published = hub.run(home, "publish", "--iter", "3", "--repo", REPO)
    assert published.returncode == 0, published.stderr
    assert set(hub.repos[REPO].tags) == {"iter-1", "iter-2", "iter-2.r1", "iter-3"}
    there = hub.python(home, "-c", LOAD, REPO, splits)
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout) == expected
