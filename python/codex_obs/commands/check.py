"""The command ``check``: whether a run has what a schema asks for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from codex_obs._command import (
    EXIT_INCOMPLETE,
    EXIT_USAGE,
    InputOption,
    JsonOption,
    RunArgument,
    chosen_directory,
    fail,
    print_json,
    visible,
)
from codex_obs._input import InputError
from codex_obs.errors import CodexObsError, NoLogError


class Schema(StrEnum):
    """What a run is compared with."""

    RL = "rl"


def check(
    run: RunArgument = None,
    *,
    input_: InputOption = None,
    schema: Annotated[
        Schema, typer.Option(help="Keys to look for: rl, the events of trainers of reinforcement learning.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Check that a run has the events and keys of a schema. Exit code 1 if something is missing."""
    from codex_obs import _rl_check, reading  # noqa: PLC0415 - loads the extension, which --help does not need

    try:
        path = chosen_directory(input_, run)
        found, missing = _rl_check.check(reading.scan(path))
    except InputError as error:
        fail(str(error), EXIT_USAGE)
    except CodexObsError as error:
        fail(str(error), EXIT_USAGE if isinstance(error, NoLogError) else EXIT_INCOMPLETE)
    if as_json:
        problems = [
            {
                "category": lack.category,
                "key": lack.key,
                "events": lack.events,
                "of": lack.of,
                "steps": list(lack.steps),
            }
            for lack in missing
        ]
        categories = {category: counted.as_json() for category, counted in found.items()}
        print_json({"schema": schema.value, "ok": not missing, "categories": categories, "missing": problems})
    else:
        for category, counted in found.items():
            steps = "" if counted.first_step is None else f"   steps {counted.first_step} to {counted.last_step}"
            tags = f"   tags {visible(', '.join(sorted(counted.tags)))}" if counted.tags else ""
            typer.echo(f"{category:9} {counted.events:6} events {counted.rows:8} rows{steps}{tags}")
        for lack in missing:
            typer.echo(f"missing: {visible(lack.sentence)}")
        if not missing:
            typer.echo(f"ok: every event has the keys of the schema {schema.value}")
    if missing:
        raise typer.Exit(EXIT_INCOMPLETE)
