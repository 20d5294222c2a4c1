"""A stand-in for Elasticsearch: the part of its protocol that argilla-server 2.8 uses, with documents in memory.

    with Elastic() as elastic:
        elastic.url            for ARGILLA_ELASTICSEARCH
        elastic.unknown        requests that it cannot answer; they got status 400

Argilla keeps its records in a database of its own. It asks Elasticsearch only which records to show and how many there
are, so filters, counts and sorting by one field are enough. Free text, vectors and relevance are not supported.
"""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]


class Elastic:
    """The server, on a free port of 127.0.0.1, in threads of this process."""

    def __init__(self) -> None:
        self.indices: dict[str, dict[str, Json]] = {}
        """Index -> id -> document, in the order in which they came."""
        self.unknown: list[str] = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"elastic": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Elastic:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, options: dict[str, str], body: bytes) -> Json:
        """The answer to one request. Raise Refused if there is none."""
        match method, path.strip("/").split("/"):
            case "GET" | "HEAD", [""]:
                return {"name": "stand-in", "version": {"number": "8.17.0"}, "tagline": "You Know, for Search"}
            case "PUT" | "POST", ["_bulk"]:
                return {"errors": False, "items": self._bulk([json.loads(line) for line in body.splitlines() if line])}
            case "PUT", [index]:
                if index in self.indices:
                    raise Refused(400, "resource_already_exists_exception")
                self.indices[index] = {}
                return {"acknowledged": True, "index": index}
            case "HEAD", [index]:
                self._index(index)
                return {}
            case "DELETE", [index]:
                self._index(index).clear()
                del self.indices[index]
                return {"acknowledged": True}
            case "PUT", [index, "_mapping"]:
                self._index(index)
                return {"acknowledged": True}
            case "POST", [index, "_update", name]:
                if name not in self._index(index):
                    raise Refused(404, "document_missing_exception")
                update(self.indices[index][name], json.loads(body))
                return {"_id": name, "result": "updated"}
            case "POST", [index, "_search"]:
                return search(self._index(index), options | (json.loads(body) if body else {}))
        raise Refused(400, "unknown call")

    def _index(self, name: str) -> dict[str, Json]:
        if name not in self.indices:
            raise Refused(404, "index_not_found_exception")
        return self.indices[name]

    def _bulk(self, lines: list[Json]) -> list[Json]:
        """Carry out actions. Each action is a line; after an `index` action, the next line is its document."""
        items, rest = [], iter(lines)
        for line in rest:
            ((action, where),) = line.items()
            if action == "index":
                self._index(where["_index"])[where["_id"]] = next(rest)
            elif action == "delete":
                self._index(where["_index"]).pop(where["_id"], None)
            else:
                raise Refused(400, f"unknown action {action}")
            items.append({action: where | {"status": 200}})
        return items


class Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def update(document: Json, change: Json) -> None:
    """Apply a partial document, or one of the two scripts that set or remove a response."""
    if "doc" in change:
        document.update(change["doc"])
    else:
        response = change["script"]["params"]["response"]
        others = [other for other in document.get("responses") or [] if other["id"] != response["id"]]
        document["responses"] = others + ([response] if "responses.add(" in change["script"]["source"] else [])


def search(documents: dict[str, Json], request: Json) -> Json:
    """`size` documents from `from` on that match `query`, sorted, and `aggregations` over all matches."""
    query = request.get("query", {"match_all": {}})
    scores = {name: 1.0 for name, document in documents.items() if matches(query, document)}
    if "function_score" in query:
        # Argilla shows records to a reviewer in an order that is random but the same at every visit.
        seed = query["function_score"]["functions"][0]["random_score"]["seed"]
        scores = {name: _random(f"{seed} {name}") for name in scores}
    found = sorted(scores, key=lambda name: -scores[name])
    for clause in reversed(request.get("sort") or []):
        ((field, order),) = clause.items()
        if order not in ("asc", "desc"):
            raise Refused(400, f"unknown order {order}")
        has = {name: field_values for name in found if (field_values := values(documents[name], field))}
        known = sorted(has, key=lambda name: has[name][0], reverse=order == "desc")
        found = known + [name for name in found if name not in has]
    start, size = int(request.get("from", 0)), int(request.get("size", 10))
    return {
        "hits": {
            "total": {"value": len(found), "relation": "eq"},
            "hits": [{"_id": name, "_score": scores[name]} for name in found[start : start + size]],
        },
        "aggregations": {
            name: aggregate(wanted, [documents[name] for name in found])
            for name, wanted in (request.get("aggregations") or {}).items()
        },
    }


def matches(query: Json, document: Json) -> bool:
    ((kind, body),) = query.items()
    match kind:
        case "match_all":
            return True
        case "function_score":
            return matches(body["query"], document)
        case "bool":
            alternatives = _listed(body.get("should", []))
            return (
                all(matches(part, document) for part in _listed(body.get("must", [])) + _listed(body.get("filter", [])))
                and not any(matches(part, document) for part in _listed(body.get("must_not", [])))
                and (not alternatives or any(matches(part, document) for part in alternatives))
            )
        case "nested":
            path = body["path"]
            return any(matches(body["query"], {path: child}) for child in values(document, path))
        case "exists":
            return bool(values(document, body["field"]))
        case "term" | "terms":
            ((field, wanted),) = body.items()
            return any(value in _listed(wanted) for value in values(document, field))
        case "range":
            ((field, bounds),) = body.items()
            low, high = bounds.get("gte"), bounds.get("lte")
            found = values(document, field)
            return any((low is None or value >= low) and (high is None or value <= high) for value in found)
    raise Refused(400, f"unknown query {kind}")


def aggregate(wanted: Json, documents: list[Json]) -> Json:
    """Counts or extremes of a field. A value counts once in a document, as in Elasticsearch."""
    ((kind, body),) = wanted.items()
    found = [value for document in documents for value in dict.fromkeys(values(document, body["field"]))]
    match kind:
        case "value_count":
            return {"value": len(found)}
        case "terms":
            counts = {value: found.count(value) for value in dict.fromkeys(found)}
            return {"buckets": [{"key": value, "doc_count": count} for value, count in counts.items()]}
        case "stats":
            return {"min": min(found, default=None), "max": max(found, default=None), "count": len(found)}
    raise Refused(400, f"unknown aggregation {kind}")


def values(document: Json, path: str) -> list[Any]:
    """All values at a dotted path; of a list, the values of each member."""
    found: list[Any] = [document]
    for name in path.split("."):
        inner = [node[name] for node in found if isinstance(node, dict) and node.get(name) is not None]
        found = [value for node in inner for value in _listed(node)]
    return found


def _listed(one_or_more: Any) -> list[Any]:
    return one_or_more if isinstance(one_or_more, list) else [one_or_more]


def _random(key: str) -> float:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


class _Handler(BaseHTTPRequestHandler):
    elastic: ClassVar[Elastic]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        address = urlsplit(self.path)
        options = {key: found[0] for key, found in parse_qs(address.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with self.elastic.lock:
                reply, status = self.elastic.answer(self.command, unquote(address.path), options, body), 200
        except Refused as refused:
            if refused.status == 400:
                self.elastic.unknown.append(f"{self.command} {self.path}: {refused}: {body.decode()[:2000]}")
            status = refused.status
            reply = {"status": status, "error": {"type": str(refused), "reason": str(refused), "root_cause": []}}
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        # Clients of version 8 refuse a server without this header.
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle
