"""Opening runs, and the functions that act on the current one."""

from __future__ import annotations

import operator
import os
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, TypeVar, cast

from codex_obs import _backend, _inheritance, _names, _open_runs
from codex_obs._opening import Wanted, open_run
from codex_obs._rank import rank_of
from codex_obs._settings import environment
from codex_obs._settings.settings import Settings
from codex_obs.errors import NoActiveRunError, SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import SupportsIndex, Unpack

    from codex_obs._run import Run
    from codex_obs.types import InitArguments, Metrics, Resume, RunPath, SettingsFields, Status, Tags, Timestamp

_Function = TypeVar("_Function", bound="Callable[..., object]")


def init(
    run_dir: RunPath | None = None,
    *,
    run_id: str | None = None,
    name: str | None = None,
    config: object = None,
    tags: object = None,
    resume: Resume | None = None,
    rewind_to: SupportsIndex | None = None,
    settings: Settings | None = None,
    **settings_fields: Unpack[SettingsFields],
) -> Run:
    """Open a run, and make it the current one.

    If this process has a run open in that directory, that run is returned: a notebook cell can be run twice. A `config`
    or `tags` that differ from before are then logged as further parameters; settings stay as they are. In a notebook or
    a console an `init` without directory and name is a new run instead, and finishes the one before it.

    The ranks of a job find their common run by themselves: rank 0 chooses it, and the others wait up to a minute for
    it. What they share is the name that the launcher gives, or the launching process.

    Args:
        run_dir: Where the run lies. Default: ``CODEX_OBS_RUN_DIR``, else ``runs/<name>``. A leading ``~`` is expanded.
        run_id: Identity of the run, part of every row. Default: that of the run in the directory, else a new one.
        name: What the run is called. Default: the name of its folder, which without `run_dir` is the job's
            (``TORCHELASTIC_RUN_ID``, ``SLURM_JOB_ID`` with array task and step, ``PMIX_NAMESPACE``), else UTC time and
            four hex digits. A run that exists keeps its name.
        config: Parameters of the run, such as hyperparameters, for ``params.ndjson``: a mapping, a dataclass, an attrs
            class, a pydantic model, an OmegaConf or ml_collections configuration, or an `argparse.Namespace`. A value
            that cannot be read is null and counted.
        tags: Free key-value pairs of the run, of the same kinds, for ``params.ndjson`` and destinations.
        resume: What a directory that holds a run means. ``"allow"`` continues it, with a warning if it had finished;
            ``"must"`` continues it and wants one; ``"never"`` refuses one; ``"new"`` takes the next free
            ``<run_dir>-2``. Default: ``CODEX_OBS_RESUME``, else ``"allow"``.
        rewind_to: Step at which training resumes, such as that of a checkpoint. Rows of earlier sessions with
            this step or a later one are superseded: readers leave them out, the files keep them. On rank 0 that holds
            for the streams of processes that have ended, too. Steps are counted from here on.
        settings: How the run is written. Default: from the environment.
        **settings_fields: Single fields of `Settings`, which win over `settings`.

    Returns:
        The open run. Close it with ``with``, `Run.close` or `finish`.

    Raises:
        TypeError: If there is no setting of a name that was given.
        SettingError: If an argument or an environment variable cannot be used. The text names it and the remedy.
        ConflictError: If `run_id` is not that of the run in the directory, `resume` does not allow what is there, or
            rank 0 of the job opens no run.
        CodexObsError: If the directory or its files cannot be used.
    """
    resolved = _resolve(settings, settings_fields)
    run = open_run(_wanted(run_dir, run_id, name, config, tags, resume, rewind_to, resolved))
    _inheritance.hand_on()
    return run


def init_beside(run_dir: RunPath | None = None, **arguments: Unpack[InitArguments]) -> tuple[Run, bool]:
    """Open a run for a framework: where there is a current run, that stays the current one.

    Args:
        run_dir: As for `init`.
        **arguments: As for `init`.

    Returns:
        The run, and whether it was opened now: one that was open belongs to somebody else.

    Raises:
        CodexObsError: As `init`.
    """
    before = _open_runs.all_open()
    given = dict(arguments)
    wanted = [given.pop(name, None) for name in ("run_id", "name", "config", "tags", "resume", "rewind_to")]
    resolved = _resolve(given.pop("settings", None), given)  # type: ignore[arg-type]  # it checks them
    run = open_run(replace(_wanted(run_dir, *wanted, resolved), as_current=False))  # type: ignore[arg-type, call-arg]
    return run, all(run is not other for other in before)


def _wanted(  # noqa: PLR0917 - the arguments of `init`
    run_dir: RunPath | None,
    run_id: str | None,
    name: str | None,
    config: object,
    tags: object,
    resume: Resume | None,
    rewind_to: SupportsIndex | None,
    settings: Settings,
) -> Wanted:
    _require_text("run_id", run_id)
    if name is not None:
        _names.label(name)
    _require_object("config", config)
    _require_object("tags", tags)
    _backend.emit_warnings(environment.unknown_variables())
    return Wanted(
        run_dir=None if run_dir is None else _path_text(run_dir),
        run_id=run_id,
        name=name,
        config=config,
        tags=tags,
        resume=_resume(resume),
        rewind_to=None if rewind_to is None else _step(rewind_to),
        settings=settings,
    )


