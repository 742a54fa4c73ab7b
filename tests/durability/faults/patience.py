"""Waiting for a process to end, with a watchdog that a machine which stands still for a while does not wake."""

from __future__ import annotations

import subprocess

SLICE_S = 5.0


def communicate(process: subprocess.Popen[str], deadline_s: float, *, line: str | None = None) -> tuple[str, str]:
    """Give what a process prints until it ends, after a line that it is told.

    The deadline is a number of looks: time in which this process was stopped, and others likely too, counts as one.

    Raises:
        subprocess.TimeoutExpired: It did not end by itself.
    """
    looks = max(1, round(deadline_s / SLICE_S))
    while True:
        try:
            return process.communicate(line, timeout=SLICE_S)
        except subprocess.TimeoutExpired:
            line = None
            looks -= 1
            if looks == 0:
                raise
