"""A run: one open session of one writer."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypedDict

from codex_obs import _backend, _config, _exit, _export, _open_runs
from codex_obs._derived import derived_parameters
from codex_obs._git import commit_and_branch
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from codex_obs._config import Settings
    from codex_obs.types import Status

# Written into the start record if the program has imported them by then; they are never imported for it.
_VERSIONED_LIBRARIES = ("numpy", "torch", "jax", "tensorflow")
STATUSES = ("finished", "failed", "killed")
_EVERY_SHARD = 2**63 - 1


class Run(_backend.Recorder):
    """One open session of a run, made by `codex_obs.init`.

    `log`, `bind`, `event`, `flush`, `stats`, `run_id`, `name` and `stream` are the extension's own: a call of `log` has
    no Python frame.

    As a context manager a run closes itself: with status ``failed`` after an exception, ``killed`` after
    KeyboardInterrupt or a non-zero SystemExit, else ``finished``. It never swallows an exception. A run that is still
    open when the interpreter ends is closed then, within five seconds; an exception that ends the program makes it
    ``failed``. That cannot be seen of ``sys.exit(1)`` nor, from Python 3.13 on, of an exception that ends a worker of
    `multiprocessing`: use ``with`` where it matters.

    A run pickles to its path and settings. Unpickled in the process that has the run open it is that run; elsewhere it
    opens a stream of its own there.
    """

    _settings: Settings
    _tags: Mapping[str, object]
    _config: Mapping[str, object]
    _config_text: bytes
    _session_pid: int

    def __new__(
        cls,
        directory: str,
        *,
        settings: Settings,
        run_id: str | None = None,
        name: str | None = None,
        config: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        metadata_name: str | None = None,
        as_current: bool = True,
        clock: _backend.ManualClock | None = None,
        backing: str = "auto",
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

        Raises:
            CodexObsError: If the directory or its files cannot be used, or belong to another run.
        """
        try:
            run = super().__new__(
                cls,
                directory,
                run_id=run_id,
                name=name,
                clock=clock,
                backing=backing,
                export=_export.mlflow(settings),
                **_engine_options(settings),
            )
        except _backend.CoreError as error:
            raise _backend.public_error(error) from None
        run._settings = settings
        run._tags = MappingProxyType(dict(tags or {}))
        run._config = MappingProxyType({})
        run._config_text = b""
        if settings.resume_step is not None:
            run._set_next_step(settings.resume_step)
        run._begin_session(config)
        metadata = {"name": metadata_name, "tags": tags}
        run._note_params(config or {}, {key: value for key, value in metadata.items() if value})
        _backend.emit_warnings(run._take_warnings())
        _open_runs.add(run, directory, as_current=as_current)
        _exit.arrange()
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

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters that became known after `init`: one more line in ``params.ndjson`` with just these.

        Args:
            params: Names and values; they are added to `config`.

        Raises:
            TypeError: If `params` is no mapping.
        """
        if not isinstance(params, Mapping):
            raise TypeError(f"params must be a mapping, not {type(params).__name__}")
        self._note_params(params, {})

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
        if status not in STATUSES:
            raise SettingError(f"status={status!r:.80} cannot be used: give 'finished', 'failed' or 'killed'.")
        is_first = _open_runs.remove(self)
        # A forked child that never logged has no session of its own to finish.
        if is_first and self._session_pid == os.getpid():
            largest = self._largest_step()
            noted = {} if largest is None else {"largest_step": largest[0]}
            self._write_session("finish", {"status": status, **noted})
        done = self._close(timeout, status)
        _backend.emit_warnings(self._take_warnings())
        if is_first and not done:
            _backend.emit_warnings(
                [f"{self.directory} was closed with rows that are not in the files yet: the next reader finds them"]
            )
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish(_exit.status_of(error))

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (os.fspath(self.directory), self._settings)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        where = f"at {str(self.directory)!r}, stream {self.stream}"
        return f"<{type(self).__name__} {self.name!r} {self.run_id} {where}, {state}>"

    def _continue(
        self, config: Mapping[str, object] | None, tags: Mapping[str, object] | None, settings: Settings
    ) -> None:
        """Take what a further `init` in the open directory brings: parameters that changed, and nothing else."""
        stays = [field.name for field in fields(settings) if _differs(settings, self._settings, field.name)]
        if tags is not None and _backend.canonical_json(tags) != _backend.canonical_json(dict(self._tags)):
            stays.append("tags")
        if stays:
            _backend.emit_warnings([f"{self.directory} is already open, and keeps its {', '.join(stays)}"])
        if config is not None and _backend.canonical_json({**self._config, **config}) != self._config_text:
            self._note_params(config, {})

    def _opened_in_child(self) -> None:
        """Begin the session of a forked child, which has just opened a stream of its own for its first row."""
        self._begin_session(self._config or None)
        _open_runs.add(self, os.fspath(self.directory), as_current=_open_runs.current() is self)
        _exit.arrange()

    def _begin_session(self, config: Mapping[str, object] | None) -> None:
        self._session_pid = os.getpid()
        self._write_session("start", self._start_fields(config))
        self._write_summary("ndjson", "enabled", None, {"stream": self.stream})

    def _start_fields(self, config: Mapping[str, object] | None) -> dict[str, object]:
        return {
            "host": os.uname().nodename,
            "user": _user(),
            "git": commit_and_branch(),
            "pid": os.getpid(),
            "stream": self.stream,
            "resume_step": self._resume_step(),
            "config_hash": None if config is None else _backend.config_hash(config),
            "versions": _versions(),
        }

    def _note_params(self, params: Mapping[str, object], metadata: Mapping[str, object]) -> None:
        """Write a line of parameters and add them to `config`."""
        config = {**self._config, **params}
        world_size = _config.world_size_from_environment()
        if world_size is None and self._settings.rank is None:
            world_size = 1
        argv = [str(argument) for argument in getattr(sys, "argv", [])]
        if not self._write_params(params, argv, derived_parameters(config, world_size), metadata):
            why = "it is closed" if self.closed else "its journal has no room"
            _backend.emit_warnings([f"parameters of {self.directory} are not written: {why}"])
            return
        self._config = MappingProxyType(config)
        self._config_text = _backend.canonical_json(config)


def _user() -> str | None:
    """Give the name of the user, as `getpass.getuser` finds it."""
    named = next(filter(None, map(os.environ.get, ("LOGNAME", "USER", "LNAME", "USERNAME"))), None)
    if named is not None:
        return named
    import pwd  # noqa: PLC0415 - rarely needed

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number that no file names
        return None


class _EngineOptions(TypedDict):
    rank: int
    max_shard_bytes: int | None
    max_shard_age_s: float | None
    backup_count: int | None
    max_unexported_shards: int
    ring_bytes: int
    max_block_s: float
    overflow: str
    fsync: str
    fsync_interval_s: float
    file_mode: int
    legacy: bool
    flatten: bool


def _engine_options(settings: Settings) -> _EngineOptions:
    return {
        "rank": settings.rank or 0,
        "max_shard_bytes": settings.max_shard_bytes,
        "max_shard_age_s": settings.max_shard_age_s,
        "backup_count": _EVERY_SHARD if settings.backup_count == "all" else settings.backup_count,
        "max_unexported_shards": settings.max_unexported_shards,
        "ring_bytes": settings.ring_bytes,
        "max_block_s": settings.max_block_s,
        "overflow": settings.overflow,
        "fsync": settings.fsync,
        "fsync_interval_s": settings.fsync_interval_s,
        "file_mode": settings.file_mode,
        "legacy": settings.legacy,
        "flatten": settings.flatten,
    }


def _differs(one: Settings, other: Settings, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split(maxsplit=1)[0], "codex_obs": _backend.__version__}
    for library in _VERSIONED_LIBRARIES:
        version = getattr(sys.modules.get(library), "__version__", None)
        if isinstance(version, str):
            versions[library] = str(version)
    return versions


def _reopen(directory: str, settings: Settings) -> Run:
    """Unpickle a run: the one that is open there, else a new session of its own."""
    with _open_runs.opening():
        found = _open_runs.find(directory)
        if found is not None:
            return found
        fresh = replace(settings, resume_step=None)
        return Run(directory, settings=fresh, as_current=_open_runs.current() is None)


# Where pickles say that they are: names of the package, which stay when its files change.
Run.__module__ = _reopen.__module__ = "codex_obs"
