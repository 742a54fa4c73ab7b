"""Rows whose values their device has not computed yet: a thread logs each as soon as its value exists.

The engine keeps the rows, in the order of the calls for each metric, with the step and time of their call. The next
call of `log` takes those that are ready along, so in a training loop the thread finds little to do. It asks; it never
blocks inside a framework, so it can be ended at any time, and between two questions it does not hold the interpreter.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING
from weakref import WeakSet

from codex_obs import _backend

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_obs._run import Run

MOST_ROWS = 4096
# How long `flush`, `close` and readers wait that have no timeout of their own.
PATIENCE_S = 2.0
# Pauses between two questions, each half as long again as the one before. A row whose value has just come to exist
# waits for the longest, and a kill meanwhile costs it.
_FIRST_PAUSE_S = 0.000_25
_LAST_PAUSE_S = 0.002
# What is left of a timeout for the files.
_RESERVE = 0.1
_JOIN_S = 0.2
_TURN = "turn"


class Waiter:
    """What waits for the rows of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._renew()

    def _renew(self) -> None:
        # The thread that asks and logs, under the one key there is: no signal falls between taking the turn and knowing
        # whose it is. Nobody waits for it: who does not get it looks again a moment later.
        self._turn: dict[str, int] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_over = False

    def forget(self) -> None:
        """Let go of the rows, in a forked child: they are its parent's."""
        _backend.drop_deferred(self._run, as_parents=True)
        self._renew()

    def take_care(self) -> None:
        """See to it that rows are logged that have just begun to wait, and that they do not become too many."""
        if self._is_over:
            # The process is ending: nobody would log them later.
            for metric in _backend.deferred_metrics(self._run):
                _backend.log_deferred(self._run, metric, at_once=True)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="codex-obs-deferred", daemon=True)
            self._thread.start()
        self._wake.set()
        if _backend.deferred_rows(self._run) > MOST_ROWS:
            self._wait(lambda: _backend.deferred_rows(self._run) <= MOST_ROWS, None)

    def let_pass(self, metrics: list[tuple[str, str]]) -> None:
        """Log what is ready. If rows of these metrics are not, wait for them: others are about to follow."""
        self._ask(thorough=False)
        waiting = set(_backend.deferred_metrics(self._run))
        if waiting.intersection(metrics):
            self._wait(lambda: not set(_backend.deferred_metrics(self._run)).intersection(metrics), None)

    def wait(self, timeout: float | None) -> bool:
        """Wait until no row waits any more, and say how many do at the end of the wait."""
        deadline = time.monotonic() + (PATIENCE_S if timeout is None else timeout)
        done = self._wait(lambda: not _backend.deferred_rows(self._run), deadline)
        if not done:
            count = _backend.deferred_rows(self._run)
            words = "1 row waits for its value" if count == 1 else f"{count} rows wait for their values"
            _backend.emit_warnings([f"run {self._run.name}: {words}: the device has not finished"])
        return done

    def end(self, timeout: float | None) -> None:
        """Log what comes to exist in the time there is. The rest is dropped, counted and put on record."""
        if self._is_over:
            return
        patience = PATIENCE_S if timeout is None else timeout * (1 - _RESERVE)
        self._wait(lambda: not _backend.deferred_rows(self._run), time.monotonic() + patience)
        self._is_over = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_S)
        count = _backend.drop_deferred(self._run)
        if count:
            words = "1 row is dropped: its value" if count == 1 else f"{count} rows are dropped: their values"
            _backend.emit_warnings(
                [f"run {self._run.name}: {words} did not exist yet; give close() more time if the device needs it"]
            )

    def _wait(self, is_done: Callable[[], bool], deadline: float | None) -> bool:
        pause = _FIRST_PAUSE_S
        while not is_done():
            if deadline is not None and time.monotonic() >= deadline:
                return False
            if self._turn.get(_TURN) == threading.get_ident():
                # A value that logs while it is read, or a signal's handler: what it would wait for is below it.
                return False
            if self._ask(thorough=True):
                pause = _FIRST_PAUSE_S
                continue
            time.sleep(pause)
            pause = min(pause * 1.5, _LAST_PAUSE_S)
        return True

    def _ask(self, *, thorough: bool) -> int:
        """Log the rows that are ready, of all metrics or up to the first that has to wait. Give their number."""
        me, turn, done = threading.get_ident(), self._turn, 0
        if turn.get(_TURN) == me:
            return 0
        try:
            if turn.setdefault(_TURN, me) != me:
                return 0
            for metric in _backend.deferred_metrics(self._run):
                logged = _backend.log_deferred(self._run, metric)
                done += logged
                if not logged and not thorough:
                    break
        finally:
            if turn.get(_TURN) == me:
                del turn[_TURN]
        return done

    def _work(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._is_over:
            self._wake.clear()
            if not _backend.deferred_rows(self._run):
                self._wake.wait()
                pause = _FIRST_PAUSE_S
                continue
            pause = _FIRST_PAUSE_S if self._ask(thorough=True) else min(pause * 1.5, _LAST_PAUSE_S)
            time.sleep(pause)


class _Waiters:
    """Those of this process."""

    def __init__(self) -> None:
        self.known: WeakSet[Waiter] = WeakSet()
        self.pid: int | None = None

    def of(self, run: Run) -> Waiter:
        """Make the one of a run."""
        if self.pid is None:
            os.register_at_fork(after_in_child=self.forget)
        self.pid = os.getpid()
        waiter = Waiter(run)
        self.known.add(waiter)
        return waiter

    def forget(self) -> None:
        """In a forked child: every row that waits is the parent's."""
        for waiter in list(self.known):
            waiter.forget()


_waiters = _Waiters()


def deferred(run: Run) -> None:
    """Have rows looked after that have just begun to wait for their values."""
    if run._waiter is None:  # noqa: SLF001 - of this package
        run._waiter = _waiters.of(run)  # noqa: SLF001 - as above
    run._waiter.take_care()  # noqa: SLF001 - as above


def before_rows(run: Run, metrics: list[tuple[str, str]]) -> None:
    """Have rows go first that wait for the values of metrics of which further rows are about to be logged."""
    if run._waiter is not None:  # noqa: SLF001 - of this package
        run._waiter.let_pass(metrics)  # noqa: SLF001 - as above


def await_deferred(run: Run, timeout: float | None = None) -> bool:
    """Wait for the values of rows. Give whether all of them exist."""
    return run._waiter is None or run._waiter.wait(timeout)  # noqa: SLF001 - of this package
