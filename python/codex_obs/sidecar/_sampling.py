"""Samples of the machine, taken beside the trainer."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs import _backend
from codex_obs.errors import CodexObsError
from codex_obs.system import SampleLog, Sampler

if TYPE_CHECKING:
    from codex_obs._settings.settings import Settings
    from codex_obs.sidecar._warnings import Warnings
    from codex_obs.system import Change

AUTO = "auto"
# Longest that a last sample may take; a driver that hangs longer is left behind.
_STOP_S = 0.5
# Changes that wait to be put on record.
_MOST_UNNOTED = 64


class Sampling:
    """Takes samples on a thread of its own, from `start` to `stop`.

    Args:
        directory: The run directory.
        settings: Those of the run.
        warnings: What the trainer's user should hear.
        is_main: Whether this is the machine of the main stream: others have files of their own.
    """

    def __init__(self, directory: str, settings: Settings, warnings: Warnings, *, is_main: bool) -> None:
        self._directory = directory
        self._warnings = warnings
        self._interval_s = settings.system_metrics_interval_s
        self._log = SampleLog(path_of(directory, settings.system_metrics or AUTO, is_main=is_main), settings)
        self._unnoted: list[Change] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="codex-obs-system", daemon=True)

    def start(self) -> None:
        """Begin, at once."""
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end."""
        self._ending.set()
        self._thread.join(_STOP_S)

    def _work(self) -> None:
        sampler = Sampler(self._directory)
        due = time.monotonic()
        while True:
            # A disk that is full now may not be later. The samples are not what training lives from.
            why = sampler.record(self._log)
            if why is not None:
                self._warnings.say("system", f"a sample of the machine was not written: {why} ({sampler.lost} so far)")
            self._note(sampler)
            # A sample that was late moves the next ones: they are not taken in a row.
            due = max(due + self._interval_s, time.monotonic())
            if self._ending.is_set():
                break
            self._ending.wait(due - time.monotonic())
        sampler.close()
        self._note(sampler)

    def _note(self, sampler: Sampler) -> None:
        # What a full disk refuses is put on record with a later sample.
        self._unnoted = [*self._unnoted, *sampler.changes()][-_MOST_UNNOTED:]
        with suppress(CodexObsError):
            while self._unnoted:
                change = self._unnoted[0]
                _backend.sidecar_note(self._directory, "system", change.status, change.reason, change.extra)
                del self._unnoted[0]


def path_of(directory: str, given: str, *, is_main: bool) -> Path:
    """Return the file of samples: `given`, or that of the run; on another machine than the main stream's its own."""
    path = Path(directory, "system_metrics.jsonl") if given == AUTO else Path(given)
    return path if is_main else path.with_name(f"{path.stem}.{_backend.sidecar_stream()}{path.suffix}")
