"""Review without an Argilla server: the page's server, what it refuses, its answers as a revision, and Label Studio."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import polars as pl
import pytest
import requests
from click.testing import CliRunner, Result
from reviewing import store_of_pairs
from small_store import SETTINGS

from eva_data.cli import main
from eva_data.cli.output import Silent
from eva_data.config.reading import parse_config
from eva_data.dataset.store import Store
from eva_data.errors import DataError, ReviewError
from eva_data.iteration.run import Run
from eva_data.review.dataset import TOLD
from eva_data.review.local.answers import LocalAnswer, add_answer, answers_path, read_answers, records_of
from eva_data.review.local.label_studio import read_export, recorded_seed, write_tasks
from eva_data.review.local.server import TOKEN_HEADER, ReviewServer
from eva_data.review.local.sheets import PairSheet, sheets_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "small"
    store_of_pairs(folder, 6)
    return Run(parse_config(SETTINGS | {"folder": str(folder)}, "the test"), Silent())


def sheets(run: Run) -> list[PairSheet]:
    return sheets_of(run, 1, limit=6, order="random")


@contextmanager
def serving(run: Run, reviewer: str = "ann", told: str = "votes") -> Iterator[ReviewServer]:
    path = answers_path(run.store, 1)
    with ReviewServer(
        sheets(run), path, title="small", reviewer=reviewer, told=told, promise=TOLD[told], port=0
    ) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def ask(server: ReviewServer, path: str, body: Any = None, **headers: str | None) -> requests.Response:
    named = {TOKEN_HEADER: server.token} | {name.replace("_", "-"): value for name, value in headers.items()}
    given = {name: value for name, value in named.items() if value is not None}
    with requests.Session() as session:
        session.trust_env = False
        method = "GET" if body is None else "POST"
        return session.request(method, server.origin + path, json=body, headers=given, timeout=20)


def better(sheet: PairSheet) -> str:
    """The verdict for the response that says `better`."""
    return "first" if "the better one" in sheet.first else "second"


def eva(run: Run, place: Path, *arguments: str) -> Result:
    config = place / "eva.yaml"
    config.write_text(json.dumps(SETTINGS | {"folder": str(run.store.folder)}))
    return CliRunner().invoke(main, [*arguments, "--config", str(config)])


def test_answers_are_kept_at_once_and_become_a_revision(run: Run, tmp_path: Path) -> None:
    shown = sheets(run)
    with serving(run) as server:
        page = ask(server, "/")
        assert "better one" not in page.text and server.token not in page.text
        first = ask(server, "/sheets/0").json()
        assert first == {"place": 0, "states": [""] * 6, "sheet": shown[0].shown(), "answer": None}
        assert "order" not in first["sheet"]
        for place, sheet in enumerate(shown[:4]):
            # The reviewer agrees with the reward on two pairs, disagrees on one, and finds one equal.
            verdict = better(sheet) if place < 2 else {"first": "second", "second": "first"}[better(sheet)]
            verdict = "tie" if place == 3 else verdict
            body = {"pair_id": sheet.pair_id, "content": sheet.content, "status": "submitted", "verdict": verdict}
            assert ask(server, "/answers", body).json() == {"place": place}
        body = {"pair_id": shown[4].pair_id, "content": shown[4].content, "status": "discarded"}
        assert ask(server, "/answers", body).status_code == 200
        again = {"pair_id": shown[0].pair_id, "content": shown[0].content, "status": "submitted", "verdict": "both_bad"}
        ask(server, "/answers", again | {"prompt_quality": "unclear", "comment": "Why?"})
        ask(server, "/answers", again | {"verdict": better(shown[0]), "comment": "Now I see."})
        now = ask(server, "/sheets/0").json()
        assert now["states"] == ["submitted"] * 4 + ["discarded", ""]
        assert now["answer"] == {"verdict": better(shown[0]), "prompt_quality": None, "comment": "Now I see."}
    assert answers_path(run.store, 1).stat().st_mode & 0o777 == 0o600
    with serving(run, "bob") as server:
        assert ask(server, "/sheets/0").json()["states"] == [""] * 6
    pulled = eva(run, tmp_path, "review", "pull", "--iter", "1", "--local")
    assert pulled.exit_code == 0, pulled.output
    store = Store(run.store.folder)
    pairs = store.scan("preferences", 1).collect()
    human = pairs.filter(pl.col("verdict_by") == "human").select("pair_id", "score_chosen").sort("pair_id")
    expected = {shown[0].pair_id: 1.0, shown[1].pair_id: 1.0, shown[2].pair_id: 0.0}
    assert dict(human.iter_rows()) == expected
    assert store.revision(1) == 1 and shown[3].pair_id not in pairs["pair_id"]
    assert eva(run, tmp_path, "verify", "--iter", "1").exit_code == 0
    repeated = eva(run, tmp_path, "review", "pull", "--iter", "1", "--local", "--json")
    assert json.loads(repeated.stdout)["new"] is False


def test_only_the_page_of_this_command_is_served(run: Run) -> None:
    with serving(run) as server:
        body = {"pair_id": sheets(run)[0].pair_id, "content": sheets(run)[0].content, "status": "discarded"}
        refused = {
            "no token": ask(server, "/sheets/0", X_Review_Token=None),
            "another token": ask(server, "/answers", body, X_Review_Token="x" * 32),
            "another site": ask(server, "/answers", body, Origin="https://evil.example"),
            "a site's own request": ask(server, "/sheets/0", Sec_Fetch_Site="cross-site"),
            "another name of this machine": ask(server, "/", Host=f"evil.example:{server.server_port}"),
            "a form": ask(server, "/answers", body, Content_Type="text/plain"),
            "no such pair": ask(server, "/sheets/99"),
            "a path": ask(server, "/sheets/../../etc/passwd"),
        }
        found = {name: reply.status_code for name, reply in refused.items()}
        assert found == {
            "no token": 401,
            "another token": 401,
            "another site": 403,
            "a site's own request": 403,
            "another name of this machine": 403,
            "a form": 404,
            "no such pair": 404,
            "a path": 404,
        }
        for wrong, says in (
            ({"status": "submitted"}, "a submitted answer has a verdict"),
            ({"verdict": "chosen"}, "a submitted answer has a verdict"),
            ({"content": "00000000"}, "the texts of this pair have changed"),
            ({"pair_id": "unknown"}, "unknown"),
            ({"comment": "x" * 10_001}, "at most 10000 characters"),
        ):
            reply = ask(server, "/answers", body | wrong)
            assert reply.status_code == 400 and says in reply.json()["error"], reply.text
        assert ask(server, "/answers", [1]).status_code == 400
        assert ask(server, "/answers", body | {"comment": "x" * 200_000}).status_code == 413
        policy = ask(server, "/").headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert read_answers(answers_path(run.store, 1)) == []


def test_a_line_that_a_kill_cut_short_loses_no_other_answer(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    answer = LocalAnswer(
        pair_id="p", content="c", order="chosen_first", reviewer="ann", status="submitted", verdict="tie"
    )
    add_answer(path, answer)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    other = answer.model_copy(update={"reviewer": "bob", "verdict": "first"})
    add_answer(path, other)
    assert read_answers(path) == [answer, other]
    path.write_bytes(whole + b'{"pair_id": "q"}\n')
    with pytest.raises(DataError, match=r"line 2 of .* is no answer of a reviewer \(Field required\): remove it"):
        read_answers(path)


def test_what_reviewers_were_told_is_kept(run: Run) -> None:
    answer = LocalAnswer(
        pair_id="p", content="c", order="chosen_first", reviewer="ann", status="submitted", verdict="tie"
    )
    with pytest.raises(ReviewError, match="the reviewers were told that their answers and comments stay with you"):
        records_of([answer], "full")
    assert len(records_of([answer.model_copy(update={"told": "full"})], "full")) == 1


def test_hostile_texts_are_shown_as_escapes(run: Run) -> None:
    sheet = replace(sheets(run)[0], first="</script><script>alert(1)</script>")
    with serving(run) as server:
        server.sheets = [sheet, *server.sheets[1:]]
        reply = ask(server, "/sheets/0")
        # The page sets it as text; as JSON it is no page.
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.json()["sheet"]["first"] == "</script><script>alert(1)</script>"


def test_label_studio_gets_tasks_without_the_order_and_its_export_counts(run: Run, tmp_path: Path) -> None:
    shown, tasks = sheets(run), tmp_path / "tasks.json"
    write_tasks(tasks, shown)
    written = json.loads(tasks.read_text())
    assert written[0]["data"] == {
        "pair_id": shown[0].pair_id,
        "content": shown[0].content,
        "prompt": shown[0].prompt[0]["content"],
        "first": shown[0].first,
        "second": shown[0].second,
    }
    interface = ElementTree.parse(tasks.with_suffix(".xml")).getroot()
    assert {each.get("value") for each in interface.iter("Text")} == {"$prompt", "$first", "$second"}
    assert [each.get("name") for each in interface.iter("Choices")] == ["verdict", "prompt_quality"]

    def annotation(who: Any, verdict: str, **more: Any) -> dict[str, Any]:
        chosen = {"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": [verdict]}}
        return {"completed_by": who, "result": [chosen], "updated_at": "2026-01-02T03:04:05.000006Z"} | more

    exported = tmp_path / "export.json"
    annotations = [
        [annotation(1, better(shown[0])), annotation({"id": 2, "email": "b@c.example"}, better(shown[0]))],
        [annotation(1, {"first": "second", "second": "first"}[better(shown[1])])],
        [annotation(1, better(shown[2]), was_cancelled=True)],
    ]
    exported.write_text(
        json.dumps([task | {"id": 7, "annotations": given} for task, given in zip(written, annotations, strict=False)])
    )
    pulled = eva(run, tmp_path, "review", "pull", "--iter", "1", "--label-studio", str(exported))
    assert pulled.exit_code == 0, pulled.output
    pairs = Store(run.store.folder).scan("preferences", 1).filter(pl.col("verdict_by") == "human").collect()
    assert dict(pairs.select("pair_id", "score_chosen").iter_rows()) == {shown[0].pair_id: 1.0, shown[1].pair_id: 0.0}
    assert "b@c.example" not in str(Store(run.store.folder).scan("reviews", 1).collect().to_dicts())
    (tmp_path / "min.json").write_text(json.dumps([{"prompt": "x", "verdict": "first"}]))
    with pytest.raises(DataError, match="export the project as JSON, not as JSON-MIN or CSV"):
        read_export(tmp_path / "min.json", recorded_seed(run, 1))


def says(page: Page, place: str, text: str) -> None:
    """Wait until a place of the page holds a text."""
    from playwright.sync_api import expect

    expect(page.locator(place)).to_contain_text(text, timeout=60_000)


@pytest.mark.argilla
def test_a_reviewer_answers_by_keys(run: Run, browser: Browser) -> None:
    shown = sheets(run)
    hostile = replace(shown[1], first="<img src=x onerror=alert(1)>\n  indented")
    with serving(run) as server:
        server.sheets = [shown[0], hostile, *shown[2:]]
        page = browser.new_context().new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(server.url)
        page.wait_for_selector("main:not([hidden])")
        assert page.inner_text("#first") == shown[0].first
        page.keyboard.press("u")
        page.keyboard.press("c")
        page.keyboard.type("1 is a number")
        page.keyboard.press("Escape")
        page.keyboard.press("1")
        says(page, "#count", "Pair 2 of 6; 1 answered")
        assert page.inner_text("#first") == "<img src=x onerror=alert(1)>\n  indented"
        page.keyboard.press("s")
        says(page, "#count", "Pair 3 of 6")
        page.click("[data-verdict=both_bad]")
        says(page, "#count", "Pair 4 of 6; 3 answered")
        page.keyboard.press("ArrowLeft")
        says(page, "#mine", "You have answered")
        # Without the token the page says what is missing, and shows nothing.
        other = browser.new_context().new_page()
        other.goto(server.origin)
        says(other, "#trouble", "lacks the token")
        assert other.locator("main").is_hidden()
    page.keyboard.press("2")
    says(page, "#trouble", "has ended")
    found = [(each.pair_id, each.status, each.verdict) for each in read_answers(answers_path(run.store, 1))]
    assert found == [
        (shown[0].pair_id, "submitted", "first"),
        (shown[1].pair_id, "discarded", None),
        (shown[2].pair_id, "submitted", "both_bad"),
    ]
    first = read_answers(answers_path(run.store, 1))[0]
    assert (first.prompt_quality, first.comment) == ("unclear", "1 is a number")
    assert all("Failed to load resource" in each for each in complaints), complaints
