"""The command ``export``: rows of a run as a file of another tool."""

from __future__ import annotations

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
    JsonOption,
    RunsArgument,
    chosen,
    fail,
    print_json,
    say,
    visible,
)
from codex_obs.commands._input import InputError
from codex_obs.errors import CodexObsError, NoLogError, SettingError

if TYPE_CHECKING:
    from codex_obs.commands._rows_out import Account

_STANDARD_OUTPUT = "-"


class ExportFormat(StrEnum):
    """What is written."""

    CSV = "csv"
    PARQUET = "parquet"
    NDJSON = "ndjson"
    JSONL = "jsonl"


class Form(StrEnum):
    """How rows are laid out."""

    LONG = "long"
    WIDE = "wide"


def export(
    runs: RunsArgument = None,
    *,
    input_: InputOption = None,
    dest: Annotated[
        str,
        typer.Option(metavar="FILE", help="File to write (.csv, .parquet, .ndjson, .jsonl); - for standard output."),
    ],
    to: Annotated[ExportFormat | None, typer.Option(help="Format. Default: by the file's suffix.")] = None,
    form: Annotated[
        Form | None,
        typer.Option(
            help="long: a row for each value; wide: a row for each step, a column for each metric. "
            "Default: wide for .jsonl, else long."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="NAME", help="This metric only (loss or eval/loss). May be repeated."),
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="NAME", help="This split only. May be repeated.")
    ] = None,
    step: Annotated[
        str | None, typer.Option(metavar="A..B", help="These steps only: 100..200, 100.., ..200 or 100.")
    ] = None,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Include rows that a later session replaced (rewind_to).")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if anything that looks like a row was not read.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the rows of a run as CSV, Parquet or JSON lines.

    Exit codes: 0 done; 1 not written, or something was not read and --strict given; 2 wrong usage, or no run.
    """
    from codex_obs.commands import _output, _rows_out  # noqa: PLC0415 - loads the extension, which --help does not need
    from codex_obs.commands._progress import Line  # noqa: PLC0415

    try:
        kind = to.value if to is not None else _kind(dest)
        steps = None if step is None else _rows_out.parse_steps(step)
        paths = chosen(input_, runs, doing="Exporting")
        if dest != _STANDARD_OUTPUT:
            _output.check_destination(Path(dest), paths)
        file_mode = environment.file_mode()
    except (InputError, SettingError, _output.OutputError) as error:
        fail(str(error), EXIT_USAGE)
    is_wide = form is Form.WIDE or (form is None and kind == "jsonl")
    choice = _rows_out.Choice(metric or (), split or (), steps)
    job = _rows_out.Export(paths, choice, kind, is_wide, superseded)
    account = _rows_out.Account()
    try:
        with Line(sys.stderr) as line:

            def tell(account: Account) -> None:
                if line.is_due():
                    line.show(f"Exporting: {account.rows_read:,} rows read")

            if dest == _STANDARD_OUTPUT:
                job.write(sys.stdout.buffer, account, tell)
                sys.stdout.flush()
            else:
                with _output.replacing(Path(dest), file_mode=file_mode) as file:
                    job.write(file, account, tell)
    except _output.OutputError as error:
        fail(str(error), EXIT_INCOMPLETE)
    except CodexObsError as error:
        fail(str(error), EXIT_USAGE if isinstance(error, NoLogError) else EXIT_INCOMPLETE)
    _report(account, dest, as_json=as_json)
    if strict and not _is_complete(account):
        raise typer.Exit(EXIT_INCOMPLETE)


def _kind(dest: str) -> str:
    kind = Path(dest).suffix.removeprefix(".").lower()
    if kind not in tuple(ExportFormat):
        raise InputError(
            f"{dest} has no suffix that names a format: end it in .csv, .parquet, .ndjson or .jsonl, or give --to."
        )
    return kind


def _report(account: Account, dest: str, *, as_json: bool) -> None:
    if dest != _STANDARD_OUTPUT:
        if as_json:
            print_json({"path": dest, "rows": account.rows_written, "rows_read": account.rows_read,
                        "structured": account.structured, "skipped": account.skipped})  # fmt: skip
        else:
            typer.echo(f"Wrote {visible(dest)} ({account.rows_written} rows)")
    if account.rows_read and not account.rows_written:
        say("No row fulfils every filter.")
    if account.structured:
        say(f"{account.structured} structured values have no column in a wide table; --form long has their rows.")
    superseded = sum(report.superseded for report in account.reports)
    if superseded:
        say(f"{superseded} superseded rows left out, replaced by rewind_to: --superseded includes them.")
    if account.skipped:
        say(f"{account.skipped} lines or fields could not be read: codex-obs summarize names the first of them.")
    for report in account.reports:
        for path, why in report.journals:
            say(f"Rows may be missing: {visible(path)} {visible(why)}")


def _is_complete(account: Account) -> bool:
    from codex_obs._remarks import is_complete  # noqa: PLC0415

    return all(map(is_complete, account.reports))
