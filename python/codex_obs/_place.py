"""Where a run goes: the directory that `init` opens, and who of a job's ranks decides about it."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codex_obs import _backend, _names
from codex_obs._launcher import ancestors
from codex_obs.errors import CodexObsError, ConflictError, LogFileError, SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from codex_obs._backend import RunState
    from codex_obs._job import Job

_FOLDER_MODE = 0o700
# Others decide within milliseconds; where one stands still, names are still taken by one process each.
_LOCK_PATIENCE_S = 10.0
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.01, 0.25
_STARTED_MICROS = time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Request:
    """What `init` was asked for.

    Attributes:
        base: The directory that was given, or that belongs to the name that the job's ranks share; None without either.
        root: The folder in which runs without a directory lie.
        is_given: Whether the user chose the directory.
        resume: What a directory that holds a run means: ``"allow"``, ``"must"``, ``"never"`` or ``"new"``.
        config_hash: Hash of the configuration, or None.
        job: The job of this process.
        number: Which of the job's runs it is to be.
    """

    base: Path | None
    root: Path
    is_given: bool
    resume: str
    config_hash: str | None
    job: Job
    number: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where the run goes, what to say of it, and whether no run was there: the process that creates it first has it."""

    directory: Path
    warning: str | None = None
    is_new: bool = False


@contextmanager
def chosen(request: Request) -> Iterator[Place]:
    """Choose the run directory, and keep others from choosing meanwhile: the run is to be open when this ends.

    Raises:
        ConflictError: If there is a run and none was wanted, or the other way round, or rank 0 opens none.
    """
    base = request.base
    # A name of its own is drawn without looking at others, and a given directory is mostly just opened.
    if base is None or (request.is_given and request.resume in ("allow", "must")):
        yield _decided(request)
        return
    with _locked(base.parent):
        yield _decided(request)


def joined(request: Request) -> Place | None:
    """Wait for rank 0 of the job to open its run. None if this process, it turns out, decides by itself.

    Raises:
        ConflictError: If rank 0 opens none within a minute.
        SettingError: If there is nothing to know it by.
    """
    job = request.job
    if request.is_given and request.resume == "allow":
        assert request.base is not None  # noqa: S101 - what is given, for the type checker
        return Place(request.base)
    if job.is_lost:
        raise SettingError(
            "the ranks of this job are on several hosts and share neither a name nor MASTER_ADDR and MASTER_PORT: give "
            "all of them the same run_dir or name"
        )
    known = _Known()
    deadline = time.monotonic() + job.patience_s
    pause = _FIRST_LOOK_S
    while True:
        directory = _run_of_job(request, known)
        if directory is not None:
            return Place(directory)
        if time.monotonic() >= deadline:
            break
        # Without the interpreter's lock; Ctrl-C ends it.
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_LOOK_S)
    if not job.is_certain:
        return None
    where = request.root if request.base is None else request.base
    rank = "this rank" if job.rank.number is None else f"rank {job.rank.number}"
    raise ConflictError(
        f"{rank} has waited {job.patience_s:g} s for rank 0 of its job to open a run at {where}: call codex_obs.init "
        "on rank 0 too, or give every rank the same run_dir"
    )


def _decided(request: Request) -> Place:
    base, resume = request.base, request.resume
    if base is None:
        return _unnamed(request)
    if request.is_given:
        return _given(base, resume)
    if resume == "new":
        return Place(_first_free(base), is_new=True)
    going_on, free = _named(request, base)
    if going_on is not None and resume == "never":
        raise _unwanted(going_on)
    if going_on is None and resume == "must":
        raise _missing(base)
    return Place(going_on or free, is_new=going_on is None)


def _given(base: Path, resume: str) -> Place:
    """Say what a directory that the user chose means."""
    state = _backend.run_state(str(base))
    if state is None:
        if resume == "must":
            raise _missing(base)
        return Place(base, is_new=resume in ("new", "never"))
    if resume == "new":
        return Place(_first_free(base), is_new=True)
    if resume == "never":
        raise _unwanted(base)
    last = state.last_session
    if resume == "must" or state.is_live or last is None or last.status != "finished":
        return Place(base)
    since = _moment(last.ended_micros)
    return Place(
        base,
        f"{base} holds a run that finished at {since}, and is continued: pass resume='new' to start another run beside "
        "it, resume='never' to refuse, resume='must' to continue without this warning, or rewind_to=STEP to replace "
        "its steps from there on",
    )


def _named(request: Request, base: Path) -> tuple[Path | None, Path]:
    """Look through the runs of a name that the launcher gave: the one to continue, or None, and the first free one."""
    job = request.job
    restarted: list[tuple[int, Path]] = []
    unfinished: Path | None = None
    for directory in _numbered(base):
        state = _backend.run_state(str(directory))
        if state is None:
            break
        last = state.last_session
        if state.is_live:
            # A process that the run's owner started belongs to its training; any other is another training's.
            if _is_descendant_of_owner(state):
                return directory, directory
        elif last is not None:
            has_same_config = last.config_hash == request.config_hash
            if job.is_restart_of(last.job):
                # Of several trainings of a job, each continues the run that its launcher, or its config, began.
                restarted.append((0 if job.launched(last.job) else 1 if has_same_config else 2, directory))
            elif last.status != "finished" and has_same_config:
                unfinished = unfinished or directory
    best = min(restarted, key=lambda found: found[0], default=(0, unfinished))
    return best[1], directory


