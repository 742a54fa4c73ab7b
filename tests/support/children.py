"""Forked children of a test."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 60


def run_in_child(action: Callable[[], None]) -> int:
    """Run `action` in a forked child that ends without Python's help, and give the child's pid."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    status = wait(child)
    assert status == 0, f"the child ended with {status}"
    return child


def wait(child: int) -> int:
    """Wait for a child; one that hangs is killed."""
    killer = threading.Timer(DEADLINE_S, os.kill, (child, 9))
    killer.start()
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        killer.cancel()
