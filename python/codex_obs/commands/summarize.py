"""The command ``summarize``: one row for each metric of a run."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs._settings import environment
from codex_obs.commands._command import (
    EXIT_INCOMPLETE,
    EXIT_USAGE,
    InputOption,
    RunsArgument,
    chosen,
    fail,
    say,
    visible,
)
from codex_obs.commands._input import InputError, run_directory
from codex_obs.errors import CodexObsError, NoLogError, SettingError

if TYPE_CHECKING:
    import polars as pl

_STANDARD_OUTPUT = "-"
_MANY_RUNS = "Several runs have one summary: name its file with --dest, - for standard output."
_JSON_OR_OUTPUT = "--json is short for --output json: give one of them."


class OutputFormat(StrEnum):
    """What is made of the table."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"
    TABLE = "table"


def summarize(
    runs: RunsArgument = None,
    *,
    input_: InputOption = None,
    output: Annotated[OutputFormat | None, typer.Option(help="Format of the result.  [default: csv]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --output json.")] = False,
    dest: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="File to write, - for standard output. Default for one run: metrics_summary.csv or .parquet in its "
            "directory. json and table go to standard output.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if anything that looks like a row was not read.")
    ] = False,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Include rows that a later session replaced (rewind_to).")
    ] = False,
) -> None:
    """Summarize runs: one row for each run id, split, metric and dataset."""
    from codex_obs import reading  # noqa: PLC0415 - loads the extension, which --help does not need
    from codex_obs._remarks import is_complete, paragraphs  # noqa: PLC0415
    from codex_obs.commands._guess import no_log, no_rows  # noqa: PLC0415
    from codex_obs.commands._output import OutputError, check_destination  # noqa: PLC0415
    from codex_obs.commands._progress import Progress  # noqa: PLC0415

    if as_json and output not in (None, OutputFormat.JSON):
        fail(_JSON_OR_OUTPUT, EXIT_USAGE)
    chosen_output = OutputFormat.JSON if as_json else output or OutputFormat.CSV
    try:
        paths = chosen(input_, runs)
        destination = _resolve_destination(dest, chosen_output, paths)
        if destination is not None:
            check_destination(destination, paths)
        file_mode = environment.file_mode()
    except (InputError, OutputError, SettingError) as error:
        fail(str(error), EXIT_USAGE)
    try:
        with Progress(sys.stderr) as progress:
            frame, report = reading.summarize_files(
                paths, superseded=superseded, progress=progress if progress.is_shown else None
            )
    except CodexObsError as error:
        if isinstance(error, NoLogError):
            fail(no_log(str(error), paths), EXIT_USAGE)
        fail(str(error), EXIT_INCOMPLETE)
    if report.lines and not report.rows and not report.superseded:
        fail(no_rows(paths, report), EXIT_USAGE)
    try:
        _write(frame, chosen_output, destination, file_mode)
    except OutputError as error:
        fail(f"{error} Name another file with --dest" if dest is None else str(error), EXIT_INCOMPLETE)
    for paragraph in paragraphs(report):
        say("\n".join(paragraph))
    if strict and not is_complete(report):
        raise typer.Exit(EXIT_INCOMPLETE)


def _resolve_destination(dest: str | None, output: OutputFormat, paths: list[Path]) -> Path | None:
    from codex_obs.commands._output import OutputError  # noqa: PLC0415 - loaded on first use

    if dest == _STANDARD_OUTPUT:
        return None
    if dest:
        return Path(dest)
    if output in (OutputFormat.CSV, OutputFormat.PARQUET):
        if len(paths) > 1 and any(path.is_dir() for path in paths):
            raise OutputError(_MANY_RUNS)
        return run_directory(paths) / f"metrics_summary.{output.value}"
    return None


def _write(frame: pl.DataFrame, output: OutputFormat, destination: Path | None, file_mode: int) -> None:
    from codex_obs.commands import _output  # noqa: PLC0415 - loaded on first use

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
        from codex_obs.commands import _table  # noqa: PLC0415 - loaded on first use

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
