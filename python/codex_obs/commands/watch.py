"""The command ``watch``: a run in the terminal, live."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from codex_obs.commands._command import (
    EXIT_INCOMPLETE,
    EXIT_USAGE,
    DirectoriesArgument,
    InputOption,
    chosen_directories,
    fail,
)
from codex_obs.commands._input import InputError
from codex_obs.errors import CodexObsError

_PACKAGES = ("textual", "textual_plot", "numpy")


def watch(
    run: DirectoriesArgument = None,
    *,
    input_: InputOption = None,
    every: Annotated[float, typer.Option(min=0.1, metavar="S", help="Seconds between two looks at the run.")] = 1.0,
) -> None:
    """Watch a run in the terminal: charts, last values, system and losses, live.

    Keys: arrows choose a metric, Enter shows it alone, x changes between steps and time, l the scale, q quits.

    Exit codes: 0 done; 1 a package is missing, or the run cannot be read; 2 wrong usage, no terminal, or no run.
    """
    try:
        paths = chosen_directories(input_, run, doing="Watching")
        if len(paths) != 1:
            fail("One run is watched at a time: name one.", EXIT_USAGE)
    except InputError as error:
        fail(str(error), EXIT_USAGE)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fail("Watching needs a terminal: codex-obs summarize --output table writes the table anywhere.", EXIT_USAGE)
    try:
        from codex_obs.viewers import watch as viewer  # noqa: PLC0415 - needs packages that the base install has not
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _PACKAGES:
            raise
        fail(f"Watching needs {error.name}: pip install 'codex-obs[watch]'", EXIT_INCOMPLETE)
    try:
        viewer.Watch(paths[0], every_s=every).run()
    except CodexObsError as error:
        fail(str(error), EXIT_INCOMPLETE)
