"""An iteration that is drawn and mixed by topic: its tables, its card, and what `verify` finds in them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from sandbox_runs import SMALL, eva, tables

from eva_data.dataset.store import Store
from eva_data.hub.checks.replay import replay
from eva_data.hub.checks.topics_again import replay_topics
from eva_data.hub.verify import verify_iteration

BY_TOPIC = (*SMALL, "--set", "sample.by_topic=true", "--set", "mix.topic_cap=0.5")


@pytest.fixture(scope="module")
def by_topic(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second iteration of the sandbox, made again from the first by topic."""
    folder = Path(shutil.copytree(built, tmp_path_factory.mktemp("topics") / "sandbox"))
    (folder / "manifests" / "iter_2.json").unlink()
    done = eva(folder, "build", "--iter", "2", settings=BY_TOPIC)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_draw_and_mix_follow_the_topics_and_can_be_replayed(by_topic: Path) -> None:
    store = Store(by_topic)
    found, manifest = tables(by_topic, 2), store.manifest(2)
    topics = found["topics"]
    # 24 prompts make two topics.
    assert set(topics["topic"]) == {1, 2} and topics["words"].n_unique() == 2
    first = set(tables(by_topic, 1)["prompts"]["prompt_id"])
    assert first | set(found["prompts"]["prompt_id"]) <= set(topics["prompt_id"])
    assert tables(by_topic, 1)["topics"].is_empty()

    drawn = found["informativeness"].filter(pl.col("stage") == "estimate").join(topics, on="prompt_id")
    counts = drawn.group_by("topic").agg(all=pl.len(), drawable=pl.col("draw").count(), drawn=pl.col("selected").sum())
    share = drawn["selected"].sum() / drawn.height
    assert all(row["drawn"] >= min(row["drawable"], round(share * row["all"]) - 1) for row in counts.to_dicts())

    assert manifest.evolving is not None and "capped" in manifest.evolving.model_fields_set
    new = found["prompts"].filter(pl.col("mix_role") == "evolved").join(topics, on="prompt_id")
    assert max(new["topic"].value_counts()["count"]) <= new.height / min(2, new["topic"].n_unique())
    out = found["evolutions"].filter(pl.col("reason") == "topic_cap")
    assert out.height == manifest.evolving.capped and set(out["status"]) <= {"unused"}
    assert manifest.versions["scikit-learn"]

    assert verify_iteration(store, 2).problems == []
    assert not any("topics" in fact for fact in verify_iteration(store, 2).unknown)
    card = (by_topic / "README.md").read_text()
    assert "No topic has more than 50 % of either." in card and "config_name: topics" in card


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.with_columns(topic=3 - pl.col("topic")), r"topics: (\d+) of \1 topics come out otherwise"),
        (lambda table: table.clear(), "have no row"),
    ],
)
def test_topics_that_were_changed_are_found(
    by_topic: Path, change: Callable[[pl.DataFrame], pl.DataFrame], said: str
) -> None:
    store = Store(by_topic)
    manifest, changed = store.manifest(2), tables(by_topic, 2)
    changed["topics"] = change(changed["topics"])
    unknown: list[str] = []
    [problem] = replay_topics(store, manifest, changed, unknown)
    assert re.search(said, problem) and unknown == []
    if changed["topics"].is_empty():
        assert replay(store, manifest, changed) != []


@pytest.mark.slow
def test_topics_of_another_scikit_learn_are_not_called_wrong(by_topic: Path) -> None:
    store = Store(by_topic)
    changed = tables(by_topic, 2)
    changed["topics"] = changed["topics"].with_columns(words=pl.lit("other"))
    older = store.manifest(2).model_copy(update={"versions": {"scikit-learn": "1.0"}})
    unknown: list[str] = []
    assert replay_topics(store, older, changed, unknown) == []
    assert "made with 1.0" in unknown[0]