def is_main_rank() -> bool:
    """Return whether this process is rank 0 of its job, or has no ranks."""
    rank = rank_of(Settings().rank, environment.of_launchers())
    return rank.number in (None, 0) and not rank.is_unknown


def _on_current_run(function: _Function) -> _Function:
    """Have a function of the module pass its arguments on as they are, so that wrong ones are answered as by `Run`."""

    @wraps(function)
    def passed_on(*arguments: object, **named: object) -> object:
        return getattr(_current(), function.__name__)(*arguments, **named)

    return cast("_Function", passed_on)


@_on_current_run
def log(
    metrics: Metrics,
    step: SupportsIndex | None = None,
    *,
    split: object = "train",
    dataset: object = None,
    tags: Tags | None = None,
    timestamp: Timestamp | None = None,
) -> None:
    """Log metrics to the current run, as `Run.log` does.

    Raises:
        NoActiveRunError: If no run is open.
        TypeError: If an argument has a wrong type.
        ValueError: If the step is outside 64 bits.
    """


def log_params(params: object) -> None:
    """Log parameters of the current run that became known after `init`, as `Run.log_params` does.

    Raises:
        NoActiveRunError: If no run is open.
        TypeError: If `params` has no names and values.
    """
    _current().log_params(params)


def event(category: object, message: object = None, **fields: object) -> None:
    """Log an event of a trainer to the current run, as `Run.event` does.

    Raises:
        NoActiveRunError: If no run is open.
        TypeError: If the field that tells the step is no integer.
        ValueError: If it is outside 64 bits.
    """
    _current().event(category, message, **fields)


def current_run() -> Run | None:
    """Return the current run, or None: that of ``with run:`` in this thread or task, else the one opened last.

    In a worker of `multiprocessing` that was spawned, or comes from a fork server, else the one of its parent.
    """
    run = _open_runs.current()
    if run is None:
        return _inheritance.inherited()
    # It may have been imported since the run was opened.
    _inheritance.hand_on()
    return run


def flush(timeout: float | None = None, *, sync: bool = False) -> bool:
    """Wait until everything that was logged to the current run is in its files, as `Run.flush` does.

    Raises:
        NoActiveRunError: If no run is open.
    """
    return _current().flush(timeout, sync=sync)


def finish(status: Status = "finished", *, timeout: float | None = 5.0) -> bool:
    """Close the current run, as `Run.finish` does; the one that was current before it, if still open, is so again.

    Raises:
        NoActiveRunError: If no run is open.
    """
    return _current().finish(status, timeout=timeout)


def _current() -> Run:
    run = current_run()
    if run is None:
        raise NoActiveRunError("no run is open: call codex_obs.init first")
    return run


def _resolve(settings: Settings | None, fields: Mapping[str, object]) -> Settings:
    if settings is None:
        return Settings(**fields)  # type: ignore[arg-type]  # its own check of names and values
    if not isinstance(settings, Settings):
        raise SettingError(f"settings must be a codex_obs.Settings, not {type(settings).__name__}")
    return replace(settings, **fields)  # type: ignore[arg-type]  # as above


def _resume(given: object) -> str:
    if given is not None:
        return environment.checked_resume(given)
    return environment.resume() or "allow"


def _step(value: object) -> int:
    try:
        step = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]  # it is checked here
    except TypeError:
        step = None
    if step is None or not -(2**63) <= step < 2**63:
        raise SettingError(f"rewind_to={value!r:.80} cannot be used: give the step as a whole number within 64 bits.")
    return step


def _path_text(run_dir: object) -> str:
    text = os.fspath(run_dir) if isinstance(run_dir, os.PathLike) else run_dir
    if not isinstance(text, str):
        raise SettingError(f"run_dir must be a text or a path, not {type(text).__name__}")
    return text


def _require_text(argument: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise SettingError(f"{argument} must be a text that is not empty, or None")


def _require_object(argument: str, value: object) -> None:
    if value is None or _backend.is_object(value):
        return
    remedy = "vars() makes one of an object"
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(word, str) for word in value):
        pairs = ", ".join(f"{word!r}: True" for word in list(value)[:3])
        remedy = f"give {argument}={{{pairs}{', ...' if len(value) > 3 else ''}}}"  # noqa: PLR2004 - as many as are shown
    elif isinstance(value, str):
        remedy = f"give {argument}={{'name': {value!r:.40}}}"
    elif callable(getattr(value, "to_dict", None)):
        remedy = f"give {argument}=....to_dict()"
    raise SettingError(f"{argument} must be a mapping or None, not {type(value).__name__}: {remedy}")
