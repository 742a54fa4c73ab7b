"""The application ``codex-obs``, also called ``codex-ndjson`` and ``python -m codex_obs``: every command in one.

Results go to standard output or a file, words to standard error. Exit codes: 0 done; 1 the result could not be
written, the demo could not be run, something was skipped (with ``--strict``), is missing (``check``) or was not
delivered; 2 wrong usage, or no run to read; 130 a delivery was interrupted.
"""

from __future__ import annotations

from typing import Annotated

import typer

from codex_obs import flags
from codex_obs.commands import (
    _command,
    check,
    compare,
    demo,
    doctor,
    export,
    import_,
    inspect,
    plugins,
    recover,
    report,
    runs,
    summarize,
    sync,
    view,
    watch,
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=_command.CONTEXT_SETTINGS,
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the command line library calls it with the value alone
    if wanted:
        from codex_obs import __version__  # noqa: PLC0415 - loads the extension

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Work with the runs of codex_obs: summarize, recover and deliver their logs."""


app.command(short_help="Check that a run has the events of a schema.")(check.check)
app.command(short_help="Show runs side by side, the differences first.")(compare.compare)
flags.command(app, short_help="Train a small classifier and show its summary.")(demo.demo)
app.command(short_help="Check this machine and a folder.")(doctor.doctor)
app.command(short_help="Write rows as CSV, Parquet or JSON lines.")(export.export)
app.command("import", short_help="Write a run of another tool as a run directory.")(import_.import_)
app.command(short_help="Say how well a run is, and what is lost.")(inspect.inspect)
app.add_typer(plugins.plugins, name="plugins", help="See and check plugins of other packages.")
app.command(short_help="Recover rows from the journals of dead processes.")(recover.recover)
app.command(short_help="Write charts of runs as one HTML file.")(report.report)
app.command(short_help="List the runs of a folder.")(runs.runs)
app.command(short_help="Summarize a run as CSV, Parquet, JSON or a table.")(summarize.summarize)
app.command(short_help="Send a run to a server, once or while it is running.")(sync.sync)
app.command(short_help="Show charts of runs in a browser.")(view.view)
app.command(short_help="Watch a run in the terminal, live.")(watch.watch)


def main() -> None:
    """Run the command that the process's arguments name."""
    _command.run(app)
