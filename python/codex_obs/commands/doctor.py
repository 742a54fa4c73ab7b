"""The command ``doctor``: whether this machine and a folder are good for logging."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from codex_obs.commands._command import EXIT_INCOMPLETE, JsonOption, print_json, visible
from codex_obs.commands._folding import fold

_MARKS = {"ok": "ok       ", "warning": "warning  ", "problem": "PROBLEM  "}
_INDENT = " " * len(_MARKS["ok"])
_DEFAULT_WIDTH = 100
_LEAST_WIDTH = 40


def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="Where runs are to be. Default: runs/.", show_default=False),
    ] = None,
    *,
    input_: Annotated[Path | None, typer.Option("--input", metavar="FOLDER", help="The same as the argument.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine and a folder: file system, locks, space, limits, clock, ports, settings.

    Exit codes: 0 logging works as promised; 1 something is a problem.
    """
    from codex_obs.commands import _checkup  # noqa: PLC0415 - loads the extension, which --help does not need

    findings = _checkup.examine(folder or input_ or Path("runs"))
    problems = sum(finding.status == _checkup.PROBLEM for finding in findings)
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _DEFAULT_WIDTH
        room = max(width, _LEAST_WIDTH) - len(_INDENT)
        for finding in findings:
            words = [f"{finding.check}: {finding.found}", finding.meaning]
            words += [f"To do: {finding.remedy}"] if finding.remedy else []
            lines = [line for text in words for line in fold(visible(text), room, at_spaces=True)]
            typer.echo(_MARKS[finding.status] + f"\n{_INDENT}".join(lines))
    if problems:
        raise typer.Exit(EXIT_INCOMPLETE)
