"""The end of the process: open runs are closed, in every kind of process that still runs Python then.

No hook and no signal is taken from anyone. `atexit` covers a plain interpreter. A worker of `multiprocessing` ends by
`os._exit` and skips `atexit` (Python 3.11 and 3.12), but runs the finalizers of `multiprocessing.util`. A worker
forgets those that were registered before its own code begins; they are registered again then. What ends without running
Python has its rows in the journal.

Other handlers run after ours, and daemon threads run on beside them. So a run is finished here, with everything written
out, and still accepts rows. The engine closes it when Python is gone. Where that never happens, as in a worker of
`multiprocessing`, the journal keeps them for the next reader.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import TYPE_CHECKING

from codex_obs import _backend, _open_runs

if TYPE_CHECKING:
    from codex_obs.types import Status

DEADLINE_S = 5.0  # what `close` waits too; a trainer that hangs at its end is worse than rows left to the journal
_FINALIZER_PRIORITY = -100  # after the finalizers of queues and pools, whose owners may log while they end


class _Exit:
    """What was arranged, and the exceptions that were there before any run."""

    def __init__(self) -> None:
        self.registered = False
        self.finalizer_pid: int | None = None
        self.forks_prepared = False
        self.earlier_error: BaseException | None = None

    def arrange(self) -> None:
        """See to it that open runs are closed at the end of this process."""
        if not self.registered:
            self.registered = True
            self.earlier_error = _last_error()
            atexit.register(close_open_runs)
            os.register_at_fork(before=self.prepare_child)
        self.prepare_child()
        if self.finalizer_pid != os.getpid():
            self.add_finalizer()

    def prepare_child(self) -> None:
        """Have `multiprocessing`, if it is in use, call `add_finalizer` where it forgets its finalizers."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None and not self.forks_prepared:
            self.forks_prepared = True
            util.register_after_fork(self, _Exit.add_finalizer)

    def add_finalizer(self) -> None:
        """Arrange it in a process that `multiprocessing`, if it is in use, may end."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            self.finalizer_pid = os.getpid()
            util.Finalize(None, close_open_runs, exitpriority=_FINALIZER_PRIORITY)


_exit = _Exit()
arrange = _exit.arrange


def close_open_runs() -> None:
    """Finish every open run within one deadline. An exception that ends the program makes them failed or killed."""
    _backend.begin_end()
    status = status_of(_ending_error())
    deadline = time.monotonic() + DEADLINE_S
    for run in _open_runs.all_open():
        run._finish_with_process(status, max(deadline - time.monotonic(), 0.0))  # noqa: SLF001 - the one who may


def status_of(error: BaseException | None) -> Status:
    """Return the status of a session that ends by `error`."""
    if error is None or isinstance(error, GeneratorExit) or _is_pruned(error):
        return "finished"
    if isinstance(error, SystemExit):
        return "finished" if error.code is None or error.code == 0 else "killed"
    return "failed" if isinstance(error, Exception | BaseExceptionGroup) else "killed"


def _is_pruned(error: BaseException) -> bool:
    """Whether it is Optuna's way to say that a trial need not go on, which is no failure."""
    pruned = getattr(sys.modules.get("optuna.exceptions"), "TrialPruned", None)
    return pruned is not None and isinstance(error, pruned)


def _ending_error() -> BaseException | None:
    # A worker of multiprocessing runs its finalizers while its exception is on the way, up to Python 3.12.
    error = sys.exception()
    if error is not None:
        return error
    # A console continues after an exception, so its last one says nothing about the end.
    if hasattr(sys, "ps1"):
        return None
    # A SystemExit is cleared before exit handlers run, and only the C library hears of its code, once Python has ended.
    # A `with` block sees it; to see it here, `sys.exit` would have to be replaced for everyone.
    error = _last_error()
    return None if error is _exit.earlier_error else error


def _last_error() -> BaseException | None:
    # The exception that the interpreter is ending with. It is kept there before exit handlers run.
    error = getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) else None
