"""The command ``recover``: what dead writers left in their journals."""

from __future__ import annotations

import typer

from codex_obs.commands._command import (
    EXIT_INCOMPLETE,
    EXIT_USAGE,
    DirectoriesArgument,
    InputOption,
    JsonOption,
    chosen_directories,
    fail,
    print_json,
    visible,
)
from codex_obs.commands._input import InputError
from codex_obs.errors import CodexObsError, NoLogError


def recover(runs: DirectoriesArgument = None, *, input_: InputOption = None, as_json: JsonOption = False) -> None:
    """Recover rows from the journals of dead processes, also those of another machine.

    First make sure that no process on another machine still writes to the runs: that cannot be seen from here.
    """
    from codex_obs import reading  # noqa: PLC0415 - loads the extension, which --help does not need

    try:
        found = reading.recover(chosen_directories(input_, runs, doing="Recovering"), foreign=True)
    except InputError as error:
        fail(str(error), EXIT_USAGE)
    except CodexObsError as error:
        fail(str(error), EXIT_USAGE if isinstance(error, NoLogError) else EXIT_INCOMPLETE)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        typer.echo(f"{name}: {visible(value)}")
