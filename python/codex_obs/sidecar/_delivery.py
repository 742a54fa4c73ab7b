"""One destination of the sidecar, on a thread of its own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from codex_obs import _backend
from codex_obs._extra import extra
from codex_obs.errors import CodexObsError
from codex_obs.sidecar._state import Left

if TYPE_CHECKING:
    from codex_obs._export import Beside
    from codex_obs.sidecar._warnings import Warnings

# Time until what could not begin is tried again.
_AGAIN_S = 5.0


class Delivery:
    """Brings a destination what the run logs, as `codex-ndjson sync --follow` does.

    Attributes:
        moved: When it made progress last, by `time.monotonic`.
        patience_s: How long it may make no progress once the run has ended.
        is_running: Whether it is at work.
        was_told: Whether it has everything and was told how the run ended.
        was_stopped: Whether it was stopped, or nothing more can be delivered.
    """

    def __init__(self, directory: str, beside: Beside, bell: threading.Event, warnings: Warnings) -> None:
        self._directory = directory
        self._bell = bell
        self._beside = beside
        self._warnings = warnings
        self._stopping = threading.Event()
        self._at: tuple[int, int, int] | None = None
        self._looks = self._looks_before = 0
        self._has_ended = False
        # With so many looks all that stood before the run's end has been handed over.
        self._enough: int | None = None
        self._problem: str | None = None
        self.patience_s = beside.patience_s
        self.moved = time.monotonic()
        self.is_running = False
        self.was_told = False
        self.was_stopped = False

    def start(self, *, is_over: bool = False) -> None:
        """Begin.

        Args:
            is_over: Whether the run has ended, perhaps without a word: then it is told to be killed.
        """
        self.moved = time.monotonic()
        name = f"codex-obs-{self._beside.name}"
        self.is_running = True
        thread = threading.Thread(target=self._run, args=(is_over,), name=name, daemon=True)
        thread.start()

    def stop(self) -> None:
        """End it, without waiting for a call that hangs."""
        self._stopping.set()

    @property
    def has_all(self) -> bool:
        """Whether the destination has all that is in the files of a run that has put its end on record."""
        is_heard = self._enough is not None and self._looks >= self._enough
        return is_heard and self._at is not None and self._at[2] == 0 and self._problem is None

    def hear_end(self, *, is_finished: bool) -> None:
        """Hear whether the run has put its end on record. The look of the moment may have begun before."""
        self._has_ended = is_finished
        if not is_finished:
            self._enough = None

    def left(self) -> Left:
        """Return what the destination lacks."""
        lacks = None if self._at is None else self._at[2]
        return Left(self._beside.name, self._beside.arguments, lacks, self._problem)

    def _run(self, is_over: bool) -> None:  # noqa: FBT001 - a thread's only argument
        try:
            self._work(is_over)
        finally:
            # Once the run is over there is no other attempt, whatever came of this one.
            self.was_stopped |= is_over and not self.was_told
            self.is_running = False
            self._bell.set()

    def _work(self, is_over: bool) -> None:  # noqa: FBT001 - as above
        while not self._stopping.is_set():
            try:
                destination = self._beside.make()
            except CodexObsError as error:
                # Nothing that waiting helps: a package that is missing, a setting that cannot be used.
                self._give_up(str(error))
                return
            self._looks_before = self._looks
            try:
                outcomes = _backend.sync(
                    self._directory, destination, follow=not is_over, aside=is_over, progress=self._note
                )
            except CodexObsError as error:
                self._problem = str(error)
                self._warn(f"{error}; rows wait in the files and are sent later")
                self._stopping.wait(_AGAIN_S)
                continue
            problems = [each.problem for each in outcomes if each.problem is not None]
            self._problem = problems[0] if problems else None
            self.was_stopped = self._stopping.is_set() or bool(problems)
            self.was_told = not problems and any(each.status is not None for each in outcomes)
            return
        self.was_stopped = True

    def _note(self, progress: _backend.SyncProgress) -> bool:
        at = (progress.delivered, progress.rejected, progress.bytes_left)
        if at != self._at:
            self._at, self.moved = at, time.monotonic()
        self._problem = progress.waiting
        if progress.waiting is not None:
            self._warn(f"{progress.waiting}; rows wait in the files and are sent later")
        self._looks = self._looks_before + progress.looks
        if self._has_ended and self._enough is None:
            self._enough = self._looks + 2
        return not self._stopping.is_set()

    def _give_up(self, why: str) -> None:
        self._problem, self.was_stopped = why, True
        self._warn(f"{why}; rows stay in the files only")
        name = self._beside.name
        try:
            _backend.sidecar_note(self._directory, name, "degraded", f"{name}:unusable", extra({"why": why}, {}))
        except CodexObsError:
            # The user has heard it.
            return

    def _warn(self, why: str) -> None:
        self._warnings.say(self._beside.name, f"{self._beside.name}: {why}")
