"""A game whose evolved prompts have no answers: built, verified, shown, published and loaded, with planted mistakes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml
from hub_server import WRITE, Hub
from odd_server import Answer, Asked, OddServer, said

from eva_data.dataset.store import Store
from eva_data.files import sha256
from eva_data.hub.verify import verify_iteration
from eva_data.report.sections.consensus import consensus as section
from eva_data.tables.schemas import READ_ANSWERS

pytestmark = pytest.mark.slow

REPO = "alice/votes"
HARDER = "Make this harder: "
PROBLEMS = [f"What is {first} plus {second}?" for first in range(1, 9) for second in range(1, 6)]


def total(problem: str) -> int:
    return sum(map(int, re.findall(r"\d+", problem)))


def scripted(asked: Asked) -> Answer:
    """A solver that adds right most of the time, but never a number with 3; as the creator it adds one more number."""
    *_, prompt = asked.prompt.split(HARDER)
    if HARDER in asked.prompt:
        return said(asked, prompt.removesuffix("?") + f" plus {10 + total(prompt) % 5}?")
    if not prompt.startswith("What is"):
        return said(asked, "Hello.")
    sum_of = total(prompt)
    # One more choice of each prompt is asked at a time, so its number tells the choices apart.
    texts = []
    for choice in range(asked.body.get("n", 1)):
        place = asked.time + choice
        wrong = 1 if "3" in prompt else place if place % 4 == sum_of % 4 else 0
        texts.append(f"I add them up.\n#### {sum_of + wrong}")
    status, reply = said(asked)[:2]
    for message, text in zip(reply["choices"], texts, strict=True):
        message["message"]["content"] = text
    return status, reply


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eva_data.cli", *arguments],
        cwd=folder,
        env=os.environ | {"COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with an eva.yaml and two iterations in `data`, and what the build printed."""
    folder = tmp_path_factory.mktemp("consensus")
    pl.DataFrame({"prompt": PROBLEMS, "answer": [f"#### {total(each)}" for each in PROBLEMS]}).write_csv(
        folder / "problems.csv"
    )
    with OddServer(scripted) as server:
        settings = {
            "name": "alice/votes",
            "folder": "data",
            "seeds": {"path": "problems.csv"},
            "solver": {
                **{"backend": "api", "model": "tiny", "base_url": server.url, "responses": 8, "temperature": 1.0},
                "canary": False,
            },
            "reward": {"backend": "consensus", "answers": {"path": "problems.csv"}},
            "sample": {"fraction": 0.5, "agreement_band": [0.5, 0.95]},
            "evolve": {
                **{"only_own": True, "evolutions": 2, "near_duplicate": None, "min_chars": 1},
                "strategies": [{"name": "harder", "template": HARDER + "{prompt}"}],
            },
        }
        (folder / "eva.yaml").write_text(yaml.safe_dump(settings))
        done = run(folder, "build", "--iter", "2")
        assert done.returncode == 0, done.stdout + done.stderr
        yield folder, done.stdout


@pytest.fixture
def store(played: tuple[Path, str], tmp_path: Path) -> Store:
    """A copy, without what is not published."""
    return Store(Path(shutil.copytree(played[0] / "data", tmp_path / "data", ignore=shutil.ignore_patterns(".eva"))))


def table(store: Store, name: str, iteration: int = 2, stage: str = "respond") -> pl.DataFrame:
    return store.scan(name, iteration).filter(pl.col("stage") == stage).collect()


def test_evolved_prompts_are_scored_by_their_majority_and_anchors_by_their_answer(store: Store) -> None:
    prompts = store.scan("prompts", 2).collect()
    text = pl.col("prompt").list.last().struct.field("content")
    responses = table(store, "responses").join(prompts.select("prompt_id", "origin", text=text), on="prompt_id")
    evolved = responses.filter(pl.col("origin") == "evolved")
    assert evolved.height > 0
    assert evolved["known_answer"].count() == 0
    shared = pl.col("text").str.contains("3")
    # Where all share a mistake, it is the consensus.
    assert evolved.filter(shared)["reward"].unique().to_list() == [1.0]
    for row in responses.filter(~shared).to_dicts():
        assert row["reward"] == float(row["answer"] == str(total(row["text"])))
    anchors = responses.filter(pl.col("origin") == "seed")
    assert anchors.filter(shared)["reward"].unique().to_list() in ([0.0], [])
    assert anchors["known_answer"].null_count() == 0
    assert anchors["prompt_id"].n_unique() >= 0.1 * prompts.height


