"""The steps of `init`: which job, which directory, whether it is open already, and the session itself."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs import _backend, _job, _names, _open_runs, _place
from codex_obs._beginning import Beginning
from codex_obs._run import Run
from codex_obs._settings import environment, tracking
from codex_obs.errors import ConflictError, LogFileError, SettingError

if TYPE_CHECKING:
    from codex_obs._job import Job
    from codex_obs._settings.settings import Settings

# Ranks of the job wait for the start record; a disk that is slower than this does not hold up its own trainer.
_RECORD_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `init` was given, checked.

    Attributes:
        run_dir: The directory as text, `~` and all; None for the environment's or one below ``runs``.
        run_id: Identity, or None.
        name: Name, or None.
        config: Parameters, or None.
        tags: Tags, or None.
        resume: What a directory that holds a run means.
        rewind_to: The step from which on earlier rows are superseded, or None.
        settings: How to write the run.
        as_current: Whether it becomes the current run even where there is one.
    """

    run_dir: str | None
    run_id: str | None
    name: str | None
    config: object
    tags: object
    resume: str
    rewind_to: int | None
    settings: Settings
    as_current: bool = True


def open_run(wanted: Wanted) -> Run:
    """Open a run, or find it open."""
    if wanted.settings.disabled:
        return _disabled(wanted)
    is_interactive = _is_interactive()
    job = _job.this_job(wanted.settings.rank, is_interactive=is_interactive)
    if wanted.settings.rank is None and job.rank.number is not None:
        wanted = replace(wanted, settings=replace(wanted.settings, rank=job.rank.number))
    base, is_given = _base(wanted, job)
    is_bare = not is_given
    root = _absolute(_names.RUNS_ROOT)
    with _open_runs.opening():
        found = _found(wanted, base, job, is_bare=is_bare, is_interactive=is_interactive)
        if found is not None:
            return _continued(found, wanted)
    counted = str(root if base is None else base)
    number = _job.counts.next(counted)
    request = _place.Request(
        base=base,
        root=root,
        is_given=is_given,
        resume=wanted.resume,
        config_hash=None if wanted.config is None else _backend.config_hash(wanted.config),
        job=job,
        number=number,
    )
    joined = None if job.decides else _place.joined(request)
    beginning = Beginning(
        job=job.record(number),
        is_rank_unknown=job.rank.is_unknown,
        size=job.rank.size,
        is_bare=is_bare,
        rewind_to=wanted.rewind_to,
    )
    while True:
        with _open_runs.opening(), _place.chosen(request) if joined is None else nullcontext(joined) as place:
            open_now = _open_in(place.directory)
            if open_now is not None:
                return _continued(open_now, wanted)
            run = _opened(wanted, place, beginning)
            if run is None:
                continue
            _job.counts.note(counted, number)
            if job.is_needed and job.decides:
                run.flush(_RECORD_PATIENCE_S)
        break
    _backend.emit_warnings(_warnings(run, job, place, is_left_alone=joined is None and not job.decides))
    return run


def _opened(wanted: Wanted, place: _place.Place, beginning: Beginning) -> Run | None:
    """Open the run at its place. None if there was to be none, and another training has created one meanwhile.

    The lock of those who choose places keeps that from happening where the file system has locks. Where it has none,
    the place belongs to the process that creates ``run.json``: an identity drawn beforehand tells which one did.
    """
    run_id = _names.new_run_id() if place.is_new and wanted.run_id is None else wanted.run_id
    try:
        return Run(
            str(place.directory),
            _placed(wanted.settings, place.directory),
            run_id=run_id,
            name=wanted.name,
            config=wanted.config,
            tags=wanted.tags,
            metadata_name=wanted.name,
            as_current=wanted.as_current,
            beginning=beginning,
        )
    except ConflictError:
        if not place.is_new or run_id == wanted.run_id or _backend.run_state(str(place.directory)) is None:
            raise
        return None


def _placed(settings: Settings, directory: Path) -> Settings:
    """Return the settings with the run directory in the place of what stands for it."""
    uri = tracking.in_run(settings.mlflow_tracking_uri, str(directory))
    return settings if uri == settings.mlflow_tracking_uri else replace(settings, mlflow_tracking_uri=uri)


