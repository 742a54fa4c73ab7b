"""Ray Tune: ``tune.RunConfig(callbacks=[CodexObsLoggerCallback("/data/runs")])``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs.integrations._needed import needed
from codex_obs.integrations._target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Unpack

    from codex_obs.types import InitArguments, RunPath

__all__ = ["CodexObsLoggerCallback"]

_logger = needed("ray.tune.logger", extra="ray")
# What Ray adds to each result about itself, beside numbers such as time_total_s.
_ABOUT_RAY = frozenset({"config", "pid", "date", "timestamp", "trial_id", "hostname", "node_ip", "done"})
_STEP = "training_iteration"


class CodexObsLoggerCallback(_logger.LoggerCallback):  # type: ignore[misc, name-defined]  # Ray may not be installed
    """Logs each trial into a run of its own, ``<folder>/<trial id>``, from the driver.

    Numbers of a result are rows at its ``training_iteration``; the trial's configuration is the run's. A trial that
    fails is a failed run; a restored one resumes its run.

    Args:
        folder: Where the runs lie. Default: ``runs/<name of the experiment>`` in the driver's working directory.
        **arguments: What `codex_obs.init` takes.
    """

    def __init__(self, folder: RunPath | None = None, **arguments: Unpack[InitArguments]) -> None:
        # Made absolute now: Ray changes the working directory of its workers.
        self._folder = None if folder is None else Path(folder).absolute()
        self._root = Path("runs").absolute()
        self._arguments = arguments
        self._targets: dict[str, Target] = {}

    def log_trial_start(self, trial: Any) -> None:  # noqa: ANN401 - Ray may not be installed
        """Open the run of a trial."""
        self._target(trial).open()

    def log_trial_result(self, iteration: int, trial: Any, result: Mapping[str, Any]) -> None:  # noqa: ANN401 - as above
        """Log a result."""
        numbers = {
            name: value
            for name, value in _flat(result).items()
            if name not in _ABOUT_RAY and name != _STEP and not isinstance(value, str | bool | None)
        }
        self._target(trial).log({"train": numbers}, result.get(_STEP, iteration))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:  # noqa: ANN401, FBT001, FBT002 - as Ray calls it
        """Finish the run of a trial."""
        target = self._targets.pop(trial.trial_id, None)
        if target is not None:
            target.close("failed" if failed else "finished")

    def _target(self, trial: Any) -> Target:  # noqa: ANN401 - as above
        found = self._targets.get(trial.trial_id)
        if found is None:
            folder = self._folder or self._root / trial.experiment_dir_name
            arguments: dict[str, Any] = {"config": trial.config, "tags": {"trial": trial.trial_id}, **self._arguments}
            found = Target(None, {**arguments, "run_dir": folder / trial.trial_id})  # type: ignore[arg-type]
            self._targets[trial.trial_id] = found
        return found


def _flat(result: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Make ``a/b`` of what is nested, except for the configuration."""
    found: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, dict):
            if before or name != "config":
                found |= _flat(value, f"{before}{name}/")
        else:
            found[f"{before}{name}"] = value
    return found
