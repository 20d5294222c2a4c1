"""Checks a stranger's manifests and tables before any of their files is moved into the dataset's folder.

The manifest of a pulled dataset is data of its publisher. It is read by the typed schema. Then it is compared with its
own name, with its settings, with the other manifests, with what the Hub says about the files, and with the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from eva_data.config.introduced import RENAMED
from eva_data.dataset.manifest import FileEntry, Manifest, parse_manifest, refuse_newer
from eva_data.dataset.staleness import config_of, settings_hash
from eva_data.dataset.store import stem_of
from eva_data.errors import ConfigError, DataError, HubError
from eva_data.files import sha256
from eva_data.foreign import visible
from eva_data.hub.repo import Snapshot
from eva_data.tables.schemas import TABLES, read_table

MANIFEST_BYTES = 16_000_000
"""The largest manifest that is read; real manifests have about ten thousand bytes."""
ROW_BYTES = 50
"""Least bytes for which a row counts against the limit of a download: a packed file may hold millions of empty rows."""
GB = 1_000_000_000

_REMEDY = "pull another revision, or ask its publisher"
_COUNTED = {"prompts": "prompts", "preferences": "pairs", "rejects": "rejects"}
"""Table -> the field of the manifest's counts with the number of its rows."""
_NAME = re.compile(
    rf"({'|'.join(TABLES)})/iter_([1-9]\d{{0,8}})(?:\.r([1-9]\d{{0,8}}))?(?:-(\d{{5}})-of-(\d{{5}}))?\.parquet"
)

Manifests = Mapping[tuple[int, int], Manifest]
"""(iteration, revision) -> manifest."""


def manifest_name(number: int, revision: int) -> str:
    """The path of a manifest in the repo and in the folder."""
    return f"manifests/{stem_of(number, revision)}.json"


def read_claims(repo: str, path: Path, number: int, revision: int) -> Manifest:
    """The manifest in `path`. Raise DataError if it cannot be the manifest of that iteration's revision."""
    name = f"{manifest_name(number, revision)} of {repo}"
    manifest = refuse_newer(parse_manifest(path.read_bytes(), name, _REMEDY), Path(name))
    _refuse(name, _contradictions(manifest, number, revision))
    return manifest


def refuse_unrelated(repo: str, manifests: Manifests) -> None:
    """Raise DataError if manifests contradict one another, in the chain back to iteration 1 or in shared files."""
    known: dict[str, FileEntry] = {}
    for (number, revision), manifest in manifests.items():
        name = f"{manifest_name(number, revision)} of {repo}"
        _refuse(name, _broken_chain(manifest, manifests))
        for file, entry in manifest.files.items():
            if known.setdefault(file, entry) != entry:
                _refuse(name, iter([f"it says something else of {file} than another manifest"]))


def refuse_other_sizes(repo: str, found: Snapshot, files: Mapping[str, FileEntry]) -> None:
    """Raise DataError if the repo lacks a file, or a file there differs from what the manifests say."""
    for name, entry in files.items():
        if name not in found.files:
            raise DataError(f"{repo} has no {name}, which its manifest names: {_REMEDY}")
        if found.sizes[name] != entry.bytes or (len(found.files[name]) == 64 and found.files[name] != entry.sha256):
            raise DataError(
                f"{name} of {repo} is not the file that its manifest names, by size or SHA-256 "
                f"({found.sizes[name]} bytes there, {entry.bytes} in the manifest), so nothing was put into the "
                f"folder: {_REMEDY}"
            )


def refuse_too_large(repo: str, files: Mapping[str, FileEntry], max_gb: float) -> None:
    """Raise HubError if a download would take more than the limit, according to the manifests."""
    claimed = claimed_bytes(files)
    if claimed > max_gb * GB:
        raise HubError(
            f"{repo} would take {claimed / GB:,.1f} GB here, and the limit is {max_gb:g} GB: if you want that much, "
            "pull with a higher `--max-gb`"
        )


def claimed_bytes(files: Mapping[str, FileEntry]) -> int:
    """What files take according to their sizes and rows."""
    return sum(max(entry.bytes, entry.rows * ROW_BYTES) for entry in files.values())


def refuse_damaged(repo: str, path: Path, name: str, entry: FileEntry) -> None:
    """Raise DataError if a downloaded table differs from its manifest in bytes, rows or columns."""
    told = f"{name} of {repo}"
    end = "so nothing was put into the folder: pull again, and if that does not help, another revision"
    if path.stat().st_size != entry.bytes or sha256(path) != entry.sha256:
        path.unlink()
        raise DataError(f"{told} is not the file that its manifest names, by SHA-256, {end}")
    try:
        rows = pq.read_metadata(path).num_rows
        read_table(pl.scan_parquet(path, glob=False), name.partition("/")[0], told)
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
        reason = visible(" ".join(str(error).split()), longest=200)
        raise DataError(f"{told} is no parquet file of eva-data ({reason}), {end}") from None
    if rows != entry.rows:
        raise DataError(f"{told} has {rows} rows, and its manifest claims {entry.rows}, {end}")


