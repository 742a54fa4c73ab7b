"""Workers of `multiprocessing` that are spawned, or come from a fork server, log to the run of their parent.

A process hands its children a copy of a dict of its own. The current run stands in that copy, as text: the directory,
who the run is, and how it is written. No address, no secret, and nothing in the environment. The child opens its stream
at its first `log`.
"""

from __future__ import annotations

import os
import sys

from codex_obs import _open_runs
from codex_obs._run import Run
from codex_obs._settings.settings import Settings

_KEY = "codex_obs"
# How rows are written. Where they are delivered is the business of the process that has the run.
_FIELDS = (
    "rank",
    "max_shard_bytes",
    "max_shard_age_s",
    "backup_count",
    "archive",
    "archive_max_bytes",
    "max_unexported_shards",
    "ring_bytes",
    "max_block_s",
    "overflow",
    "fsync",
    "fsync_interval_s",
    "file_mode",
    "legacy",
    "flatten",
    "deferred",
    "disabled",
)
_ELSEWHERE: dict[str, object] = {
    "mlflow_tracking_uri": "",
    "tensorboard": False,
    "wandb": "disabled",
    "destinations": (),
}


class _Fork:
    """Whether this process was forked from one that had a run open: once it closes that, it stays closed."""

    had_run = False

    def note(self) -> None:
        self.had_run = self.had_run or _open_runs.current() is not None


_fork = _Fork()
os.register_at_fork(after_in_child=_fork.note)


class _HandedOn(dict[str, object]):
    """What a process hands its children, with the run that is current where a child is made."""

    def copy(self) -> dict[str, object]:
        copy = dict(self)
        run = _open_runs.current()
        if run is not None:
            copy[_KEY] = _text(run)
        return copy


def hand_on() -> None:
    """Have the children of this process that do not fork find its current run, if `multiprocessing` is in use."""
    process = sys.modules.get("multiprocessing.process")
    if process is None:
        return
    this = process.current_process()
    handed = getattr(this, "_config", None)
    if type(handed) is dict:
        this._config = _HandedOn(handed)  # noqa: SLF001 - the only place that a child inherits, and no promise


def inherited() -> Run | None:
    """Return the run that this process was handed, if it was started without a fork and has not opened one."""
    process = sys.modules.get("multiprocessing.process")
    handed = getattr(process.current_process(), "_config", None) if process is not None else None
    if not isinstance(handed, dict) or process is None or process.parent_process() is None or _fork.had_run:
        return None
    text = handed.get(_KEY)
    if not isinstance(text, str):
        return None
    import json  # noqa: PLC0415 - workers only

    told = json.loads(text)
    with _open_runs.opening():
        found = _open_runs.current()
        if found is not None:
            return found
        # Once: a run that this process closes stays closed.
        handed.pop(_KEY)
        settings = Settings(**{**told["settings"], **_ELSEWHERE})
        hand_on()
        return Run(told["directory"], settings, run_id=told["run_id"], name=told["name"], arrived=True)


def _text(run: Run) -> str:
    import json  # noqa: PLC0415 - only where there are such workers

    settings = {name: getattr(run.settings, name) for name in _FIELDS}
    return json.dumps({"directory": os.fspath(run.path), "run_id": run.run_id, "name": run.name, "settings": settings})
