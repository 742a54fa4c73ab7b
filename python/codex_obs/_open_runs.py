"""The open runs of this process: which is current, which belongs to a directory, and what a fork does to them."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs import _backend

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from codex_obs._run import Run


@dataclass(frozen=True, slots=True)
class _OpenRun:
    run: Run
    pid: int
    resolved: str

    def lies_in(self, resolved: str) -> bool:
        """Whether the run directory is `resolved`, even by another path such as a bind mount's."""
        if self.resolved == resolved:
            return True
        try:
            return Path(self.resolved).samefile(resolved)
        except OSError:
            return False


class _Locks:
    """Locks of the registry. A forked child gets new ones: a thread that held one at the fork does not exist there."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        # Held while a run is opened, files and all, so that two threads that open one directory get one run.
        self.opening = threading.RLock()
        # Held for a few instructions. Reentrant, because a signal handler may close a run.
        self.list = threading.RLock()


def _go_on() -> None:
    """Have the parent deliver on. A thread that forks beside the main one need not wait for that, which may be busy."""
    _backend.resume_after_fork(at_once=threading.current_thread() is not threading.main_thread())


_locks = _Locks()
os.register_at_fork(after_in_parent=_go_on, after_in_child=_locks.renew)

# The last one is current where no context has one of its own. Strong references: a run that only `codex_obs.log` uses
# must stay open.
_open: list[_OpenRun] = []
# The runs that `with run:` has entered in this thread or task, and those that were opened inside; the last one counts.
_entered: ContextVar[tuple[Run, ...]] = ContextVar("codex_obs_runs", default=())


# Called with a run that is about to be closed, by its own process.
_closers: list[Callable[[Run], object]] = []


def before_close(closer: Callable[[Run], object], *, after_fork: Callable[[], object]) -> None:
    """Have something called before a run is closed, and something else in a forked child."""
    _closers.append(closer)
    os.register_at_fork(after_in_child=after_fork)


def tell_of_close(run: Run) -> None:
    """Call what wants to write to a run before it is closed."""
    for closer in _closers:
        closer(run)


def opening() -> AbstractContextManager[object]:
    """Return the lock that keeps others from opening a run meanwhile."""
    return _locks.opening


def add(run: Run, directory: str, *, as_current: bool) -> None:
    """Note a run that was opened. One of the same directory that a fork left behind is not ours any more."""
    entry = _OpenRun(run, os.getpid(), os.path.realpath(directory))
    with _locks.list:
        kept = [other for other in _open if other.pid == entry.pid or not other.lies_in(entry.resolved)]
        _open[:] = [*kept, entry] if as_current else [entry, *kept]
    if as_current:
        _put_on_top_of_entered(run)


def remove(run: Run) -> bool:
    """Forget a run that is being closed. Gives whether it was open, which it is for one caller only."""
    with _locks.list:
        kept = [entry for entry in _open if entry.run is not run]
        was_open = len(kept) < len(_open)
        _open[:] = kept
        return was_open


def make_current(run: Run) -> None:
    """Put an open run on top."""
    with _locks.list:
        _open.sort(key=lambda entry: entry.run is run)
    _put_on_top_of_entered(run)


def enter(run: Run) -> None:
    """Make a run the current one of this thread or task."""
    _entered.set((*_entered_and_open(), run))


def leave(run: Run) -> None:
    """Undo `enter`, also in another context, such as that of a task which closes what another one opened."""
    _entered.set(tuple(other for other in _entered_and_open() if other is not run))


def _put_on_top_of_entered(run: Run) -> None:
    # Inside `with run:` a further `init` is the current run too, but in this thread or task only.
    if entered := _entered_and_open():
        _entered.set((*(other for other in entered if other is not run), run))


def _entered_and_open() -> tuple[Run, ...]:
    entered = _entered.get()
    if not entered:
        return ()
    with _locks.list:
        return tuple(run for run in entered if any(entry.run is run for entry in _open))


def current() -> Run | None:
    """Return the current run: that of this thread or task, else the one opened last that is still open.

    A forked child may have inherited it.
    """
    if entered := _entered_and_open():
        return entered[-1]
    with _locks.list:
        return _open[-1].run if _open else None


def find(directory: str) -> Run | None:
    """Return the run that this process, not a parent, has open in a directory, whatever path leads there."""
    pid, resolved = os.getpid(), os.path.realpath(directory)
    with _locks.list:
        found = [entry.run for entry in _open if entry.pid == pid and entry.lies_in(resolved)]
    # One that logs comes before one that was unpickled and may never do.
    return min(found, key=lambda run: run._is_guest, default=None)  # noqa: SLF001 - of this package


def all_open() -> list[Run]:
    """Return the open runs, the current one first."""
    with _locks.list:
        return [entry.run for entry in reversed(_open)]
