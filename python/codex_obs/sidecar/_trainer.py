"""The trainer's process, as the sidecar sees it."""

from __future__ import annotations

import os
import select
from pathlib import Path


class Trainer:
    """The trainer's process."""

    def __init__(self, pid: int, started: int | None) -> None:
        self._poll: select.poll | None = select.poll()
        try:
            # Never closed: as long as this process.
            self._poll.register(os.pidfd_open(pid), select.POLLIN)
        except OSError:
            # Of another PID namespace, or on an old kernel: the lock on its stream tells.
            self._poll = None
            self._is_gone = started is not None and started_at(pid) is None
            return
        # Another process may have its number by now.
        self._is_gone = started is not None and started_at(pid) != started

    @property
    def is_alive(self) -> bool:
        """Whether it runs, as far as can be told."""
        if self._poll is not None and self._poll.poll(0):
            self._is_gone = True
        return not self._is_gone


def started_at(pid: int) -> int | None:
    """Return when a process began, in ticks since the boot; None if there is none, or that cannot be told."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name of the program stands in parentheses and may hold anything.
    return int(text.rpartition(")")[2].split()[19])