def _unnamed(request: Request) -> Place:
    """Continue the run that this job had before it was restarted, or that an ancestor has open; else begin one."""
    job = request.job
    if job.is_needed and request.resume != "new":
        for directory in _recent(request.root):
            state = _state(directory)
            last = state.last_session if state is not None else None
            if state is None or last is None:
                continue
            is_ours = (
                last.job is not None and _is_descendant_of_owner(state)
                if state.is_live
                else job.is_restart_of(last.job)
            )
            if is_ours:
                if request.resume == "never":
                    raise _unwanted(directory)
                return Place(directory)
    if request.resume == "must":
        raise _missing(request.root)
    return Place(_new_folder(request.root))


def _run_of_job(request: Request, known: _Known) -> Path | None:
    """Find the run whose start record has the key of this job, or that the launching process itself has open."""
    job = request.job
    for directory in _recent(request.root) if request.base is None else _existing(request.base):
        state = known.state(directory)
        last = state.last_session if state is not None else None
        if state is None or last is None:
            continue
        # That of a rank 0 that started this process, before or after it opened the run. It may be closed again by now.
        is_of_launcher = last.pid == job.process_id and last.host == os.uname().nodename
        if job.has_key(last.job, request.number) and (
            not job.is_address or state.is_live or is_of_launcher or last.started_micros >= _STARTED_MICROS
        ):
            return directory
        if state.is_live and is_of_launcher and not request.is_given:
            return directory
    return None


class _Known:
    """States of run directories, read again only where something has changed."""

    def __init__(self) -> None:
        self._states: dict[Path, tuple[object, RunState | None]] = {}

    def state(self, directory: Path) -> RunState | None:
        try:
            record = (directory / "run.ndjson").stat()
        except OSError:
            return None
        seen = (record.st_ino, record.st_size, record.st_mtime_ns)
        before = self._states.get(directory)
        if before is None or before[0] != seen:
            before = self._states[directory] = seen, _state(directory)
        return before[1]


def _state(directory: Path) -> RunState | None:
    """Read the state of a run among others, one of which may be damaged without being anyone's concern here."""
    try:
        return _backend.run_state(str(directory))
    except CodexObsError:
        return None


def _is_descendant_of_owner(state: RunState) -> bool:
    last = state.last_session
    return last is not None and last.host == os.uname().nodename and last.pid in ancestors()


def _numbered(base: Path) -> Iterator[Path]:
    """Yield ``base``, ``base-2``, ``base-3`` …, whether they exist or not."""
    yield base
    if base.name in ("", os.pardir):
        base = base.resolve()
    number = 2
    while base.name:
        yield base.with_name(f"{base.name}-{number}")
        number += 1
    raise SettingError(f"run_dir={str(base)!r} cannot be used: it has no name that could be followed by a number.")


def _existing(base: Path) -> Iterator[Path]:
    for directory in _numbered(base):
        if not directory.is_dir():
            return
        yield directory


def _first_free(base: Path) -> Path:
    return next(directory for directory in _numbered(base) if _backend.run_state(str(directory)) is None)


def _recent(root: Path) -> list[Path]:
    """Return the folders below a root, the one changed last first."""
    try:
        found = [(entry.stat().st_mtime_ns, entry.name) for entry in os.scandir(root) if entry.is_dir()]
    except OSError:
        return []
    return [root / name for _, name in sorted(found, reverse=True)]


def _new_folder(root: Path) -> Path:
    """Create a folder under a name that no other job has, even if many jobs start within one second."""
    while True:
        directory = root / _draw_name()
        try:
            root.mkdir(_FOLDER_MODE, exist_ok=True)
            directory.mkdir(_FOLDER_MODE)
        except FileExistsError:
            if root.is_dir():
                continue
            raise LogFileError(f"cannot create the folder {root}: there is a file of that name") from None
        except OSError as error:
            raise LogFileError(f"cannot create the folder {directory}: {error.strerror}") from error
        return directory


def _draw_name() -> str:
    return _names.default_name(time.time(), os.urandom(2))


def _unwanted(directory: Path) -> ConflictError:
    return ConflictError(
        f"{directory} holds a run, and resume='never' refuses one: choose another run_dir, or pass resume='new' to "
        "start another run beside it"
    )


def _missing(directory: Path) -> ConflictError:
    return ConflictError(f"{directory} holds no run to continue, and resume='must' wants one: check run_dir")


def _moment(micros: int | None) -> str:
    if not micros:
        return "an unknown time"
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(micros // 1_000_000))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock that those who choose names in a folder take. The lock is the folder's own: it leaves no file."""
    descriptor = _opened(folder)
    try:
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        pause = _FIRST_LOOK_S
        while descriptor is not None and time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(pause)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _opened(folder: Path) -> int | None:
    try:
        folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
