"""What the trainer's user should hear while the run is open."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress

# About the same thing there is a word once in this time.
_AGAIN_S = 60.0
# Beyond so many, what goes wrong is in the tracking summary alone.
_MOST = 100


class Warnings:
    """Words that the trainer takes out of the sidecar's state. Threads may call it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, tuple[str, float]] = {}
        self._said: list[str] = []

    def say(self, about: str, words: str) -> None:
        """Say something, unless it was said, or something else about the same thing a moment ago.

        Args:
            about: What it is about.
            words: The words.
        """
        now = time.monotonic()
        with self._lock:
            last, then = self._last.get(about, ("", -_AGAIN_S))
            if words == last or now - then < _AGAIN_S or len(self._said) >= _MOST:
                return
            self._last[about] = words, now
            self._said.append(words)
        # The file that it goes to may be on a disk that is full.
        with suppress(OSError):
            sys.stderr.write(f"{words}\n")

    @property
    def said(self) -> tuple[str, ...]:
        """What was said."""
        with self._lock:
            return tuple(self._said)
