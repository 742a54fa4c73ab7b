"""Which numbers a tracker took, one byte for each in memory that outlives the process that logs them."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# The first number of a forked child's, times its place.
CHILD = 40_000
NUMBERS = CHILD * 50
LOG_ON, END = 0, 1
_RETURNED, _RAISED = 1, 2
_HEADER = 16


class Marks:
    """A command to the process, the longest of its calls, and what became of every number."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_HEADER + NUMBERS))
        with path.open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), _HEADER + NUMBERS)
        self._words = memoryview(self._bytes)[:_HEADER].cast("q")

    @property
    def command(self) -> int:
        """What the process is to do."""
        return self._words[0]

    @command.setter
    def command(self, command: int) -> None:
        self._words[0] = command

    def accepted(self, number: int, took_ns: int) -> None:
        """Note that the call with this number has returned."""
        self._words[1] = max(self._words[1], took_ns)
        self._mark(number, _RETURNED)

    def raised(self, number: int) -> None:
        """Note that the call with this number has raised something."""
        self._mark(number, _RAISED)

    def _mark(self, number: int, mark: int) -> None:
        if number >= NUMBERS:
            raise SystemExit("more numbers than there are marks")
        self._bytes[_HEADER + number] = mark

    def longest_call_s(self) -> float:
        """Give the longest time that a call took."""
        return self._words[1] / 1e9

    def numbers(self) -> set[int]:
        """Give the numbers whose calls returned."""
        return {at for at, mark in enumerate(self._bytes[_HEADER:]) if mark == _RETURNED}

    def count(self) -> int:
        """Count the calls that have ended in any way."""
        return NUMBERS - self._bytes[_HEADER:].count(0)

    def count_raised(self) -> int:
        """Count the calls that raised something."""
        return self._bytes[_HEADER:].count(_RAISED)
