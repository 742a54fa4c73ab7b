"""The command ``codex-ndjson sync``: what was logged goes to a server, later or while it is logged."""

from __future__ import annotations

import shutil
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs import _config
from codex_obs._command import EXIT_INCOMPLETE, EXIT_USAGE, fail, say, visible
from codex_obs._input import InputError, find_input
from codex_obs._progress import Line, share
from codex_obs.errors import CodexObsError, NoLogError, SettingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_obs._backend import StreamOutcome, SyncProgress
    from codex_obs._config import Settings
    from codex_obs.types import SettingsFields

EXIT_INTERRUPTED = 130  # what shells give to a program that Ctrl-C ended

# Without --follow, a server that takes nothing for so long is given up: two of the longest pauses between attempts.
_PATIENCE_S = 60.0
# How often words say why nothing goes on, where there is no terminal.
_WORDS_EVERY_S = 30.0
_MAIN_STREAM = "main"
_OPTIONS = {"mlflow_tracking_uri": "--uri", "mlflow_run_id": "--run-id", "mlflow_experiment_id": "--experiment-id"}
_FOLLOW_MANY = "--follow takes one run directory: start the command once for each."
_ONE_RUN_FOR_MANY = "--run-id takes one run directory: several runs in one MLflow run could not be told apart."
_NO_ADDRESS = "No server was named: give --uri http://HOST:PORT, or set CODEX_OBS_MLFLOW_TRACKING_URI."


class Destination(StrEnum):
    """What kind of server it is."""

    MLFLOW = "mlflow"


class Streams(StrEnum):
    """Whose metrics are delivered."""

    MAIN = "main"
    ALL = "all"


