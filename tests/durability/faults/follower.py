"""Whoever follows files as `tail -F` does: reads what is appended, and notices when one gets shorter."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOOK_S = 0.001


class Follower:
    """Reads every file of a pattern as it grows, each by its inode, whatever it is called by then."""

    def __init__(self, directory: Path, pattern: str) -> None:
        self.read: dict[int, bytearray] = {}
        self.shrunk: list[str] = []
        self._directory, self._pattern = directory, pattern
        # Kept open: an inode that is followed is not given to another file.
        self._open: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def end(self) -> list[bytes]:
        """Read the rest; give every line that was ever read."""
        self._ended.set()
        self._thread.join()
        self._look()
        for descriptor in self._open.values():
            os.close(descriptor)
        return [line for text in self.read.values() for line in bytes(text).splitlines(keepends=True)]

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        for path in self._directory.glob(self._pattern):
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            inode = os.fstat(descriptor).st_ino
            if inode in self._open:
                os.close(descriptor)
            else:
                self._open[inode] = descriptor
                self.read[inode] = bytearray()
        for inode, descriptor in self._open.items():
            self._take(descriptor, self.read[inode])

    def _take(self, descriptor: int, text: bytearray) -> None:
        length = os.fstat(descriptor).st_size
        if length < len(text):
            self.shrunk.append(f"from {len(text)} to {length} bytes, behind {bytes(text[-80:])!r}")
            del text[length:]
        while piece := os.pread(descriptor, 1 << 20, len(text)):
            text += piece
