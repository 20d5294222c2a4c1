"""A review from end to end, on a real Argilla server.

The choice of a reviewer on the page comes back for the text that the page showed.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from argilla_server import PASSWORD, REVIEWERS, ArgillaServer
from page import Page
from polars.testing import assert_frame_equal
from reviewing import NAMED, answer, dataset, records, review
from sandbox_runs import SMALL
from small_store import small_store

from eva_data.dataset.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.argilla

PROMPT, PARENT, FIRST, SECOND = "Prompt", "Parent prompt", "First response", "Second response"
"""What stands above the four texts in the page."""

PLAIN = (*SMALL, "--set", "review.markdown=false", "--set", "review.publish=full")
"""The sandbox's answers hold stars that mean nothing; every answer and comment is to be in the tables."""

Answer = tuple[str, str] | str | None
"""A verdict and what the prompt is; or `discard`, or `draft`; or nothing yet."""
PLAN: list[tuple[Answer, Answer]] = [
    (("first", "good"), ("first", "good")),
    (("second", "good"), ("second", "good")),
    (("tie", "good"), ("tie", "good")),
    (("both_bad", "good"), ("both_bad", "good")),
    (("first", "good"), ("second", "good")),
    (("first", "unsafe"), ("second", "unsafe")),
    ("discard", None),
    ("draft", None),
    (None, None),
]
"""What the two reviewers say of each pair; the second one answers the first three in the page, the others by REST."""


