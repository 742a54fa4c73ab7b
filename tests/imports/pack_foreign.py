"""Packs what `write_foreign.py` wrote into ``tests/golden/foreign``, so that the tests need no other tracker.

python pack_foreign.py KIND FOLDER
"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden" / "foreign"
# Files of a tracker that no import reads, and that tell of the machine.
LEFT_OUT = (".log", ".txt", ".png")


def pack(kind: str, folder: Path) -> None:
    """Write one archive, which depends on the files' names and bytes only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            if path.suffix not in LEFT_OUT:
                entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
                entry.size = path.stat().st_size
                archive.addfile(entry, io.BytesIO(path.read_bytes()))
    GOLDEN.mkdir(parents=True, exist_ok=True)
    (GOLDEN / f"{kind}.tar.gz").write_bytes(gzip.compress(buffer.getvalue(), mtime=0))


if __name__ == "__main__":
    pack(sys.argv[1], Path(sys.argv[2]))
