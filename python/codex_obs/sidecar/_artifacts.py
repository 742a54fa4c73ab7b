"""Artifacts on their way to a destination that has such, on a thread of their own."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs import _backend, _export
from codex_obs.errors import CodexObsError
from codex_obs.sidecar._state import Left

if TYPE_CHECKING:
    from codex_obs._settings.settings import Settings

_FOLDER = "artifacts"
# Time between two looks at the folder, and after something could not be delivered.
_LOOK_S = 2.0
_AGAIN_S = 10.0
_EXIT_CODES = {"finished": 0, "failed": 1, "killed": 255}


class Artifacts:
    """Brings a destination what `Run.log_artifact` copies.

    Args:
        directory: The run directory.
        place: Where they go: MLflow gets them as they come, W&B once the run has ended.
        settings: Those of the run.
        bell: Rung when it ends.
    """

    def __init__(self, directory: str, place: _export.Place, settings: Settings, bell: threading.Event) -> None:
        self._directory = directory
        self._kind, self._arguments = place
        self._settings = settings
        self._bell = bell
        self._ending = threading.Event()
        self._stopping = threading.Event()
        self._waiting = 0
        self._why: str | None = None
        self._status: str | None = None
        self.is_running = False

    def start(self) -> None:
        """Begin."""
        self.is_running = True
        threading.Thread(target=self._run, name=f"codex-obs-artifacts-{self._kind}", daemon=True).start()

    def end(self, status: str | None) -> None:
        """Deliver what is there, once more, and end.

        Args:
            status: How the run ended, if that is known.
        """
        self._status = status
        self._ending.set()

    def stop(self) -> None:
        """End it, without waiting for a call that hangs."""
        self._stopping.set()

    def left(self) -> Left | None:
        """Return what waits, if something does."""
        if not self._waiting:
            return None
        why = f"{self._waiting} artifact{'s' if self._waiting > 1 else ''}: {self._why}"
        return Left(self._kind, self._arguments, 0, why)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self.is_running = False
            self._bell.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            # Looked at first: what was copied before the end is there at the look that follows.
            is_last = self._ending.is_set()
            if is_last or self._kind != "wandb":
                self._deliver()
            if is_last:
                return
            self._ending.wait(_AGAIN_S if self._why else _LOOK_S)

    def _deliver(self) -> None:
        if not Path(self._directory, _FOLDER).is_dir():
            return
        from codex_obs.destinations import artifacts  # noqa: PLC0415 - only where there are some

        try:
            run = self._remote_run()
        except CodexObsError as error:
            self._why = str(error)
            return
        if run is None:
            self._waiting, self._why = 1, "the remote run is not known yet"
            return
        uri = self._settings.mlflow_tracking_uri if self._kind == "mlflow" else None
        exit_code = _EXIT_CODES.get(self._status or "finished", 0)
        found = artifacts.deliver(Path(self._directory), self._kind, run=run, uri=uri, exit_code=exit_code)
        self._waiting, self._why = found.waiting, found.why

    def _remote_run(self) -> str | None:
        if self._kind == "wandb":
            state = _backend.run_state(self._directory)
            return None if state is None else _backend.wandb_run_id(state.run_id)
        destination = _export.mlflow(self._settings)
        return None if destination is None else _backend.known_run(self._directory, destination)
