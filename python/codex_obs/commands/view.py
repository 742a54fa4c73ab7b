"""The command ``view``: charts of runs in a browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs.commands._command import EXIT_INCOMPLETE, EXIT_USAGE, fail, say, visible
from codex_obs.viewers.page import DEFAULT_PORT, MissingPackageError, serve

if TYPE_CHECKING:
    from collections.abc import Callable

_DEFAULT_FOLDER = Path("runs")


def view(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN|FOLDER",
            help="Runs, and folders of runs. Default: runs/, else this folder.",
            show_default=False,
        ),
    ] = None,
    *,
    input_: Annotated[
        list[Path] | None, typer.Option("--input", metavar="RUN", help="The same as the argument; may be repeated.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help=f"Port on 127.0.0.1; 0 is a free one. Default: {DEFAULT_PORT}, if it is free."
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the default browser.")] = False,
) -> None:
    """Show charts of runs on a page of this machine, live while they are written.

    Prints the address and serves until Ctrl-C. Only this machine can reach it, and only with the token in the address.

    Exit codes: 0 interrupted; 1 a package is missing, or the port is taken; 2 there is no such folder.
    """
    paths = [*(folders or ()), *(input_ or ())] or [_DEFAULT_FOLDER if _DEFAULT_FOLDER.is_dir() else Path()]
    for path in paths:
        if not path.is_dir():
            fail(f"{visible(path)} is no folder: give runs, or folders of runs.", EXIT_USAGE)
    try:
        serve(paths, port=port, ready=_ready(paths, opens=open_))
    except MissingPackageError as error:
        fail(str(error), EXIT_INCOMPLETE)
    except OSError as error:
        fail(f"Port {port} cannot be had: {error.strerror}. --port takes another.", EXIT_INCOMPLETE)
    except KeyboardInterrupt:
        pass


def _ready(paths: list[Path], *, opens: bool) -> Callable[[str], None]:
    def ready(address: str) -> None:
        say(f"Showing {', '.join(visible(path) for path in paths)}. Ctrl-C ends it.")
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        if opens:
            import webbrowser  # noqa: PLC0415 - rarely needed

            webbrowser.open(address)

    return ready