def test_only_prompts_inside_the_band_of_agreement_are_evolved(store: Store) -> None:
    drawn = table(store, "informativeness", stage="estimate")
    assert drawn.filter("selected")["agreement"].is_between(0.5, 0.95).all()
    shared = drawn.filter(pl.col("agreement") == 1)
    assert set(shared["reason"]) == {"too_easy"} or set(shared["reason"]) == {"too_easy", "unsolved"}
    assert any("prompts are inside `sample.agreement_band` 0.5 to 0.95" in note for note in store.manifest(2).notes)


def test_the_build_the_card_the_report_and_show_say_that_the_consensus_is_often_wrong(
    played: tuple[Path, str], store: Store
) -> None:
    first = table(store, "informativeness", 1)
    wrong = first.filter(pl.col("consensus") != pl.col("known_answer")).height
    right = first["consensus"].count() - wrong
    said_so = f"the consensus is right for {right} of {right + wrong} anchors"
    alarm = f"ALARM: in iteration 1 {said_so} only"
    assert wrong >= 0.3 * len(PROBLEMS)
    assert any(note.startswith(alarm) for note in store.manifest(1).notes)
    assert alarm.partition(": ")[2] in (store.folder / "README.md").read_text()
    found = section(store)
    assert found is not None
    assert "in iteration 1 the consensus" in str(found.parts[0])
    shown = run(played[0], "show", "--iter", "2", "--json")
    values = json.loads(shown.stdout)["consensus"]
    assert values["prompts"] == store.manifest(2).counts.prompts
    assert {row["depth"] for row in values["by_agreement"]} >= {0, 1}
    assert all(row["labelled"] == 0 for row in values["by_agreement"] if row["depth"])
    assert "How often the consensus is right" in run(played[0], "show", "--iter", "2").stdout


def test_verify_counts_the_votes_again_and_finds_what_does_not_follow(played: tuple[Path, str], store: Store) -> None:
    for iteration in ("1", "2"):
        done = run(played[0], "verify", "--iter", iteration)
        assert done.returncode == 0, done.stdout
    assert "whether the known answers are those of the file that held them" in verify_iteration(store, 2).unknown
    path = store.table_files("responses", 2)[0]
    honest = path.read_bytes()
    evolved = (pl.col("stage") == "respond") & pl.col("known_answer").is_null()
    place = pl.int_range(pl.len()) == pl.arg_where(evolved).first()
    for column, said_so in (
        ("reward", "responses: 1 have rewards that their votes do not give"),
        ("answer", "responses: 1 do not hold their `answer`"),
    ):
        lie = {"reward": 0.25, "answer": "99"}[column]
        pl.read_parquet(path).with_columns(
            pl.when(place).then(pl.lit(lie)).otherwise(column).alias(column)
        ).write_parquet(path)
        _sign(store, path)
        assert [problem for problem in verify_iteration(store, 2).problems if problem.startswith(said_so)]
        path.write_bytes(honest)
        _sign(store, path)
    assert verify_iteration(store, 2).problems == []


def _sign(store: Store, path: Path) -> None:
    """Write a table's hash into its manifest, as a liar does."""
    manifest = json.loads(store.manifest_path(2).read_text())
    name = str(path.relative_to(store.folder))
    manifest["files"][name] |= {"sha256": sha256(path), "bytes": path.stat().st_size}
    store.manifest_path(2).write_text(json.dumps(manifest))


def test_rewards_are_scored_again_with_all_votes_on_their_prompts(played: tuple[Path, str]) -> None:
    done = run(played[0], "verify", "--iter", "2", "--rescore", "20")
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_published_and_loaded_with_its_votes(store: Store, tmp_path: Path) -> None:
    with Hub(tmp_path / "hub") as hub:
        done = hub.run(
            *(tmp_path, "publish", "--iter", "2", "--repo", REPO, "--set", f"folder={store.folder}"), token=WRITE
        )
        assert done.returncode == 0, done.stdout + done.stderr
        load = (
            "from datasets import load_dataset\n"
            f"rows = load_dataset('{REPO}', 'responses', split='iter_2', revision='iter-2')\n"
            "print(len(rows), sorted(set(rows.column_names) & {'answer', 'known_answer'}))"
        )
        loaded = hub.python(tmp_path, "-c", load, token=WRITE)
        assert loaded.returncode == 0, loaded.stderr
        rows = store.scan("responses", 2).collect().height
        assert loaded.stdout.strip() == f"{rows} {sorted(READ_ANSWERS)}"
