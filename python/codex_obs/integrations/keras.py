"""Keras: ``model.fit(..., callbacks=[CodexObsCallback()])``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from codex_obs._splits import by_split
from codex_obs.integrations import _target
from codex_obs.integrations._needed import needed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Unpack

    from codex_obs._run import Run

__all__ = ["CodexObsCallback"]

_keras = needed("keras", extra="keras")


class CodexObsCallback(_keras.callbacks.Callback):  # type: ignore[misc, name-defined]  # Keras may not be installed
    """Logs what Keras puts into its history, and the learning rate.

    The step is the number of optimizer steps so far, over all calls of ``fit``; the tag ``epoch`` has the epoch.
    ``val_loss`` is ``loss`` of the split ``val``; ``evaluate`` outside of ``fit`` logs the split ``test``. A run of its
    own stays open after ``fit``, until `close` or the end of the program.

    Args:
        run: Run to write. Default: the current run, else one of its own.
        update_freq: ``"epoch"``, ``"batch"``, or a number of batches: how often training metrics are logged. Those of
            an epoch are logged always.
        **arguments: What `codex_obs.init` takes (``run_dir`` too), for a run of its own.
    """

    def __init__(
        self,
        run: Run | None = None,
        *,
        update_freq: Literal["epoch", "batch"] | int = "epoch",
        **arguments: Unpack[_target.TargetArguments],
    ) -> None:
        super().__init__()
        if update_freq not in ("epoch", "batch") and not (isinstance(update_freq, int) and update_freq > 0):
            raise ValueError(f"update_freq={update_freq!r:.40} cannot be used: give 'epoch', 'batch' or a number.")
        self._target = _target.make(run, arguments)
        self._every = 1 if update_freq == "batch" else update_freq if isinstance(update_freq, int) else None
        self._step = self._epoch_began_at = 0
        self._is_fitting = False
        self._has_params = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - as Keras calls it
        """Open the run, and log the hyperparameters once."""
        self._is_fitting = True
        config = None if self._has_params else {"keras": self._config()}
        self._has_params = True
        self._target.open(config)
        # A model that has been trained before goes on counting.
        iterations = self._iterations()
        self._step = self._step if iterations is None else iterations

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count the step, and log it if that is asked for."""
        # Several batches may be one call (`steps_per_execution`).
        before, self._step = self._step, self._epoch_began_at + batch + 1
        done_before = before - self._epoch_began_at
        if self._every is not None and (batch + 1) // self._every > done_before // self._every and logs:
            self._target.log({"train": {f"batch_{name}": value for name, value in logs.items()}}, self._step)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - as above
        """Note where the epoch began."""
        self._epoch_began_at = self._step

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log what goes into the history."""
        values: dict[str, object] = dict(logs or {})
        rate = self._learning_rate()
        if rate is not None:
            values.setdefault("learning_rate", rate)
        self._target.log(by_split(values), self._step, tags={"epoch": epoch})

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Log the result of ``evaluate``; that of a validation comes with its epoch."""
        if not self._is_fitting and logs:
            self._target.log({"test": dict(logs)}, self._step)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002 - as Keras calls it
        """Bring everything into the files. The run stays open: ``evaluate`` may follow."""
        self._is_fitting = False
        self._target.flush()

    def close(self) -> None:
        """Finish the run, if it is one of its own."""
        self._target.close()

    def _config(self) -> dict[str, object]:
        config: dict[str, object] = {**(self.params or {}), "model": getattr(self.model, "name", None)}
        if getattr(self.model, "built", False):
            config["parameters"] = self.model.count_params()
        if getattr(self.model, "optimizer", None) is not None:
            config["optimizer"] = self.model.optimizer.get_config()
        return config

    def _iterations(self) -> int | None:
        iterations = getattr(getattr(self.model, "optimizer", None), "iterations", None)
        return None if iterations is None else int(_keras.ops.convert_to_numpy(iterations))

    def _learning_rate(self) -> float | None:
        rate = getattr(getattr(self.model, "optimizer", None), "learning_rate", None)
        return None if rate is None else float(_keras.ops.convert_to_numpy(rate))
