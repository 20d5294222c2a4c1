"""People's answers stay private: votes are published, single answers and comments only on request."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from hub_server import WRITE, Hub
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from reviewing import NAMED, store_of_pairs
from small_store import frame

from eva_data.dataset.store import Store
from eva_data.errors import DataError, ReviewError
from eva_data.files import sha256
from eva_data.hub.verify import verify_iteration
from eva_data.method.verdicts import QUALITIES, VERDICTS, decide, votes_of
from eva_data.review.answers import (
    PulledAnswers,
    answers,
    answers_file,
    kept_answers,
    key_file,
    pseudonym,
    pseudonym_of_0_1_0,
    reviewers_key,
)
from eva_data.review.dataset import GUIDELINES, TOLD, refuse_broken_word
from eva_data.review.pull import add_revision, reviewable
from eva_data.review.record import content_of
from eva_data.tables.schemas import REVIEWS

pytestmark = pytest.mark.slow

REPO = "alice/game"
COMMENT = "The first one is by my colleague Ann."


def records(store: Store, *rows: tuple[int, str, str, str], order: str = "chosen_first") -> list[dict[str, Any]]:
    """The server's records of (pair, user, verdict, comment), all submitted."""
    known = pl.concat(reviewable(store, 1)).sort("pair_id").to_dicts()
    found: dict[int, dict[str, Any]] = {}
    for place, user, verdict, comment in rows:
        row = known[place]
        metadata = {"order": order, "content": content_of(row)}
        record = found.setdefault(place, {"external_id": row["pair_id"], "metadata": metadata, "responses": []})
        values = {"verdict": {"value": verdict}, "comment": {"value": comment}, "prompt_quality": {"value": "good"}}
        record["responses"].append(
            {"user_id": user, "status": "submitted", "updated_at": "2026-11-21T10:00", "values": values}
        )
    return list(found.values())


def said(store: Store, found: list[dict[str, Any]], key: bytes) -> PulledAnswers:
    return answers(store, 1, pl.concat(reviewable(store, 1)), found, name="small", key=key)


def pulled(store: Store, found: list[dict[str, Any]], publish: Literal["votes", "full"] = "votes") -> bool:
    """Whether `review pull` makes a revision of the server's records."""
    key = reviewers_key(store, make=True)
    now = said(store, found, key)
    assert now.lost == 0
    return add_revision(store, 1, now.reviews, before=now.before, publish=publish, key=key)[0]


def published_bytes(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".eva" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def replayed(store: Store) -> list[str]:
    """The findings of verify in the tables. The manifest of the small store has no counts."""
    return [problem for problem in verify_iteration(store, 1).problems if "manifest: " not in problem]


def test_a_revision_holds_votes_and_the_answers_stay_in_the_folders_state(tmp_path: Path) -> None:
    store = store_of_pairs(tmp_path / "small", 3)
    users = [f"user-{name}" for name in ("ann", "bob", "cid")]
    assert pulled(store, records(store, *((0, user, "second", COMMENT) for user in users), (1, "user-ann", "tie", "")))
    table = store.scan("reviews", 1).collect()
    assert table.select("reviewer", "comment", "verdict", "votes").rows() == [
        (None, None, "second", 3),
        (None, None, "tie", 1),
    ]
    kept = kept_answers(store, 1, reviewers_key(store, make=False))
    assert kept.complete and kept.answers["comment"].to_list().count(COMMENT) == 3
    assert kept.answers["reviewer"].n_unique() == 3
    path = answers_file(store, 1, 1)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(key_file(store).stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    pseudonyms = {name.encode() for name in kept.answers["reviewer"]}
    for name, content in published_bytes(store.folder).items():
        assert not any(secret in content for secret in (*pseudonyms, b"user-ann", b"colleague")), name
    assert replayed(store) == []
    review = store.manifest(1).review
    assert review is not None and review["reviewers"] == 3 and review["overruled"] == 1


def test_votes_that_were_changed_are_found_by_verify(tmp_path: Path) -> None:
    store = store_of_pairs(tmp_path / "small", 2)
    assert pulled(store, records(store, (0, "ann", "second", ""), (0, "bob", "second", ""), (0, "cid", "first", "")))
    path = store.folder / "reviews" / "iter_1.r1.parquet"
    table = pl.read_parquet(path).with_columns(votes=3 - pl.col("votes"))
    table.cast({"votes": pl.Int32}).write_parquet(path)
    problems = replayed(store)
    assert problems[0].startswith("reviews/iter_1.r1.parquet: its SHA-256")
    assert problems[1].startswith("revision 1: preferences: ")


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["p", "q"]),
        st.sampled_from(["submitted", "draft", "discarded"]),
        st.sampled_from([*VERDICTS, None]),
        st.sampled_from([*QUALITIES, None]),
    ),
    max_size=12,
)


