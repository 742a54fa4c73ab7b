"""Sampling for programs without a run that does it: a thread of the program's own."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_obs import _backend
from codex_obs._psutil import announce_missing
from codex_obs.errors import CodexObsError
from codex_obs.system._log import SampleLog
from codex_obs.system._sampler import Sampler

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from codex_obs._settings.settings import Settings
    from codex_obs.types import HasPath

FILE_NAME: Final = "system_metrics.jsonl"
DEFAULT_INTERVAL_S: Final = 10.0
MIN_INTERVAL_S: Final = 0.1
# Longest that the last sample may take; what hangs longer is left behind.
_STOP_S: Final = 2.0
# Troubles with the file are said once in so long.
_SAY_AGAIN_S: Final = 60.0

_logger = logging.getLogger("codex_obs")


class SystemMetricsLogger:
    """Samples the machine in a thread of this process, between `start` and `stop` or in a ``with`` block.

    A run does it without a thread here: ``codex_obs.init(system_metrics="auto")``.

    Args:
        path: The file, or a run directory or a `Run` for its ``system_metrics.jsonl``.
        interval: Seconds from one sample to the next, at least 0.1.
        settings: What says when the file is rotated and what becomes of old shards; None for the environment's.

    Attributes:
        samples: Samples in the file.
        lost: Samples that could not be written.

    Raises:
        ValueError: If the interval is shorter.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | HasPath,
        interval: float = DEFAULT_INTERVAL_S,
        *,
        settings: Settings | None = None,
    ) -> None:
        try:
            is_good = MIN_INTERVAL_S <= interval < math.inf
        except TypeError:
            is_good = False
        if not is_good:
            raise ValueError(f"interval={interval!r}: give a number of seconds, {MIN_INTERVAL_S} or more")
        given = Path(path if isinstance(path, str | os.PathLike) else path.path)
        self.path: Final = given / FILE_NAME if given.is_dir() else given
        self.samples = 0
        self.lost = 0
        self._interval_s = interval
        self._log = SampleLog(self.path, settings)
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._said_s = -math.inf

    def start(self) -> Self:
        """Begin to sample, at once. If it has begun already, nothing happens."""
        if self._thread is None or not self._thread.is_alive():
            announce_missing()
            self._ending = threading.Event()
            self._thread = threading.Thread(
                target=self._sample, args=(self._ending,), name="codex-obs-system", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Take a last sample and end."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
            self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _sample(self, ending: threading.Event) -> None:
        folder = self.path.absolute().parent
        sampler = Sampler(folder if _is_run(folder) else None)
        try:
            due_s = time.monotonic()
            while True:
                self._record(sampler)
                # A sample that was late moves the next ones: they are not taken in a row.
                due_s = max(due_s + self._interval_s, time.monotonic())
                if ending.is_set():
                    return
                ending.wait(due_s - time.monotonic())
        finally:
            sampler.close()

    def _record(self, sampler: Sampler) -> None:
        why = sampler.record(self._log)
        self.samples += why is None
        self.lost += why is not None
        if why is not None:
            self._say(f"a sample of the machine was not written: {why} ({self.lost} so far)")
        elif self._log.problem is not None:
            self._say(f"old samples of the machine stay as they are: {self._log.problem}")

    def _say(self, words: str) -> None:
        if time.monotonic() - self._said_s >= _SAY_AGAIN_S:
            self._said_s = time.monotonic()
            _logger.warning("codex_obs: %s", words)


def _is_run(folder: Path) -> bool:
    try:
        return _backend.run_state(str(folder)) is not None
    except CodexObsError:
        return False
