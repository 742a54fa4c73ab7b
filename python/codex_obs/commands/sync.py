"""The command ``codex-ndjson sync``: sends a run to a server, later or while it is logged."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer looks at it
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs._settings import environment, tracking
from codex_obs._settings.settings import Settings
from codex_obs.commands import _sync_artifacts
from codex_obs.commands._command import (
    EXIT_INCOMPLETE,
    EXIT_USAGE,
    DirectoriesArgument,
    InputOption,
    chosen_directories,
    fail,
    say,
    visible,
)
from codex_obs.commands._input import InputError
from codex_obs.commands._progress import Line, share
from codex_obs.commands._sync_checks import check_destination, check_files, check_together
from codex_obs.commands._sync_otlp import collector
from codex_obs.commands._sync_words import (
    IDENTITY,
    beforehand,
    interrupted,
    is_incomplete,
    no_run,
    notices,
    result,
    sentence,
    would,
)
from codex_obs.destinations import mlflow
from codex_obs.errors import CodexObsError, NoLogError, SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from codex_obs._backend import Destination, StreamOutcome, SyncProgress
    from codex_obs.types import SettingsFields

EXIT_INTERRUPTED = 130  # what shells give to a program that Ctrl-C ended

# Without --follow, a server that takes nothing for so long is given up: two of the longest pauses between attempts.
_PATIENCE_S = 60.0
# A store is no server that may be away: MLflow makes a database in seconds, which are minutes on a busy machine.
_STORE_PATIENCE_S = 300.0
# The least time for a first answer, also where patience is shorter.
_FIRST_ANSWER_S = 3.0
# Shortest time between two messages about a lack of progress, without a terminal.
_WORDS_EVERY_S = 30.0
_MLFLOW = "mlflow"
_TENSORBOARD, _WANDB, _OTLP = "tensorboard", "wandb", "otlp"
_URI_SETTING = "mlflow_tracking_uri"
_OPTIONS = {
    "mlflow_run_id": "--run-id",
    "mlflow_experiment_id": "--experiment-id",
    "mlflow_experiment_name": "--experiment-name",
}
_FOLLOW_MANY = "--follow takes one run directory: start the command once for each."
_ONE_RUN_FOR_MANY = (
    "--run-id takes one run directory, and so does CODEX_OBS_MLFLOW_RUN_ID: several runs in one MLflow run could not "
    "be told apart."
)
_DEST_TAKES_ONE = "--dest takes one run directory: each run has event files in a folder of its own."
_NO_ADDRESS = (
    "No server was named: give --uri http://HOST:PORT, or --uri sqlite:///FILE for a store on this machine, or set "
    "CODEX_OBS_MLFLOW_TRACKING_URI."
)


class WandbMode(StrEnum):
    """What becomes of a run of W&B."""

    OFFLINE = "offline"
    ONLINE = "online"


class Streams(StrEnum):
    """Whose metrics are delivered."""

    MAIN = "main"
    ALL = "all"


def sync(
    runs: DirectoriesArgument = None,
    *,
    input_: InputOption = None,
    to: Annotated[
        str,
        typer.Option(
            metavar="DESTINATION",
            help=f"{_MLFLOW}, {_TENSORBOARD}, {_WANDB}, {_OTLP} (spans), or a plugin by name: "
            "`codex-obs plugins list destinations` names them.",
        ),
    ] = _MLFLOW,
    dest: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the event files. Default: tensorboard/ in the run directory."),
    ] = None,
    wandb_mode: Annotated[
        WandbMode | None,
        typer.Option(
            help="With --to wandb: write an offline run, or send it to W&B. Default: CODEX_OBS_WANDB, else offline."
        ),
    ] = None,
    uri: Annotated[
        str | None,
        typer.Option(
            help="Address of the server, or an MLflow store on this machine such as sqlite:///mlflow.db or ./mlruns. "
            "Default: CODEX_OBS_MLFLOW_TRACKING_URI, else MLFLOW_TRACKING_URI. Others can see an argument: put a "
            "password into MLFLOW_TRACKING_PASSWORD."
        ),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="MLflow run to deliver to, which run.json names from then on. Default: the one that it names, else a "
            "new one.",
        ),
    ] = None,
    new_run: Annotated[
        bool,
        typer.Option("--new-run", help="Deliver everything to a new MLflow run; run.json names it from then on."),
    ] = False,
    experiment_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Experiment of a new MLflow run. Default: MLFLOW_EXPERIMENT_ID, else that of MLFLOW_EXPERIMENT_NAME, "
            "else 0.",
        ),
    ] = None,
    experiment_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Experiment by name; created if missing. Default: MLFLOW_EXPERIMENT_NAME."),
    ] = None,
    export_ranks: Annotated[
        Streams | None,
        typer.Option(
            help="Whose metrics: the main stream's, or those of all streams. A directory without a main stream needs "
            "all; its first stream then creates the MLflow run."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Keep delivering until the run has ended.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Count only; contact no server. Like every reader, this first recovers rows from journals of dead "
            "processes.",
        ),
    ] = False,
    patience: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.0,
            help="Give up after this many seconds without progress. Default: 60, for an MLflow store 300; with "
            "--follow never.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 also if an earlier delivery already reported the missing rows."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Send everything the destination does not have yet, from a finished, crashed, offline or running run.

    The same command resumes where it was interrupted. Unacknowledged data is sent again byte for byte; MLflow's SQL
    stores keep one copy, and files have each row once.
    """
    try:
        check_together(run_id, experiment_id, experiment_name, new_run=new_run)
        only_mlflow = {"--uri": None if to == _OTLP else uri, "--run-id": run_id, "--experiment-id": experiment_id}
        check_destination(to, {**only_mlflow, "--experiment-name": experiment_name, "--new-run": new_run or None})
        check_files(to, dest, wandb_mode)
        settings = _settings(
            to,
            uri,
            export_ranks,
            wandb_mode,
            run_id=run_id,
            experiment_id=experiment_id,
            experiment_name=experiment_name,
        )
        paths = chosen_directories(input_, runs, doing="Delivering")
    except SettingError as error:
        fail(_as_options(str(error), uri), EXIT_USAGE)
    except InputError as error:
        fail(str(error), EXIT_USAGE)
    if len(paths) > 1:
        has_run = settings.mlflow_run_id is not None and not new_run
        _refuse_many({_FOLLOW_MANY: follow, _DEST_TAKES_ONE: dest is not None, _ONE_RUN_FOR_MANY: has_run})
    options = _Options(
        to=to,
        dest=dest,
        uri=uri,
        new_run=new_run,
        has_experiment=_has_experiment(settings, experiment_id, experiment_name),
        follow=follow,
        dry_run=dry_run,
        strict=strict,
        quiet=as_json,
    )
    account = _Account()
    code = 0
    try:
        for path in paths:
            watch = _Watch(_patience(patience, settings, follow=follow))
            code = max(code, _deliver(path, settings, watch, account, options))
    except KeyboardInterrupt:
        if new_run and not dry_run:
            say("Interrupted. Delivered data stays.")
            for path in paths:
                now = _known_run(path, _placed(settings, path)) if path in account.known else None
                say(interrupted(path, account.known.get(path), now))
        else:
            say("Interrupted. Delivered data stays; the same command resumes from there.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        import json  # noqa: PLC0415 - rarely needed

        typer.echo(json.dumps(account.results, indent=1))
    if code:
        raise typer.Exit(code)


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What was asked for beside the settings."""

    to: str
    dest: Path | None
    uri: str | None
    new_run: bool
    # Whether an experiment was named by an option or a variable.
    has_experiment: bool
    follow: bool
    dry_run: bool
    strict: bool
    quiet: bool


@dataclass(frozen=True)
class _Account:
    """The results of the directories so far."""

    results: list[dict[str, object]] = field(default_factory=list)
    # What run.json of each directory that was begun named before.
    known: dict[Path, str | None] = field(default_factory=dict)


def _known_run(path: Path, settings: Settings, to: str = _MLFLOW) -> str | None:
    """Give the MLflow run that run.json names."""
    from codex_obs import _backend  # noqa: PLC0415 - loads the extension, which --help does not need

    return _backend.known_run(str(path), _destination(to, settings, None, None, None, path)) if to == _MLFLOW else None


def _destination(  # noqa: PLR0917 - what it is made from
    to: str, settings: Settings, mark: str | None, dest: Path | None, uri: str | None, path: Path
) -> Destination:
    from codex_obs import _export  # noqa: PLC0415 - as above

    if to == _TENSORBOARD:
        return _export.tensorboard(settings, dest)
    if to == _WANDB:
        return _export.wandb_online(settings) if settings.wandb == WandbMode.ONLINE.value else _export.wandb(settings)
    if to == _OTLP:
        return collector(settings, uri, path)
    if to != _MLFLOW:
        return _export.plugin(to, settings)
    server = _export.mlflow(settings, new_run=mark)
    assert server is not None  # noqa: S101 - the settings have an address
    return server


def _deliver(
    path: Path,
    settings: Settings,
    watch: _Watch,
    account: _Account,
    options: _Options,
) -> int:
    """Deliver one run, report the result, and give the exit code."""
    from codex_obs import _backend  # noqa: PLC0415 - loads the extension, which --help does not need

    if all(entry.name != IDENTITY for entry in path.iterdir()):
        say(f"{visible(no_run(path))}.")
        return EXIT_USAGE
    settings = _placed(settings, path)
    mark = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if options.new_run else None
    try:
        destination = _destination(options.to, settings, mark, options.dest, options.uri, path)
        known = account.known[path] = _known_run(path, settings, options.to)
        asked = None if options.new_run else settings.mlflow_run_id
        for word in beforehand(known, asked, new_run=options.new_run, has_experiment=options.has_experiment):
            say(f"{visible(path)}: {visible(word)}")
        with watch.line:
            outcomes = _backend.sync(
                str(path), destination, follow=options.follow, dry_run=options.dry_run, progress=watch
            )
    except CodexObsError as error:
        say(f"{visible(_as_options(str(error), options.uri)).removesuffix('.')}.")
        return EXIT_USAGE if isinstance(error, NoLogError | SettingError) else EXIT_INCOMPLETE
    code = _report(path, outcomes, watch, account, options)
    if not options.dry_run:
        code = max(code, _sync_artifacts.deliver(path, options.to, settings, outcomes, quiet=options.quiet))
    if (
        options.new_run
        and not options.dry_run
        and not all(outcome.done for outcome in outcomes)
        and any(one.remote_run for one in outcomes)
    ):
        say(f"{visible(path)}: the new MLflow run exists: the same command without --new-run resumes it")
    return code


def _report(
    path: Path,
    outcomes: list[StreamOutcome],
    watch: _Watch,
    account: _Account,
    options: _Options,
) -> int:
    """Report the result, and give the exit code."""
    code = 0
    said: set[str] = set()
    for outcome in outcomes:
        problem = None if outcome.done else watch.why_not or outcome.problem or "not everything was delivered"
        account.results.append(result(path, outcome, problem, dry_run=options.dry_run))
        where = visible(path) if outcome.stream == Streams.MAIN else f"{visible(path)}, stream {outcome.stream}"
        if not options.quiet:
            words_of = (
                would(outcome, options.to, new_run=options.new_run)
                if options.dry_run
                else sentence(outcome, options.to)
            )
            typer.echo(f"{where}: {words_of}")
            if outcome.page is not None and outcome.page not in said:
                said.add(outcome.page)
                typer.echo(f"{where}: {visible(outcome.page)}")
        words = notices(outcome, options.to)
        if problem is not None:
            words.append(watch.in_short(problem))
        if problem is not None or outcome.rejected or is_incomplete(outcome, strict=options.strict):
            code = EXIT_INCOMPLETE
        # What is wrong with a server is wrong for every stream.
        for word in words:
            if word not in said:
                said.add(word)
                say(f"{where}: {visible(word)}")
    return code


class _Watch:
    """Shows how far a delivery has come, and ends it when the server has taken nothing for too long.

    Args:
        patience_s: How long that is; None is without end.
        clock: Gives a time in seconds.
    """

    def __init__(self, patience_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.line = Line(sys.stderr)
        self.why_not: str | None = None
        self._patience_s = patience_s
        self._clock = clock
        self._taken = (0, 0)
        self._least_left: int | None = None
        self._stuck_since_s = 0.0
        self._next_words_s = 0.0
        self._said: str | None = None
        self._given_up = ""

    def __call__(self, progress: SyncProgress) -> bool:
        """Take note of the state; gives whether to continue."""
        now_s = self._clock()
        if self._has_moved(progress):
            self._stuck_since_s = now_s
        patience_s = self._patience_s
        if progress.waiting is not None:
            self._say_why(progress.waiting, now_s)
        else:
            self._said = None
            # It may be the very first request that is under way.
            patience_s = None if patience_s is None else max(patience_s, _FIRST_ANSWER_S)
        if self.line.is_due():
            self.line.show(_words(progress))
        if patience_s is not None and now_s - self._stuck_since_s >= patience_s:
            self._given_up = f"gave up after {patience_s:g} s without progress"
            self.why_not = f"{self._given_up}: {progress.waiting or 'no answer yet'}"
            return False
        return True

    def _has_moved(self, progress: SyncProgress) -> bool:
        """Give whether it is the first look, or anything went on, or there is nothing to do."""
        # Streams wait in turn, and a running run has ever more to send: both are no progress.
        taken = (progress.delivered, progress.rejected)
        is_less = self._least_left is None or progress.bytes_left < self._least_left
        if is_less:
            self._least_left = progress.bytes_left
        has_moved = is_less or taken != self._taken or (progress.waiting is None and progress.bytes_left == 0)
        self._taken = taken
        return has_moved

    def in_short(self, problem: str) -> str:
        """Give the words for a problem, without the reason where that was the last thing said."""
        is_said = self._said is not None and problem == self.why_not == f"{self._given_up}: {self._said}"
        return self._given_up if is_said else problem

    def _say_why(self, why: str, now_s: float) -> None:
        # A terminal has it in the line. What another process delivers may be waited for through days.
        if not self.line.is_shown and why != self._said and now_s >= self._next_words_s:
            self._next_words_s, self._said = now_s + _WORDS_EVERY_S, why
            say(f"Waiting: {visible(why)}")


def _words(progress: SyncProgress) -> str:
    done = progress.bytes_total - progress.bytes_left
    sent = f"Sending: {share(done, progress.bytes_total)}, {progress.delivered:,} points"
    if progress.waiting is None:
        return sent
    room = shutil.get_terminal_size().columns - len(sent) - len("; waiting: ") - 1
    why = visible(progress.waiting)
    return f"{sent}; waiting: {why if len(why) <= room else why[: max(room - 1, 0)] + '…'}"


def _refuse_many(reasons: Mapping[str, bool]) -> None:
    """End if several directories were given together with an option for one."""
    for words, is_given in reasons.items():
        if is_given:
            fail(words, EXIT_USAGE)


def _settings(
    to: str, uri: str | None, ranks: Streams | None, mode: WandbMode | None, **mlflow_: str | None
) -> Settings:
    # Traces to MLflow's own server belong to the run that the metrics are in.
    address = mlflow.SETTINGS[_URI_SETTING] if to == _OTLP else mlflow.ADDRESS
    is_named = to != _OTLP and uri is not None
    chosen = uri if is_named or to not in {_MLFLOW, _OTLP} else environment.text_of(address)
    given: SettingsFields = {"mlflow_tracking_uri": chosen or ""}
    named = {f"mlflow_{name}": value for name, value in mlflow_.items() if value is not None}
    if ranks is not None:
        given["export_ranks"] = ranks.value
    if mode is not None:
        given["wandb"] = mode.value
    settings = Settings(**given, **named)
    if to == _MLFLOW and settings.mlflow_tracking_uri is None:
        raise SettingError(_NO_ADDRESS)
    return settings


def _placed(settings: Settings, path: Path) -> Settings:
    """Return the settings with the run directory in the place of what stands for it."""
    return replace(settings, mlflow_tracking_uri=tracking.in_run(settings.mlflow_tracking_uri, str(path.absolute())))


def _has_experiment(settings: Settings, experiment_id: str | None, experiment_name: str | None) -> bool:
    """Give whether an experiment was named, by an option or a variable."""
    named = (experiment_id, experiment_name, settings.mlflow_experiment_name)
    default: object = mlflow.SETTINGS["mlflow_experiment_id"].default
    return any(name is not None for name in named) or settings.mlflow_experiment_id != default


def _patience(given: float | None, settings: Settings, *, follow: bool) -> float | None:
    if given is not None or follow:
        return given
    return _STORE_PATIENCE_S if tracking.is_store(settings.mlflow_tracking_uri) else _PATIENCE_S


def _as_options(message: str, uri: str | None) -> str:
    """Name the option, or the variable, where the text of an error names the setting behind it."""
    origin = "--uri" if uri is not None else environment.variable_of(mlflow.ADDRESS)
    for setting, option in {_URI_SETTING: origin, **_OPTIONS}.items():
        if message.startswith(setting):
            return option + message.removeprefix(setting)
    return message