def _refuse(name: str, contradictions: Iterator[str]) -> None:
    found = next(contradictions, None)
    if found is not None:
        raise DataError(f"{name} cannot be true ({visible(found, longest=500)}): {_REMEDY}")


def _contradictions(manifest: Manifest, number: int, revision: int) -> Iterator[str]:
    """Statements of a manifest that cannot be true, by the manifest alone."""
    if (manifest.iteration, manifest.revision) != (number, revision):
        yield f"it is of iteration {manifest.iteration} r{manifest.revision}, by its name of {number} r{revision}"
    if manifest.theta not in (None, number - 1):
        yield f"theta_{manifest.theta} cannot have answered in iteration {number}"
    if (manifest.previous is None) != (number == 1):
        yield f"`previous` is {'missing' if number > 1 else 'given'} in iteration {number}"
    if any(min(flow.rows_in, flow.rows_out, flow.rejected, flow.set_aside) < 0 for flow in manifest.flow):
        yield "a stage of its flow has fewer than no rows"
    yield from _impossible_files(manifest, number, revision)
    rows = {
        table: sum(e.rows for name, e in manifest.files.items() if name.startswith(f"{table}/")) for table in TABLES
    }
    for table, field in _COUNTED.items():
        counted = getattr(manifest.counts, field)
        if rows[table] != counted:
            yield f"it counts {counted} {field}, and its files of {table} have {rows[table]} rows"
    try:
        recorded = config_of(manifest)
    except ConfigError as error:
        yield f"its settings are not valid: {error}"
        return
    name = manifest.config.get("name")
    if other := _unlike(manifest.config, recorded.identity() | {"name": name}):
        yield f"its settings are not as eva-data writes them, at `{other}`"


def _impossible_files(manifest: Manifest, number: int, revision: int) -> Iterator[str]:
    """Files of a manifest that no iteration has. The names matter, because they become paths here."""
    shards: dict[str, list[str]] = {}
    for name, entry in manifest.files.items():
        match = _NAME.fullmatch(name)
        if match is None or int(match[2]) != number or int(match[3] or 0) > revision:
            yield f"it names a file that no such iteration has, {name!r}"
            return
        if entry.rows == 0 or entry.bytes == 0:
            yield f"it names {name} with {entry.rows} rows in {entry.bytes} bytes, and an empty table has no file"
        shards.setdefault(match[1], []).append(match[4] or "")
        if match[4] and int(match[4]) > int(match[5]):
            yield f"{name} is beyond the last of its parts"
    for table, parts in shards.items():
        of = {match[5] for name in manifest.files if (match := _NAME.fullmatch(name)) and match[1] == table}
        whole = [f"{place:05}" for place in range(1, len(parts) + 1)]
        if parts != [""] and (sorted(parts) != whole or of != {f"{len(parts):05}"}):
            yield f"its parts of {table} are not one whole table"


def _broken_chain(manifest: Manifest, manifests: Manifests) -> Iterator[str]:
    """How an iteration was not made from the published iteration before it."""
    if manifest.previous is None:
        return
    before = manifests.get((manifest.iteration - 1, manifest.previous.revision))
    if before is None:
        yield f"it was made from iteration {manifest.iteration - 1} r{manifest.previous.revision}, which is not here"
    elif before.files != manifest.previous.files or settings_hash(before) != manifest.previous.settings_hash:
        yield f"it was made from another iteration {manifest.iteration - 1} than the published one"


def _unlike(given: Any, expected: Any, key: str = "") -> str | None:
    """The first key at which recorded settings differ from what eva-data would have recorded; None if there is none."""
    if not isinstance(expected, dict):
        if isinstance(expected, list) and isinstance(given, list) and len(given) == len(expected):
            pairs = enumerate(zip(given, expected, strict=True))
            return next((found for n, (g, e) in pairs if (found := _unlike(g, e, f"{key}.{n}"))), None)
        return None if (type(given) is type(expected) and given == expected) or _same_number(given, expected) else key
    if not isinstance(given, dict):
        return key
    renamed = {new for names in RENAMED.values() for new in names.values()}
    for name, value in expected.items():
        place = f"{key}.{name}".lstrip(".")
        if name not in given and name in renamed:
            continue
        if name not in given:
            return place
        if found := _unlike(given[name], value, place):
            return found
    return None


def _same_number(given: Any, expected: Any) -> bool:
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (given, expected))
    return numbers and bool(given == expected)
