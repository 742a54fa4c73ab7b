"""The command ``inspect``: how well a run is, in one screen."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

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
    say,
    visible,
)
from codex_obs.commands._folding import NOTHING, display_width, fold
from codex_obs.commands._grid import Column, draw
from codex_obs.commands._input import InputError
from codex_obs.errors import CodexObsError, NoLogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Document = dict[str, Any]

# As many as leave the rest of a screen for other things.
_SHOWN_SESSIONS = 5
_SHOWN_LOGS = 8


def inspect(runs: DirectoriesArgument = None, *, input_: InputOption = None, as_json: JsonOption = False) -> None:
    """Say how well a run is: files, rows, sessions, destinations, what waits and what is lost.

    Exit codes: 0 nothing is lost; 1 something is lost or could not be read; 2 no run.
    """
    from codex_obs import _inspection  # noqa: PLC0415 - loads the extension, which --help does not need

    documents = []
    try:
        paths = chosen_directories(input_, runs, doing="Inspecting")
        documents = [_inspection.inspect(path) for path in paths]
    except (InputError, NoLogError) as error:
        fail(str(error), EXIT_USAGE)
    except CodexObsError as error:
        fail(str(error), EXIT_INCOMPLETE)
    if as_json:
        print_json(documents[0] if len(documents) == 1 else documents)
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        typer.echo(
            "\n".join("".join(f"{line}\n" for line in _screen(document, width)) for document in documents), nl=False
        )
    for document in documents:
        for problem in document["problems"]:  # type: ignore[attr-defined]  # a list
            say(f"{visible(document['path'])}: {visible(problem)}")
    if not all(document["healthy"] for document in documents):
        raise typer.Exit(EXIT_INCOMPLETE)


def _screen(run: Document, width: int | None) -> Iterator[str]:
    def folded(words: str, indent: str = "") -> list[str]:
        room = (width or display_width(words) + len(indent)) - len(indent)
        return [indent + piece for piece in fold(visible(words), max(room, 1), at_spaces=True)]

    yield from folded(f"{run['path']}  {run['status'] or 'no record of sessions'}  {run['rows'] or 0:,} rows")
    facts = [("name", run["name"]), ("id", run["run_id"]), ("last step", run["last_step"]), ("started", run["started"])]
    yield from folded("  ".join(f"{title} {value}" for title, value in facts if value is not None))
    yield ""
    losses = run["losses"]
    yield from folded("Nothing is lost." if not losses else f"Lost or not read ({len(losses)}):")
    for loss in losses:
        yield from folded(f"{loss['words']}. {loss['remedy']}", "  ")
    yield from _waiting(run, folded)
    yield ""
    yield from _files(run, width)
    if run["sessions"]:
        yield ""
        yield from _sessions(run, width)
    if run["destinations"]:
        yield ""
        yield from _destinations(run, width)
    degraded = [one for one in run["components"] if one["status"] == "degraded"]
    for one in degraded:
        yield from folded(f"{one['component']} is degraded since {one['since']}: {one['reason']}")
    if run["unknown_internals"]:
        yield from folded(f"Files in .codex_obs that belong to nobody: {', '.join(run['unknown_internals'])}")


def _waiting(run: Document, folded: Any) -> Iterator[str]:  # noqa: ANN401 - a function of the caller's
    """Say what is no loss, but has not arrived yet."""
    if run["rows_recovered"]:
        yield from folded(f"{run['rows_recovered']:,} rows were recovered from journals of killed writers just now.")
    for journal in run["journals"]:
        if journal["state"] == "live":
            rows = journal["rows_waiting"]
            waiting = f"; {rows:,} {'row waits' if rows == 1 else 'rows wait'} in its journal" if rows else ""
            yield from folded(f"A live process writes stream {journal['stream']}{waiting}.")
    if run["rows_superseded"]:
        yield from folded(f"{run['rows_superseded']:,} rows are superseded by rewind_to; --superseded shows them.")


def _files(run: Document, width: int | None) -> Iterator[str]:
    from codex_obs._inspection import size_text  # noqa: PLC0415 - loads the extension

    logs = sorted(run["files"], key=lambda log: -log["bytes"])
    rows = [(log["log"], log["files"], log["packed"], size_text(log["bytes"])) for log in logs[:_SHOWN_LOGS]]
    rest = logs[_SHOWN_LOGS:]
    if rest:
        size = size_text(sum(log["bytes"] for log in rest))
        rows.append((f"{len(rest)} more", sum(log["files"] for log in rest), sum(log["packed"] for log in rest), size))
    other = run["other_files"]
    if other["files"]:
        rows.append(("other files", other["files"], 0, size_text(other["bytes"])))
    yield from _grid(("log", "files", "packed", "size"), rows, width)


def _sessions(run: Document, width: int | None) -> Iterator[str]:
    sessions = run["sessions"]
    live = {stream["stream"] for stream in run["streams"] if stream["live"]}
    last = {session["stream"]: session["session"] for session in sessions}
    rows = []
    for session in sessions[-_SHOWN_SESSIONS:]:
        stream = session["stream"]
        is_live = stream in live and last[stream] == session["session"]
        status = "running" if is_live else session["status"] or "crashed"
        started = (session["started"] or NOTHING)[:19].replace("T", " ")
        rows.append(
            (stream, session["session"], status, started, session["rows"], f"{session['host']}:{session['pid']}")
        )
    yield from _grid(("stream", "session", "status", "started (UTC)", "rows", "process"), rows, width)
    if len(sessions) > len(rows):
        yield f"{len(sessions) - len(rows)} earlier sessions: --json shows all"


def _destinations(run: Document, width: int | None) -> Iterator[str]:
    from codex_obs._inspection import size_text  # noqa: PLC0415 - loads the extension

    rows = []
    for one in run["destinations"]:
        left = [f"{one['rows_left']:,} rows" if one["rows_left"] is not None else size_text(one["bytes_left"])]
        left += [
            f"{one[key]} {what}" for key, what in (("params_left", "parameters"), ("tags_left", "tags")) if one[key]
        ]
        left += ["the run status"] if one["end_left"] else []
        is_done = not any(one[key] for key in ("bytes_left", "params_left", "tags_left", "end_left"))
        state = "all delivered" if is_done else f"waiting: {', '.join(left)}"
        rows.append((one["address"], one["stream"], one["points_taken"], one["rows_not_sent"], state))
    yield from _grid(("destination", "stream", "points", "not sent", "state"), rows, width)


def _grid(titles: Sequence[str], rows: Sequence[Sequence[object]], width: int | None) -> Iterator[str]:
    columns = [
        Column(title, [visible(row[place]) for row in rows], is_number=all(isinstance(row[place], int) for row in rows))
        for place, title in enumerate(titles)
    ]
    yield from draw(columns, width=width, remedy="--json shows all").splitlines()
