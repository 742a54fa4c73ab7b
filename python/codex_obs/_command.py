"""What the commands have in common: how they start, what they say, and how they end."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

EXIT_INCOMPLETE = 1
EXIT_USAGE = 2

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
        sys.exit(EXIT_INCOMPLETE)


def say(words: str) -> None:
    """Write words for people, to standard error."""
    typer.echo(words, err=True)


def fail(sentence: str, code: int) -> NoReturn:
    """Say what went wrong and end."""
    say(visible(sentence).removesuffix(".") + ".")
    raise typer.Exit(code)


def visible(value: object) -> str:
    """Show a text of unknown origin: control characters are escaped."""
    from codex_obs._table import visible as escaped  # noqa: PLC0415 - loaded on first use

    return escaped(str(value))
