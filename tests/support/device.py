"""A device that computes when a test says so."""

from __future__ import annotations

import threading


class Value:
    """A number that exists once it was finished. Whoever reads it earlier waits for it, as JAX lets them wait."""

    def __init__(self, number: float, error: Exception | None = None, *, is_ready: bool = False) -> None:
        self._number = number
        self._error = error
        self._finished = threading.Event()
        self.times_asked = 0
        if is_ready:
            self.finish()

    def finish(self) -> None:
        self._finished.set()

    @property
    def exists(self) -> bool:
        return self._finished.is_set()

    def is_ready(self) -> bool:
        self.times_asked += 1
        return self.exists

    def __float__(self) -> float:
        self._finished.wait()
        if self._error is not None:
            raise self._error
        return float(self._number)
