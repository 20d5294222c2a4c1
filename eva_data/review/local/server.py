"""Serves the page of the local review, to this machine and to whoever has the token alone.

The page itself holds no text of the dataset. Every other request must carry the token, which stands behind `#` in the
page's address and is therefore never sent by a browser on its own. Requests of other sites are refused by their origin,
and names that lead to this machine by their host.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from eva_data import __version__
from eva_data.report.page.render import environment
from eva_data.review.local.answers import LocalAnswer, add_answer, newest, read_answers
from eva_data.review.local.sheets import PairSheet

HOST = "127.0.0.1"
TOKEN_HEADER = "X-Review-Token"
_LARGEST = 100_000
"""Most bytes of a request."""
_SECONDS = 30


class ReviewServer(ThreadingHTTPServer):
    """The page for the pairs of one iteration and one reviewer. Answers are on the disk before they are confirmed."""

    daemon_threads = True

    def __init__(
        self, sheets: Sequence[PairSheet], path: Path, *, title: str, reviewer: str, told: str, promise: str, port: int
    ) -> None:
        super().__init__((HOST, port), _Page)
        self.sheets, self.path, self.title, self.reviewer = sheets, path, title, reviewer
        self.told, self.promise = told, promise
        self.token = secrets.token_urlsafe(24)
        self.writing = Lock()

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.server_port}"

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"{self.origin}/#{self.token}"

    @cached_property
    def places(self) -> Mapping[str, int]:
        return {sheet.pair_id: place for place, sheet in enumerate(self.sheets)}

    def mine(self) -> dict[str, LocalAnswer]:
        """Pair -> the reviewer's newest answer to the texts that are shown."""
        found = newest(read_answers(self.path))
        shown = {sheet.pair_id: sheet.content for sheet in self.sheets}
        return {
            pair: answer
            for (reviewer, pair), answer in found.items()
            if reviewer == self.reviewer and shown.get(pair) == answer.content
        }

    def page(self, nonce: str) -> str:
        template = environment().get_template("review.html.jinja")
        return template.render(title=self.title, promise=self.promise, nonce=nonce, version=__version__)

    def sheet(self, place: int) -> dict[str, Any]:
        """The pair at a place with the reviewer's answer, and what all pairs have."""
        mine = self.mine()
        answer = mine.get(self.sheets[place].pair_id)
        return {
            "place": place,
            "states": [mine[each.pair_id].status if each.pair_id in mine else "" for each in self.sheets],
            "sheet": self.sheets[place].shown(),
            "answer": None if answer is None else answer.model_dump(include={"verdict", "prompt_quality", "comment"}),
        }

    def add(self, values: Mapping[str, Any]) -> int:
        """Keep an answer, and return its pair's place. Raise LookupError or ValueError if it is none."""
        sheet = self.sheets[self.places[values["pair_id"]]]
        if values.get("content") != sheet.content:
            raise ValueError("the texts of this pair have changed: load the page again")
        given = {name: values.get(name) for name in ("status", "verdict", "prompt_quality", "comment")}
        fixed = {"pair_id": sheet.pair_id, "content": sheet.content, "order": sheet.order}
        answer = LocalAnswer.model_validate(given | fixed | {"reviewer": self.reviewer, "told": self.told})
        with self.writing:
            add_answer(self.path, answer)
        return self.places[sheet.pair_id]


class _Page(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    ways: ClassVar[frozenset[str]] = frozenset({"same-origin", "none"})

    def do_GET(self) -> None:
        if not self._is_from_here():
            return
        parts = urlsplit(self.path)
        if parts.path == "/":
            nonce = secrets.token_urlsafe(16)
            self._send(HTTPStatus.OK, self.server.page(nonce).encode(), "text/html; charset=utf-8", nonce)
        elif self._has_token():
            number = parts.path.removeprefix("/sheets/")
            if number.isdecimal() and parts.path != number and int(number) < len(self.server.sheets):
                self._json(HTTPStatus.OK, self.server.sheet(int(number)))
            else:
                self._json(HTTPStatus.NOT_FOUND, {"error": "there is no such pair"})

    def do_POST(self) -> None:
        if not self._is_from_here() or not self._has_token():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/answers" or self.headers.get_content_type() != "application/json":
            self._json(HTTPStatus.NOT_FOUND, {"error": "answers are JSON, to /answers"})
        elif not length.isdecimal() or int(length) > _LARGEST:
            self._json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": "the answer is too long"})
        else:
            try:
                values = json.loads(self.rfile.read(int(length)))
                self._json(HTTPStatus.OK, {"place": self.server.add(values)})
            except ValidationError as error:
                self._json(HTTPStatus.BAD_REQUEST, {"error": error.errors(include_url=False)[0]["msg"]})
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                self._json(HTTPStatus.BAD_REQUEST, {"error": str(error) or type(error).__name__})

    def _is_from_here(self) -> bool:
        """Refuse requests under another host's name, which a hostile site's name server may lead here, or of a site."""
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site")
        own = self.server.origin.removeprefix("http://")
        fits = self.headers.get("Host") == own and origin in (None, self.server.origin)
        if not fits or (site is not None and site not in self.ways):
            self._json(HTTPStatus.FORBIDDEN, {"error": f"open this page as {self.server.origin}"})
            return False
        return True

    def _has_token(self) -> bool:
        given = self.headers.get(TOKEN_HEADER, "").encode()
        if not hmac.compare_digest(given, self.server.token.encode()):
            self._json(HTTPStatus.UNAUTHORIZED, {"error": "the address lacks the token that the command printed"})
            return False
        return True

    def _json(self, status: HTTPStatus, values: Mapping[str, Any]) -> None:
        self._send(status, json.dumps(values).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str, nonce: str | None = None) -> None:
        allowed = f"; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'" if nonce else ""
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": f"default-src 'none'; base-uri 'none'; form-action 'none'; "
            f"frame-ancestors 'none'{allowed}",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        # An unread body would be taken for the next request.
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is logged: the terminal belongs to the command."""
