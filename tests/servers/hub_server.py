"""A stand-in for the Hugging Face Hub: repos in memory, behind the REST calls of huggingface_hub and datasets.

    with Hub(folder) as hub:
        hub.repos["alice/x"].tags["iter-1"]      a published commit
        hub.fail("PUT /lfs/", "die")             the next such call kills the server; `hub.start()` revives it

Commits, tags, 401, 403, 404, 409 and 412 work as on the Hub. Large files (parquet, images) go to a store of their own
under another host name, as on the Hub: by LFS or, with `xet=True`, by the real Xet client, which writes to a folder.
Clients need HF_ENDPOINT before they import huggingface_hub, so they are processes of their own (`hub.environment`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from xet import xet_files

WRITE, READ, OTHER = "hf_writeWRITEwriteWRITE", "hf_readREADreadREAD", "hf_otherOTHERotherOTHER"
"""Alice's tokens for writing and for reading, and Bob's token."""
USERS = {WRITE: ("alice", True), READ: ("alice", False), OTHER: ("bob", True)}

Files = dict[str, bytes]


@dataclass(frozen=True)
class Commit:
    sha: str
    message: str
    files: Files


@dataclass
class Repo:
    private: bool
    commits: list[Commit] = field(default_factory=list)
    """The oldest commit is the first."""
    tags: dict[str, str] = field(default_factory=dict)

    def add(self, files: Files, message: str) -> Commit:
        named = f"{message} {len(self.commits)} {sorted((name, sha256(data)) for name, data in files.items())}"
        self.commits.append(Commit(hashlib.sha1(named.encode()).hexdigest(), message, files))
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        sha = self.commits[-1].sha if revision == "main" else self.tags.get(revision, revision)
        for commit in self.commits:
            if commit.sha == sha:
                return commit
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Reply:
    """An answer that is not JSON."""

    status: int
    headers: dict[str, str]
    data: bytes = b""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(name: str) -> bool:
    return name.endswith((".parquet", ".png", ".safetensors"))


class Hub:
    def __init__(self, folder: Path, *, xet: bool = False) -> None:
        self.folder = folder
        self.cas = folder / "cas" if xet else None
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        """SHA-256 -> content of a large file."""
        self.uploaded = 0
        """Number of bytes of large files that clients sent by LFS."""
        self.calls: list[str] = []
        self.faults: list[tuple[str, int | str | Callable[[], object]]] = []
        self.lock = threading.RLock()
        self.dead = False
        self.stopping = threading.Lock()
        self.servers: list[ThreadingHTTPServer] = []
        self.ports = (0, 0)
        self.clients = 0
        self.start()

    def start(self) -> None:
        self.stop()
        self.dead = False
        handler = type("Handler", (_Handler,), {"hub": self})
        # As on the Hub, files lie on another host. A client follows redirects within a host and then loses headers.
        self.servers = [
            ThreadingHTTPServer((host, port), handler)
            for host, port in zip(("127.0.0.1", "127.0.0.2"), self.ports, strict=True)
        ]
        self.ports = (self.servers[0].server_port, self.servers[1].server_port)
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        with self.stopping:
            for server in self.servers:
                server.shutdown()
                server.server_close()
            self.servers = []

    def die(self) -> None:
        """Stop answering, even on open connections."""
        self.dead = True
        threading.Thread(target=self.stop).start()

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def storage(self) -> str:
        return f"http://127.0.0.2:{self.ports[1]}"

    def environment(self, token: str | None = WRITE) -> dict[str, str]:
        """The environment of a client, with a new cache each time: a cached file would be used with a refused token."""
        self.clients += 1
        home = self.folder / "homes" / str(self.clients)
        here = "127.0.0.1,127.0.0.2,localhost"
        common = {
            "HF_ENDPOINT": self.url,
            "no_proxy": here,
            "NO_PROXY": here,
            "HF_HOME": str(home),
            "HF_TOKEN": token or "",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return common if self.cas else common | {"HF_HUB_DISABLE_XET": "1"}

    def python(self, cwd: Path, *arguments: str, token: str | None = WRITE) -> subprocess.CompletedProcess[str]:
        """Run Python as a client of this Hub."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env=os.environ | {"COLUMNS": "160"} | self.environment(token),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def run(self, cwd: Path, *arguments: str, token: str | None = WRITE) -> subprocess.CompletedProcess[str]:
        """Run `eva-data` as a client of this Hub."""
        return self.python(cwd, "-m", "eva_data.cli", *arguments, token=token)

    def fail(self, call: str, how: int | str | Callable[[], object]) -> None:
        """Fail the next call that begins with `call`, such as `PUT /lfs/`.

        `how` is a status, `die`, `die after` (the call is finished first), or a function that is called first.
        """
        self.faults.append((call, how))

    def called(self, call: str) -> int | str | Callable[[], object] | None:
        """Note a call, and return the fault that waits for it, if any."""
        with self.lock:
            self.calls.append(call)
            for fault in self.faults:
                if call.startswith(fault[0]):
                    self.faults.remove(fault)
                    return fault[1]
        return None

    def stored(self) -> int:
        """Number of bytes of large files in Xet's store."""
        assert self.cas is not None
        return sum(path.stat().st_size for path in self.cas.rglob("*") if path.is_file())


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        path = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(path.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        how = self.hub.called(f"{self.command} {path.path}")
        if how == "die":
            self.hub.die()
        if self.hub.dead:
            self.close_connection = True
            return
        try:
            if isinstance(how, int):
                raise Refused(how, "out of order")
            if callable(how):
                how()
            with self.hub.lock:
                reply = self._route([unquote(part) for part in path.path.split("/")[1:]])
        except Refused as refused:
            headers = {"X-Error-Message": str(refused), "X-Error-Code": refused.code}
            reply = Reply(refused.status, headers, json.dumps({"error": str(refused)}).encode())
        if how == "die after":
            self.hub.die()
            self.close_connection = True
            return
        self.send_response(reply.status)
        for key, value in ({"Content-Length": str(len(reply.data))} | reply.headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.data)

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _route(self, parts: list[str]) -> Reply:
        match parts:
            case ["lfs", oid]:
                return self._large_file(oid)
            case ["api", "repos", "create"]:
                return self._create()
            case ["api", "whoami-v2"]:
                user = self._user()
                if user is None:
                    raise Refused(401, "Invalid username or password.")
                return answer({"type": "user", "name": user[0], "auth": {"type": "access_token"}})
            case ["api", "validate-yaml"]:
                return self._validate()
            case ["api", "datasets" | "models", owner, name]:
                return self._info(self._repo(f"{owner}/{name}"), f"{owner}/{name}", "main")
            case ["api", "datasets" | "models", owner, name, verb, *rest]:
                return self._of_repo(f"{owner}/{name}", verb, rest)
            case ["datasets", owner, name, "resolve", revision, *path] | [owner, name, "resolve", revision, *path]:
                return self._resolve(self._repo(f"{owner}/{name}").at(revision), "/".join(path))
            case ["datasets", owner, name, "info", "lfs", *_] | [owner, name, "info", "lfs", *_]:
                return self._batch(f"{owner}/{name.removesuffix('.git')}")
        raise Refused(404, f"no such page: {self.path}")

    def _of_repo(self, name: str, verb: str, rest: list[str]) -> Reply:
        writes = verb in ("preupload", "commit", "tag", "xet-write-token")
        repo = self._repo(name, write=writes)
        if verb == "refs":
            tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": sha} for tag, sha in repo.tags.items()]
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1].sha}
            return answer({"branches": [main], "converts": [], "tags": tags})
        if verb == "auth-check":
            return answer({})
        revision, path = rest[0], "/".join(rest[1:])
        if verb == "revision":
            return self._info(repo, name, revision)
        if verb == "tree":
            return answer(listing(repo.at(revision).files, path, recursive=self.query.get("recursive") == "true"))
        if verb == "paths-info":
            wanted = parse_qs(self.body.decode())["paths"]
            return answer([entry for entry in listing(repo.at(revision).files, "", True) if entry["path"] in wanted])
        if verb == "preupload":
            return answer({"files": [self._mode(repo, file["path"]) for file in json.loads(self.body)["files"]]})
        if verb == "commit":
            return self._commit(repo, name)
        if verb == "tag":
            tag = json.loads(self.body)["tag"]
            if tag in repo.tags:
                raise Refused(409, f"Tag reference exists already: {tag}")
            repo.tags[tag] = repo.at(revision).sha
            return answer({})
        if verb == "xet-write-token" and self.hub.cas:
            expires, url = int(time.time()) + 3600, f"local://{self.hub.cas}"
            return Reply(
                200,
                {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": "xet", "X-Xet-Token-Expiration": str(expires)},
                json.dumps({"casUrl": url, "accessToken": "xet", "exp": expires}).encode(),
            )
        raise Refused(404, f"no such call: {verb}")

    def _user(self) -> tuple[str, bool] | None:
        """The user, and whether the token may write; None without a token."""
        header = self.headers.get("Authorization")
        if header is None:
            return None
        if header.removeprefix("Bearer ") not in USERS:
            raise Refused(401, "Invalid credentials in Authorization header")
        return USERS[header.removeprefix("Bearer ")]

    def _repo(self, name: str, *, write: bool = False) -> Repo:
        user, repo, owner = self._user(), self.hub.repos.get(name), name.partition("/")[0]
        if repo is None or (repo.private and (user is None or user[0] != owner)):
            raise Refused(404 if user else 401, "Repository not found", "RepoNotFound")
        if write and user != (owner, True):
            # The message quotes the token, as a careless server might.
            raise Refused(403, f"{self.headers.get('Authorization')} has no right to write to {name}")
        return repo

    def _create(self) -> Reply:
        user, wanted = self._user(), json.loads(self.body)
        owner = wanted.get("organization") or (user[0] if user else "")
        name = f"{owner}/{wanted['name']}"
        if user != (owner, True):
            raise Refused(403, f"You don't have the rights to create a dataset under the namespace {owner}")
        if name in self.hub.repos:
            raise Refused(409, "You already created this dataset repo")
        self.hub.repos[name] = repo = Repo(private=bool(wanted.get("private")) or wanted.get("visibility") == "private")
        repo.add({".gitattributes": b"*.parquet filter=lfs\n*.png filter=lfs\n"}, "initial commit")
        return answer({"url": f"{self.hub.url}/datasets/{name}", "name": name, "id": name})

    def _validate(self) -> Reply:
        front = yaml.safe_load(json.loads(self.body)["content"].split("---\n")[1])
        known = front.get("license", "other") in ("apache-2.0", "cc-by-4.0", "mit", "other")
        errors = [] if known else [{"message": '"license" must be one of [apache-2.0, cc-by-4.0, mit, other]'}]
        return answer({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _info(self, repo: Repo, name: str, revision: str) -> Reply:
        commit = repo.at(revision)
        fixed: dict[str, Any] = {"gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}
        files = [{"rfilename": path} for path in commit.files]
        return answer(fixed | {"_id": name, "id": name, "sha": commit.sha, "private": repo.private, "siblings": files})

    def _resolve(self, commit: Commit, path: str) -> Reply:
        data = commit.files.get(path)
        headers = {"X-Repo-Commit": commit.sha}
        if data is None:
            return Reply(404, headers | {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        if not is_large(path):
            return Reply(200, headers | {"ETag": f'"{blob_id(data)}"'}, data)
        oid = sha256(data)
        self.hub.objects.setdefault(oid, data)
        linked = {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{oid}"', "ETag": f'"{oid}"'}
        return Reply(302, headers | linked | {"Location": f"{self.hub.storage}/lfs/{oid}"})

    def _mode(self, repo: Repo, path: str) -> dict[str, Any]:
        data, large = repo.commits[-1].files.get(path), is_large(path)
        oid = None if data is None else sha256(data) if large else blob_id(data)
        return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

    def _batch(self, name: str) -> Reply:
        self._repo(name, write=True)
        objects = json.loads(self.body)["objects"]
        for wanted in objects:
            if wanted["oid"] not in self.hub.objects:
                wanted["actions"] = {"upload": {"href": f"{self.hub.storage}/lfs/{wanted['oid']}"}}
        return answer({"transfer": "basic", "objects": objects})

    def _large_file(self, oid: str) -> Reply:
        if self.headers.get("Authorization"):
            raise Refused(400, "a token was sent to the storage")
        if self.command == "PUT":
            if sha256(self.body) != oid:
                raise Refused(400, "these bytes are another file")
            self.hub.uploaded += len(self.body)
            self.hub.objects[oid] = self.body
        return Reply(200, {"ETag": f'"{oid}"'}, b"" if self.command == "PUT" else self.hub.objects[oid])

    def _commit(self, repo: Repo, name: str) -> Reply:
        header, *operations = [json.loads(line) for line in self.body.splitlines()]
        head = repo.commits[-1]
        if header["value"].get("parentCommit") not in (None, head.sha):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        if self.hub.cas:
            self.hub.objects |= xet_files(self.hub.cas)
        files = dict(head.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif value["oid"] in self.hub.objects:
                files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                raise Refused(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
        commit = repo.add(files, header["value"]["summary"])
        return answer(
            {
                "success": True,
                "commitOid": commit.sha,
                "commitUrl": f"{self.hub.url}/datasets/{name}/commit/{commit.sha}",
            }
        )


def answer(body: object, status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


def listing(files: Files, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """The files and folders below a folder, in the form of the Hub's listing."""
    under = f"{folder}/" if folder else ""
    found: dict[str, dict[str, Any]] = {}
    for path, data in files.items():
        if not path.startswith(under):
            continue
        parts = path.removeprefix(under).split("/")
        for depth in range(1, len(parts)):
            between = under + "/".join(parts[:depth])
            if recursive or depth == 1:
                found[between] = {"type": "directory", "path": between, "oid": sha256(between.encode())[:40], "size": 0}
        if recursive or len(parts) == 1:
            found[path] = {"type": "file", "path": path, "oid": blob_id(data), "size": len(data)}
            if is_large(path):
                found[path]["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 130}
    if folder and not found:
        raise Refused(404, f"{folder} does not exist", "EntryNotFound")
    return list(found.values())
