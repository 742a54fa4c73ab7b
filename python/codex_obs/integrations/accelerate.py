"""Hugging Face accelerate: ``register()``, then ``Accelerator(log_with="codex_obs")``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs._splits import by_split
from codex_obs.integrations import _target
from codex_obs.integrations._needed import needed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Unpack

    from codex_obs._run import Run
    from codex_obs.types import Tags

__all__ = ["CodexObsTracker", "register"]

_tracking = needed("accelerate.tracking", extra="accelerate")


class CodexObsTracker(_tracking.GeneralTracker):  # type: ignore[misc, name-defined]  # accelerate may not be installed
    """Logs what ``accelerator.log`` is given, on the main process.

    ``init_trackers(project, config, init_kwargs={"codex_obs": {"run_dir": …}})`` hands arguments on;
    ``accelerator.log(values, step, log_kwargs={"codex_obs": {"split": …}})`` gives the split of names that tell none.
    ``end_training`` finishes a run of its own.

    Args:
        run_name: What a run of its own is called: accelerate's name of the project.
        run: Run to write. Default: the current run, else one of its own.
        **arguments: What `codex_obs.init` takes (``run_dir`` too), for a run of its own.
    """

    name = "codex_obs"
    requires_logging_directory = False
    main_process_only = True

    def __init__(
        self,
        run_name: str | None = None,
        run: Run | None = None,
        **arguments: Unpack[_target.TargetArguments],
    ) -> None:
        super().__init__()
        # accelerate calls a tracker on the main process only.
        self._target = _target.make(run, arguments, name=run_name, is_main=_always)

    def start(self) -> None:
        """Open the run."""
        self._target.open()

    @property
    def tracker(self) -> Run | None:
        """The run itself."""
        return self._target.open()

    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Log parameters."""
        self._target.log_params(values)

    def log(
        self,
        values: Mapping[str, Any],
        step: int | None = None,
        split: str = "train",
        tags: Tags | None = None,
        **_: Any,  # noqa: ANN401 - other trackers' options
    ) -> None:
        """Log metrics."""
        self._target.log(by_split(values, default=split), step, tags=tags)

    def finish(self) -> None:
        """Finish the run, if it is one of its own."""
        self._target.close()


def _always() -> bool:
    return True


def register() -> None:
    """Make ``Accelerator(log_with="codex_obs")`` mean this tracker."""
    if _tracking.LOGGER_TYPE_TO_CLASS.get(CodexObsTracker.name) is not CodexObsTracker:
        _tracking.register_tracker_class(CodexObsTracker)
