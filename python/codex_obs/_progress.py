"""How far a long read has come: one line on a terminal that is gone when the work ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self, TextIO

from codex_obs import _config

if TYPE_CHECKING:
    from types import TracebackType

# Work that is done by then shows nothing.
_FIRST_AFTER_S = 0.5
_EVERY_S = 0.2

_GIGABYTE = 1_000_000_000
_MEGABYTE = 1_000_000

_ERASE_LINE = "\r\x1b[K"


class Progress:
    """A line such as ``Reading: 43 % of 10.4 GB`` that is rewritten in place.

    Nothing is written to a stream that is no terminal, nor to one that cannot erase a line (``TERM=dumb``).

    Args:
        stream: Where to write, usually standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_shown = stream.isatty() and _config.terminal_can_erase()
        self._next_s = time.monotonic() + _FIRST_AFTER_S
        self._is_written = False

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """Show how far the work has come, unless that was done a moment ago."""
        now_s = time.monotonic()
        if not self.is_shown or now_s < self._next_s:
            return
        self._next_s = now_s + _EVERY_S
        percent = 100 * done_bytes // max(total_bytes, 1)
        size = f"{total_bytes / _GIGABYTE:.1f} GB" if total_bytes >= _GIGABYTE else f"{total_bytes / _MEGABYTE:.0f} MB"
        self._stream.write(f"{_ERASE_LINE}Reading: {percent} % of {size}")
        self._stream.flush()
        self._is_written = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_written:
            self._stream.write(_ERASE_LINE)
            self._stream.flush()
