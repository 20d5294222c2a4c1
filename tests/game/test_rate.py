"""`eva-data score`: a fixed model rates prompts of every iteration once, and report and card show the means."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from misbehaving import Misbehaving, Seen
from pages import Read, dangers
from polars.testing import assert_frame_equal
from sandbox_runs import eva
from small_store import small_store

from eva_data.dataset.records.prompt_scores import keep_scores, read_score_record, read_scores
from eva_data.dataset.store import Store
from eva_data.report.card import dataset_card
from eva_data.report.measures.ratings import RATING_SUMMARY, rating_summary
from eva_data.report.page.parts import Figure, Table
from eva_data.report.page.render import page
from eva_data.report.sections.ratings import ratings
from eva_data.tables.schemas import PROMPT_SCORES

SCORER = "tiny@scorer"


class Rating(Misbehaving):
    """A scorer that knows the complexity of some prompts. It gives no rating to one prompt. Quality is always 4."""

    def _say(self, seen: Seen, choice: int) -> str:
        if "<prompt>" not in seen.prompt:
            return super()._say(seen, choice)
        if "Rate the quality" in seen.prompt:
            return "Clear enough.\nRating: 4"
        words = {"Say ab.": "2", "Count to 2.": "1", "Name a tree.": "none"}
        asked = seen.prompt.partition("<prompt>\n")[2].partition("\n</prompt>")[0]
        return f"It takes a little.\nRating: {words.get(asked, '5')}"


def settings(folder: Path, url: str) -> tuple[str, str]:
    path = folder.parent / "eva.yaml"
    path.write_text(
        "name: small\n"
        "seeds: {sandbox: 3}\n"
        "solver: {model: acme/base, responses: 2}\n"
        "reward: {function: 'eva_data.sandbox.verifier:score'}\n"
        f"score: {{model: {{backend: api, model: tiny, revision: scorer, base_url: '{url}', temperature: 0}}}}\n"
    )
    return ("--config", str(path))


@pytest.mark.slow
def test_every_prompt_is_rated_once_and_the_means_are_told_with_their_intervals(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    with Rating() as server:
        done = eva(store.folder, "score", settings=settings(store.folder, server.url))
        assert done.returncode == 0, done.stderr
        asked = [seen.prompt for seen in server.seen if "<prompt>" in seen.prompt]
        # Four prompts of two questions each, one of which is asked once more; the carried prompt is asked about once.
        assert len(asked) == 4 * 2 + 1
        again = eva(store.folder, "score", settings=settings(store.folder, server.url))
        assert again.stdout == done.stdout
        assert len([seen for seen in server.seen if "<prompt>" in seen.prompt]) == len(asked)
    # Complexities 2 and 1: t(1) = 12.706 times .7071 over the root of 2.
    assert done.stdout.splitlines() == [
        "Iteration 1: complexity 1.50 ± 6.35 (2 of 3 prompts), quality 4.00 ± 0.00 (3 of 3 prompts).",
        "Iteration 2: complexity 3.00 ± 25.41 (2 of 2 prompts), quality 4.00 ± 0.00 (2 of 2 prompts).",
        "Look at it with: eva-data report --open",
    ]
    kept = read_scores(store).drop("unscored")
    rows = [(1, "11", 2.0, 4.0), (1, "22", 1.0, 4.0), (1, "33", None, 4.0), (2, "22", 1.0, 4.0), (2, "55", 5.0, 4.0)]
    expected = pl.DataFrame([(*row, kept["scorer"][0]) for row in rows], schema=kept.schema, orient="row")
    assert_frame_equal(kept, expected)
    assert kept["scorer"][0].startswith("tiny@scorer")


def rated(store: Store, *rows: tuple[int, str, float | None, float | None]) -> None:
    table = pl.DataFrame([(*row, None, SCORER) for row in rows], schema=PROMPT_SCORES, orient="row")
    keep_scores(store, table, scorer=SCORER, sample=2)


def test_a_summary_leaves_out_prompts_that_are_no_longer_there(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    assert_frame_equal(rating_summary(store, [1, 2]), pl.DataFrame(schema=RATING_SUMMARY))
    rated(store, (1, "11", 2.0, 4.0), (1, "22", 4.0, None), (1, "ff", 5.0, 5.0), (2, "55", None, 3.0))
    # t(1) is 12.7062, times the root of 2 over the root of 2.
    row = [(1, SCORER, 2, 2, 3.0, 12.706205, 1, 4.0, None), (2, SCORER, 1, 0, None, None, 1, 3.0, None)]
    assert_frame_equal(rating_summary(store, [1, 2]), pl.DataFrame(row, schema=RATING_SUMMARY, orient="row"))


def test_report_and_published_card_show_the_ratings(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    assert ratings(store) is None
    rated(store, (1, "11", 2.0, 4.0), (1, "22", 4.0, None), (2, "55", None, 3.0))
    section = ratings(store)
    assert section is not None
    [table] = [part for part in section.parts if isinstance(part, Table)]
    assert table.rows == (
        ("1", SCORER, 2, Figure("3.00 ± 12.71 (n 2)"), Figure("4.00 (n 1)")),
        ("2", SCORER, 1, None, Figure("3.00 (n 1)")),
    )
    html = page("report.html.jinja", title="", lead="", sections=[section])
    assert dangers(html) == [] and "complexity, from 1 to 5" in Read(html).text
    card = dataset_card(
        store, [1, 2], repo="acme/small", revision="iter-2", licence=None, scores=read_score_record(store)
    )
    assert "config_name: prompt_scores" in card and "| `prompt_scores` | how complex" in card
    assert "| 1 | 2 | 3 ± 12.71 | 4 |\n| 2 | 1 | none | 3 |\n" in card


@pytest.mark.slow
def test_without_a_scorer_or_an_iteration_a_sentence_says_what_to_write(tmp_path: Path) -> None:
    done = eva(tmp_path / "none", "score", settings=("--set", "seeds.sandbox=3"))
    assert done.returncode == 1
    assert "`score` is missing: name the model that rates prompts" in done.stderr
    nothing = eva(tmp_path / "none", "score", settings=settings(tmp_path / "none", "http://127.0.0.1:9/v1"))
    assert "has no iteration yet: make one with `eva-data build --iter 1`" in nothing.stderr
