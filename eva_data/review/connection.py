"""Connects to an Argilla server: the few calls that a review needs, and one sentence for each refusal.

Argilla's Python client makes the dataset. Records and answers go through the REST API, because client 2.8 inverts
rankings, loses ties, and cannot read a dataset after one answer was discarded without values.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from eva_data.config import Review
from eva_data.errors import ConfigError, MissingExtraError, ReviewError
from eva_data.models.keys import read_key, without_keys

if TYPE_CHECKING:
    import httpx

PAGE = 500
"""Records per call; the server gives at most 1000."""

SECONDS = 60.0


@dataclass(frozen=True)
class Api:
    """The calls of a server with a key. Every call raises ReviewError if it fails."""

    url: str
    http: httpx.Client
    key: str
    key_name: str
    """The environment variable that holds the key."""

    def get(self, path: str, **parameters: Any) -> Any:
        return self.call("GET", path, params=parameters)

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """The JSON of the server's reply; None if the reply is empty."""
        import httpx

        try:
            reply = self.http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            reason = without_keys(" ".join(str(error).split()) or type(error).__name__, self.key)[:300]
            raise ReviewError(
                f"the Argilla server at {self.url} cannot be reached ({reason}): start it, or name another with "
                "`--api-url`, and repeat the command; nothing is done twice"
            ) from None
        if reply.is_error:
            raise self._refusal(reply)
        if not reply.content:
            return None
        try:
            return reply.json()
        except ValueError:
            raise ReviewError(
                f"{self.url} does not answer as an Argilla server does: is the address right?", reply.status_code
            ) from None

    def _refusal(self, reply: httpx.Response) -> ReviewError:
        status, said = reply.status_code, without_keys(" ".join(reply.text.split()), self.key)[:300]
        sentences = {
            401: f"the Argilla server at {self.url} refuses the key in {self.key_name} (401): take the API key from "
            "your settings page there",
            403: f"the Argilla server at {self.url} does not allow that to the key in {self.key_name} (403: {said}): "
            "use an owner's",
            404: f"the Argilla server at {self.url} does not have that, or not any more (404: {said})",
        }
        again = "repeat the command, nothing is done twice"
        other = "please report it, with the versions of eva-data and of the server"
        general = f"the Argilla server at {self.url} answered {status} ({said}): "
        general += again if status >= 500 or status == 429 else other
        return ReviewError(sentences.get(status, general), status)


@dataclass(frozen=True)
class Argilla:
    """A workspace of a server."""

    api: Api
    workspace: str
    workspace_id: str

    @property
    def url(self) -> str:
        return self.api.url

    def get(self, path: str, **parameters: Any) -> Any:
        return self.api.get(path, **parameters)

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        return self.api.call(method, path, **arguments)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Argilla's own client, which is used to make a dataset."""
        import httpx

        if find_spec("argilla") is None:
            raise MissingExtraError.of("argilla", "review")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import argilla as rg
            from argilla._exceptions import ArgillaError
        try:
            yield rg.Argilla(api_url=self.api.url, api_key=self.api.key, timeout=int(SECONDS), retries=0)
        except (ArgillaError, httpx.HTTPError) as error:
            reason = without_keys(" ".join(str(error.__cause__ or error).split()), self.api.key)[:300]
            raise ReviewError(
                f"the Argilla server at {self.api.url} did not make the dataset ({reason}): repeat the "
                "command, nothing is done twice"
            ) from None

    def records(self, dataset_id: str) -> list[dict[str, Any]]:
        """All records of a dataset, each with all its responses and suggestions."""
        found: dict[str, dict[str, Any]] = {}
        total = offset = 0
        while True:
            path = f"datasets/{dataset_id}/records"
            page = self.get(path, include="responses,suggestions", limit=PAGE, offset=offset)
            found |= {record["id"]: record for record in page["items"]}
            total, offset = page["total"], offset + PAGE
            if offset >= total:
                break
        if len(found) < total:
            raise ReviewError(f"the dataset changed while its {total} records were read: repeat the command")
        return list(found.values())


@contextmanager
def connect(settings: Review) -> Iterator[Argilla]:
    """Connect to the server and workspace that the settings, or else the environment, name.

    Raise ConfigError if no server or no key is named, and ReviewError if the server does not answer like Argilla 2,
    refuses the key, or has no such workspace.
    """
    import httpx

    url = (settings.api_url or os.environ.get("ARGILLA_API_URL") or "").rstrip("/")
    if not url:
        raise ConfigError(
            "no Argilla server is named: say which with `--api-url`, ARGILLA_API_URL or `review.api_url`; "
            "`eva-data review serve` says how to run one"
        )
    key = (read_key(settings.api_key_env, "Argilla") or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{settings.api_key_env} holds characters that no key of Argilla has: copy it anew")
    try:
        http = httpx.Client(
            base_url=f"{url}/api/v1/",
            headers={"X-Argilla-Api-Key": key},
            timeout=SECONDS,
            follow_redirects=True,
        )
    except httpx.InvalidURL as error:
        raise ConfigError(f"{url} is no address of a server ({error}): write it as http://127.0.0.1:6900") from None
    with http:
        api = Api(url, http, key, settings.api_key_env)
        _refuse_other_servers(api)
        role = api.get("me")["role"]
        if role not in ("owner", "admin"):
            raise ReviewError(
                f"the key in {settings.api_key_env} is that of an {role}, who may answer but not push or pull: use the "
                "key of an owner or admin"
            )
        workspaces = {each["name"]: each["id"] for each in api.get("me/workspaces")["items"]}
        if not workspaces:
            raise ReviewError(f"the Argilla server at {url} has no workspace yet: make one in its settings page")
        name = settings.workspace or next(iter(workspaces))
        if name not in workspaces:
            raise ReviewError(
                f"the Argilla server at {url} has no workspace `{name}` for this key: it has {', '.join(workspaces)}; "
                "name one of them with `--workspace`, or make it in the server's settings page"
            )
        yield Argilla(api, name, workspaces[name])


def _refuse_other_servers(api: Api) -> None:
    version = api.get("version")
    number = version.get("version", "") if isinstance(version, dict) else ""
    if not str(number).startswith("2."):
        raise ReviewError(f"{api.url} answers as version {number!r} of Argilla, not as 2: is the address right?")
