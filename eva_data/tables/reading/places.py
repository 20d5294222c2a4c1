"""Finds the data files at the path that a user wrote: a file, a folder of shards, or a glob."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from eva_data.errors import DataError

FORMATS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "txt",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""The end of a file's name, and how such a file is read."""

COMPRESSED = (".gz", ".bz2", ".xz")
"""Ends that the name of a compressed text file has in addition."""

_TEXT = ("json", "csv", "tsv", "txt")
_ORDER = ("parquet", "arrow", "json", "csv", "tsv", "txt")
_COMPANIONS = (".json", ".txt")
"""Ends of the names of small files that describe the data beside them."""
_GLOB = re.compile(r"[*?\[]")
_SHARD = re.compile(r"^(.+?)[-_.](?:part[-_.]?)?\d+-of-\d+")
_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "test",
}
_WORD = re.compile(r"[^a-z]+")


@dataclass(frozen=True)
class Place:
    """Data files of one format, in the order of their names."""

    files: tuple[Path, ...]
    format: str
    notes: tuple[str, ...] = ()


def format_of(path: PurePath) -> str | None:
    """How a file of this name is read; None if the name does not tell."""
    suffix = path.suffix.lower()
    if suffix in COMPRESSED:
        inner = FORMATS.get(PurePath(path.stem).suffix.lower())
        return inner if inner in _TEXT else None
    return FORMATS.get(suffix)


def place_of(path: Path, key: str, split: str) -> Place:
    """The data files at `path`. `key` is the name of the setting in errors.

    A path that exists is taken as it is, whatever characters it holds; only a path that does not exist is read as a
    glob. Raise DataError if nothing is found, or files of more than one format.
    """
    if path.is_file():
        found = format_of(path)
        if found is None:
            raise DataError(
                f"`{key}` is {path}: expected a file that ends in {', '.join(FORMATS)}, or a text file compressed "
                f"as {', '.join(COMPRESSED)}"
            )
        if path.stat().st_size == 0:
            raise DataError(f"`{key}` is {path}, and the file is empty")
        return Place((path,), found)
    if path.is_dir():
        return _folder(path, key, split)
    matched = _matches(path)
    if not matched:
        what = "file or folder, and as a glob it meets nothing" if _GLOB.search(str(path)) else "file"
        raise DataError(f"`{key}` is {path}, and there is no such {what}: correct the path")
    if len(matched) == 1 and matched[0].is_dir():
        return _folder(matched[0], key, split)
    return _chosen([file for file in matched if file.is_file()], path, key)


def _matches(path: Path) -> list[Path]:
    """The paths that match a glob. The longest leading part that exists literally is not read as a pattern."""
    parts = path.parts
    root = Path()
    while (parts and not _GLOB.search(parts[0])) or (parts and (root / parts[0]).exists()):
        root, parts = root / parts[0], parts[1:]
    if not parts:
        return []
    found = glob.glob(str(Path(*parts)), root_dir=root, recursive=True)
    return sorted(root / name for name in found)


def _folder(folder: Path, key: str, split: str) -> Place:
    if (folder / "dataset_dict.json").is_file():
        splits = _json(folder / "dataset_dict.json", key)["splits"]
        if split not in splits:
            raise DataError(f"`{key}` is {folder}, which has the splits {', '.join(splits)}, and no `{split}`")
        return _folder(folder / split, key, split)
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        files = [folder / entry["filename"] for entry in _json(folder / "state.json", key)["_data_files"]]
        missing = [file.name for file in files if not file.is_file()]
        if missing or not files:
            raise DataError(f"`{key}` is {folder}, a saved dataset that lacks its files {', '.join(missing)}")
        return Place(tuple(files), "arrow")
    files = _visible(folder, folder.iterdir())
    if not any(format_of(file) for file in files):
        files = _visible(folder, folder.rglob("*"))
    labels = {file: _split_of(file.relative_to(folder)) for file in files if format_of(file)}
    known = sorted({label for label in labels.values() if label})
    notes: tuple[str, ...] = ()
    if len(known) > 1:
        if split not in known:
            raise DataError(
                f"`{key}` is {folder}, which has files of the splits {', '.join(known)}, and none of `{split}`: "
                "name one by a glob"
            )
        files = [file for file, label in labels.items() if label == split]
        others = ", ".join(label for label in known if label != split)
        notes = (f"{folder.name}: the files of the split {split} are read, not those of {others}",)
    place = _chosen(files, folder, key)
    parents = sorted({str(file.parent.relative_to(folder)) for file in place.files})
    if len(parents) > 1:
        raise DataError(
            f"`{key}` is {folder}, which has data in its folders {', '.join(parents[:5])}: name one of them, or a glob "
            "where all belong together"
        )
    return Place(place.files, place.format, notes + place.notes)


def _chosen(files: Sequence[Path], path: Path, key: str) -> Place:
    """The data files among `files`, which must have one format; small companions such as a README do not count."""
    by_format: dict[str, list[Path]] = {}
    others = []
    for file in sorted(files):
        found = format_of(file)
        if found is None:
            others.append(file)
        else:
            by_format.setdefault(found, []).append(file)
    if not by_format:
        names = f" among {', '.join(file.name for file in others[:5])}" if others else ""
        raise DataError(f"`{key}` is {path}, and there is no file of data{names}: expected {', '.join(FORMATS)}")
    data = [name for name in _ORDER if name in by_format]
    companions = [name for name in data[1:] if all(file.suffix.lower() in _COMPANIONS for file in by_format[name])]
    kept = [name for name in data if name not in companions]
    if len(kept) > 1:
        raise DataError(
            f"`{key}` is {path}, which holds files of several formats ({', '.join(kept)}): name one by a glob, such as "
            f"{path.name if path.is_dir() else path.parent.name}/*{by_format[kept[0]][0].suffix}"
        )
    chosen = by_format[kept[0]]
    full = [file for file in chosen if file.stat().st_size]
    if not full:
        raise DataError(f"`{key}` is {path}, and its {len(chosen)} files are empty")
    left = [file.name for name in companions for file in by_format[name]] + [f.name for f in chosen if f not in full]
    notes = (f"{path.name}: {', '.join(sorted(left))} left out, {len(full)} files read",) if left else ()
    return Place(tuple(full), kept[0], notes)


def _visible(folder: Path, files: Iterable[Path]) -> list[Path]:
    found = []
    for file in files:
        inner = file.relative_to(folder).parts
        if file.is_file() and not any(part.startswith((".", "_")) for part in inner):
            found.append(file)
    return sorted(found)


def _split_of(path: PurePath) -> str | None:
    """The split that a file belongs to by its name, as the Hub reads names; None if the name holds no split."""
    shard = _SHARD.match(path.name)
    if shard:
        return _SPLITS.get(shard[1], shard[1])
    words = _WORD.split("/".join((*path.parts[:-1], path.name.partition(".")[0])).lower())
    found = {_SPLITS[word] for word in words if word in _SPLITS}
    return found.pop() if len(found) == 1 else None


def _json(path: Path, key: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"`{key}`: {path} is not JSON ({error}): save the dataset again") from None
    return value