@pytest.mark.slow
@given(ROWS)
def test_votes_decide_what_the_single_answers_decide(rows: list[tuple[str, str, str | None, str | None]]) -> None:
    side = {"first": 1, "second": 0}
    single = frame(
        [
            {"pair_id": pair, "prompt_id": f"of {pair}", "reviewer": str(place), "status": status}
            | {"verdict": verdict, "first_idx": 1, "second_idx": 0, "preferred_idx": side.get(verdict or "")}
            | {"prompt_quality": quality, "comment": "words", "iteration": 1}
            for place, (pair, status, verdict, quality) in enumerate(rows)
        ]
        or [{"pair_id": "p"}],
        REVIEWS,
    )
    votes = votes_of(single)
    assert votes["reviewer"].null_count() == votes["comment"].null_count() == votes.height
    assert_frame_equal(decide(votes), decide(single))
    assert_frame_equal(votes_of(votes), votes)


def test_full_publishes_every_answer_under_a_pseudonym_that_the_servers_ids_do_not_give_away(tmp_path: Path) -> None:
    store = store_of_pairs(tmp_path / "small", 2)
    assert pulled(store, records(store, (0, "user-ann", "second", COMMENT)), publish="full")
    (row,) = store.scan("reviews", 1).collect().to_dicts()
    assert (row["comment"], row["votes"]) == (COMMENT, None)
    assert row["reviewer"] == pseudonym(reviewers_key(store, make=False), "user-ann")
    assert row["reviewer"] != pseudonym_of_0_1_0("small", "user-ann")
    assert not answers_file(store, 1, 1).exists()
    assert "votes" not in pl.read_parquet_schema(store.folder / "reviews" / "iter_1.r1.parquet")
    assert replayed(store) == []


def test_the_key_is_made_once_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "small")
    assert reviewers_key(store, make=False) != reviewers_key(store, make=False)
    assert not key_file(store).exists()
    key = reviewers_key(store, make=True)
    assert len(key) == 32 and reviewers_key(store, make=True) == reviewers_key(store, make=False) == key
    assert reviewers_key(Store(tmp_path / "other"), make=True) != key
    key_file(store).write_text("abc")
    with pytest.raises(DataError, match="restore it, or remove it"):
        reviewers_key(store, make=True)


def of_0_1_0(store: Store, *rows: tuple[int, str, str, str]) -> None:
    """A revision as release 0.1.0 made it: single answers, with pseudonyms from the dataset's name."""
    found = said(store, records(store, *rows), bytes(32))
    users = {pseudonym(bytes(32), row[1]): pseudonym_of_0_1_0("small", row[1]) for row in rows}
    assert add_revision(store, 1, found.reviews.with_columns(pl.col("reviewer").replace(users)), publish="full")[0]


@pytest.mark.parametrize("publish", ["votes", "full"])
def test_reviewers_of_an_older_revision_are_recognised_and_it_stays_as_it_is(
    tmp_path: Path, publish: Literal["votes", "full"]
) -> None:
    store = store_of_pairs(tmp_path / "small", 3)
    of_0_1_0(store, (0, "ann", "first", ""), (0, "bob", "first", ""), (1, "gone", "tie", ""))
    before = published_bytes(store.folder)
    server = records(store, (0, "ann", "second", ""), (0, "bob", "first", ""), (2, "ann", "tie", ""))
    assert pulled(store, server, publish)
    key = reviewers_key(store, make=False)
    kept = kept_answers(store, 1, key)
    # Ann changed her mind, and did not answer twice.
    assert kept.complete and kept.answers.height == 4
    assert kept.answers.filter(reviewer=pseudonym(key, "ann"))["verdict"].to_list() == ["second", "tie"]
    assert set(kept.answers["reviewer"]) == {
        *(pseudonym(key, "ann"), pseudonym(key, "bob")),
        pseudonym_of_0_1_0("small", "gone"),
    }
    now = published_bytes(store.folder)
    assert {name: now[name] for name in before if name != "README.md"} == {
        name: content for name, content in before.items() if name != "README.md"
    }
    assert pulled(store, server, publish) is False
    assert replayed(store) == []


def test_without_new_answers_an_older_revision_gets_no_other_pseudonyms_only_votes_if_that_is_wanted(
    tmp_path: Path,
) -> None:
    store = store_of_pairs(tmp_path / "small", 2)
    of_0_1_0(store, (0, "ann", "second", COMMENT))
    server = records(store, (0, "ann", "second", COMMENT))
    assert pulled(store, server, "full") is False
    assert pulled(store, server, "votes") is True
    assert store.revisions(1) == [0, 1, 2]
    first, second = (store.at(1, revision).scan("preferences", 1).collect() for revision in (1, 2))
    assert_frame_equal(first, second)
    assert pulled(store, server, "votes") is False


