"""Hashes are remembered by stat. A file is read once, and again after a change. Its times alone are no proof."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_store import make_small_store, small_store

from eva_data.dataset import checked as module
from eva_data.dataset.checked import remembered
from eva_data.errors import DataError
from eva_data.files import sha256


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read for their hash, in order."""
    seen: list[Path] = []

    def reading(path: Path) -> str:
        seen.append(path)
        return sha256(path)

    monkeypatch.setattr(module, "sha256", reading)
    return seen


def settled(path: Path, text: bytes) -> Path:
    """Write a file and wait until its clock has moved on."""
    path.write_bytes(text)
    time.sleep(0.05)
    return path


def asked(memory: Path, file: Path) -> str:
    with remembered(memory) as checked:
        return checked.sha256(file)


def test_a_file_is_read_once_by_all_commands_and_again_when_it_changed(tmp_path: Path, read: list[Path]) -> None:
    memory, file = tmp_path / ".eva" / "checked.json", settled(tmp_path / "table", b"one")
    assert [asked(memory, file) for _ in range(3)] == [sha256(file)] * 3
    assert read == [file]
    before = file.stat()
    # As long as before, and with the times of before, as far as a program can set them.
    settled(file, b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert asked(memory, file) == sha256(file)
    assert read == [file, file]


def test_another_file_under_the_same_name_is_read(tmp_path: Path, read: list[Path]) -> None:
    memory, file = tmp_path / "checked.json", settled(tmp_path / "table", b"one")
    asked(memory, file)
    settled(tmp_path / "other", b"two").replace(file)
    time.sleep(0.05)
    assert asked(memory, file) == sha256(file)
    assert read == [file, file]


def test_what_was_written_a_moment_ago_is_not_remembered(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TICK", 60_000_000_000)
    memory, file = tmp_path / "checked.json", settled(tmp_path / "table", b"one")
    assert [asked(memory, file) for _ in range(2)] == [sha256(file)] * 2
    assert read == [file, file]
    assert not memory.exists()


def test_the_memory_is_its_owners_alone(tmp_path: Path) -> None:
    memory, file = tmp_path / ".eva" / "checked.json", settled(tmp_path / "table", b"one")
    asked(memory, file)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (memory, memory.parent)] == [0o600, 0o700]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"x": 1}', b"\xff\xfe", b'{"x": {"stat": [1], "sha256": "0"}}']
)
def test_a_damaged_memory_is_no_memory(tmp_path: Path, read: list[Path], content: bytes) -> None:
    memory, file = tmp_path / "checked.json", settled(tmp_path / "table", b"one")
    memory.write_bytes(content)
    assert [asked(memory, file) for _ in range(2)] == [sha256(file)] * 2
    assert read == [file]


def test_a_folder_that_cannot_be_written_is_checked_each_time(tmp_path: Path, read: list[Path]) -> None:
    file = settled(tmp_path / "table", b"one")
    (tmp_path / "state").write_text("a file where a folder should be")
    assert [asked(tmp_path / "state" / "checked.json", file) for _ in range(2)] == [sha256(file)] * 2
    assert read == [file, file]


def test_a_build_fills_the_memory_and_reading_its_tables_reads_none_for_its_hash(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tables of this test take no time to write, which those that are worth remembering do.
    monkeypatch.setattr(module, "_TICK", -1_000_000_000)
    store = make_small_store(tmp_path / "small")
    written = [store.folder / name for iteration in (1, 2) for name in store.manifest(iteration).files]
    assert sorted(read) == sorted(written)
    for iteration in (1, 2):
        store.refuse_changed(iteration)
        assert store.changed_files(iteration) == []
    assert len(read) == len(written)
    assert store.changed_files(2, afresh=True) == []


Damage = Callable[[Path], object]


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flipped, "is not the file that iteration 2 was built with, by its SHA-256"),
        (lambda path: path.write_bytes(b""), "is not the file that iteration 2 was built with, by its SHA-256"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "is not the file that iteration 2 was built with"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "is not the file that iteration 2 was built with"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read (Is a directory)"),
    ],
)
def test_a_damaged_table_is_one_sentence_with_the_way_out(tmp_path: Path, damage: Damage, said: str) -> None:
    store = small_store(tmp_path / "small")
    path = store.folder / "preferences" / "iter_2.parquet"
    damage(path)
    with pytest.raises(DataError) as raised:
        store.scan("preferences", 2)
    assert f"the table {path} {said}" in str(raised.value)
    assert str(raised.value).endswith(
        f": restore it, or remove {store.manifest_path(2)} and make it anew with `eva-data build --iter 2`, which "
        "takes finished calls from the ledger"
    )
    assert store.changed_files(2) == ["preferences/iter_2.parquet"]
    store.scan("prompts", 2)


def test_a_table_of_a_revision_is_had_again_by_pulling_the_reviews(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    pairs = store.scan("preferences", 2).collect()
    store.write_revision(2, {"preferences": pairs})
    flipped(store.folder / "preferences" / "iter_2.r1.parquet")
    with pytest.raises(
        DataError, match=r"remove .*iter_2\.r1\.json and make it anew with `eva-data review pull --iter 2`"
    ):
        store.scan("preferences", 2)
    assert store.at(2, 0).scan("preferences", 2).collect().equals(pairs)
