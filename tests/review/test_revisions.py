"""People's verdicts make a revision beside an iteration. Every later step uses the revision."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hub_server import WRITE, Hub
from polars.testing import assert_frame_equal
from sandbox_runs import eva, tables
from small_store import small_store
from tiny import save_model

from eva_data.dataset.store import Store
from eva_data.files import sha256
from eva_data.hub.verify import verify_iteration
from eva_data.report.card import write_card
from eva_data.review.answers import ANSWERS, as_reviews
from eva_data.review.pull import add_revision, reviewable
from eva_data.tables.schemas import REVIEWS, TABLES, empty

pytestmark = pytest.mark.slow

REPO = "alice/game"


def answered(store: Store, iteration: int, *verdicts: tuple[str, str]) -> pl.DataFrame:
    """REVIEWS in which one person gives these (verdict, verdict on the prompt) to the first pairs of an iteration."""
    known = pl.concat(reviewable(store, iteration))
    assert known.height >= len(verdicts), f"iteration {iteration} has {known.height} pairs to judge"
    given = [
        {"pair_id": pair, "reviewer": "someone", "status": "submitted", "order": "chosen_first"}
        | {"verdict": verdict, "prompt_quality": quality}
        for pair, (verdict, quality) in zip(known["pair_id"], verdicts, strict=False)
    ]
    return as_reviews(pl.DataFrame(given, schema=ANSWERS), known, iteration)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every table and manifest."""
    found = [path for path in folder.rglob("iter_*") if path.is_file() and ".eva" not in path.parts]
    return {str(path.relative_to(folder)): sha256(path) for path in found}


