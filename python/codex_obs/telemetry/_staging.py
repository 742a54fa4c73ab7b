"""Files that an agent is handed: staged by their content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs._settings import environment
from codex_obs._telemetry.staging import Staging
from codex_obs.telemetry._events import emit

if TYPE_CHECKING:
    import os

_DAY_S = 86_400.0


def staging_dir() -> Path:
    """Return the folder: ``CODEX_OBS_STAGING_DIR``, else ``codex_obs-<uid>`` below the user's cache folder."""
    return environment.staging_dir()


def stage(path: str | os.PathLike[str], *, persist: bool = False, ttl_s: float = _DAY_S) -> Path:
    """Copy a file to the staging folder, each content once. Says ``attachment.staged``.

    Args:
        path: The file.
        persist: Whether `cleanup` leaves it there for good.
        ttl_s: Seconds after which `cleanup` deletes it; of several calls the last moment counts.

    Returns:
        The copy. It may be shared, so it is to be read only.

    Raises:
        UnsafePathError: If the staging folder is not this user's alone.
        OSError: If the file cannot be copied.
    """
    staging = Staging(staging_dir())
    try:
        staged = staging.stage(Path(path), persist=persist, ttl_s=ttl_s)
    finally:
        staging.close()
    facts = {"checksum": staged.checksum, "is_new": staged.is_new}
    emit("attachment.staged", {"bytes": staged.path.stat().st_size}, facts)
    return staged.path


def cleanup() -> int:
    """Delete what has expired. Gives how many files that were. Says ``attachment.cleaned`` for each.

    Raises:
        UnsafePathError: If the staging folder is not this user's alone.
    """
    return _clean(is_forced=False)


def force_cleanup() -> int:
    """Delete everything that this user has staged, and nothing else; otherwise as `cleanup`.

    Raises:
        UnsafePathError: As `cleanup`.
    """
    return _clean(is_forced=True)


def _clean(*, is_forced: bool) -> int:
    staging = Staging(staging_dir())
    try:
        deleted = staging.clean(is_forced=is_forced)
    finally:
        staging.close()
    for checksum in deleted:
        emit("attachment.cleaned", {}, {"checksum": checksum})
    return len(deleted)
