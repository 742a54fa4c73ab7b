"""What the commands have in common: how they start, and how they end when their output cannot be written."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

EXIT_NOT_WRITTEN = 1

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}


def run(app: typer.Typer) -> None:
    """Run a command with the process's arguments."""
    for stream in (sys.stdout, sys.stderr):
        # A path or a metric name that the terminal's encoding lacks is shown escaped instead of ending the command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except OSError as error:
        if error.filename is not None:
            raise  # of a file, not of standard output
        # The reader went away (`| head`), or the disk is full. What is still buffered must not raise again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"Standard output cannot be written: {error.strerror}.\n")
        sys.exit(EXIT_NOT_WRITTEN)
