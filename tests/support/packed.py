"""The files of a log as somebody without our reader finds them: archives, numbered shards, the current file."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from pathlib import Path

_SHARD = re.compile(r"(?P<log>.+\.ndjson)(?:\.(?P<number>[1-9]\d*))?(?P<coding>\.gz|\.zst)?")
_ARCHIVE = re.compile(r"(?P<log>.+\.ndjson)\.archive-(?P<ordinal>\d{6,})\.zst")
_CODINGS = ("", ".gz", ".zst")


def unpacked(path: Path) -> bytes:
    """Give the bytes of a file, plain or compressed."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".zst":
        with pa.input_stream(str(path), compression="zstd") as stream:
            return bytes(stream.read())
    return path.read_bytes()


def logs(directory: Path) -> dict[str, list[Path]]:
    """Give the files of each log that are read, in order of position."""
    found: dict[str, dict[tuple[int, int], Path]] = {}
    for path in sorted(directory.iterdir()):
        if match := _ARCHIVE.fullmatch(path.name):
            found.setdefault(match["log"], {})[0, int(match["ordinal"])] = path
        elif match := _SHARD.fullmatch(path.name):
            place = (1, -int(match["number"] or 0))
            known = found.setdefault(match["log"], {}).get(place)
            # Of several with one number the plain one is read, then the one packed by gzip.
            if known is None or _rank(path) < _rank(known):
                found[match["log"]][place] = path
    return {log: [files[place] for place in sorted(files)] for log, files in found.items()}


def _rank(path: Path) -> int:
    return _CODINGS.index(path.suffix if path.suffix in _CODINGS else "")


def content(directory: Path, log: str = "metrics.ndjson") -> bytes:
    """Give everything that is in a log."""
    return b"".join(unpacked(path) for path in logs(directory).get(log, []))
