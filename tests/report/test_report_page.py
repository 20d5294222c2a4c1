"""The report page: every section's numbers, worked by hand on a few rows. Hostile data stays text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from pages import Read, dangers
from polars.testing import assert_frame_equal
from small_store import replace_table, small_store

from eva_data.dataset.store import Store
from eva_data.errors import MissingExtraError, StaleError
from eva_data.report.curriculum import report_page, write_report
from eva_data.report.page.parts import Figure, Heading, Section, Share, Stack, Table
from eva_data.report.sections.costs import costs
from eva_data.report.sections.evolving import by_depth, by_strategy, rejected
from eva_data.report.sections.funnel import funnel
from eva_data.report.sections.yields import STRATEGIES, strategies

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "</script><script>alert(1)</script>\x1b]0;x\x07\u202eabc <b>{{ 1 }}</b> $\\frac$"


def table_of(section: Section | None) -> Table:
    assert section is not None
    [table] = [part for part in section.parts if isinstance(part, Table)]
    return table


@pytest.mark.slow
def test_the_page_of_a_built_dataset_has_every_section_and_says_what_came_out(built: Path, tmp_path: Path) -> None:
    write_report(Store(built), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert dangers(html) == []
    read = Read(html)
    anchors = [attributes["id"] for tag, attributes in read.elements if tag == "section"]
    assert anchors == [
        *("funnel", "evaluations", "informativeness", "rewards", "topics", "strategies", "depth", "rejects", "costs"),
    ]
    counts = [Store(built).manifest(iteration).counts for iteration in (1, 2)]
    pairs, prompts = sum(each.pairs for each in counts), sum(each.prompts for each in counts)
    assert f"2 iterations: {pairs} pairs of {prompts} prompts, {counts[1].evolved} of them evolved." in read.text
    write_report(Store(built), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == html.encode()


def test_strategies_count_attempts_and_what_came_of_them(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    rows = [(2, "concretise", 1, 0, 0, 0, 0, None, 0), (2, "deepen", 2, 1, 0, 1, 1, 0.8, 1)]
    assert_frame_equal(
        strategies(store, [1, 2], "a_min"), pl.DataFrame(rows, schema=STRATEGIES, orient="row"), check_exact=False
    )
    assert [row[:7] for row in table_of(by_strategy(store)).rows] == [
        ("2", "concretise", 1, 0, 0, 0, Share(0.0)),
        ("2", "deepen", 2, 1, 0, 1, Share(0.5)),
    ]


def test_depths_are_shares_of_the_prompts_of_each_iteration(tmp_path: Path) -> None:
    section = by_depth(small_store(tmp_path / "small"))
    assert section is not None
    stack = section.parts[0]
    assert stack == Stack(("depth 0", "depth 2"), (("iteration 1", (1.0, 0.0)), ("iteration 2", (0.5, 0.5))))
    # a_min of the carried prompt is .5 - .25, of the evolved one .9 - .1; the seeds have 1, 0 and .5.
    means = [(*row[:3], round(row[3], 9), row[4]) for row in table_of(section).rows]  # type: ignore[arg-type]
    assert means == [("1", 0, 3, 0.5, 2), ("2", 0, 1, 0.25, 0), ("2", 2, 1, 0.8, 1)]


def test_rejects_come_with_the_sentence_on_their_reason(tmp_path: Path) -> None:
    assert table_of(rejected(small_store(tmp_path / "small"))).rows == (
        (
            *("evolve", "contamination"),
            "The prompt repeats words in a row of the benchmark that follows the colon: see `evolve.ngram`.",
            *(0, 1),
        ),
        ("pair", "one_distinct_response", "All scored responses of the prompt are the same text.", 1, 0),
        ("reward", "unverifiable", "The verifier cannot tell, or the prompt has no reference answer.", 1, 0),
    )


def test_costs_are_those_of_the_manifests(tmp_path: Path) -> None:
    section = costs(small_store(tmp_path / "small"))
    assert section is not None
    assert section.lead == (
        "In all 0 tokens were read and written, for $0.7500. The price of 4 replies is not known, so more may have "
        "been paid."
    )
    assert [row[-1] for row in table_of(section).rows] == [
        *(Figure("$0.5000"), Figure("$0.2500"), Figure("$0.00 + unknown")),
    ]


@pytest.mark.slow
def test_the_funnel_has_every_stage_of_every_iteration(built: Path, tmp_path: Path) -> None:
    section = funnel(Store(built))
    assert section is not None
    headings = [part.text for part in section.parts if isinstance(part, Heading)]
    assert headings == ["Iteration 1", "Iteration 2"]
    stages = [[row[0] for row in part.rows] for part in section.parts if isinstance(part, Table)]
    assert stages == [[flow.stage for flow in Store(built).manifest(iteration).flow] for iteration in (1, 2)]
    rows = [row for part in section.parts if isinstance(part, Table) for row in part.rows]
    assert [row[0] for row in rows if not row[1]] == []
    assert funnel(small_store(tmp_path / "small")) is None


def test_hostile_names_and_reasons_are_text(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small", mutation=HOSTILE, evolved=HOSTILE, seed=HOSTILE)
    rejects = store.scan("rejects", 1).with_columns(reason=pl.lit(HOSTILE)).collect()
    replace_table(store, "rejects", 1, rejects)
    html = report_page(store)
    assert dangers(html) == []
    assert "\\u202eabc <b>{{ 1 }}</b>" in Read(html).text


def test_without_an_iteration_or_without_the_extra_a_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StaleError, match="has no iteration yet: make one with `eva-data build --iter 1`"):
        report_page(Store(tmp_path))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(MissingExtraError, match=r"pip install 'eva-data\[report\]'"):
        report_page(small_store(tmp_path / "small"))


@pytest.mark.slow
@pytest.mark.slow
def test_the_command_says_where_the_page_is(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    done = subprocess.run(
        [sys.executable, "-m", "eva_data.cli", "report", "--output", str(path), "--set", f"folder={built}"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, f"The page is in {path}\n"), done.stderr
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.argilla
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_fits_a_screen_in_light_and_dark(
    browser: Browser, built: Path, tmp_path: Path, scheme: str, width: int
) -> None:
    path = tmp_path / "report.html"
    write_report(Store(built), path)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (asked, said) == ([path.as_uri()], [])
    assert page.evaluate("document.documentElement.scrollWidth") == width
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (scheme == "light")
    # Every chart has an area, and its letters the colour of the page's ink.
    boxes = page.evaluate("[...document.querySelectorAll('figure svg')].map(svg => svg.getBoundingClientRect().height)")
    assert boxes and min(boxes) > 100
    inks = page.evaluate(
        "[...new Set([...document.querySelectorAll('figure svg text')].map(text => getComputedStyle(text).fill))]"
    )
    assert inks and all((sum(map(int, ink[4:-1].split(","))) < 384) == light for ink in inks)
    context.close()