def sync(
    directories: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DIR...",
            help="Run directories. Default: CODEX_OBS_RUN_DIR, else this folder if a log lies in it, else the newest "
            "run under runs/.",
        ),
    ] = None,
    *,
    to: Annotated[Destination, typer.Option(help="Kind of server.")] = Destination.MLFLOW,  # noqa: ARG001 - there is one
    uri: Annotated[
        str | None,
        typer.Option(
            help="Address of the server. Default: CODEX_OBS_MLFLOW_TRACKING_URI, else MLFLOW_TRACKING_URI. Others can "
            "see an argument: put a password into MLFLOW_TRACKING_PASSWORD."
        ),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="MLflow run to deliver to. Default: the one in run.json, else a new one."),
    ] = None,
    experiment_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Experiment of a new MLflow run. Default: MLFLOW_EXPERIMENT_ID or 0."),
    ] = None,
    export_ranks: Annotated[
        Streams | None, typer.Option(help="Whose metrics: the main stream's, or those of all streams.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the run has ended.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; no word to the server.")] = False,
    patience: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.0,
            help="Give up when the server has taken nothing for so long. Default: 60; with --follow never.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")] = False,
) -> None:
    """Deliver what was logged and is not on the server yet: of a finished, crashed, offline or running run.

    The same command goes on where it was interrupted. What was sent without an answer is sent again, the same to the
    byte, which MLflow's SQL stores keep once.
    """
    try:
        settings = _settings(uri, run_id, experiment_id, export_ranks)
        paths = _resolve(directories or [])
    except SettingError as error:
        fail(_as_options(str(error)), EXIT_USAGE)
    except InputError as error:
        fail(str(error), EXIT_USAGE)
    if len(paths) > 1 and (follow or run_id is not None):
        fail(_FOLLOW_MANY if follow else _ONE_RUN_FOR_MANY, EXIT_USAGE)
    results: list[dict[str, object]] = []
    code = 0
    try:
        for path in paths:
            watch = _Watch(_patience(patience, follow=follow))
            code = max(code, _deliver(path, settings, watch, results, follow=follow, dry_run=dry_run, quiet=as_json))
    except KeyboardInterrupt:
        say("Interrupted. What was delivered stays; the same command goes on from there.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        import json  # noqa: PLC0415 - rarely needed

        typer.echo(json.dumps(results, indent=1))
    if code:
        raise typer.Exit(code)


def _deliver(
    path: Path,
    settings: Settings,
    watch: _Watch,
    results: list[dict[str, object]],
    *,
    follow: bool,
    dry_run: bool,
    quiet: bool,
) -> int:
    """Deliver one run, say what came of it, and give the exit code."""
    from codex_obs import _backend, _export  # noqa: PLC0415 - loads the extension, which --help does not need

    try:
        with watch.line:
            export = _export.mlflow(settings)
            assert export is not None  # noqa: S101 - the settings have an address
            outcomes = _backend.sync(str(path), export, follow=follow, dry_run=dry_run, progress=watch)
    except CodexObsError as error:
        say(f"{visible(_as_options(str(error))).removesuffix('.')}.")
        return EXIT_USAGE if isinstance(error, NoLogError | SettingError) else EXIT_INCOMPLETE
    code = 0
    for outcome in outcomes:
        problem = None if outcome.done else watch.why_not or outcome.problem or "not everything was delivered"
        results.append(_result(path, outcome, problem))
        where = visible(path) if outcome.stream == _MAIN_STREAM else f"{visible(path)}, stream {outcome.stream}"
        if not quiet:
            typer.echo(f"{where}: {_sentence(outcome, dry_run=dry_run)}")
        for notice in _notices(outcome):
            say(f"{where}: {visible(notice)}")
        if problem is not None:
            say(f"{where}: {visible(problem)}")
        if problem is not None or outcome.rejected:
            code = EXIT_INCOMPLETE
    return code


class _Watch:
    """Shows how far a delivery has come, and ends it when the server has taken nothing for too long.

    Args:
        patience_s: How long that is; None is for ever.
        clock: Gives a time in seconds.
    """

    def __init__(self, patience_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.line = Line(sys.stderr)
        self.why_not: str | None = None
        self._patience_s = patience_s
        self._clock = clock
        self._taken = (0, 0)
        self._stuck_since_s: float | None = None
        self._next_words_s = 0.0

    def __call__(self, progress: SyncProgress) -> bool:
        """Take note of the state; gives whether to go on."""
        now_s = self._clock()
        # What the server took, and nothing else: streams wait in turn, and a run that goes on has ever more to send.
        taken = (progress.delivered, progress.rejected)
        if taken != self._taken:
            self._taken, self._stuck_since_s = taken, None
        if progress.waiting is not None:
            self._stuck_since_s = self._stuck_since_s or now_s
            self._say_why(progress.waiting, now_s)
            if self._patience_s is not None and now_s - self._stuck_since_s >= self._patience_s:
                self.why_not = f"given up after {self._patience_s:g} s without an answer that helps: {progress.waiting}"
                return False
        if self.line.is_due():
            self.line.show(_words(progress))
        return True

    def _say_why(self, why: str, now_s: float) -> None:
        # A terminal has it in the line.
        if not self.line.is_shown and now_s >= self._next_words_s:
            self._next_words_s = now_s + _WORDS_EVERY_S
            say(f"Waiting: {visible(why)}")


def _words(progress: SyncProgress) -> str:
    done = progress.bytes_total - progress.bytes_left
    sent = f"Sending: {share(done, progress.bytes_total)}, {progress.delivered:,} metrics"
    if progress.waiting is None:
        return sent
    room = shutil.get_terminal_size().columns - len(sent) - len("; waiting: ") - 1
    why = visible(progress.waiting)
    return f"{sent}; waiting: {why if len(why) <= room else why[: max(room - 1, 0)] + '…'}"


def _sentence(outcome: StreamOutcome, *, dry_run: bool) -> str:
    metrics = "1 metric" if outcome.delivered == 1 else f"{outcome.delivered:,} metrics"
    if dry_run:
        return f"{metrics} would be delivered"
    words = f"{metrics} delivered"
    if outcome.remote_run is not None:
        words += f" to MLflow run {visible(outcome.remote_run)}"
    return words if outcome.status is None else f"{words}, which is {outcome.status}"


def _notices(outcome: StreamOutcome) -> list[str]:
    notices = list(outcome.notices)
    if outcome.rejected:
        notices.append(f"{outcome.rejected:,} refused by the server, kept in export_rejected.ndjson with its words")
    if outcome.lines_skipped:
        notices.append(f"{outcome.lines_skipped:,} lines that are no rows were skipped")
    if outcome.gaps:
        notices.append(f"retention had deleted rows before they were delivered, at {outcome.gaps:,} places")
    return notices


def _result(path: Path, outcome: StreamOutcome, problem: str | None) -> dict[str, object]:
    return {
        "directory": str(path),
        "stream": outcome.stream,
        "delivered": outcome.delivered,
        "rejected": outcome.rejected,
        "params": outcome.params,
        "lines_skipped": outcome.lines_skipped,
        "gaps": outcome.gaps,
        "mlflow_run_id": outcome.remote_run,
        "status": outcome.status,
        "done": outcome.done,
        "problem": problem,
    }


def _settings(uri: str | None, run_id: str | None, experiment_id: str | None, ranks: Streams | None) -> Settings:
    chosen = uri if uri is not None else _config.mlflow_uri_from_environment()
    given: SettingsFields = {"mlflow_tracking_uri": chosen or ""}
    if run_id is not None:
        given["mlflow_run_id"] = run_id
    if experiment_id is not None:
        given["mlflow_experiment_id"] = experiment_id
    if ranks is not None:
        given["export_ranks"] = ranks.value
    settings = _config.Settings(**given)
    if settings.mlflow_tracking_uri is None:
        raise SettingError(_NO_ADDRESS)
    return settings


def _resolve(named: list[str]) -> list[Path]:
    if not named:
        paths = find_input([], _config.run_dir_from_environment(), Path())
        say(f"Delivering {visible(paths[0])}")
    else:
        paths = [path for name in named for path in find_input([name], None, Path())]
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path} is a file: give the run directory.")
    return paths


def _patience(given: float | None, *, follow: bool) -> float | None:
    return given if given is not None or follow else _PATIENCE_S


def _as_options(message: str) -> str:
    """Name the option where the text of an error names the setting behind it."""
    for setting, option in _OPTIONS.items():
        if message.startswith(setting):
            return option + message.removeprefix(setting)
    return message
