"""What `Run.log_artifact` does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from codex_obs import _backend
from codex_obs._visible import visible

if TYPE_CHECKING:
    from codex_obs._run import Run

# What was left out is named up to here.
_SHOWN = 3


def log_artifact(self: Run, path: str | os.PathLike[str], name: str | None = None) -> None:
    """Copy a file or a folder to ``artifacts/`` in the run directory, before this returns.

    Args:
        self: The run. A closed one takes none, and says so.
        path: The file or folder.
        name: Its name there, which may have parts; without one its own. What has the name is replaced, a folder as a
            whole.

    Raises:
        LogFileError: If it cannot be read or written. What had the name is then as it was.
        SettingError: If the name leads out of the folder.
    """
    source = os.fsdecode(path)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be text, not {type(name).__name__}")
    if self.settings.disabled:
        return
    if self.closed:
        _backend.emit_warnings([f"run {self.name}: the artifact {visible(source)} is not copied: the run is closed"])
        return
    _backend.sidecar_start(self)
    skipped = _backend.copy_artifact(self.directory, source, name, mode=self.settings.file_mode)
    if skipped:
        shown = ", ".join(visible(str(each)) for each in skipped[:_SHOWN])
        more = f" and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
        words = "no file, and no link to one; or the run's own"
        _backend.emit_warnings(
            [f"run {self.name}: left out of the artifact {visible(source)}: {shown}{more} ({words})"]
        )
