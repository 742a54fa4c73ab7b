"""Which run a command reads when none, one or several paths are named."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs._backend import is_shard

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERNALS = ".codex_obs"
# As many runs as a sentence can name.
_SHOWN_RUNS = 5


class InputError(Exception):
    """No run can be read from what was named; the text is one sentence for the user."""


def find_input(named: Sequence[str], run_dir_variable: str | None, working_directory: Path) -> list[Path]:
    """Decide what to read.

    Args:
        named: Paths given on the command line: run directories, or files.
        run_dir_variable: Value of ``CODEX_OBS_RUN_DIR``, if set.
        working_directory: Where to look otherwise: the folder itself if a log lies in it, else its newest run below
            ``runs``.

    Returns:
        Run directories, or files.

    Raises:
        InputError: If nothing is found, or what is named does not exist, cannot be read or holds other runs.
    """
    if named:
        return _check_named([Path(name) for name in named])
    if run_dir_variable:
        return _check_named([Path(run_dir_variable)])
    if newest_shard_time(working_directory) is not None:
        return [Path(os.curdir)]
    below = runs_below(working_directory / "runs")
    if not below:
        raise InputError(
            "No run was named, and neither this folder nor runs/ holds a metrics log: name a run directory, "
            "or set CODEX_OBS_RUN_DIR."
        )
    return [below[0].relative_to(working_directory)]


def run_directory(paths: Sequence[Path]) -> Path:
    """Return the folder that the paths from `find_input` belong to."""
    return paths[0] if paths[0].is_dir() else paths[0].parent


def newest_shard_time(directory: Path) -> int | None:
    """Return when a metrics shard in a folder was last written (ns since the epoch), or None if there is none."""
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return None
    times = []
    for entry in entries:
        # A writer may rotate or delete the shard meanwhile; the others tell enough.
        with suppress(OSError):
            if is_shard(entry.name) and entry.is_file():
                times.append(entry.stat().st_mtime_ns)
    return max(times, default=None)


def runs_below(folder: Path) -> list[Path]:
    """Return the run directories in a folder, the newest first."""
    try:
        directories = [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []
    written = [(time, path) for path in directories if (time := newest_shard_time(path)) is not None]
    return [path for _, path in sorted(written, reverse=True)]


def _check_named(paths: list[Path]) -> list[Path]:
    for path in paths:
        if not _is_readable_folder(path):
            continue
        if not _is_run(path):
            found = runs_below(path)
            if found:
                raise InputError(f"{path} is a folder of runs: name one of them, {_listed(found)}.")
    return paths


def _is_run(folder: Path) -> bool:
    # A run whose rows are all in a journal yet has no shard.
    return newest_shard_time(folder) is not None or (folder / _INTERNALS).exists()


def _listed(runs: list[Path]) -> str:
    shown = [str(path) for path in runs[:_SHOWN_RUNS]]
    if len(runs) > _SHOWN_RUNS:
        return f"{', '.join(shown)} or {len(runs) - _SHOWN_RUNS} more"
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)


def _is_readable_folder(path: Path) -> bool:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
        if is_folder:
            os.scandir(path).close()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path} does not exist.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    return is_folder
