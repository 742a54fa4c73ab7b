"""The command ``import``: runs of other tools as run directories."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - the command line library looks at it
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs.commands._command import EXIT_INCOMPLETE, EXIT_USAGE, JsonOption, fail, print_json, say, visible
from codex_obs.commands._progress import Line, share
from codex_obs.errors import CodexObsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_obs._sources.importing import Account, Imported, Source

_FEWEST_BYTES = 100_000  # below this a share of bytes says less than a number of values


def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Wide JSON lines, TensorBoard event files, W&B run files (.wandb), or an MLflow store: a file or "
            "folder, sqlite:///PATH, file:PATH, or the address of an MLflow run or experiment.",
            show_default=False,
        ),
    ],
    *,
    dest: Annotated[
        Path,
        typer.Option(metavar="RUN", help="Run directory to make; of a source with several runs, the folder for them."),
    ],
    run: Annotated[
        str | None, typer.Option("--run", metavar="NAME|ID", help="Take this run only, of a source that has several.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run of another tool as a run directory, with its steps and times.

    Exit codes: 0 done; 1 something was damaged or could not be written; 2 wrong usage, or no run there.
    """
    from codex_obs._sources import importing  # noqa: PLC0415 - loads the extension, which --help does not need

    account = importing.Account()
    try:
        with Line(sys.stderr) as line:
            found = importing.find(source, run, account)
            written = _write_all(found, dest, account, line)
    except importing.SourceError as error:
        fail(str(error), EXIT_USAGE)
    except CodexObsError as error:
        fail(str(error), EXIT_INCOMPLETE)
    _report(written, dest, account, as_json=as_json)
    if account.damaged or any(one.lost for one in written):
        raise typer.Exit(EXIT_INCOMPLETE)


def _write_all(found: Sequence[Source], dest: Path, account: Account, line: Line) -> list[Imported]:
    from codex_obs._sources import importing  # noqa: PLC0415 - as above

    written: list[Imported] = []

    def tell(done: int, total: int) -> None:
        if line.is_due():
            place = f" run {len(written) + 1} of {len(found)}," if len(found) > 1 else ""
            how_far = share(done, total) if total >= _FEWEST_BYTES else f"{done:,}"
            line.show(f"Importing:{place} {how_far}")

    account.tell = tell
    # A folder of runs gets one more.
    if len(found) == 1 and not _holds_runs(dest):
        if _is_taken(dest):
            fail(f"{dest} is there already: name a new folder.", EXIT_USAGE)
        return [importing.write(found[0], dest, account)]
    for one in found:
        folder = importing.place_of(one, dest)
        written.append(
            importing.Imported(folder, 0, is_new=False) if _is_taken(folder) else importing.write(one, folder, account)
        )
    return written


def _holds_runs(folder: Path) -> bool:
    """Whether it is a folder of runs, and no run itself."""
    return not (folder / "run.json").exists() and next(folder.glob("*/run.json"), None) is not None


def _is_taken(folder: Path) -> bool:
    """Whether there is something that is no empty folder."""
    try:
        return any(folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _report(written: Sequence[Imported], dest: Path, account: Account, *, as_json: bool) -> None:
    new = [one for one in written if one.is_new]
    rows = sum(one.rows for one in new)
    lost = sum(one.lost for one in new)
    if as_json:
        print_json({
            "path": str(dest), "runs": [str(one.path) for one in new], "rows": rows,
            "skipped": [str(one.path) for one in written if not one.is_new],
            "left": dict(account.left), "damaged": dict(account.damaged), "rows_lost": lost,
        })  # fmt: skip
    elif len(written) == 1:
        typer.echo(f"Wrote {visible(written[0].path)} ({rows} rows)")
    else:
        typer.echo(f"Wrote {len(new)} runs below {visible(dest)} ({rows} rows)")
    if len(new) < len(written):
        say(f"{_counted(len(written) - len(new), 'run')} left as found: there already.")
    unknown = sum(not one.is_ended for one in new)
    if unknown:
        which = "The run has" if len(written) == 1 else f"{_counted(unknown, 'run')} had"
        say(f"{which} no end in the source, and the status killed here: still running, or ended without a word.")
    if account.left:
        say(f"Left out: {_listed(account.left)}.")
    if account.damaged:
        say(f"Damaged, not read: {_listed(account.damaged)}.")
    if lost:
        say(f"{lost} rows could not be written.")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(_counted(count, visible(word)) for word, count in sorted(counts.items()))


def _counted(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    head, space, rest = noun.partition(" ")
    # `file that ends …`, `line of …`: the first word is the noun.
    is_described = rest.startswith(("of ", "that ", "from "))
    return f"{count} {head}s{space}{rest}" if is_described else f"{count} {noun}s"
