"""The command ``compare``: runs side by side."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs._moments import duration_text
from codex_obs.commands._command import EXIT_INCOMPLETE, EXIT_USAGE, JsonOption, chosen_directories, fail, say, visible
from codex_obs.commands._folding import NOTHING, shortened
from codex_obs.commands._grid import Column, draw
from codex_obs.commands._input import InputError
from codex_obs.errors import CodexObsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_obs.commands._comparison import Comparison, Line

_FEWEST = 2


def compare(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN RUN...", help="Run directories.")] = None,
    *,
    input_: Annotated[
        list[str] | None, typer.Option("--input", metavar="RUN", help="The same as an argument; may be repeated.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", "-m", metavar="NAME", help="Compare this metric only (loss or eval/loss). May be repeated."
        ),
    ] = None,
    differences: Annotated[bool, typer.Option("--differences", help="Leave out what is the same.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the configuration and the values of runs side by side, the differences first.

    Exit codes: 0 done; 1 something could not be read; 2 fewer than two runs were named, or one is none.
    """
    from codex_obs._remarks import is_complete, paragraphs  # noqa: PLC0415
    from codex_obs.commands import _comparison  # noqa: PLC0415 - loads the extension, which --help does not need

    try:
        paths = chosen_directories(input_, runs) if runs or input_ else []
        if len(paths) < _FEWEST:
            fail("Name two runs or more: codex-obs compare RUN RUN...", EXIT_USAGE)
        comparison = _comparison.compare(paths)
        lines = [line for line in comparison.lines if _is_wanted(line, metric)]
    except (InputError, CodexObsError) as error:
        fail(str(error), EXIT_USAGE)
    for name in metric or ():
        if not any(line.kind == "metric" and _is_wanted(line, [name]) for line in lines):
            fail(f"None of the runs has a metric {name}", EXIT_USAGE)

    different = [line for line in lines if line.differs]
    same = [] if differences else [line for line in lines if not line.differs]
    if as_json:
        sys.stdout.write(to_json(comparison, different, same))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        typer.echo(to_table(comparison.paths, different, same, width), nl=False)
    is_whole = not comparison.problems and all(map(is_complete, comparison.reports))
    for path, report in zip(comparison.paths, comparison.reports, strict=True):
        for paragraph in paragraphs(report):
            say("\n".join([f"{visible(path)}: {paragraph[0]}", *paragraph[1:]]))
    for path, why in comparison.problems:
        say(f"{visible(path)}: {visible(why)}")
    if not is_whole:
        raise typer.Exit(EXIT_INCOMPLETE)


def _is_wanted(line: Line, metrics: Sequence[str] | None) -> bool:
    if line.kind != "metric" or not metrics:
        return True
    name = line.key.rpartition(".")[0]
    return any(name == asked or name.partition("/")[2] == asked for asked in metrics)


def to_json(comparison: Comparison, different: Sequence[Line], same: Sequence[Line]) -> str:
    """Encode as JSON: what runs have no value for is null and not present."""
    from codex_obs.commands._comparison import MISSING  # noqa: PLC0415 - loads the extension

    def encoded(lines: Sequence[Line]) -> list[dict[str, object]]:
        return [
            {
                "kind": line.kind,
                "key": line.key,
                "values": [None if value is MISSING else value for value in line.values],
                "present": [value is not MISSING for value in line.values],
            }
            for line in lines
        ]

    document = {"runs": comparison.paths, "differences": encoded(different), "same": encoded(same)}
    return json.dumps(document, separators=(",", ":")) + "\n"


def to_table(paths: Sequence[str], different: Sequence[Line], same: Sequence[Line], width: int | None) -> str:
    """Draw a table for people: a line for each thing that is compared."""
    lines = [*different, *same]
    columns = [
        Column("", ["≠" if line.differs else "" for line in lines], is_number=True),
        Column("key", [visible(line.key) for line in lines]),
    ]
    cells = [_texts(line) for line in lines]
    titles = [visible(title) for title in _short(paths)]
    columns += [Column(title, [cell[place] for cell in cells]) for place, title in enumerate(titles)]
    return draw(columns, width=width, remedy="--json shows all")


def _short(paths: Sequence[str]) -> list[str]:
    """Give the paths without the folders that all of them have in common."""
    resolved = [os.path.realpath(path) for path in paths]
    if len(set(resolved)) < len(resolved):
        return list(paths)
    common = Path(os.path.commonpath(resolved))
    return [os.path.relpath(path, common if common.as_posix() not in resolved else common.parent) for path in resolved]


def _texts(line: Line) -> list[str]:
    from codex_obs.commands._comparison import MISSING  # noqa: PLC0415 - loads the extension

    if line.kind == "run" and line.key == "duration":
        return [duration_text(value) for value in line.values]  # type: ignore[arg-type]  # seconds
    if line.kind == "run" and line.key == "started":
        return [NOTHING if value is None else str(value)[:19].replace("T", " ") for value in line.values]
    if line.kind == "metric":
        numbers = [value if isinstance(value, (int, float)) else None for value in line.values]
        short = shortened(numbers)
        # Different numbers never look the same.
        if len(set(short)) == len(set(numbers)):
            return short
        return [NOTHING if number is None else repr(number) for number in numbers]
    shown = []
    for value in line.values:
        if value is MISSING or (value is None and line.kind == "run"):
            shown.append(NOTHING)
        else:
            shown.append(visible(value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))))
    return shown
