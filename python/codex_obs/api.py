"""Opening runs, and the functions that act on the current one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs import _config, _names, _open_runs
from codex_obs._config import Settings
from codex_obs._run import Run
from codex_obs.errors import ConflictError, LogFileError, NoActiveRunError, SettingError

if TYPE_CHECKING:
    from typing import SupportsIndex, Unpack

    from codex_obs.types import Metrics, RunPath, SettingsFields, Status, Tags, Timestamp

_FOLDER_MODE = 0o700


def init(
    run_dir: RunPath | None = None,
    *,
    run_id: str | None = None,
    name: str | None = None,
    config: Mapping[str, object] | None = None,
    tags: Tags | None = None,
    settings: Settings | None = None,
    **settings_fields: Unpack[SettingsFields],
) -> Run:
    """Open a run, and make it the current one.

    A directory that holds a run is continued. If this process has a run open in that directory, that run is returned:
    a notebook cell can be run twice. A `config` or `tags` that differ from before are then logged as further
    parameters; settings stay as they are.

    Args:
        run_dir: Where the run lies. Default: ``CODEX_OBS_RUN_DIR``, else ``runs/<name>``.
        run_id: Identity of the run, part of every row. Default: that of the run in the directory, else a new one.
        name: What the run is called. Default: ``TORCHELASTIC_RUN_ID`` or ``SLURM_JOB_ID``, else UTC time and four hex
            digits. A run that exists keeps its name.
        config: Parameters of the run, such as hyperparameters, for ``params.ndjson``.
        tags: Free key-value pairs of the run, for ``params.ndjson`` and destinations.
        settings: How the run is written. Default: from the environment.
        **settings_fields: Single fields of `Settings`, which win over `settings`.

    Returns:
        The open run. Close it with ``with``, `Run.close` or `finish`.

    Raises:
        SettingError: If an argument or an environment variable cannot be used. The text names it and the remedy.
        ConflictError: If `run_id` is not that of the run in the directory.
        CodexObsError: If the directory or its files cannot be used.
    """
    _require_text("run_id", run_id)
    _require_mapping("config", config)
    _require_mapping("tags", tags)
    resolved = _resolve(settings, settings_fields)
    with _open_runs.opening():
        place, run_name = _place(run_dir, name)
        directory = str(place)
        found = _open_runs.find(directory)
        if found is not None and not found._is_guest:  # noqa: SLF001 - of this package
            _require_same("run_id", run_id, found.run_id, directory)
            _require_same("name", name, found.name, directory)
            found._continue(config, tags, resolved)  # noqa: SLF001 - the run knows what it was opened with
            _open_runs.make_current(found)
            return found
        return Run(
            directory,
            settings=resolved,
            run_id=run_id,
            name=run_name,
            config=config,
            tags=tags,
            metadata_name=name,
        )


def log(
    metrics: Metrics,
    *,
    step: SupportsIndex | None = None,
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
    _current().log(metrics, step=step, split=split, dataset=dataset, tags=tags, timestamp=timestamp)


def log_params(params: Mapping[str, object]) -> None:
    """Log parameters of the current run that became known after `init`, as `Run.log_params` does.

    Raises:
        NoActiveRunError: If no run is open.
        TypeError: If `params` is no mapping.
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
    """Return the current run: the one opened last that is still open, or None."""
    return _open_runs.current()


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
    run = _open_runs.current()
    if run is None:
        raise NoActiveRunError("no run is open: call codex_obs.init first")
    return run


def _resolve(settings: Settings | None, fields: Mapping[str, object]) -> Settings:
    if settings is None:
        return Settings(**fields)  # type: ignore[arg-type]  # its own check of names and values
    if not isinstance(settings, Settings):
        raise SettingError(f"settings must be a codex_obs.Settings, not {type(settings).__name__}")
    return replace(settings, **fields)  # type: ignore[arg-type]  # as above


def _place(run_dir: RunPath | None, name: str | None) -> tuple[Path, str]:
    """Find the run directory, absolute because the program may change its own, and the name of a new run there."""
    chosen = _config.run_dir_from_environment() if run_dir is None else _path_text(run_dir)
    origin, run_name = ("name", name) if name is not None else (_config.run_name_from_environment() or ("", None))
    if chosen is not None:
        shown = _draw_name() if run_name is None else _names.label(run_name)
        return _absolute(chosen), shown
    root = _absolute(_names.RUNS_ROOT)
    if run_name is not None:
        return root / _names.folder_name(run_name, origin=origin), run_name
    return _new_folder(root)


def _new_folder(root: Path) -> tuple[Path, str]:
    """Create a folder under a name that nobody else has, even if many jobs start within one second."""
    while True:
        name = _draw_name()
        directory = root / name
        try:
            root.mkdir(_FOLDER_MODE, exist_ok=True)
            directory.mkdir(_FOLDER_MODE)
        except FileExistsError:
            if root.is_dir():
                continue
            raise LogFileError(f"cannot create the folder {root}: there is a file of that name") from None
        except OSError as error:
            raise LogFileError(f"cannot create the folder {directory}: {error.strerror}") from error
        return directory, name


def _draw_name() -> str:
    return _names.default_name(time.time(), os.urandom(2))


def _path_text(run_dir: object) -> str:
    text = os.fspath(run_dir) if isinstance(run_dir, os.PathLike) else run_dir
    if not isinstance(text, str):
        raise SettingError(f"run_dir must be a text or a path, not {type(text).__name__}")
    return text


def _absolute(directory: str) -> Path:
    if not directory or "\0" in directory:
        raise SettingError(f"run_dir={directory!r:.80} cannot be used: give the path of a folder.")
    try:
        # `..` stays: what is behind a symlink has another parent than the symlink.
        return Path.cwd() / directory
    except OSError as error:
        raise LogFileError(f"the working directory cannot be found: {error.strerror}") from error


def _require_text(argument: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise SettingError(f"{argument} must be a text that is not empty, or None")


def _require_mapping(argument: str, value: object) -> None:
    if value is not None and not isinstance(value, Mapping):
        raise SettingError(
            f"{argument} must be a mapping or None, not {type(value).__name__}: vars() makes one of an object"
        )


def _require_same(argument: str, asked: str | None, has: str, directory: str) -> None:
    if asked is not None and asked != has:
        raise ConflictError(
            f"{directory} is open as the run with the {argument} {has!r}, not {asked!r}: close it first, or choose "
            "another directory"
        )
