"""The command ``check``: whether runs have what a schema asks for."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_obs.commands._rl_check import Found, Missing


class Schema(StrEnum):
    """What a run is compared with."""

    RL = "rl"


def check(
    runs: DirectoriesArgument = None,
    *,
    input_: InputOption = None,
    schema: Annotated[
        Schema, typer.Option(help="Keys to look for: rl, the events of trainers of reinforcement learning.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Check that runs have the events and keys of a schema. Exit code 1 if something is missing."""
    from codex_obs import reading  # noqa: PLC0415 - loads the extension, which --help does not need
    from codex_obs.commands import _rl_check  # noqa: PLC0415 - loads the extension, which --help does not need

    is_complete = True
    try:
        paths = chosen_directories(input_, runs)
        for path in paths:
            found, missing = _rl_check.check(reading.scan(path))
            is_complete &= not missing
            if as_json:
                print_json({"run": str(path), "schema": schema.value, **_as_json(found, missing)})
                continue
            if len(paths) > 1:
                typer.echo(f"{visible(path)}:")
            _show(found, missing, schema)
    except InputError as error:
        fail(str(error), EXIT_USAGE)
    except CodexObsError as error:
        fail(str(error), EXIT_USAGE if isinstance(error, NoLogError) else EXIT_INCOMPLETE)
    if not is_complete:
        raise typer.Exit(EXIT_INCOMPLETE)


def _as_json(found: Mapping[str, Found], missing: Sequence[Missing]) -> dict[str, object]:
    categories = {category: counted.as_json() for category, counted in found.items()}
    return {"ok": not missing, "categories": categories, "missing": [asdict(lack) for lack in missing]}


def _show(found: Mapping[str, Found], missing: Sequence[Missing], schema: Schema) -> None:
    for category, counted in found.items():
        steps = "" if counted.first_step is None else f"   steps {counted.first_step} to {counted.last_step}"
        tags = f"   tags {visible(', '.join(sorted(counted.tags)))}" if counted.tags else ""
        typer.echo(f"{category:9} {counted.events:6} events {counted.rows:8} rows{steps}{tags}")
    for lack in missing:
        typer.echo(f"missing: {visible(lack.sentence)}")
    if not missing:
        typer.echo(f"ok: every event has the keys of the schema {schema.value}")
