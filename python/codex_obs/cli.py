"""The command ``codex-ndjson``: a summary of a run, its recovery, and its delivery to a server.

Results go to standard output or a file, words to standard error. Exit codes: 0 done; 1 the result could not be
written, something was not read (with ``--strict``) or not everything was delivered; 2 wrong usage, or no run to
read; 130 a delivery was interrupted.
"""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs import _command, _config, _sync
from codex_obs._command import EXIT_INCOMPLETE, EXIT_USAGE, fail, say, visible
from codex_obs._input import InputError, find_input, run_directory
from codex_obs.errors import CodexObsError, NoLogError, SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

_STANDARD_OUTPUT = "-"

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=_command.CONTEXT_SETTINGS,
)


class OutputFormat(StrEnum):
    """What ``summarize`` makes of the table."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"
    TABLE = "table"


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the command line library calls it with the value alone
    if wanted:
        from codex_obs import __version__  # noqa: PLC0415 - loads the extension

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Work with the NDJSON logs of codex_obs."""


app.command(short_help="Deliver what was logged to a server, now or while it is logged.")(_sync.sync)


@app.command(short_help="Summarise a run as CSV, Parquet, JSON or a table.")
def summarize(
    more: Annotated[list[str] | None, typer.Argument(metavar="FILE", help="More files of the run.")] = None,
    *,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="DIR|FILE...",
            help="Run directory, or files of it. Default: CODEX_OBS_RUN_DIR, else this folder if a log lies in it, "
            "else the newest run under runs/.",
        ),
    ] = None,
    output: Annotated[OutputFormat, typer.Option(help="Format of the result.")] = OutputFormat.CSV,
    dest: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="File to write, - for standard output. Default: metrics_summary.csv or .parquet in the run "
            "directory; json and table go to standard output.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if anything that looks like a row was not read.")
    ] = False,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Include rows that a later session replaced (rewind_to).")
    ] = False,
) -> None:
    """Summarise a run: one row for each run id, split, metric and dataset."""
    from codex_obs import reading  # noqa: PLC0415 - loads the extension, which --help does not need
    from codex_obs._guess import no_rows  # noqa: PLC0415
    from codex_obs._output import OutputError, check_destination  # noqa: PLC0415
    from codex_obs._progress import Progress  # noqa: PLC0415
    from codex_obs._remarks import is_complete, paragraphs  # noqa: PLC0415

    try:
        paths = _resolve_input([*(input_ or []), *(more or [])])
        destination = _resolve_destination(dest, output, run_directory(paths))
        if destination is not None:
            check_destination(destination, paths)
        file_mode = _config.file_mode_from_environment()
    except (InputError, OutputError, SettingError) as error:
        fail(str(error), EXIT_USAGE)
    try:
        with Progress(sys.stderr) as progress:
            frame, report = reading.summarize_files(
                paths, superseded=superseded, progress=progress if progress.is_shown else None
            )
    except CodexObsError as error:
        fail(str(error), EXIT_USAGE if isinstance(error, NoLogError) else EXIT_INCOMPLETE)
    if report.lines and not report.rows and not report.superseded:
        fail(no_rows(paths, report), EXIT_USAGE)
    try:
        _write(frame, output, destination, file_mode)
    except OutputError as error:
        fail(f"{error} Name another file with --dest" if dest is None else str(error), EXIT_INCOMPLETE)
    for paragraph in paragraphs(report):
        say("\n".join(paragraph))
    if strict and not is_complete(report):
        raise typer.Exit(EXIT_INCOMPLETE)


@app.command(short_help="Bring back what killed processes left behind.")
def recover(
    *,
    input_: Annotated[
        str | None, typer.Option("--input", metavar="DIR", help="Run directory. Default as for summarize.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counters as JSON.")] = False,
) -> None:
    """Bring back what dead writers left in their journals, also those of another machine.

    Make sure first that no writer of the run lives on another machine: from here that cannot be seen.
    """
    from codex_obs import reading  # noqa: PLC0415 - loads the extension, which --help does not need

    try:
        directory = _resolve_directory(input_)
        found = reading.recover(directory, foreign=True)
    except InputError as error:
        fail(str(error), EXIT_USAGE)
    except CodexObsError as error:
        fail(str(error), EXIT_USAGE if isinstance(error, NoLogError) else EXIT_INCOMPLETE)
    if as_json:
        import json  # noqa: PLC0415 - rarely needed

        typer.echo(json.dumps(found, separators=(",", ":")))
        return
    for name, value in found.items():
        typer.echo(f"{name}: {visible(value)}")


def main() -> None:
    """Run ``codex-ndjson`` with the process's arguments."""
    _command.run(app)


def _resolve_input(named: Sequence[str]) -> list[Path]:
    paths = find_input(named, _config.run_dir_from_environment(), Path())
    if not named:
        say(f"Reading {visible(paths[0])}")
    return paths


def _resolve_directory(named: str | None) -> Path:
    directory = _resolve_input([named] if named else [])[0]
    if not directory.is_dir():
        raise InputError(f"{directory} is a file: give the run directory.")
    return directory


def _resolve_destination(dest: str | None, output: OutputFormat, directory: Path) -> Path | None:
    if dest == _STANDARD_OUTPUT:
        return None
    if dest:
        return Path(dest)
    if output in (OutputFormat.CSV, OutputFormat.PARQUET):
        return directory / f"metrics_summary.{output.value}"
    return None


def _write(frame: pl.DataFrame, output: OutputFormat, destination: Path | None, file_mode: int) -> None:
    from codex_obs import _output  # noqa: PLC0415 - loaded on first use

    content: bytes
    to_terminal = destination is None and sys.stdout.isatty()
    if output is OutputFormat.CSV:
        content = _output.to_csv(frame)
        if to_terminal:
            content = "\n".join(map(visible, content.decode().split("\n"))).encode(errors="backslashreplace")
    elif output is OutputFormat.PARQUET:
        content = _output.to_parquet(frame)
    elif output is OutputFormat.JSON:
        content = _output.to_json(frame)
    else:
        from codex_obs import _table  # noqa: PLC0415 - loaded on first use

        width = shutil.get_terminal_size().columns if to_terminal else None
        content = _table.to_table(frame, width=width).encode(errors="backslashreplace")

    if destination is not None:
        _output.write_whole(destination, content, file_mode=file_mode)
        typer.echo(f"Wrote {visible(destination)} ({frame.height} rows)")
    elif output is OutputFormat.PARQUET and to_terminal:
        fail("Parquet is not text for a terminal: give --dest PATH, or redirect standard output.", EXIT_USAGE)
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
