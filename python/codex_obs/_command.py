"""What the commands have in common: how they start, what they say, and how they end."""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

import typer

from codex_obs._visible import visible as escaped
from codex_obs._visible import visible_lines

EXIT_INCOMPLETE = 1
EXIT_USAGE = 2

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}


def run(app: typer.Typer) -> None:
    """Run a command with the process's arguments."""
    _fill_closed_streams()
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


def _fill_closed_streams() -> None:
    """Put something in the place of standard streams that the caller has closed (``>&-``).

    Otherwise a file that is opened next would get their number. Standard output is opened for reading, so that a result
    that should go there fails as a write to a closed descriptor does.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free, which is this one.
            os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if name != "stdin":
                setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(_Descriptor(descriptor)), write_through=True))


class _Descriptor(io.RawIOBase):
    """A descriptor that is written to, whatever it was opened for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return False

    def write(self, content: object) -> int:
        return os.write(self._descriptor, content)  # type: ignore[arg-type]  # whatever a buffered writer hands over


def say(words: str) -> None:
    """Write words for people, to standard error."""
    typer.echo(visible_lines(words), err=True)


def fail(sentence: str, code: int) -> NoReturn:
    """Say what went wrong and end."""
    say(visible(sentence).removesuffix(".") + ".")
    raise typer.Exit(code)


def visible(value: object) -> str:
    """Show a text of unknown origin: control characters are escaped."""
    return escaped(str(value))
