"""The other end of a terminal that a command writes to."""

from __future__ import annotations

import os


def everything_shown(terminal: int) -> bytes:
    """Give what arrives until the command, and whoever else has its end open, has closed it."""
    shown = b""
    try:
        while part := os.read(terminal, 65536):
            shown += part
    except OSError:  # Linux says EIO when the other end is closed
        pass
    return shown
