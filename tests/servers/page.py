"""Uses Argilla's page as a reviewer does, in the system's Chromium without a window.

with browser() as chromium, Page(chromium, url, "ann", password) as page:
    page.open(dataset)
    while page.record:
        page.choose("verdict", "first")
        page.submit()
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # playwright is imported where it is used, so that other tests can be collected without it.
    from playwright.sync_api import Browser, Response, Route

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FIELD = ".record__content .text_field_component"
_MILLISECONDS = 120_000.0
"""Time limit for a page."""


def chromium() -> str | None:
    """The path of the system's browser; None if there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), headless=True)
        yield opened
        opened.close()


class Page:
    """One reviewer's session, on a screen of 1440 x 900."""

    def __init__(self, browser: Browser, url: str, user: str, password: str) -> None:
        self.url = url
        self.faults: list[str] = []
        """Errors of scripts, and calls that the server refused."""
        self._context = browser.new_context(viewport={"width": 1440, "height": 900})
        self.outside: list[str] = []
        """Addresses of other hosts that the page asked for. All of them are blocked."""
        self._context.route(lambda address: not address.startswith(url), self._refuse)
        self._page = self._context.new_page()
        self._page.set_default_timeout(_MILLISECONDS)
        self._page.on("pageerror", lambda error: self.faults.append(str(error)))
        self._page.on("response", self._note)
        self._page.goto(f"{url}/sign-in")
        self._page.fill("input:not([type=password])", user)
        self._page.fill("input[type=password]", password)
        self._page.keyboard.press("Enter")
        self._page.wait_for_url(lambda where: "sign-in" not in where)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def open(self, dataset: str) -> None:
        """Go to the records of a dataset (by its id) that this reviewer has not answered, not even by a draft."""
        self._page.goto(f"{self.url}/dataset/{dataset}/annotation-mode?page=1&status=pending")
        self._settled()

    @property
    def record(self) -> str | None:
        """The server's id of the shown record; None if no record is left."""
        found = self._page.evaluate(f"document.querySelector('{_FIELD} .content-area')?.id")
        return None if found is None else str(found)[-36:]

    def shown(self) -> dict[str, str]:
        """Heading -> text below it without markup, from top to bottom."""
        fields = self._page.locator(_FIELD).all()
        return {
            field.locator(".text_field_component__title-content").inner_text(): field.locator(".content-area")
            .inner_text()
            .strip()
            for field in fields
        }

    def html(self, heading: str) -> str:
        """The markup below a heading."""
        return self._page.locator(_FIELD).filter(has_text=heading).locator(".content-area").first.inner_html()

    def chosen(self) -> list[str]:
        """The chosen labels, as question_label."""
        return [str(box.get_attribute("id")) for box in self._page.locator("form input[type=checkbox]:checked").all()]

    def choose(self, question: str, label: str) -> None:
        self._page.locator(f"label[for={question}_{label}]").click()

    def write(self, question: str, text: str) -> None:
        area = self._page.locator(f"[aria-label='Question: {question}']")
        area.locator(".content-area, [contenteditable]").first.click()
        self._page.keyboard.type(text)
        # The page must not take a key in the text for a shortcut.
        self._page.keyboard.press("Escape")

    def submit(self) -> None:
        self._answer("Submit")

    def save_draft(self) -> None:
        """Save the chosen labels as a draft. The record stays in view."""
        self._answer("Save as draft", stays=True)

    def discard(self) -> None:
        self._answer("Discard")

    def skip(self) -> None:
        """Go on to the next record without an answer."""
        before = self.record
        self._page.get_by_role("button", name="Next").click()
        self._gone(before)

    def too_wide(self) -> list[str]:
        """Headings of fields that are wider than their box or the screen."""
        script = "box => box.scrollWidth > box.clientWidth + 1 || box.getBoundingClientRect().right > window.innerWidth"
        fields = self._page.locator(_FIELD).all()
        return [
            field.locator(".text_field_component__title-content").inner_text()
            for field in fields
            if field.evaluate(script)
        ]

    def screenshot(self, path: Path) -> None:
        self._page.screenshot(path=path)

    def _refuse(self, route: Route) -> None:
        self.outside.append(route.request.url)
        route.abort()

    def _note(self, reply: Response) -> None:
        if reply.status >= 400:
            self.faults.append(f"{reply.status} {reply.url}")

    def _answer(self, button: str, stays: bool = False) -> None:
        """Press a button below the questions. Wait until the answer is kept and, unless `stays`, the record is gone."""
        before = self.record
        with self._page.expect_response(lambda reply: reply.request.method in ("POST", "PUT") and reply.ok):
            self._page.get_by_role("button", name=button).click()
        if not stays:
            self._gone(before)

    def _gone(self, record: str | None) -> None:
        from playwright.sync_api import expect

        expect(self._page.locator(f"{_FIELD} [id$='{record}']")).to_have_count(0, timeout=_MILLISECONDS)
        self._settled()

    def _settled(self) -> None:
        """Wait until there is a record, or a message that none is left."""
        self._page.locator(f"{_FIELD}, .wrapper__text").first.wait_for()
