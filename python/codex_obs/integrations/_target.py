"""Where an integration logs: the user's run, or one of its own that is opened when there is something to log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from codex_obs import _open_runs
from codex_obs.api import current_run, init_beside, is_main_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import SupportsIndex

    from codex_obs._run import Run
    from codex_obs.types import InitArguments, RunPath, Status

    class TargetArguments(InitArguments, total=False):
        """What every integration takes beside its run: where one of its own lies, and what else `init` takes."""

        run_dir: RunPath | None


class Target:
    """The run of an integration.

    A run that is given, or is the current one at the first use, belongs to the user: it is written and never closed.
    Else one is opened on the main rank, without becoming the current run where there is another, and `close` finishes
    it. It pickles: elsewhere it is the same run, which nobody closes there.

    Args:
        run: The user's run, or None.
        arguments: What `codex_obs.init` takes. With any of them a run of its own is opened.
        name: What a run of its own is called if the arguments name neither it nor its directory.
        is_main: Whether this process logs, asked at the first use.
    """

    def __init__(
        self,
        run: Run | None = None,
        arguments: TargetArguments | None = None,
        *,
        name: str | None = None,
        is_main: Callable[[], bool] = is_main_rank,
    ) -> None:
        self._run = run
        self._arguments: TargetArguments = arguments or {}
        self._name = name
        self._is_main = is_main
        self._owner_pid: int | None = None
        self._is_silent = False

    def open(self, config: object = None) -> Run | None:
        """Return the run, opened if need be; None where this process does not log.

        Args:
            config: Parameters that the framework knows. A user's run gets them as further ones.
        """
        # Several threads may end their first trials at once.
        with _open_runs.opening():
            if self._run is None and not self._is_silent:
                self._is_silent = not self._is_main()
                if not self._is_silent:
                    self._choose(config)
            elif self._run is not None and config is not None:
                self._run.log_params(config)
        return self._run

    def log(
        self,
        values: Mapping[str, Mapping[str, object]],
        step: SupportsIndex | None,
        *,
        tags: Mapping[str, object] | None = None,
    ) -> None:
        """Log values, sorted by split."""
        run = self.open()
        if run is not None:
            for split, metrics in values.items():
                run.log(metrics, step, split=split, tags=tags)

    def log_params(self, params: object) -> None:
        """Log parameters."""
        run = self.open()
        if run is not None:
            run.log_params(params)

    @property
    def run(self) -> Run | None:
        """The run, if it is open already."""
        return self._run

    def close(self, status: Status = "finished") -> None:
        """Finish a run of its own. A user's run stays open."""
        if self._run is not None and self._owner_pid == os.getpid():
            # It stays in its place: what is logged after this is counted there as dropped.
            self._owner_pid = None
            self._run.finish(status)

    def flush(self) -> None:
        """Bring what was logged into the files."""
        if self._run is not None:
            self._run.flush(timeout=5.0)

    def _choose(self, config: object) -> None:
        if not self._arguments:
            self._run = current_run()
        if self._run is not None:
            if config is not None:
                self._run.log_params(config)
            return
        arguments = dict(self._arguments)
        run_dir = arguments.pop("run_dir", None)
        given = arguments.pop("config", None)
        if run_dir is None and self._name:
            arguments.setdefault("name", self._name)
        self._run, is_new = init_beside(run_dir, config=config if given is None else given, **arguments)  # type: ignore[arg-type]
        if given is not None and config is not None:
            self._run.log_params(config)
        self._owner_pid = os.getpid() if is_new else None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_owner_pid": None}

    def __deepcopy__(self, _seen: object) -> Target:
        # Frameworks copy their callbacks: the copy writes the same run.
        return self


def make(
    run: Run | None,
    arguments: Mapping[str, object],
    *,
    name: str | None = None,
    is_main: Callable[[], bool] = is_main_rank,
) -> Target:
    """Make the target of an integration out of what its constructor was given.

    Raises:
        TypeError: If both a run and arguments for one were given.
    """
    if run is not None and arguments:
        raise TypeError(f"give run= or {next(iter(arguments))}=, not both: a run is open already")
    return Target(run, arguments, name=name, is_main=is_main)  # type: ignore[arg-type]  # `init` checks them
