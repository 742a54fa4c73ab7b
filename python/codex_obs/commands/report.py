"""The command ``report``: charts of runs as one HTML file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs._settings import environment
from codex_obs.commands import _output
from codex_obs.commands._command import (
    EXIT_INCOMPLETE,
    EXIT_USAGE,
    InputOption,
    JsonOption,
    fail,
    print_json,
    say,
    visible,
)
from codex_obs.commands._progress import Line
from codex_obs.errors import CodexObsError, NoLogError, SettingError

if TYPE_CHECKING:
    from codex_obs.viewers.report import Report

_DEFAULT_FOLDER = Path("runs")


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN|FOLDER",
            help="Runs, and folders of runs. Default: runs/, else this folder.",
            show_default=False,
        ),
    ] = None,
    *,
    input_: InputOption = None,
    dest: Annotated[Path, typer.Option(metavar="FILE.html", help="File to write; an existing one is replaced.")],
    as_json: JsonOption = False,
) -> None:
    """Write charts of runs as one HTML file, to open without a server or a network.

    The file is the page of `codex-obs view` with its data inside: curves, config, last values, histograms, system
    metrics, spans and losses. It has at most 5 MB where that is possible; the curves keep their extremes.

    Exit codes: 0 done; 1 not written, or a package is missing; 2 wrong usage, or no run.
    """
    from codex_obs.viewers.report import MissingPackageError  # noqa: PLC0415 - loads the extension
    from codex_obs.viewers.report import report as make  # noqa: PLC0415 - the same

    paths = [*(runs or ()), *map(Path, input_ or ())] or [_DEFAULT_FOLDER if _DEFAULT_FOLDER.is_dir() else Path()]
    for path in paths:
        if not path.is_dir():
            fail(f"{visible(path)} is no folder: give runs, or folders of runs.", EXIT_USAGE)
    try:
        _output.check_destination(dest, paths)
        file_mode = environment.file_mode()
    except (SettingError, _output.OutputError) as error:
        fail(str(error), EXIT_USAGE)
    try:
        with Line(sys.stderr) as line:

            def tell(done: int, total: int) -> None:
                if line.is_due():
                    line.show(f"Reading: {done} of {total} runs")

            made = make(paths, progress=tell)
        if not made.runs:
            fail(f"No run in {', '.join(visible(path) for path in paths)} or below.", EXIT_USAGE)
        content = made.html.encode()
        with _output.replacing(dest, file_mode=file_mode) as file:
            file.write(content)
    except (MissingPackageError, _output.OutputError) as error:
        fail(str(error), EXIT_INCOMPLETE)
    except CodexObsError as error:
        fail(str(error), EXIT_USAGE if isinstance(error, NoLogError) else EXIT_INCOMPLETE)
    _report(made, dest, len(content), as_json=as_json)


def _report(made: Report, dest: Path, size: int, *, as_json: bool) -> None:
    from codex_obs.viewers.report import MAX_BYTES  # noqa: PLC0415 - loads the extension

    if as_json:
        counts = {"runs": made.runs, "metrics": made.metrics, "pixels": made.pixels}
        print_json({"path": str(dest), "bytes": size, **counts})
    else:
        what = f"{_counted(made.runs, 'run')}, {_counted(made.metrics, 'metric')}, {size / 1e6:.1f} MB"
        typer.echo(f"Wrote {visible(dest)} ({what})")
    if size > MAX_BYTES:
        say(f"{visible(dest)} is larger than 5 MB: name fewer runs.")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
