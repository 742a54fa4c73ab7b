"""The process beside the trainer: delivers where somebody else's package is needed, until the run has ended.

It knows by a descriptor of the trainer's process, and by the lock on its stream, that the trainer has ended. Ctrl-C
does not reach it, since it has a session of its own, and one SIGTERM, as a cluster sends it to all processes of a job,
it survives.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from codex_obs import _backend, _export
from codex_obs._extra import extra
from codex_obs._settings import environment
from codex_obs._settings.settings import Settings
from codex_obs.errors import CodexObsError
from codex_obs.sidecar import _state
from codex_obs.sidecar._artifacts import Artifacts
from codex_obs.sidecar._delivery import Delivery
from codex_obs.sidecar._trainer import Trainer
from codex_obs.sidecar._warnings import Warnings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from codex_obs._prometheus.server import MetricsServer
    from codex_obs.sidecar._sampling import Sampling

_OOM_SCORE = "900"  # the trainer is worth more
_EXIT_TERMINATED = 143
# Time between two looks.
_TICK_S = 0.25
# After a trainer's death without a word, so long may its next session take to begin.
_NEXT_SESSION_S = 60.0
# Artifacts may be large; what takes longer after the end of the run is left to `codex-ndjson sync`.
_ARTIFACTS_S = 3600.0


class Json(TypedDict):
    """`Handed` as JSON, with the trainer's search path and what PYTHONPATH was there."""

    path: list[str]
    python_path: str | None
    directory: str
    token: str
    trainer: tuple[int, int | None]
    rank: int
    delivers: bool
    settings: dict[str, object]


@dataclass(frozen=True, slots=True)
class Handed:
    """What a trainer hands over.

    Attributes:
        directory: The run directory.
        token: Names this start of a sidecar.
        trainer: The trainer's process, and when that began.
        rank: The rank whose stream it writes.
        delivers: Whether the run is delivered from here.
        settings: Those of the run.
    """

    directory: str
    token: str
    trainer: tuple[int, int | None]
    rank: int
    delivers: bool
    settings: Settings

    @classmethod
    def of(cls, found: Json) -> Self:
        """Take what was read from standard input, and put the environment back."""
        environment.restore_python_path(found["python_path"])
        pid, started = found["trainer"]
        settings = _settings(found["settings"])
        return cls(found["directory"], found["token"], (pid, started), found["rank"], found["delivers"], settings)