def test_a_new_comment_or_draft_makes_no_revision_of_votes_and_is_kept(tmp_path: Path) -> None:
    store = store_of_pairs(tmp_path / "small", 2)
    assert pulled(store, records(store, (0, "ann", "second", "")))
    table = sha256(store.folder / "reviews" / "iter_1.r1.parquet")
    assert pulled(store, records(store, (0, "ann", "second", "Now I know why."))) is False
    assert store.revisions(1) == [0, 1] and sha256(store.folder / "reviews" / "iter_1.r1.parquet") == table
    assert kept_answers(store, 1, reviewers_key(store, make=False)).answers["comment"].to_list() == ["Now I know why."]
    # The server forgot them: what was pulled before is still there.
    assert pulled(store, records(store, (1, "bob", "tie", "")))
    assert store.scan("reviews", 1).collect()["votes"].to_list() == [1, 1]


@pytest.mark.parametrize("publish", ["votes", "full"])
def test_answers_that_another_machine_pulled_are_counted_twice_by_none_and_lost_by_none(
    tmp_path: Path, publish: Literal["votes", "full"]
) -> None:
    made = store_of_pairs(tmp_path / "small", 3)
    server = records(made, (0, "ann", "second", ""), (1, "bob", "tie", ""))
    assert pulled(made, server, publish)
    there = shutil.copytree(made.folder, tmp_path / "there", ignore=shutil.ignore_patterns(".eva"))
    other = Store(Path(there))
    key = reviewers_key(other, make=True)
    # The server still has them all, and one more.
    found = said(other, [*server, *records(made, (2, "ann", "first", ""))], key)
    assert found.lost == 0 and found.reviews.height == 3
    # It has none of them any more.
    found = said(other, records(made, (2, "ann", "first", "")), key)
    assert found.lost == 2
    assert said(made, records(made, (2, "ann", "first", "")), reviewers_key(made, make=False)).lost == 0


def test_who_was_told_that_answers_stay_is_not_published() -> None:
    told = {"name": "small-iter-1", "guidelines": GUIDELINES + TOLD["votes"]}
    refuse_broken_word(told, "votes")
    refuse_broken_word(told | {"guidelines": GUIDELINES + TOLD["full"]}, "full")
    with pytest.raises(ReviewError, match="were told that their answers and comments stay"):
        refuse_broken_word(told, "full")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.mark.slow
def test_publish_sends_votes_and_an_older_revision_of_single_answers_only_if_that_is_wanted(
    hub: Hub, tmp_path: Path
) -> None:
    store = store_of_pairs(tmp_path / "small", 3)
    of_0_1_0(store, (0, "user-ann", "second", COMMENT))

    def publish(*more: str) -> tuple[int, str]:
        where = ("--repo", REPO, *NAMED, "--set", f"folder={store.folder}")
        done = hub.run(tmp_path, "publish", "--iter", "1", *where, *more, token=WRITE)
        return done.returncode, done.stdout + done.stderr

    status, told = publish()
    assert status == 1 and "iter-1.r1 holds 1 answers of 1 reviewers, word for word" in told
    assert "eva-data review pull --iter 1" in told and "review.publish=full" in told
    assert pulled(store, records(store, (0, "user-ann", "second", COMMENT)))
    status, told = publish()
    assert status == 0, told
    assert "iter-1.r1 stays here" in told
    repo = hub.repos[REPO]
    assert list(repo.tags) == ["iter-1", "iter-1.r2"]
    assert not any(b"colleague" in content for content in repo.commits[-1].files.values())
    home = tmp_path / "home"
    home.mkdir()
    assert hub.run(home, "pull", REPO).returncode == 0
    assert Store(home / "data" / "game").revisions(1) == [0, 2]
    verified = hub.run(home, "verify", REPO, "--iter", "1", "--revision", "iter-1.r2")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    loaded = hub.python(home, "-c", LOAD, REPO)
    assert loaded.stdout.split() == ["1", "1", "None"], loaded.stderr
    # What was published with single answers is left as it is.
    status, told = publish("--set", "review.publish=full", "--dry-run")
    assert status == 0 and "iteration 1 r1" in told


LOAD = """
import sys
from datasets import load_dataset
rows = load_dataset(sys.argv[1], "reviews", split="iter_1", revision="iter-1.r2")
print(len(rows), rows[0]["votes"], rows[0]["reviewer"])
"""
