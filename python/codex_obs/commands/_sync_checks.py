"""Which options of ``codex-ndjson sync`` go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs._settings import environment
from codex_obs.commands._input import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MLFLOW = "mlflow"
_TENSORBOARD = "tensorboard"
_WANDB = "wandb"
_RUN_OR_NEW = "--run-id names a run that exists, and --new-run makes another: give one of them."
_ID_OR_NAME = "--experiment-id and --experiment-name name the same thing: give one of them."
_ONLY_TENSORBOARD = "--dest is for event files: give it with --to tensorboard."
_ONLY_WANDB = "--wandb-mode is for W&B: give it with --to wandb."
_WANDB_IS_OFF = "WANDB_MODE=disabled or WANDB_DISABLED switches W&B off: unset it."


def check_together(
    run_id: str | None, experiment_id: str | None, experiment_name: str | None, *, new_run: bool
) -> None:
    """Refuse what names one thing twice.

    Raises:
        InputError: If options contradict each other.
    """
    if new_run and run_id is not None:
        raise InputError(_RUN_OR_NEW)
    if experiment_id is not None and experiment_name is not None:
        raise InputError(_ID_OR_NAME)


def check_destination(to: str, only_mlflow: Mapping[str, object]) -> None:
    """Refuse options for MLflow where another destination is named.

    Raises:
        InputError: If one is given.
    """
    given = [option for option, value in only_mlflow.items() if value is not None]
    if to != _MLFLOW and given:
        raise InputError(f"{given[0]} is for MLflow: leave it out with --to {to}.")


def check_files(to: str, dest: Path | None, wandb_mode: str | None) -> None:
    """Refuse options for another destination than the one named, and one that is switched off.

    Raises:
        InputError: If there is one.
    """
    if to != _TENSORBOARD and dest is not None:
        raise InputError(_ONLY_TENSORBOARD)
    if to != _WANDB and wandb_mode is not None:
        raise InputError(_ONLY_WANDB)
    if to == _WANDB and environment.wandb_is_disabled():
        raise InputError(_WANDB_IS_OFF)
