"""Hugging Face transformers: ``Trainer(callbacks=[CodexObsCallback()])``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs._splits import by_split
from codex_obs.integrations import _target
from codex_obs.integrations._needed import needed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Unpack

    from codex_obs._run import Run

__all__ = ["CodexObsCallback", "register"]

_trainer = needed("transformers.trainer_callback", extra="transformers")
# What the trainer itself prefixes. Its `train_loss`, the mean over all, would otherwise be mixed up with `loss`.
_SPLITS = ("eval", "test")


class CodexObsCallback(_trainer.TrainerCallback):  # type: ignore[misc, name-defined]  # it may not be installed
    """Logs what the trainer logs, at its global step, with the arguments and the model's configuration.

    ``eval_loss`` is ``loss`` of the split ``eval``. A run of its own stays open after ``train``, for ``evaluate`` and
    ``predict``, until `close` or the end of the program. Only the first process of all logs.

    Args:
        run: Run to write. Default: the current run, else one of its own, called as ``args.run_name``.
        **arguments: What `codex_obs.init` takes (``run_dir`` too), for a run of its own.
    """

    def __init__(self, run: Run | None = None, **arguments: Unpack[_target.TargetArguments]) -> None:
        self._run = run
        self._arguments = arguments
        self._target: _target.Target | None = None
        self._has_params = False

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Open the run, and log the arguments and the model's configuration."""
        target = self._opened(args, state)
        if target is None or self._has_params:
            return
        self._has_params = True
        config: dict[str, Any] = {"args": args.to_sanitized_dict()}
        if hasattr(getattr(model, "config", None), "to_dict"):
            config["model"] = model.config.to_dict()
        target.log_params(config)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Log what the trainer puts into its history."""
        target = self._opened(args, state)
        if target is not None and logs:
            target.log(by_split(logs, words=_SPLITS), state.global_step)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **_: Any) -> None:  # noqa: ANN401, ARG002
        """Log the metrics of ``predict``, which the trainer logs nowhere."""
        target = self._opened(args, state)
        if target is not None and metrics:
            target.log(by_split(metrics, words=_SPLITS, default="test"), state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
        """Bring everything into the files. The run stays open: ``evaluate`` may follow."""
        if self._target is not None:
            self._target.flush()

    def close(self) -> None:
        """Finish the run, if it is one of its own."""
        if self._target is not None:
            self._target.close()

    def _opened(self, args: Any, state: Any) -> _target.Target | None:  # noqa: ANN401 - the trainer's
        if not state.is_world_process_zero:
            return None
        if self._target is None:
            name = getattr(args, "run_name", None)
            self._target = _target.make(self._run, self._arguments, name=name, is_main=_always)
        return self._target


def _always() -> bool:
    # The trainer has said it already; a lambda would not pickle.
    return True


def register() -> None:
    """Make ``TrainingArguments(report_to="codex_obs")`` mean this callback."""
    integrations = needed("transformers.integrations.integration_utils", extra="transformers")
    integrations.INTEGRATION_TO_CALLBACK["codex_obs"] = CodexObsCallback
