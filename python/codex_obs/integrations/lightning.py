"""Lightning and Fabric: ``Trainer(logger=CodexObsLogger())``, ``Fabric(loggers=CodexObsLogger())``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from codex_obs._splits import by_split
from codex_obs.integrations import _target
from codex_obs.integrations._needed import needed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Unpack

    from codex_obs._run import Run

__all__ = ["CodexObsLogger"]

_loggers = needed("lightning.pytorch.loggers.logger", extra="lightning")
_rank_zero = needed("lightning.pytorch.utilities.rank_zero", extra="lightning")


def _is_rank_zero() -> bool:
    return int(_rank_zero.rank_zero_only.rank) == 0


class CodexObsLogger(_loggers.Logger):  # type: ignore[misc, name-defined]  # Lightning may not be installed
    """Logs what Lightning logs, with the hyperparameters of the module, on rank 0.

    ``val_loss`` is ``loss`` of the split ``val``. Checkpoints go to ``checkpoints`` in the run directory. A run of its
    own stays open after ``fit``, for ``test`` or a further ``fit``, until `close` or the end of the program; a ``fit``
    that raises ends it as failed.

    Args:
        run: Run to write. Default: the current run, else one of its own.
        **arguments: What `codex_obs.init` takes (``run_dir`` too), for a run of its own.
    """

    def __init__(self, run: Run | None = None, **arguments: Unpack[_target.TargetArguments]) -> None:
        super().__init__()
        self._target = _target.make(run, arguments, is_main=_is_rank_zero)

    @property
    def name(self) -> str | None:
        """The name of the run's folder."""
        run = self._target.open()
        return None if run is None else run.path.name

    @property
    def version(self) -> str:
        """Nothing: a run directory is one version."""
        return ""

    @property
    def save_dir(self) -> str | None:
        """The folder that the run directory lies in."""
        run = self._target.open()
        return None if run is None else os.fspath(run.path.parent)

    @property
    def root_dir(self) -> str | None:
        """The run directory."""
        return self.log_dir

    @property
    def log_dir(self) -> str | None:
        """The run directory."""
        run = self._target.open()
        return None if run is None else os.fspath(run.path)

    @property
    def experiment(self) -> Run | None:
        """The run itself; None on other ranks than 0."""
        return self._target.open()

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics."""
        self._target.log(by_split(metrics), step)

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:  # noqa: ANN401 - a mapping or a namespace
        """Log hyperparameters."""
        if params:
            self._target.log_params(params)

    def finalize(self, status: str) -> None:
        """Bring everything into the files. The run stays open unless Lightning has failed."""
        if status == "failed":
            self._target.close("failed")
        else:
            self._target.flush()

    def close(self) -> None:
        """Finish the run, if it is one of its own."""
        self._target.close()
