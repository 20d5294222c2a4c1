"""Reads what the real Xet client wrote to a folder, which is the store of the Hub's stand-in."""

from __future__ import annotations

import struct
import time
from pathlib import Path


def xet_files(cas: Path) -> dict[str, bytes]:
    """SHA-256 -> content of every file in a store that Xet clients wrote. Xet itself puts the files together."""
    import hf_xet

    url, files = f"local://{cas}", {}
    known = {oid: file for path in cas.glob("xet/xorbs/shards/*.mdb") for oid, file in xet_shard(path).items()}
    for oid, (key, size) in known.items():
        place = cas.parent / "whole" / oid
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            expires = int(time.time()) + 3600
            group = hf_xet.XetSession().new_file_download_group(
                endpoint=url, token="xet", token_expiry_unix_secs=expires
            )
            with group:
                group.start_download_file(hf_xet.XetFileInfo(key, size), str(place))
        files[oid] = place.read_bytes()
    return files


def xet_shard(path: Path) -> dict[str, tuple[str, int]]:
    """SHA-256 -> (Xet's hash, size) of the files in a shard, which lists them after a header of 48 bytes."""
    data, at, found = path.read_bytes(), 48, {}

    def hexadecimal(start: int) -> str:
        return "".join(f"{word:016x}" for word in struct.unpack_from("<4Q", data, start))

    while data[at : at + 32] != b"\xff" * 32:
        key, (flags, count) = hexadecimal(at), struct.unpack_from("<II", data, at + 32)
        segments = at + 48
        size = sum(struct.unpack_from("<I", data, segments + 48 * index + 36)[0] for index in range(count))
        at = segments + 48 * count * (2 if flags & 0x80000000 else 1)
        if flags & 0x40000000:
            found[hexadecimal(at)] = (key, size)
            at += 48
    return found