def _disabled(wanted: Wanted) -> Run:
    """Make a run that does nothing, called as the one would be that it stands for."""
    given = environment.run_dir() if wanted.run_dir is None else wanted.run_dir
    if given is None:
        given = os.path.join(_names.RUNS_ROOT, wanted.name or "disabled")  # noqa: PTH118 - text, as what is given
    directory = _absolute(given)
    return Run(
        str(directory),
        wanted.settings,
        run_id=wanted.run_id or os.urandom(16).hex(),
        name=wanted.name or directory.name,
        config=wanted.config,
        tags=wanted.tags,
        metadata_name=wanted.name,
        as_current=wanted.as_current,
    )


def _found(wanted: Wanted, base: Path | None, job: Job, *, is_bare: bool, is_interactive: bool) -> Run | None:
    """Find the open run that is meant. In a notebook a bare `init` means a new one, and finishes the one before it."""
    if is_bare:
        bare = [run for run in _open_runs.all_open() if run._is_bare_here]  # noqa: SLF001 - it knows how it began
        if is_interactive:
            for run in bare:
                run.finish()
            return None
        return bare[0] if bare and job.is_needed and wanted.resume != "new" else None
    return None if base is None or wanted.resume == "new" else _open_in(base)


def _open_in(directory: Path) -> Run | None:
    """Return the run that this process has open in a directory and not only been handed."""
    found = _open_runs.find(str(directory))
    return None if found is None or found._is_guest else found  # noqa: SLF001 - of this package


def _continued(found: Run, wanted: Wanted) -> Run:
    directory = os.fspath(found.path)
    _require_same("run_id", wanted.run_id, found.run_id, directory)
    _require_same("name", wanted.name, found.name, directory)
    settings = _placed(wanted.settings, found.path)
    found._continue(wanted.config, wanted.tags, settings, wanted.rewind_to)  # noqa: SLF001 - it knows its own
    if wanted.as_current:
        _open_runs.make_current(found)
    return found


def _warnings(run: Run, job: Job, place: _place.Place, *, is_left_alone: bool) -> list[str]:
    warnings = [] if place.warning is None else [place.warning]
    if job.rank.trouble is not None:
        warnings.append(f"run {run.name}: {job.rank.trouble}: if this is one of several ranks, pass rank= to init")
    if job.rank.is_unknown:
        warnings.append(
            f"the rank of this process is unknown: its launcher sets only LOCAL_RANK or NODE_RANK. It writes the "
            f"stream {run.stream} of {run.path}; pass rank= to init, or set RANK"
        )
    if is_left_alone:
        warnings.append(
            f"this process has rank {job.rank.number} by its environment, but no rank 0 opened a run: it writes one of "
            f"its own, {run.path}. Unset that variable, or give every rank the same run_dir"
        )
    return warnings


def _base(wanted: Wanted, job: Job) -> tuple[Path | None, bool]:
    """Return the directory to begin with, and whether the user chose it."""
    given = environment.run_dir() if wanted.run_dir is None else wanted.run_dir
    if given is not None:
        if wanted.name is not None:
            _names.label(wanted.name)
        return _absolute(given), True
    root = _absolute(_names.RUNS_ROOT)
    if wanted.name is not None:
        return root / _names.folder_name(wanted.name, origin="name"), True
    if job.name is not None:
        return root / _names.folder_name(job.name, origin=job.origin), False
    return None, False


def _absolute(directory: str) -> Path:
    if not directory or "\0" in directory:
        raise SettingError(f"run_dir={directory!r:.80} cannot be used: give the path of a folder.")
    try:
        # `..` stays: what is behind a symlink has another parent than the symlink.
        return Path.cwd() / os.path.expanduser(directory)  # noqa: PTH111 - Path.expanduser raises where there is no home
    except OSError as error:
        raise LogFileError(f"the working directory cannot be found: {error.strerror}") from error


def _is_interactive() -> bool:
    """Whether pieces of a program are run one after the other: a notebook, IPython, a console."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return hasattr(sys, "ps1") or (get_ipython is not None and get_ipython() is not None)


def _require_same(argument: str, asked: str | None, has: str, directory: str) -> None:
    if asked is not None and asked != has:
        raise ConflictError(
            f"{directory} is open as the run with the {argument} {has!r}, not {asked!r}: close it first, or choose "
            "another directory"
        )