def run(handed: Handed) -> None:
    """Do what the settings ask for until the run has ended, and leave."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    environment.quieten_vendors()
    _survive()
    Sidecar(handed).run()
    # A thread of a vendor's package may hang.
    os._exit(0)


class Sidecar:
    """Everything that is done beside one trainer."""

    def __init__(self, handed: Handed) -> None:
        self._handed = handed
        self._path = _state.path_in(handed.directory)
        self._turn = Path(_backend.sidecar_turn_path(handed.directory))
        # Rung when a delivery ends.
        self._bell = threading.Event()
        self._trainer = Trainer(*handed.trainer)
        self._warnings = Warnings()
        beside = _export.beside(handed.settings) if handed.delivers else []
        self._deliveries = [Delivery(handed.directory, each, self._bell, self._warnings) for each in beside]
        places = _export.artifact_places(handed.settings) if handed.delivers else []
        self._artifacts = [Artifacts(handed.directory, place, handed.settings, self._bell) for place in places]
        self._ending = _Ending(handed.directory)
        self._sampling: Sampling | None = None
        if handed.settings.system_metrics is not None:
            from codex_obs.sidecar._sampling import Sampling  # noqa: PLC0415 - only where it is asked for

            self._sampling = Sampling(handed.directory, handed.settings, self._warnings, is_main=handed.delivers)
        self._metrics: MetricsServer | None = None
        self._said: _state.State | None = None

    def run(self) -> None:
        """Work until there is nothing left to do, or another sidecar has taken over."""
        self._say(is_done=False)
        for delivery in self._deliveries:
            delivery.start()
        for artifacts in self._artifacts:
            artifacts.start()
        if self._sampling is not None:
            self._sampling.start()
        self._serve()
        died: float | None = None
        while self._is_ours():
            self._bell.wait(_TICK_S)
            self._bell.clear()
            is_written = self._trainer.is_alive and _backend.is_written(self._handed.directory, self._handed.rank)
            if is_written:
                # It may have closed its run and be waiting for us.
                self._say(is_done=self._has_all())
                continue
            if died is None:
                died = time.monotonic()
                self._stop()
            if all(self._is_settled(each, died) for each in self._deliveries) and self._has_no_artifacts(died):
                break
            self._say(is_done=False)
        else:
            self._stop()
            return
        self._say(is_done=True)
        if not any(each.bytes != 0 or each.problem for each in self._left()) and not self._warnings.said:
            self._path.unlink(missing_ok=True)
        # Without it the trainer knows that this is no death.
        if self._is_ours():
            self._turn.unlink(missing_ok=True)

    def _has_all(self) -> bool:
        """Whether the run has put its end on record, and every destination has what stands before that."""
        is_finished = self._ending.is_finished()
        for each in self._deliveries:
            each.hear_end(is_finished=is_finished)
        return is_finished and all(each.has_all for each in self._deliveries)

    def _serve(self) -> None:
        """Answer Prometheus, if that is asked for. A port that cannot be had is on record; training goes on."""
        port, directory = self._handed.settings.prometheus_port, self._handed.directory
        if port is None:
            return
        from codex_obs._prometheus.server import MetricsServer  # noqa: PLC0415 - only where it is asked for

        try:
            found = _backend.run_state(directory)
            self._metrics = MetricsServer([(directory, "" if found is None else found.run_id)], port)
        except (OSError, CodexObsError) as error:
            why = f"/metrics is not served: port {port} cannot be opened: {error}"
            with suppress(CodexObsError):
                _backend.sidecar_note(directory, "prometheus", "degraded", "prometheus:port", extra({"why": why}, {}))
            self._warnings.say("prometheus", why)

    def _stop(self) -> None:
        """Let go of what is only for as long as the trainer runs."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if self._sampling is not None:
            self._sampling.stop()
            self._sampling = None

    def _has_no_artifacts(self, died: float) -> bool:
        """Whether nothing more is done for the artifacts of a run that has ended and whose rows are delivered."""
        status = self._ending.status
        for each in self._artifacts:
            each.end(status)
            if time.monotonic() - died >= _ARTIFACTS_S:
                each.stop()
        return not any(each.is_running for each in self._artifacts) or time.monotonic() - died >= _ARTIFACTS_S

    def _is_settled(self, delivery: Delivery, died: float) -> bool:
        """Whether nothing more is done for a run that has ended."""
        now = time.monotonic()
        if delivery.is_running:
            if now - max(died, delivery.moved) >= delivery.patience_s:
                delivery.stop()
            return False
        if delivery.was_told or delivery.was_stopped:
            return True
        if self._ending.is_finished() or now - died >= _NEXT_SESSION_S:
            delivery.start(is_over=True)
        return False

    def _is_ours(self) -> bool:
        """Whether no other sidecar has taken over, and the run is still there."""
        try:
            return self._turn.read_text() == self._handed.token
        except FileNotFoundError:
            # Somebody has deleted what is internal, which may be done while nothing is open.
            return self._turn.parent.is_dir()
        except OSError:
            return True

    def _left(self) -> tuple[_state.Left, ...]:
        of_artifacts = [left for each in self._artifacts if (left := each.left()) is not None]
        return (*(delivery.left() for delivery in self._deliveries), *of_artifacts)

    def _say(self, *, is_done: bool) -> None:
        left = self._left()
        now = _state.State(self._handed.token, os.getpid(), is_done, left, self._warnings.said)
        if now != self._said:
            # A disk that is full now may not be later.
            with suppress(OSError):
                _state.write(self._path, now)
                self._said = now


class _Ending:
    """Whether the last session of the main stream has put its end on record."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._records = Path(directory, "run.ndjson")
        self._size = -1
        self.status: str | None = None

    def is_finished(self) -> bool:
        try:
            size = self._records.stat().st_size
            if size != self._size:
                found = _backend.run_state(self._directory)
                last = found.last_session if found is not None else None
                self.status = last.status if last is not None else None
                self._size = size
        except (OSError, CodexObsError):
            return False
        return self.status is not None


def _survive() -> None:
    """Ignore what is meant for the trainer, and the first SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def leave(_signal: int, _frame: object) -> None:
        os._exit(_EXIT_TERMINATED)

    def hear(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, leave)

    signal.signal(signal.SIGTERM, hear)


def _settings(values: Mapping[str, object]) -> Settings:
    """Make settings of values that were checked where they come from."""
    settings = object.__new__(Settings)
    for name, value in values.items():
        object.__setattr__(settings, name, tuple(value) if isinstance(value, list) else value)
    return settings