def test_a_revision_adds_files_changes_none_and_is_what_is_read(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    before, built = hashes(store.folder), tables(store.folder, 1)
    reviews = answered(store, 1, ("second", "good"), ("both_bad", "good"))
    new, found = add_revision(store, 1, reviews, publish="full")
    assert new
    assert (found["pairs"], found["decided"], found["overruled"], found["rejected"]) == (2, 1, 1, {"both_bad": 1})
    after = hashes(store.folder)
    assert {name: after[name] for name in before} == before
    assert sorted(after.keys() - before.keys()) == [
        "manifests/iter_1.r1.json",
        "preferences/iter_1.r1.parquet",
        "rejects/iter_1.r1.parquet",
        "reviews/iter_1.r1.parquet",
    ]
    now = tables(store.folder, 1)
    (pair,) = now["preferences"].to_dicts()
    assert (pair["prompt_id"], pair["chosen"][0]["content"], pair["verdict_by"]) == ("11", "bad", "human")
    assert now["rejects"].filter(pl.col("stage") == "review").select("prompt_id", "reason", "text").rows() == [
        ("33", "both_bad: 1 of 1 reviewers", "Name a tree.")
    ]
    assert_frame_equal(now["reviews"], reviews.sort("pair_id", "reviewer"))
    for name in TABLES:
        assert_frame_equal(store.at(1, 0).scan(name, 1).collect(), built[name])
        if name not in ("preferences", "rejects", "reviews"):
            assert_frame_equal(now[name], built[name])
    manifest = store.manifest(1)
    assert manifest.revision == 1
    assert (manifest.counts.pairs, manifest.counts.rejects, manifest.counts.rejects_by_reason) == (
        1,
        3,
        {
            "pair": {"one_distinct_response": 1},
            "review": {"both_bad": 1},
            "reward": {"unverifiable": 1},
        },
    )
    assert store.at(1, 0).manifest(1).values().keys() == manifest.values().keys() - {"revision", "review"}


def test_the_same_answers_make_no_revision_and_further_ones_make_the_next_from_the_build(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    assert add_revision(store, 1, empty(REVIEWS))[0] is False
    draft = answered(store, 1, ("second", "good")).with_columns(status=pl.lit("draft"))
    assert add_revision(store, 1, draft)[0] is False
    assert add_revision(store, 1, answered(store, 1, ("tie", "good")))[0] is True
    assert add_revision(store, 1, answered(store, 1, ("tie", "good")))[0] is False
    assert store.revisions(1) == [0, 1]
    # Another reviewer breaks the tie.
    both = pl.concat(
        [
            answered(store, 1, ("first", "good")).with_columns(reviewer=pl.lit("another")),
            answered(store, 1, ("first", "good")),
        ]
    )
    assert add_revision(store, 1, both)[0] is True
    assert store.revisions(1) == [0, 1, 2]
    assert store.scan("preferences", 1).select("prompt_id", "verdict_by").collect().rows() == [
        ("11", "human"),
        ("33", "reward"),
    ]
    assert store.at(1, 1).scan("preferences", 1).select("prompt_id").collect().rows() == [("33",)]


def test_a_review_that_leaves_no_pair_leaves_no_file_of_pairs(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    add_revision(store, 2, answered(store, 2, ("first", "unsafe")))
    assert store.table_files("preferences", 2) == []
    assert store.scan("preferences", 2).collect().is_empty()
    write_card(store)
    assert "- split: iter_1" in (store.folder / "README.md").read_text()


@pytest.fixture(scope="module")
def reviewed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sandbox's two iterations. The second has a revision with one overruled pair and one bad prompt."""
    others = shutil.ignore_patterns("evaluations*")
    folder = Path(shutil.copytree(built, tmp_path_factory.mktemp("reviewed") / "sandbox", ignore=others))
    store = Store(folder)
    reviews = answered(store, 2, ("second", "good"), ("first", "unsafe"), ("first", "good"))
    assert add_revision(store, 2, reviews, publish="full")[0]
    write_card(store)
    return folder


def test_a_revision_is_verified_by_the_build_and_its_reviews(reviewed: Path, tmp_path: Path) -> None:
    assert verify_iteration(Store(reviewed), 2).problems == []
    folder = Path(shutil.copytree(reviewed, tmp_path / "changed", ignore=shutil.ignore_patterns(".eva")))
    path = folder / "reviews" / "iter_2.r1.parquet"
    reviews = pl.read_parquet(path)
    other = pl.col("first_idx") + pl.col("second_idx") - pl.col("preferred_idx")
    reviews.with_columns(preferred_idx=other.cast(pl.Int32)).write_parquet(path)
    changed, meaning, pairs, summary = verify_iteration(Store(folder), 2).problems
    assert summary == "revision 1: manifest: `review` is not what the reviews come to"
    assert changed.startswith("reviews/iter_2.r1.parquet: its SHA-256 is not the one in the manifest")
    assert meaning.startswith(
        "revision 1: reviews: 3 rows are not what follows from the other tables, in preferred_idx"
    )
    assert pairs.startswith("revision 1: preferences: ")


def test_status_says_what_was_reviewed_and_what_is_stale_for_it(built: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "sandbox"))
    assert "stale" not in eva(folder, "status").stdout
    store = Store(folder)
    add_revision(store, 1, answered(store, 1, ("tie", "good")))
    told = eva(folder, "status").stdout
    assert "r1, 1 pairs judged by people" in told
    assert "stale: iteration 1 was reviewed since, and is at r1" in told
    # What is there stays there.
    again = eva(folder, "build", "--iter", "2", "--set", "train.heldout=0")
    assert again.returncode == 0, again.stderr
    assert verify_iteration(store, 2).problems == []


def test_the_next_iteration_is_built_from_the_revision_without_the_bad_prompt(reviewed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(reviewed, tmp_path / "sandbox"))
    store = Store(folder)
    bad = (
        store.scan("rejects", 2).filter(pl.col("reason").str.starts_with("prompt_unsafe")).collect()["prompt_id"].item()
    )
    done = eva(folder, "build", "--iter", "3", "--solver", "sandbox", "--set", "train.heldout=0")
    assert done.returncode == 0, done.stderr
    assert "reviewers judged 1 prompts of iteration 2 bad: they do not go on" in done.stderr
    manifest = store.manifest(3)
    assert manifest.previous is not None
    assert manifest.previous.revision == 1
    assert manifest.previous.files == store.manifest(2).files
    made = tables(folder, 3)
    estimated = made["informativeness"].filter(pl.col("stage") == "estimate")
    assert estimated.height == tables(folder, 2)["prompts"].height - 1
    for ids in (estimated["prompt_id"], made["prompts"]["prompt_id"], made["evolutions"]["chain_id"]):
        assert bad not in ids.to_list()
    assert verify_iteration(store, 3).problems == []
    assert "stale" not in eva(folder, "status").stdout


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


# One of its prompts was called unsafe.
FULL = ("--set", "review.publish=full", "--accept-findings")


def publish(hub: Hub, folder: Path, iteration: int) -> subprocess.CompletedProcess[str]:
    where = ("--repo", REPO, "--set", f"folder={folder}", *FULL)
    done = hub.run(folder.parent, "publish", "--iter", str(iteration), *where, token=WRITE)
    assert done.returncode == 0, done.stderr
    return done


LOAD = """
import sys
from datasets import load_dataset
for revision in sys.argv[2:]:
    pairs = load_dataset(sys.argv[1], "preferences", split="iter_2", revision=revision)
    print(revision, len(pairs), pairs["verdict_by"].count("human") if isinstance(pairs["verdict_by"], list) else
          list(pairs["verdict_by"]).count("human"))
print(len(load_dataset(sys.argv[1], "reviews", split="iter_2", revision="iter-2.r1")))
"""

TRAIN = """
import sys
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer
pairs = load_dataset(sys.argv[1], split="iter_2", revision="iter-2.r1")
cpu = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 2}
config = DPOConfig("out", max_steps=2, logging_steps=1, save_strategy="no", report_to=[], **cpu)
trainer = DPOTrainer(sys.argv[2], args=config, train_dataset=pairs)
trainer.train()
print(trainer.state.global_step)
"""


def test_a_revision_is_a_commit_and_a_tag_of_its_own_that_loads_trains_and_pulls(
    hub: Hub, built: Path, reviewed: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "sandbox", ignore=shutil.ignore_patterns(".eva", "evaluations*")))
    publish(hub, folder, 2)
    for name in hashes(reviewed).keys() - hashes(folder).keys():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(reviewed / name, folder / name)
    told = publish(hub, folder, 2).stdout
    assert "Published iteration 2 r1 to alice/game (private)" in told
    assert f"{hub.url}/datasets/{REPO}/tree/iter-2.r1" in told
    repo = hub.repos[REPO]
    assert list(repo.tags) == ["iter-1", "iter-2", "iter-2.r1"]
    pairs = Store(folder).manifest(2).counts.pairs
    assert repo.commits[-1].message.startswith("Iteration 2, reviewed by people (r1): ")
    built_files = {
        name: data for name, data in repo.commits[-2].files.items() if "iter_" in name and "plots" not in name
    }
    assert {name: repo.commits[-1].files[name] for name in built_files} == built_files
    card = repo.commits[-1].files["README.md"].decode()
    assert "path: preferences/iter_2.r1.parquet" in card
    assert "## Human review" in card
    assert "already, just as it is here" in publish(hub, folder, 2).stdout
    assert len(repo.commits) == 4

    done = hub.python(tmp_path, "-c", LOAD, REPO, "iter-2", "iter-2.r1", "main")
    assert done.stdout.splitlines() == [f"iter-2 {pairs + 1} 0", f"iter-2.r1 {pairs} 2", f"main {pairs} 2", "3"]
    model = save_model(tmp_path / "model", "llama")
    assert hub.python(tmp_path, "-c", TRAIN, REPO, str(model)).stdout.splitlines()[-1] == "2"

    home = tmp_path / "home"
    home.mkdir()
    assert hub.run(home, "pull", REPO, "--revision", "iter-2").returncode == 0
    pulled = Store(home / "data" / "game")
    assert pulled.revisions(2) == [0]
    assert hub.run(home, "pull", REPO).returncode == 0
    assert pulled.revisions(2) == [0, 1]
    assert hashes(pulled.folder) == hashes(folder)
    verified = hub.run(home, "verify", REPO, "--iter", "2", "--revision", "iter-2.r1")
    assert verified.returncode == 0, verified.stdout
    # A revision of an earlier iteration leaves the later one in the card.
    add_revision(Store(folder), 1, answered(Store(folder), 1, ("tie", "good")))
    publish(hub, folder, 1)
    card = repo.commits[-1].files["README.md"].decode()
    assert list(repo.tags)[-1] == "iter-1.r1"
    assert all(f"path: preferences/iter_{which}.parquet" in card for which in ("1.r1", "2.r1"))


def test_everything_goes_out_in_order_each_with_the_card_of_its_day_and_another_revision_is_refused(
    hub: Hub, reviewed: Path, tmp_path: Path
) -> None:
    publish(hub, reviewed, 2)
    repo = hub.repos[REPO]
    assert list(repo.tags) == ["iter-1", "iter-2", "iter-2.r1"]
    cards = [commit.files["README.md"].decode() for commit in repo.commits[1:]]
    assert ["preferences/iter_2.parquet" in card for card in cards] == [False, True, False]
    assert ["Human review" in card for card in cards] == [False, False, True]

    home = tmp_path / "home"
    others = shutil.ignore_patterns(".eva", "iter_2.r1.*")
    store = Store(Path(shutil.copytree(reviewed, home / "data" / "game", ignore=others)))
    add_revision(store, 2, answered(store, 2, ("tie", "good")))
    done = hub.run(home, "pull", REPO)
    assert done.returncode == 1
    assert f"holds another iteration 2 r1 than {REPO} has, and is left as it is" in done.stderr
    shutil.rmtree(store.state / "pull")
    done = hub.run(home, "publish", "--iter", "2", "--repo", REPO, "--set", f"folder={store.folder}", token=WRITE)
    assert done.returncode == 1
    assert f"{REPO} holds something else as iteration 2, at iter-2.r1" in done.stderr
