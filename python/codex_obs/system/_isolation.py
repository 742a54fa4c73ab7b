"""Calls that may hang, such as those of a driver: made by a thread that is left behind if one does."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Longest wait for an answer. The driver answers within a millisecond as a rule; a sample is not to be late for it.
PATIENCE_S: Final = 0.5
# After this long a call is given up.
GIVE_UP_S: Final = 10.0
# What failed is tried again after this long.
RETRY_S: Final = 60.0
# A thread that hangs in a driver cannot be ended; so many are left behind at most until one of them comes back.
_MAX_LEFT: Final = 4


class NoAnswerError(Exception):
    """There is no answer in time; the text says for how long."""


class _Call(Generic[T]):
    """One call, and what came of it."""

    def __init__(self, begun_s: float) -> None:
        self.begun_s = begun_s
        self.ended_s = 0.0
        self.done = threading.Event()
        self.answer: T
        self.error: Exception | None = None


class Isolated(Generic[T]):
    """A function that is called by a thread of its own, which makes it.

    Nobody waits for a call that was begun earlier: what answers late answers the next time, and is asked again at once
    for the time after that. A call that has no answer after `give_up_s` is left behind with its thread, and after
    `retry_s` another thread tries again.

    Args:
        make: Makes what is called, once for each thread: two threads never share one.
        name: Name of the thread.
        patience_s: Longest wait for an answer.
        give_up_s: When a call is given up.
        retry_s: How long nothing is tried after that.
    """

    def __init__(
        self,
        make: Callable[[], Callable[[], T]],
        *,
        name: str,
        patience_s: float = PATIENCE_S,
        give_up_s: float = GIVE_UP_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._make = make
        self._name = name
        self._patience_s, self._give_up_s, self._retry_s = patience_s, give_up_s, retry_s
        self._thread: threading.Thread | None = None
        self._calls: SimpleQueue[_Call[T] | None] = SimpleQueue()
        self._call: _Call[T] | None = None
        self._left: list[threading.Thread] = []
        self._resume_s = 0.0

    def ask(self) -> T:
        """Give the function's answer, or the one to the call that was still under way.

        Raises:
            NoAnswerError: If there is none in time.
            Exception: What the function raised.
        """
        now_s = time.monotonic()
        call = self._call
        if call is None:
            call = self._begin(now_s)
            call.done.wait(self._patience_s)
        if not call.done.is_set():
            waited_s = time.monotonic() - call.begun_s
            if waited_s >= self._give_up_s:
                self._leave_behind(now_s)
            raise NoAnswerError(f"no answer for {waited_s:.1f} s")
        is_slow = call.ended_s - call.begun_s > self._patience_s
        self._call = self._begin(now_s) if is_slow else None
        if call.error is not None:
            raise call.error
        return call.answer

    def close(self) -> None:
        """Let the thread end, after what it is doing."""
        self._calls.put(None)
        self._thread = None

    def _begin(self, now_s: float) -> _Call[T]:
        self._left = [thread for thread in self._left if thread.is_alive()]
        if now_s < self._resume_s or len(self._left) >= _MAX_LEFT:
            raise NoAnswerError("given up, and tried again every minute")
        if self._thread is None or not self._thread.is_alive():
            self._calls = SimpleQueue()
            self._thread = threading.Thread(target=self._serve, args=(self._calls,), name=self._name, daemon=True)
            self._thread.start()
        self._call = _Call(now_s)
        self._calls.put(self._call)
        return self._call

    def _leave_behind(self, now_s: float) -> None:
        self._calls.put(None)
        if self._thread is not None:
            self._left.append(self._thread)
        self._thread = self._call = None
        self._resume_s = now_s + self._retry_s

    def _serve(self, calls: SimpleQueue[_Call[T] | None]) -> None:
        function: Callable[[], T] | None = None
        while (call := calls.get()) is not None:
            try:
                function = function or self._make()
                call.answer = function()
            except Exception as error:  # noqa: BLE001 - a driver's or a plugin's, for the caller of `ask`
                call.error = error
            call.ended_s = time.monotonic()
            call.done.set()
