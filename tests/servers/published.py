"""A small dataset that a stranger could publish on the Hub of these tests, written by hand with any content."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub_server import Files, Hub, Repo, sha256
from small_store import small_store

from eva_data.dataset.staleness import settings_hash
from eva_data.dataset.store import Store

Values = dict[str, Any]

COUNTED = {"prompts": "prompts", "preferences": "pairs", "rejects": "rejects"}


def small_dataset(folder: Path, iterations: int = 2, **texts: Any) -> Files:
    """The files of an honest dataset of one or two iterations."""
    store = small_store(folder, **texts)
    first, second = (store.manifest(number) for number in (1, 2))
    consumed = {"settings_hash": settings_hash(first), "files": first.values()["files"]}
    manifests = [first.values(), second.values() | {"previous": consumed}][:iterations]
    for values in manifests:
        rows = {table: values["files"].get(f"{table}/iter_{values['iteration']}.parquet", {}) for table in COUNTED}
        values["counts"] |= {field: rows[table].get("rows", 0) for table, field in COUNTED.items()}
    tables = [name for manifest in manifests for name in manifest["files"]]
    files = {name: (folder / name).read_bytes() for name in ("README.md", *tables)}
    return files | {f"manifests/iter_{number}.json": dump(each) for number, each in enumerate(manifests, 1)}


def dump(values: Any) -> bytes:
    return json.dumps(values).encode()


def publish(hub: Hub, repo: str, files: Files) -> None:
    hub.repos[repo] = Repo(private=False)
    hub.repos[repo].add(files, "Published")


def changed(files: Files, iteration: int, change: Callable[[Values], None]) -> Files:
    """The dataset with a changed manifest of an iteration."""
    name = f"manifests/iter_{iteration}.json"
    values = json.loads(files[name])
    change(values)
    return files | {name: dump(values)}


def with_table(files: Files, name: str, data: bytes, **entry: Any) -> Files:
    """The dataset of one iteration with another file as a table. The manifest has the right entry for it."""
    content = {"sha256": sha256(data), "bytes": len(data)} | entry
    return changed(files, 1, lambda values: values["files"][name].update(content)) | {name: data}


def accept(settings: Path) -> None:
    """Uncomment all waiting keys in a pulled eva.yaml, as its user may do."""
    settings.write_text(re.sub(r"(?m)^( *)# ", r"\1", settings.read_text()))


def pulled_iterations(folder: Path) -> list[int]:
    return Store(folder).iterations()
