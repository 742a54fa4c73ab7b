"""How far a long read has come: one line on a terminal that is gone when the work ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self, TextIO

from codex_obs._settings import environment

if TYPE_CHECKING:
    from types import TracebackType

# Work that is done by then shows nothing.
_FIRST_AFTER_S = 0.5
_EVERY_S = 0.2

_GIGABYTE = 1_000_000_000
_MEGABYTE = 1_000_000

_ERASE_LINE = "\r\x1b[K"


class Line:
    """A line that is rewritten in place.

    Nothing is written to a stream that is no terminal, nor to one that cannot erase a line (``TERM=dumb``).

    Args:
        stream: Where to write, usually standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_shown = stream.isatty() and environment.terminal_can_erase()
        self._next_s = time.monotonic() + _FIRST_AFTER_S
        self._is_written = False

    def is_due(self) -> bool:
        """Return whether it is shown at all, and was not rewritten a moment ago."""
        return self.is_shown and time.monotonic() >= self._next_s

    def show(self, words: str) -> None:
        """Put other words in the place of those that stand there."""
        self._next_s = time.monotonic() + _EVERY_S
        self._stream.write(f"{_ERASE_LINE}{words}")
        self._stream.flush()
        self._is_written = True

    def erase(self) -> None:
        """Make room for something else."""
        if self._is_written:
            self._stream.write(_ERASE_LINE)
            self._stream.flush()
            self._is_written = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.erase()


class Progress(Line):
    """A line such as ``Reading: 43 % of 10.4 GB``."""

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """Show how far the work has come, unless that was done a moment ago."""
        if self.is_due():
            self.show(f"Reading: {share(done_bytes, total_bytes)}")


def share(done_bytes: int, total_bytes: int) -> str:
    """Say how much of how much is done, such as ``43 % of 10.4 GB``."""
    percent = 100 * done_bytes // max(total_bytes, 1)
    if total_bytes >= _GIGABYTE:
        return f"{percent} % of {total_bytes / _GIGABYTE:.1f} GB"
    return f"{percent} % of {total_bytes / _MEGABYTE:.0f} MB"
