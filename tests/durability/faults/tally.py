"""What a process had accepted, counted in memory that outlives it."""

from __future__ import annotations

import mmap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import codex_obs

WORDS = 16
ACCEPTED, LONGEST_NS, STATE, FLUSHED = range(4)
LONGEST_LOOK_S = 0.1
_never = threading.Event()


class Tally:
    """Sixteen numbers shared by a test and the process that it torments.

    Every change is one aligned store of eight bytes: `struct.pack_into` would write zeros first, and a process killed
    between would seem to have accepted nothing.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        if not path.exists():
            path.write_bytes(bytes(WORDS * 8))
        self.path = path
        with path.open("r+b") as file:
            self._words = memoryview(mmap.mmap(file.fileno(), WORDS * 8)).cast("q")

    def __getitem__(self, word: int) -> int:
        return self._words[word]

    def __setitem__(self, word: int, value: int) -> None:
        self._words[word] = value

    def log(self, run: codex_obs.Run, metrics: Mapping[str, object], step: int) -> None:
        """Log, and count the call as accepted once it has returned."""
        words = self._words
        begun = time.perf_counter_ns()
        run.log(metrics, step=step)
        took = time.perf_counter_ns() - begun
        words[ACCEPTED] = step + 1
        words[LONGEST_NS] = max(words[LONGEST_NS], took)

    def longest_log_s(self) -> float:
        """Return the longest time that a call of `log` took."""
        return self[LONGEST_NS] / 1e9


def wait_until(condition: Callable[[], bool], deadline_s: float, what: str) -> float:
    """Look again and again until something is so. Gives the seconds it took.

    Time in which this process was stopped or had no core does not bring the deadline nearer: others had none either.
    """
    begun = looked = time.monotonic()
    waited_s = 0.0
    while not condition():
        assert waited_s < deadline_s, f"{what}: not within {deadline_s:g} s"
        _never.wait(0.001)
        now = time.monotonic()
        waited_s += min(now - looked, LONGEST_LOOK_S)
        looked = now
    return time.monotonic() - begun
