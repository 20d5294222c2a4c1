"""Pages load nothing and show all foreign text as text. Their parts show the given values."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from pages import Read, dangers

from eva_data.report.page.charts import Point, chart, lines
from eva_data.report.page.parts import Alarm, Charts, Figure, Heading, Section, Share, Stack, Table, Words, number
from eva_data.report.page.render import LONGEST, page

HOSTILE = "</script></style><img src=x onerror=alert(1)>\x1b[2J\u202egnp.exe\u2066 {{ 7 * 7 }} \" ' & $x^2$ \ud83d"
SHOWN = "</script></style><img src=x onerror=alert(1)>\\x1b[2J\\u202egnp.exe\\u2066 {{ 7 * 7 }} \" ' & $x^2$ \\ud83d"


def page_of(*parts: object, title: str = "A title", lead: str = "") -> str:
    section = Section("one", "One", "Its lead.", tuple(parts))  # type: ignore[arg-type]
    return page("report.html.jinja", title=title, lead=lead, sections=[section])


def test_a_table_shows_texts_numbers_shares_and_what_is_not_known() -> None:
    rows = (("ab c", 1234, Share(0.25), 0.123456), ("<b>", None, Share(1.0), None))
    read = Read(page_of(Table(("name", "count", "", "mean"), rows)))
    assert " ".join(read.words).split("Its lead.")[1].split("Made by")[0].split() == [
        *("name", "count", "mean"),
        *("ab", "c", "1,234", "25", "%", "0.1235"),
        *("<b>", "-", "100", "%", "-"),
    ]
    widths = [attributes["style"] for tag, attributes in read.elements if tag == "b"]
    assert widths == ["width:25.0%", "width:100.0%"]


def test_numbers_are_written_as_they_are_read() -> None:
    values = [0, 7, 1234567, 0.5, 1234.5, 1e-7, None, float("nan"), float("inf")]
    assert [number(value) for value in values] == ["0", "7", "1,234,567", "0.5", "1,234", "1e-07", "-", "-", "-"]


def test_a_stack_divides_each_bar_alike_and_says_it_in_words() -> None:
    stack = Stack(("trees", "birds"), (("iteration 1", (0.75, 0.25)), ("iteration 2", (0.0, 1.0))))
    read = Read(page_of(stack))
    spoken = [attributes["aria-label"] for _, attributes in read.elements if attributes.get("role") == "img"]
    assert spoken == ["trees 75 %, birds 25 %", "birds 100 %"]
    bars = [attributes["style"] for tag, attributes in read.elements if tag == "i" and "title" in attributes]
    assert bars == [
        "width:75.000%;background:var(--c0)",
        "width:25.000%;background:var(--c1)",
        "width:100.000%;background:var(--c1)",
    ]


def test_hostile_text_is_text_in_every_place_that_takes_one() -> None:
    drawn = lines("name", HOSTILE, {"a": [(1, 0.5, 0.25, 0.75), (2, 0.75, None, None)]}, y="share", low=0)
    html = page_of(
        Heading(HOSTILE),
        Words(HOSTILE),
        Words(HOSTILE, soft=True),
        Alarm(HOSTILE),
        Table((HOSTILE,), ((HOSTILE,), (HOSTILE.split()[0],)), HOSTILE),
        Table((HOSTILE,), ((Figure(HOSTILE),),)),
        Stack((HOSTILE,), ((HOSTILE, (1.0,)),), HOSTILE),
        Charts((drawn,), ((HOSTILE, 1),)),
        title=HOSTILE,
        lead=HOSTILE,
    )
    assert dangers(html) == []
    html.encode()
    read = Read(html)
    # Title (twice) and lead; heading, paragraphs and alarm; both tables; the stack; the charts.
    assert read.text.count(SHOWN) == 2 + 1 + 4 + (3 + 2) + 3 + 2
    assert "49" not in read.text


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec=None), max_size=40))
def test_no_text_acts(text: str) -> None:
    html = page_of(Words(text), Table((text,), ((text, 1),)), Stack((text,), ((text, (1.0,)),)), title=text)
    assert dangers(html) == []
    html.encode()


def test_a_text_of_a_hundred_thousand_characters_is_cut_and_its_length_told() -> None:
    text = Read(page_of(Words("a" * 100_000))).text
    assert "a" * LONGEST + f"... ({100_000 - LONGEST} characters more)" in text
    assert "a" * (LONGEST + 1) not in text


def test_the_page_forbids_whatever_it_does_not_need() -> None:
    [policy] = [
        attributes["content"]
        for tag, attributes in Read(page_of()).elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def test_a_chart_is_the_same_every_time_and_takes_its_colours_from_the_page() -> None:
    series: dict[str, list[Point]] = {
        "a": [(1, 0.5, 0.25, 0.75), (2, 0.75, 0.5, 1.0)],
        "b": [(1, 0.1, None, None), (2, 0.2, None, None)],
    }
    drawn = lines("name", "What it shows", series, y="share")
    assert drawn == lines("name", "What it shows", series, y="share")
    assert isinstance(drawn.svg, Markup)
    assert drawn.svg.startswith('<svg viewBox="') and drawn.svg.endswith("</svg>")
    assert 'aria-label="What it shows"' in drawn.svg
    assert "var(--c0)" in drawn.svg and "var(--c1)" in drawn.svg and "#0072b2" not in drawn.svg.lower()
    for absent in ("http", "<metadata", "<style", "DejaVu", "matplotlib"):
        assert absent not in drawn.svg


def test_charts_of_one_page_do_not_share_their_definitions(tmp_path: Path) -> None:
    def ids(name: str) -> set[str]:
        drawn = chart(name, "", lambda axes: axes.plot([1, 2], [1, 2], marker="o"))  # type: ignore[arg-type]
        return {attributes["id"] or "" for _, attributes in Read(drawn.svg).elements if "id" in attributes}

    assert ids("one") and not ids("one") & ids("two")


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_chart_has_no_element_that_could_load(name: str) -> None:
    assert dangers(chart(name, "", lambda axes: None).svg) == []
