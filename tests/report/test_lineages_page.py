"""The page of lineages: trees with failed attempts, filters without a script, and hostile texts as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from pages import Read, dangers
from sandbox_runs import eva
from small_store import frame, messages, prompt, replace_table, small_store

from eva_data.dataset.store import Store
from eva_data.report.trees.growing import EARLIER, MOST_NODES, PAIR, UNUSED, Node, ScoredAnswer, Side, Tree, trees
from eva_data.report.trees.lineages_page import lineages_page, write_lineages
from eva_data.tables.schemas import PROMPTS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "</script><script>alert(1)</script>\x1b]0;x\x07\u202eabc </p><img src=x onerror=alert(1)>"

CONTAMINATED = "The prompt repeats words in a row of the benchmark that follows the colon: see `evolve.ngram`."


def test_a_tree_has_the_seed_every_attempt_with_its_reason_and_the_pair(tmp_path: Path) -> None:
    found, known = trees(small_store(tmp_path / "small"), 2, 10)
    assert known == 2
    evolved = (
        Node("Say ab.", "seed", 0, 0, "ancestor", EARLIER, None, "", None),
        Node("Say ab and ba.", "concretise", 1, 1, "attempt", UNUSED, None, "", None),
        Node(
            *("Say ab and ba, twice.", "deepen", 2, 2, "evolved", PAIR, None, "", 0.8),
            replies=(ScoredAnswer("good one", 0.9, "chosen"), ScoredAnswer("bad", 0.1, "rejected")),
            pair=(Side("chosen", "good one", 0.9), Side("rejected", "bad", 0.1)),
        ),
        Node(None, "deepen", 3, 3, "attempt", "contamination", "contamination:arena", CONTAMINATED, None),
    )
    carried = Node(
        *("Count to 2.", "seed", 0, 0, "carried", UNUSED, None, "", 0.25),
        replies=(ScoredAnswer("one two", 0.5, ""), ScoredAnswer("two", 0.25, "")),
    )
    assert found == [Tree(evolved, 0), Tree((carried,), 0)]
    # The most informative one alone, where one is asked for.
    assert trees(small_store(tmp_path / "again"), 2, 1) == ([Tree(evolved, 0)], 2)


def test_prompts_without_a_pair_say_why(tmp_path: Path) -> None:
    found, _ = trees(small_store(tmp_path / "small"), 1, 10)
    outcomes = {node.text: (node.outcome, node.meaning) for tree in found for node in tree.nodes}
    assert outcomes == {
        "Say ab.": (PAIR, ""),
        "Count to 2.": ("one_distinct_response", "All scored responses of the prompt are the same text."),
        "Name a tree.": (PAIR, ""),
    }


def test_ids_that_go_round_in_a_circle_and_trees_without_end_are_shown_as_far_as_they_go(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    common = {"origin": "evolved", "mix_role": "evolved", "root_id": "11", "mutation": "deepen", "iteration": 2}
    circle = [prompt("aa", "a", parent_id="bb", **common), prompt("bb", "b", parent_id="aa", **common)]
    many = [prompt(f"c{number:03}", "c", parent_id=None, **common) for number in range(MOST_NODES + 5)]
    replace_table(store, "prompts", 2, frame([*circle, *many], PROMPTS))
    [tree], _ = trees(store, 2, 1)
    assert len(tree.nodes) == MOST_NODES
    assert dangers(lineages_page(store, 2, 1)) == []


def test_whatever_texts_names_and_reasons_hold_the_page_only_shows_it(tmp_path: Path) -> None:
    store = small_store(
        tmp_path / "small", seed=HOSTILE, evolved=HOSTILE, chosen=HOSTILE, rejected="a" * 100_000, mutation=HOSTILE
    )
    attempts = store.scan("evolutions", 2).collect()
    replace_table(store, "evolutions", 2, attempts.with_columns(prompt=messages_of(HOSTILE)))
    html = lineages_page(store, 2, 10)
    assert dangers(html) == []
    assert len(html) < 60_000
    shown = Read(html).text
    assert "\\x1b]0;x\\x07\\u202eabc </p><img src=x onerror=alert(1)>" in shown
    assert "(98000 characters more)" in shown


def messages_of(text: str) -> pl.Expr:
    return pl.lit(pl.Series([messages("user", text)], dtype=PROMPTS["prompt"])).first()


@pytest.mark.argilla
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_filters_hide_what_does_not_match_and_the_page_fits_a_telephone(
    browser: Browser, tmp_path: Path, scheme: str
) -> None:
    store = small_store(tmp_path / "small")
    path = tmp_path / "show.html"
    write_lineages(store, 2, 10, path)
    context = browser.new_context(viewport={"width": 400, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())

    def visible() -> list[str]:
        return [node.inner_text().split("\n")[-1] for node in page.locator(".node > .text").all() if node.is_visible()]

    everything = ["Say ab.", "Say ab and ba.", "Say ab and ba, twice.", "(no text)", "Count to 2."]
    assert visible() == everything
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    page.get_by_label("deepen").check()
    assert visible() == ["Say ab and ba, twice.", "(no text)"]
    page.get_by_label("contamination").check()
    assert visible() == ["(no text)"]
    for choice in page.get_by_label("all").all():
        choice.check()
    assert visible() == everything
    page.get_by_label("0", exact=True).check()
    assert visible() == ["Say ab.", "Count to 2."]
    assert said == []
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    context.close()


@pytest.mark.slow
def test_the_page_of_a_built_iteration_shows_every_prompt(built: Path) -> None:
    store = Store(built)
    found, known = trees(store, 2, 1000)
    assert len(found) == known
    prompts = store.scan("prompts", 2).collect()
    inside = [node for tree in found for node in tree.nodes if node.kind in ("evolved", "carried")]
    assert len(inside) == prompts.height
    assert sum(node.outcome == PAIR for node in inside) == store.manifest(2).counts.pairs
    assert dangers(lineages_page(store, 2, 1000)) == []


@pytest.mark.slow
def test_the_command_writes_the_page_and_refuses_options_of_a_page_without_one(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    here = ("--set", f"folder={store.folder}")
    done = eva(store.folder, "show", "--iter", "2", "--html", settings=here)
    path = store.folder / "show_iter_2.html"
    assert (done.returncode, done.stdout) == (0, f"The page is in {path}\n"), done.stderr
    assert dangers(path.read_text(encoding="utf-8")) == []
    refused = eva(store.folder, "show", "--iter", "2", "--output", "page.html", settings=here)
    assert refused.returncode == 2
    assert "--output and --open are for a page: add --html." in refused.stderr
    assert eva(store.folder, "show", "--iter", "7", "--html", settings=here).returncode == 1
