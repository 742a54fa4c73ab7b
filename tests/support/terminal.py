"""The other end of a terminal that a command writes to."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl


def everything_shown(terminal: int) -> bytes:
    """Give what arrives until the command, and whoever else has its end open, has closed it."""
    shown = b""
    try:
        while part := os.read(terminal, 65536):
            shown += part
    except OSError:  # Linux says EIO when the other end is closed
        pass
    return shown


def shown_by(command: Sequence[str], *, output: bool = True, environment: Mapping[str, str] | None = None) -> bytes:
    """Run a command with its output, or its errors, on a terminal, and give what arrives there."""
    ours, theirs = pty.openpty()
    stdout, stderr = (theirs, subprocess.DEVNULL) if output else (subprocess.DEVNULL, theirs)
    environ = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, env=environ, stdin=theirs, stdout=stdout, stderr=stderr) as process:
        os.close(theirs)
        shown = everything_shown(ours)
        assert process.wait(60) == 0
    os.close(ours)
    return shown


def shown_on(command: Sequence[str], *, columns: int, cwd: Path) -> str:
    """Run a command with standard output on a terminal of so many columns, and give what that shows."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    # What a shell, or a test runner, says of another terminal does not count.
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
    ) as process:
        os.close(theirs)
        shown = everything_shown(ours)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(60) == 0, said
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def cut_numbers(shown: str, summary: pl.DataFrame) -> list[str]:
    """Give the numbers of a summary that a drawn table neither shows whole nor names as left out."""
    words = set(shown.split())
    said = re.search(r"Not shown, for lack of room: ([^.]*)\.", " ".join(shown.split()))
    left_out = said[1].split(", ") if said else []
    missing = []
    for name in ("first", "last", "min", "max", "mean"):
        if name not in left_out:
            numbers = [f"{value:.5g}" for value in summary[f"{name}_value"].to_list() if value is not None]
            missing += [number for number in numbers if number not in words]
    return missing
