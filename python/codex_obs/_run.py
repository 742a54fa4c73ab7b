"""A run: one open session of one writer."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from codex_obs import _artifact, _backend, _beside, _console, _deferral, _exit, _export, _open_runs
from codex_obs._beginning import Beginning
from codex_obs._derived import derived_parameters
from codex_obs._extra import extra
from codex_obs._git import commit_and_branch
from codex_obs._settings import environment
from codex_obs._versions import versions
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from codex_obs._settings.settings import Settings
    from codex_obs._telemetry.spans import Span
    from codex_obs.types import Status

# A notebook waits no longer for the last rows.
_SHOWN_AFTER_S = 0.5
_STATUSES = ("finished", "failed", "killed")


class Run(_backend.Recorder):
    """One open session of a run, made by `codex_obs.init`.

    `log`, `bind`, `event`, `flush`, `stats`, `run_id`, `name` and `stream` are the extension's own: a call of `log` has
    no Python frame.

    As a context manager a run closes itself: with status ``failed`` after an exception, ``killed`` after
    KeyboardInterrupt or a non-zero SystemExit, else ``finished``. It never swallows an exception. A run that is still
    open when the interpreter ends is closed then, within five seconds; an exception that ends the program makes it
    ``failed``. That cannot be seen of ``sys.exit(1)`` nor, from Python 3.13 on, of an exception that ends a worker of
    `multiprocessing`: use ``with`` where it matters.

    A stream other than the main one, such as that of a rank or of a worker, makes no file before its first row.

    A run pickles to its path and settings. Unpickled in the process that has the run open it is that run; elsewhere it
    touches nothing before its first row, for which it opens a stream of its own. A closed run stays closed.
    """

    _settings: Settings
    _tags: Mapping[str, object]
    _config: Mapping[str, object]
    _config_text: bytes
    # Parameters that wait for the first row, with the process that gave them.
    _due: _Due | None
    # Whether it came out of a pickle.
    _arrived: bool
    _beginning: Beginning
    # Of the process that was started beside the one that opened it.
    _sidecar: tuple[str, str] | None
    # The process that opened it, and the step that it is still to go back to: a stream may begin at its first row.
    _opened_by: int
    _rewind_due: int | None
    # What looks after rows whose values do not exist yet, once there are any.
    _waiter: _deferral.Waiter | None = None
    log_artifact = _artifact.log_artifact
    _deferred = _deferral.deferred
    _before_rows = _deferral.before_rows
    _await_deferred = _deferral.await_deferred

    def __new__(
        cls,
        directory: str,
        settings: Settings,
        *,
        run_id: str | None = None,
        name: str | None = None,
        config: object = None,
        tags: object = None,
        metadata_name: str | None = None,
        as_current: bool = True,
        clock: _backend.ManualClock | None = None,
        backing: str = "auto",
        arrived: bool = False,
        beginning: Beginning | None = None,
    ) -> Self:
        """Open a session in a directory and write the records that begin it. Programs call `codex_obs.init`.

        Args:
            directory: The run directory, absolute.
            settings: How to write it.
            run_id: The run's identity, or None for the one that is there, else a new one.
            name: Name of a new run; a run that exists keeps its own.
            config: Parameters.
            tags: Tags of the run.
            metadata_name: The name to note beside the parameters, if the user gave one.
            as_current: Whether it becomes the current run.
            clock: A clock of the test's own.
            backing: How the journal outlives the process: ``"auto"``, or one that a test wants.
            arrived: Whether it comes out of a pickle: then nothing is touched before its first row.
            beginning: What `init` found out about the job; None for a process that was handed its run.

        Raises:
            CodexObsError: If the directory or its files cannot be used, or belong to another run.
        """
        beginning = beginning or Beginning(size=environment.world_size())
        # Read before there is a session: what a stranger's code raises leaves nothing behind.
        params = {} if config is None else _backend.members_of(config)
        kept_tags = {} if tags is None else _backend.members_of(tags)
        config_hash = None if config is None else _backend.config_hash(config)
        beside = None if arrived or settings.disabled else _beside.launch(directory, settings)
        try:
            run = super().__new__(
                cls,
                directory,
                settings,
                own_stream=beginning.is_rank_unknown,
                run_id=run_id,
                name=name,
                clock=clock,
                backing=backing,
                destinations=_export.destinations(settings),
                sidecar=beside,
                dormant=arrived,
                is_worker=arrived and _is_worker(),
            )
        except _backend.CoreError as error:
            raise _backend.public_error(error) from None
        run._settings = settings
        run._sidecar = None if beside is None else (beside.token, beside.remedy)
        run._tags = MappingProxyType(kept_tags)
        run._config = MappingProxyType({})
        run._config_text = b""
        run._due = None
        run._arrived = arrived
        run._beginning = beginning
        run._opened_by = os.getpid()
        run._rewind_due = beginning.rewind_to
        next_step = settings.resume_step if beginning.rewind_to is None else beginning.rewind_to
        metadata = {"name": metadata_name, "tags": tags if kept_tags else None}
        noted = {key: value for key, value in metadata.items() if value is not None}
        try:
            if next_step is not None:
                run._set_next_step(next_step)
            if run._is_open:
                run._begin_session(config_hash)
            run._note_params({} if config is None else config, params, noted)
        except BaseException as error:
            # Ctrl-C, say: nobody has this run to close it.
            status = _exit.status_of(error)
            if run._is_open:
                run._write_session("finish", {"status": status})
            run._close(_exit.DEADLINE_S, status)
            raise
        _backend.emit_warnings(run._take_warnings())
        if run._is_open or not (arrived or settings.disabled):
            _exit.arrange()
        if settings.console and not settings.rank and not settings.disabled:
            # Only where it is asked for: else `event` stays one native call.
            run.event = _console.Console(run.event, params).event  # type: ignore[method-assign]
        _open_runs.add(run, directory, as_current=as_current)
        return run

    @property
    def path(self) -> Path:
        """The run directory, absolute."""
        return self.directory

    @property
    def config(self) -> Mapping[str, object]:
        """Every parameter given so far, by `init` and `log_params`; the last value of each. Read-only."""
        return self._config

    @property
    def tags(self) -> Mapping[str, object]:
        """The tags that `init` was given. Read-only."""
        return self._tags

    @property
    def settings(self) -> Settings:
        """The settings that the run was opened with."""
        return self._settings

    def log_params(self, params: object) -> None:
        """Log parameters that became known after `init`: one more line in ``params.ndjson`` with just these.

        Args:
            params: Names and values: a mapping, a dataclass, or what `init` takes as its `config`. They are added to
                `config`.

        Raises:
            TypeError: If `params` has no names and values.
        """
        self._note_params(params, params_in(params), {})

    def span(self, name: str, /, **attributes: object) -> Span:
        """Give a span of this run with a name and attributes: ``with run.span("update", update=3):``."""
        from codex_obs._telemetry import spans  # noqa: PLC0415 - programs without spans need not load it

        return spans.Span(spans.SPAN, name, facts={}, inherited={}, contents={}, attributes=attributes, log=self)

    def close(self, timeout: float | None = 5.0) -> bool:
        """End the session as finished: refuse rows, write out what is there, deliver what there is time for.

        Args:
            timeout: Longest wait in seconds; None waits as long as the files take, and for a server until it has
                taken nothing for a minute.

        Returns:
            Whether every row is in the files. If not, they are in the journal, from which the next `init`, reader or
            ``codex-ndjson recover`` brings them back. What could not be delivered to a server is said as a warning,
            with the command that delivers it. Later calls do nothing and return the same.
        """
        return self.finish("finished", timeout=timeout)

    def finish(self, status: Status = "finished", *, timeout: float | None = 5.0) -> bool:
        """End the session with a status; else the same as `close`.

        Args:
            status: ``"finished"``, ``"failed"`` or ``"killed"``.
            timeout: Longest wait in seconds; None waits as long as `close` does.

        Returns:
            Whether every row is in the files.

        Raises:
            SettingError: If `status` is none of the three.
        """
        require_status(status)
        return self._finish(status, timeout, self._close)

    def _finish_with_process(self, status: Status, timeout: float) -> bool:
        """Do what `finish` does, except that rows are accepted to the last: threads and exit handlers may log."""
        return self._finish(status, timeout, self._end)

    def _finish(self, status: Status, timeout: float | None, end: Callable[[float | None, str], bool]) -> bool:
        if not self.closed and self._is_open:
            _open_runs.tell_of_close(self)
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._waiter is not None:
            self._waiter.end(timeout)
        is_first = _open_runs.remove(self)
        if is_first:
            self._record_losses()
        # What never logged has no session to finish: a forked child, or a stream other than the main one.
        if is_first and self._is_open:
            largest = self._largest_step()
            noted = {} if largest is None else {"largest_step": largest[0]}
            self._write_session("finish", {"status": status, **noted})
        done = end(None if deadline is None else max(deadline - time.monotonic(), 0.0), status)
        _backend.emit_warnings(self._take_warnings())
        if is_first and self._sidecar is not None:
            from codex_obs.sidecar import handle  # noqa: PLC0415 - only where there is one

            _backend.emit_warnings(f"run {self.name}: {words}" for words in handle.wait(self, *self._sidecar, deadline))
        if is_first and not done:
            words = f"run {self.name}: closed before all rows were in the files of {self.directory}"
            _backend.emit_warnings([f"{words}; the next reader or `codex-ndjson recover` brings them back"])
        return done

    def __enter__(self) -> Self:
        _open_runs.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.finish(_exit.status_of(error))
        finally:
            _open_runs.leave(self)

    def __reduce__(self) -> tuple[object, ...]:
        state: _State = {
            "run_id": self.run_id,
            "name": self.name,
            "closed": self.closed,
            "config": self._config_text,
            "tags": _backend.canonical_json(dict(self._tags)),
        }
        return _reopen, (os.fspath(self.directory), self._settings, state)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        where = f"at {str(self.directory)!r}, stream {self.stream}"
        return f"<{type(self).__name__} {self.name!r} {self.run_id} {where}, {state}>"

    def _repr_html_(self) -> str:
        """Show the run in a notebook: how it stands, its last values and small charts."""
        from html import escape  # noqa: PLC0415 - notebooks only

        from codex_obs._visible import visible  # noqa: PLC0415 - as above

        try:
            from codex_obs import _notebook  # noqa: PLC0415 - as above

            self.flush(_SHOWN_AFTER_S)
            return _notebook.to_html(self.path, self.name)
        except Exception:  # noqa: BLE001 - a cell that shows a run never fails for it
            return f"<code>{escape(visible(repr(self)))}</code>"

    @property
    def _is_guest(self) -> bool:
        """Whether it is switched off, or came out of a pickle and has not logged here: `init` need not know of it."""
        return (self._arrived or self._settings.disabled) and not self._is_open

    @property
    def _is_bare_here(self) -> bool:
        """Whether this process opened it with neither a directory nor a name."""
        return self._beginning.is_bare and self._opened_by == os.getpid()

    def _continue(self, config: object, tags: object, settings: Settings, rewind_to: int | None) -> None:
        """Take what a further `init` in the open directory brings: parameters that changed, and nothing else."""
        stays = [field.name for field in fields(settings) if _differs(settings, self._settings, field.name)]
        if tags is not None and _backend.canonical_json(tags) != _backend.canonical_json(dict(self._tags)):
            stays.append("tags")
        if rewind_to not in (None, self._beginning.rewind_to):
            stays.append("rewind_to")
        if stays:
            _backend.emit_warnings(
                [f"run {self.name}: {self.directory} is already open, and keeps its {', '.join(stays)}: close it first"]
            )
        if config is None:
            return
        params = _backend.members_of(config)
        if _backend.canonical_json({**self._config, **params}) != self._config_text:
            self._note_params(config, params, {})

    def _opened(self) -> None:
        """Begin the session of a stream that has just been opened for its first row."""
        self._begin_session(_backend.config_hash(dict(self._config)) if self._config else None)
        due, self._due = self._due, None
        # A forked child leaves its parent's parameters to that.
        if due is not None and due.pid == os.getpid():
            self._write_params_line(due.params, due.params, due.metadata)
        _open_runs.add(self, os.fspath(self.directory), as_current=_open_runs.current() is self)
        _exit.arrange()

    def _arrive(self, state: _State) -> None:
        """Take what a pickle says."""
        import json  # noqa: PLC0415 - only pickles need it

        # The parameters are on record where they were given.
        self._due = None
        if state["closed"]:
            self._refuse()
            _open_runs.remove(self)
        self._tags = MappingProxyType(json.loads(state["tags"]))
        self._config = MappingProxyType(json.loads(state["config"] or "{}"))
        self._config_text = state["config"]

    def _begin_session(self, config_hash: str | None) -> None:
        # A forked child goes back nowhere.
        rewind_to = self._rewind_due if self._opened_by == os.getpid() else None
        self._rewind_due = None
        self._write_session("start", self._start_fields(config_hash, rewind_to))
        totals = {"rows_recovered": self.stats()["rows_recovered"]}
        self._write_summary("ndjson", "enabled", "ndjson:started", extra({"stream": self.stream}, totals))
        self._note_guard()

    def _note_guard(self) -> None:
        """Put on record what `codex_obs.mlflow_guard` has decided in this process, if that is used."""
        guard = sys.modules.get("codex_obs.mlflow_guard")
        record = None if guard is None else guard.taken()
        if record is not None:
            self._write_summary("mlflow", *record)

    def _start_fields(self, config_hash: str | None, rewind_to: int | None) -> dict[str, object]:
        rewound: dict[str, object] = {}
        if rewind_to is not None:
            ended = {stream: _place(place) for stream, place in self._ended_streams().items()}
            rewound = {"rewind_to": rewind_to, "rewound": ended}
        return {
            "host": os.uname().nodename,
            "user": environment.user(),
            "git": commit_and_branch(),
            "pid": os.getpid(),
            "stream": self.stream,
            "job": self._beginning.job,
            "at": _place(self._begins_at()),
            "resume_step": self._resume_step(),
            **rewound,
            "config_hash": config_hash,
            "versions": versions(),
        }

    def _note_params(self, given: object, params: Mapping[str, object], metadata: Mapping[str, object]) -> None:
        """Write a line of parameters, as they were given, and add what was read of them to `config`."""
        config = {**self._config, **params}
        if not self._is_open and not self.closed:
            due = self._due if self._due is not None and self._due.pid == os.getpid() else _Due(os.getpid(), {}, {})
            self._due = _Due(due.pid, {**due.params, **params}, {**due.metadata, **metadata})
        elif not self._write_params_line(given, params, metadata):
            why = "it is closed" if self.closed else "its journal has no room"
            _backend.emit_warnings([f"run {self.name}: parameters are not written to {self.directory}: {why}"])
            return
        self._config, self._config_text = MappingProxyType(config), _backend.canonical_json(config)

    def _write_params_line(self, given: object, params: Mapping[str, object], metadata: Mapping[str, object]) -> bool:
        config = {**self._config, **params}
        world_size = self._beginning.size
        if world_size is None and self._settings.rank is None and not self._beginning.is_rank_unknown:
            world_size = 1
        argv = [str(argument) for argument in getattr(sys, "argv", [])]
        unread: list[str] = []
        derived = derived_parameters(config, world_size, unread.append)
        _backend.emit_warnings(f"run {self.name}: {text}" for text in unread)
        return self._write_params(given, argv, derived, metadata)


def require_status(status: object) -> None:
    """Require a status that a session can end with.

    Raises:
        SettingError: If it is none.
    """
    if status not in _STATUSES:
        raise SettingError(f"status={status!r:.80} cannot be used: give 'finished', 'failed' or 'killed'.")


def params_in(params: object) -> dict[str, object]:
    """Return the names and values of parameters.

    Raises:
        TypeError: If they have none.
    """
    if not _backend.is_object(params):
        raise TypeError(f"params must be a mapping, not {type(params).__name__}")
    return _backend.members_of(params)


class _Due(NamedTuple):
    pid: int
    params: Mapping[str, object]
    metadata: Mapping[str, object]


class _State(TypedDict):
    """What a pickle says of a run beside its place and settings."""

    run_id: str
    name: str
    closed: bool
    config: bytes
    tags: bytes


def _differs(one: Settings, other: Settings, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def _place(place: tuple[int, int] | None) -> dict[str, int] | None:
    return None if place is None else {"shard": place[0], "offset": place[1]}


def _is_worker() -> bool:
    """Whether this process helps another, whose stream it must not take."""
    process = sys.modules.get("multiprocessing.process")
    if process is None:
        return False
    # A spawned worker unpickles what it was sent before it has a parent by name.
    return process.parent_process() is not None or hasattr(process.current_process(), "_inheriting")


def _reopen(directory: str, settings: Settings, state: _State) -> Run:
    """Unpickle a run: the one that is open there, else one that opens a stream of its own when it logs."""
    with _open_runs.opening():
        found = None if state["closed"] else _open_runs.find(directory)
        if found is not None:
            return found
        run = Run(
            directory,
            replace(settings, resume_step=None),
            run_id=state["run_id"],
            name=state["name"],
            as_current=not state["closed"] and _open_runs.current() is None,
            arrived=True,
        )
        run._arrive(state)  # noqa: SLF001 - its own maker
        return run


# Where pickles say that they are: names of the package, which stay when its files change.
Run.__module__ = _reopen.__module__ = "codex_obs"
