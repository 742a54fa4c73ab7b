"""What the commands have in common: how they start, what they say, and how they end."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from codex_obs._settings import environment
from codex_obs._visible import visible as escaped
from codex_obs._visible import visible_lines
from codex_obs.commands._input import InputError, find_input

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_INCOMPLETE = 1
EXIT_USAGE = 2

_DEFAULT_RUN = "Default: CODEX_OBS_RUN_DIR, else this folder if a log lies in it, else the newest run under runs/."
RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN|FILE", help=f"Run directories, or files of a run. {_DEFAULT_RUN}"),
]
DirectoriesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="RUN", help=f"Run directories. {_DEFAULT_RUN}")
]
InputOption = Annotated[
    list[str] | None, typer.Option("--input", metavar="RUN", help="The same as the argument; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

# Whatever the argument parser refuses: click's class, or that of Typer's own copy of click.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__base__ or typer.BadParameter

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}


def run(app: typer.Typer) -> None:
    """Run a command with the process's arguments."""
    _fill_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A path or a metric name that the terminal's encoding lacks is shown escaped instead of ending the command.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
    except _USAGE_ERROR as error:
        _show_usage_error(error)
    except typer.Abort:
        say("Aborted.")
        sys.exit(EXIT_INCOMPLETE)
    except OSError as error:
        if error.filename is not None:
            raise  # of a file, not of standard output
        # The reader went away (`| head`), or the disk is full. What is still buffered must not raise again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"Standard output cannot be written: {error.strerror}.\n")
        sys.exit(EXIT_INCOMPLETE)
    else:
        sys.exit(code)


def _show_usage_error(error: Exception) -> NoReturn:
    """Say what is wrong with the arguments, which the parser repeats as they are."""
    error.message = visible_lines(str(getattr(error, "message", error)))  # type: ignore[attr-defined]
    error.show()  # type: ignore[attr-defined]
    sys.exit(getattr(error, "exit_code", EXIT_USAGE))


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


def chosen(option: Sequence[str] | None, arguments: Sequence[str] | None, *, doing: str = "Reading") -> list[Path]:
    """Decide which runs to read, and say it if none was named.

    Args:
        option: Those given as ``--input``.
        arguments: Those given as arguments.
        doing: What is done with the run, to say it.

    Raises:
        InputError: If there is none, or what was named does not go together.
    """
    named = [*(arguments or ()), *(option or ())]
    paths = find_input(named, environment.run_dir(), Path())
    if not named:
        say(f"{doing} {visible(paths[0])}")
    return paths


def chosen_directories(
    option: Sequence[str] | None, arguments: Sequence[str] | None, *, doing: str = "Reading"
) -> list[Path]:
    """Decide which runs to work on, as `chosen` does; each is given once, however often and however it was named.

    Raises:
        InputError: If there is none, or a file was named.
    """
    paths = chosen(option, arguments, doing=doing)
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path} is a file: give the run directory.")
    unique: dict[Path, Path] = {}
    for path in paths:
        unique.setdefault(path.resolve(), path)
    return list(unique.values())


def print_json(result: object) -> None:
    """Write a result to standard output as one line of JSON."""
    import json  # noqa: PLC0415 - rarely needed

    typer.echo(json.dumps(result, separators=(",", ":")))


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