@dataclass
class Reviewed:
    """The sandbox's second iteration, reviewed and pulled."""

    server: ArgillaServer
    folder: Path
    workspace: str
    shown: list[dict[str, str]] = field(default_factory=list)
    """What the reviewer saw in the page of each pair of PLAN."""
    pairs: list[str] = field(default_factory=list)
    """Their ids."""
    status: str = ""

    def run(self, *arguments: str) -> str:
        """Standard output of `eva-data review` for the iteration."""
        verb, *options = arguments
        done = review(
            self.server, self.folder, verb, "--iter", "2", "--workspace", self.workspace, *options, settings=PLAIN
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def table(self, name: str, revision: int) -> pl.DataFrame:
        return Store(self.folder).at(2, revision).scan(name, 2).collect()

    def preference(self, place: int, revision: int) -> tuple[str, str, str]:
        """Chosen and rejected text of a pair of PLAN as shown, and who decided. Empty if there is no such pair."""
        found = self.table("preferences", revision).filter(pair_id=self.pairs[place])
        texts = [
            (as_shown(row["chosen"][0]["content"]), as_shown(row["rejected"][0]["content"]), row["verdict_by"])
            for row in found.to_dicts()
        ]
        return texts[0] if texts else ("", "", "")


def as_shown(text: str) -> str:
    """A plain text as the page shows it: with single blanks, and with a note instead of an empty text."""
    return " ".join(text.split()) or "(empty)"


@pytest.fixture(scope="module")
def reviewed(
    argilla: ArgillaServer, browser: Browser, built: Path, tmp_path_factory: pytest.TempPathFactory
) -> Reviewed:
    folder = Path(shutil.copytree(built, tmp_path_factory.mktemp("reviewed") / "sandbox"))
    done = Reviewed(argilla, folder, argilla.workspace("sandbox"))
    done.run("push", "--min-submitted", "2")
    first_reviewer(done, browser)
    second_reviewer(done, browser)
    done.run("pull")
    done.status = done.run("status")
    return done


def first_reviewer(done: Reviewed, browser: Browser) -> None:
    """Answer the pairs in the order of the page, so that this order becomes the order of the plan."""
    pairs = {record["id"]: record["external_id"] for record in records(done.server, done.workspace)}
    assert len(pairs) >= len(PLAN), f"the sandbox made {len(pairs)} pairs"
    with Page(browser, done.server.url, REVIEWERS[0], PASSWORD) as page:
        page.open(dataset(done.server, done.workspace))
        for planned, _ in PLAN:
            assert page.record is not None and page.chosen() == [] and page.too_wide() == []
            done.shown.append(page_texts(page))
            done.pairs.append(pairs[page.record])
            match planned:
                case "discard":
                    page.discard()
                case "draft":
                    page.choose("verdict", "second")
                    page.save_draft()
                    page.open(dataset(done.server, done.workspace))
                case (verdict, quality):
                    page.choose("verdict", verdict)
                    page.choose("prompt_quality", quality)
                    page.write("comment", f"It is {verdict}.")
                    page.submit()
        assert page.faults == []


def page_texts(page: Page) -> dict[str, str]:
    """Heading -> text on the page, without differences of line breaks and blanks."""
    return {heading: as_shown(text) for heading, text in page.shown().items()}


def second_reviewer(done: Reviewed, browser: Browser) -> None:
    """Answer the pairs in another order. Each pair looks as it did for the first reviewer."""
    ids = {record["external_id"]: record["id"] for record in records(done.server, done.workspace)}
    places = {ids[pair]: place for place, pair in enumerate(done.pairs)}
    plan = {place: planned for place, (_, planned) in enumerate(PLAN) if isinstance(planned, tuple)}
    with Page(browser, done.server.url, REVIEWERS[1], PASSWORD) as page:
        page.open(dataset(done.server, done.workspace))
        left = {0, 1, 2}
        while left:
            place = places.get(page.record or "")
            if place in left:
                assert page_texts(page) == done.shown[place] and page.chosen() == []
                page.choose("verdict", plan[place][0])
                page.choose("prompt_quality", plan[place][1])
                page.submit()
                left.remove(place)
            else:
                page.skip()
        assert page.faults == []
    for place in plan.keys() - {0, 1, 2}:
        verdict, quality = plan[place]
        answer(done.server, REVIEWERS[1], ids[done.pairs[place]], verdict=verdict, prompt_quality=quality)


def test_the_page_shows_each_pair_as_it_is_and_an_evolved_one_with_its_parent(reviewed: Reviewed) -> None:
    prompts = {row["prompt_id"]: as_shown(row["prompt"][-1]["content"]) for row in parents(reviewed).to_dicts()}
    built = {row["pair_id"]: row for row in reviewed.table("preferences", 0).to_dicts()}
    for pair, shown in zip(reviewed.pairs, reviewed.shown, strict=True):
        row = built[pair]
        parent = {PARENT: prompts[row["parent_id"]]} if row["parent_id"] is not None else {}
        assert list(shown) == [PROMPT, *parent, FIRST, SECOND]
        assert shown.items() >= {PROMPT: as_shown(row["prompt"][-1]["content"]), **parent}.items()
        texts = {row["chosen"][0]["content"], row["rejected"][0]["content"]}
        assert {shown[FIRST], shown[SECOND]} == {as_shown(text) for text in texts}
    # A fifth of the 24 prompts is carried, so most of those that are shown were evolved.
    assert sum(PARENT in shown for shown in reviewed.shown) > len(PLAN) / 3


def parents(reviewed: Reviewed) -> pl.DataFrame:
    store = Store(reviewed.folder)
    tables = [store.scan("evolutions", 2), store.scan("prompts", 1)]
    return pl.concat([table.select("prompt_id", "prompt").drop_nulls() for table in tables]).collect()


def test_reviewers_cannot_see_which_response_the_reward_prefers(reviewed: Reviewed) -> None:
    server, name = reviewed.server, dataset(reviewed.server, reviewed.workspace)
    path = f"me/datasets/{name}/records/search?limit=50&include=suggestions"
    found = [item["record"] for item in server.call("POST", path, user="ann", query={})["items"]]
    assert found and all(record.get("suggestions", []) == [] for record in found)
    assert {key for record in found for key in record["metadata"]} == {"iteration", "origin", "mutation", "depth"}


def test_status_says_who_answered_what_and_how_far_people_agree_with_the_reward(reviewed: Reviewed) -> None:
    told = reviewed.status
    assert f"6 of {reviewed.table('preferences', 0).height} done" in told
    counts = [re.findall(r"\w+", line) for line in told.splitlines() if "ann" in line or "bob" in line]
    assert counts == [["ann", "6", "1", "1"], ["bob", "6", "0", "0"]]
    assert "6 pairs were judged: 2 have a better response" in told
    assert "1 undecided; rejected: both_bad 1, prompt_unsafe 1, tie 1" in told
    agree = sum(reviewed.preference(place, 0)[0] == reviewed.preference(place, 1)[0] for place in (0, 1))
    assert f"agreement of people with the reward: {50 * agree} %" in told


@pytest.mark.parametrize(("place", "chosen", "rejected"), [(0, FIRST, SECOND), (1, SECOND, FIRST)])
def test_a_verdict_arrives_on_the_side_on_which_it_was_seen(
    reviewed: Reviewed, place: int, chosen: str, rejected: str
) -> None:
    shown = reviewed.shown[place]
    assert reviewed.preference(place, 1) == (shown[chosen], shown[rejected], "human")


def test_ties_bad_pairs_bad_prompts_and_disagreements_are_rejected_with_the_reason(reviewed: Reviewed) -> None:
    rejects = reviewed.table("rejects", 1).filter(stage="review")
    prompts = dict(reviewed.table("preferences", 0).select("prompt_id", "pair_id").iter_rows())
    found = {prompts[row["prompt_id"]]: row["reason"] for row in rejects.to_dicts()}
    assert found == {
        reviewed.pairs[2]: "tie: 2 of 2 reviewers",
        reviewed.pairs[3]: "both_bad: 2 of 2 reviewers",
        reviewed.pairs[4]: "reviewers_disagree: 2 verdicts have 1 of 2 votes each",
        reviewed.pairs[5]: "prompt_unsafe: 2 of 2 reviewers",
    }
    assert [reviewed.preference(place, 1) for place in range(2, 6)] == [("", "", "")] * 4


def test_a_discarded_a_draft_and_no_answer_leave_the_pair_as_it_was(reviewed: Reviewed) -> None:
    for place in (6, 7, 8):
        assert reviewed.preference(place, 1) == reviewed.preference(place, 0)
    rest = ~pl.col("pair_id").is_in(reviewed.pairs)
    assert_frame_equal(*(reviewed.table("preferences", revision).filter(rest) for revision in (0, 1)))


def test_each_answer_is_kept_with_what_it_means_and_without_a_name(reviewed: Reviewed) -> None:
    kept = reviewed.table("reviews", 1)
    given = [answer for answers in PLAN for answer in answers]
    statuses = {"discard": "discarded", "draft": "draft"}
    assert sorted(kept["status"]) == sorted(
        statuses[answer] if isinstance(answer, str) else "submitted" for answer in given if answer is not None
    )
    assert kept["reviewer"].n_unique() == 2
    assert kept["comment"].count() == 6
    answers = (
        reviewed.table("responses", 1).filter(stage="respond").rows_by_key(("prompt_id", "response_idx"), named=True)
    )
    for row in kept.to_dicts():
        shown = reviewed.shown[reviewed.pairs.index(row["pair_id"])]
        first, second = ((row["prompt_id"], row[side]) for side in ("first_idx", "second_idx"))
        said = [as_shown(answers[place][0]["response"]) for place in (first, second)]
        assert said == [shown[FIRST], shown[SECOND]]
        assert (row["comment"] or "").strip() in ("", f"It is {row['verdict']}.")
        sides = {"first": row["first_idx"], "second": row["second_idx"]}
        assert row["preferred_idx"] == sides.get(row["verdict"])
    users = [user["id"] for user in reviewed.server.call("GET", "users")["items"]]
    for name, content in files(reviewed.folder).items():
        assert not any(user.encode() in content for user in users), name


def test_nothing_new_is_pulled_twice_and_one_more_answer_makes_one_more_revision(reviewed: Reviewed) -> None:
    before = files(reviewed.folder)
    reviewed.run("pull")
    assert files(reviewed.folder) == before
    reviewed.run("push", "--min-submitted", "2")
    there = {record["external_id"]: record for record in records(reviewed.server, reviewed.workspace)}
    assert len(there) == len(records(reviewed.server, reviewed.workspace)) == reviewed.table("preferences", 0).height
    assert len(there[reviewed.pairs[0]]["responses"]) == 2
    reviewed.run("pull")
    assert files(reviewed.folder) == before
    # The pair for which there was no answer.
    last = len(PLAN) - 1
    answer(reviewed.server, "bob", there[reviewed.pairs[last]]["id"], verdict="second", prompt_quality="good")
    reviewed.run("pull")
    assert Store(reviewed.folder).revisions(2) == [0, 1, 2]
    shown = reviewed.shown[last]
    assert reviewed.preference(last, 2) == (shown[SECOND], shown[FIRST], "human")
    assert reviewed.preference(0, 2) == reviewed.preference(0, 1)
    assert {name: content for name, content in files(reviewed.folder).items() if name in before} | {
        "README.md": before["README.md"]
    } == before


def files(folder: Path) -> dict[str, bytes]:
    """The published files of a dataset folder."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".eva" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_page_renders_markdown_and_shows_markup_of_a_model_as_text(
    argilla: ArgillaServer, browser: Browser, tmp_path: Path
) -> None:
    workspace, folder = argilla.workspace("markdown"), tmp_path / "small"
    small_store(
        folder,
        evolved="Write a **function** that adds one to a `List<Integer>`.\n\n1. In Java\n2. In Python",
        chosen="Use `map`:\n\n```python\ndef more(numbers):\n    return [n + 1 for n in numbers if n < 3]\n```\n\n"
        f"| in | out |\n|---|---|\n| $x$ | $x+1$ |\n\n{'a-very-long-word' * 20}\n\n"
        f"| {'wide column | ' * 20}\n|{'---|' * 20}",
        rejected="<think>Is it List<Integer>?</think> <!-- no --> <img src=http://192.0.2.1/a.png onerror=alert(1)>"
        "<script>document.title = 'ours'</script> ![a](http://192.0.2.1/b.png) &lt; done",
    )
    rendered = (*NAMED, "--set", "review.markdown=true")
    done = review(argilla, folder, "push", "--iter", "2", "--workspace", workspace, settings=rendered)
    assert done.returncode == 0, done.stderr
    with Page(browser, argilla.url, REVIEWERS[1], PASSWORD) as page:
        page.open(dataset(argilla, workspace))
        page.screenshot(tmp_path / "page.png")
        shown = page.shown()
        assert list(shown) == [PROMPT, PARENT, FIRST, SECOND]
        assert page.too_wide() == []
        good, bad = sorted((FIRST, SECOND), key=lambda heading: "<think>" in shown[heading])
        assert shown[bad] == (
            "<think>Is it List<Integer>?</think> <!-- no --> <img src=http://192.0.2.1/a.png onerror=alert(1)>"
            "<script>document.title = 'ours'</script> ![a](http://192.0.2.1/b.png) &lt; done"
        )
        for markup in ("<strong>function</strong>", "<code>List&lt;Integer&gt;</code>", "<li>In Java</li>"):
            assert markup in page.html(PROMPT)
        for markup in ("<pre><code", "<table>", 'class="katex"'):
            assert markup in page.html(good)
        better = "verdict_first" if good == FIRST else "verdict_second"
        for options, chosen in ((["--suggest"], [better]), ([], [])):
            done = review(argilla, folder, "push", "--iter", "2", "--workspace", workspace, *options, settings=rendered)
            assert done.returncode == 0, done.stderr
            page.open(dataset(argilla, workspace))
            assert page.chosen() == chosen
        assert all(address.startswith("https://fonts.googleapis.com/") for address in page.outside)
        assert page.faults == []
