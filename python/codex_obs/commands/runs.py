"""The command ``runs``: one row for each run of a folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs._moments import duration_text
from codex_obs._selection import Condition, metrics_in, select
from codex_obs.commands._command import EXIT_INCOMPLETE, EXIT_USAGE, JsonOption, fail, say, visible
from codex_obs.commands._folding import NOTHING, shortened
from codex_obs.commands._grid import Column, draw
from codex_obs.commands._input import InputError
from codex_obs.errors import CodexObsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_DEFAULT_FOLDER = "runs"
_PARTS = ("last", "min", "max")


def runs(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="Folder of runs. Default: runs/, else this folder.", show_default=False),
    ] = None,
    *,
    input_: Annotated[Path | None, typer.Option("--input", metavar="FOLDER", help="The same as the argument.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="NAME",
            help="Show the last, smallest and largest value of a metric (loss or eval/loss). May be repeated.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help='Show only runs with this, such as status=failed, "lr<=0.1", "loss.min<0.5" or name~base. Operators: '
            "= != < <= > >= ~ (contains). May be repeated.",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Sort by a column, a parameter or METRIC.last, .min, .max. Default: newest first."
        ),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Largest, or oldest, first.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Show the first N only.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs of a folder: status, start, duration, last step, rows and metrics.

    Exit codes: 0 done; 1 something could not be read; 2 there is no such folder, or a key or condition is wrong.
    """
    from codex_obs import _catalog  # noqa: PLC0415 - loads the extension, which --help does not need

    place = folder or input_ or Path(_DEFAULT_FOLDER if Path(_DEFAULT_FOLDER).is_dir() else os.curdir)
    try:
        conditions = [Condition.parse(text) for text in where or ()]
        keys = [*(condition.key for condition in conditions), *([sort] if sort else [])]
        metrics = list(dict.fromkeys([*(metric or ()), *metrics_in(keys)]))
        catalog = _catalog.list_runs(place, metrics)
        # A parameter may have a name such as best.min, which is no metric's.
        unknown = [name for name, found in zip(metrics, catalog.metrics, strict=True) if not found[0]]
        wanted = {name for name in metrics if name not in unknown or name in (metric or ())}
        points = {name: found[1:] for name, found in zip(metrics, catalog.metrics, strict=True) if name in wanted}
        rows = _catalog.rows_of(catalog, points)
        known = len(rows)
        shown = select(rows, conditions, sort, reverse=reverse, limit=limit)
    except (InputError, CodexObsError) as error:
        fail(str(error), EXIT_USAGE)

    if as_json:
        sys.stdout.write(to_json(shown))
    elif shown:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        typer.echo(to_table(shown, [name for name in metrics if name not in unknown], width), nl=False)
    for name in unknown:
        if name in (metric or ()) and known:
            say(f"No run in {visible(place)} has a metric {visible(name)}.")
    if not known:
        say(f"No run in {visible(place)} or below it. codex_obs.init({str(place / 'first')!r}) starts one.")
    elif not shown:
        say(f"None of the {known} runs fulfils every condition.")
    for path, why in catalog.problems:
        say(f"{visible(path)}: {visible(why)}")
    if catalog.problems:
        raise typer.Exit(EXIT_INCOMPLETE)


def to_json(rows: Sequence[Mapping[str, object]]) -> str:
    """Encode as a JSON array of objects, one a line."""
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    return f"[\n{lines}\n]\n" if lines else "[]\n"


def to_table(rows: Sequence[Mapping[str, object]], metrics: Sequence[str], width: int | None) -> str:
    """Draw a table for people."""

    def texts(key: str) -> list[str]:
        return [NOTHING if row[key] is None else str(row[key]) for row in rows]

    columns = [
        Column("run", [visible(path) for path in texts("path")]),
        Column("status", texts("status"), rank=3),
        Column("started (UTC)", [text[:16].replace("T", " ") for text in texts("started")], rank=7),
        Column("duration", [duration_text(row["duration"]) for row in rows], is_number=True, rank=5),  # type: ignore[arg-type]  # a number
        Column("last step", texts("last_step"), is_number=True, rank=4),
        Column("rows", texts("rows"), is_number=True, rank=6),
    ]
    for name in metrics:
        for part in _PARTS:
            numbers: list[float | None] = [row[f"{name}.{part}"] for row in rows]  # type: ignore[misc]  # numbers
            title = f"{visible(name)} {part}" if part != "last" else visible(name)
            columns.append(Column(title, shortened(numbers), is_number=True, rank=1 if part == "last" else 2))
    return draw(columns, width=width, remedy="A wider terminal or --json shows all")
