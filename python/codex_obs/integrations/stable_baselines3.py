"""Stable-Baselines3: ``model.set_logger(Logger(None, [CodexObsOutputFormat()]))``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs._splits import by_split
from codex_obs.integrations import _target
from codex_obs.integrations._needed import needed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Unpack

    from codex_obs._run import Run

__all__ = ["CodexObsOutputFormat"]

_logger = needed("stable_baselines3.common.logger", extra="stable-baselines3")
_NAME = "codex_obs"


class CodexObsOutputFormat(_logger.KVWriter):  # type: ignore[misc, name-defined]  # it may not be installed
    """Logs what the model records, at the number of time steps; the folder of a key is the split.

    ``rollout/ep_rew_mean`` is ``ep_rew_mean`` of the split ``rollout``. Hyperparameters (``HParam``) are parameters;
    videos, images and figures are left out, as is what is recorded with ``exclude="codex_obs"``. ``logger.close()``
    finishes a run of its own.

    Args:
        run: Run to write. Default: the current run, else one of its own.
        **arguments: What `codex_obs.init` takes (``run_dir`` too), for a run of its own.
    """

    def __init__(self, run: Run | None = None, **arguments: Unpack[_target.TargetArguments]) -> None:
        self._target = _target.make(run, arguments)

    def write(self, key_values: Mapping[str, Any], key_excluded: Mapping[str, Any], step: int = 0) -> None:
        """Log what was recorded since the last time."""
        numbers = {}
        for key, value in key_values.items():
            excluded = key_excluded.get(key)
            if excluded is not None and _NAME in excluded:
                continue
            if isinstance(value, _logger.HParam):
                self._target.log_params(value.hparam_dict)
            elif not isinstance(value, _logger.Video | _logger.Image | _logger.Figure):
                numbers[key] = value
        self._target.log(by_split(numbers, any_folder=True), step)

    def close(self) -> None:
        """Finish the run, if it is one of its own."""
        self._target.close()
