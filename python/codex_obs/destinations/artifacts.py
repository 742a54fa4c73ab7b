"""Artifacts for MLflow and W&B, by their own packages. Uploading one again replaces it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from codex_obs import _backend
from codex_obs._settings import environment
from codex_obs.destinations import _wandb_client
from codex_obs.destinations.base import Artifact

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_WANDB_TIMEOUT_S = 300
_REMEDY = "pip install 'codex-obs[{extra}]'"


class Outcome(NamedTuple):
    """The result of a delivery.

    Attributes:
        delivered: How many artifacts were delivered.
        waiting: How many are still to be.
        why: Why these are.
    """

    delivered: int
    waiting: int
    why: str | None


def pending(run_dir: Path, address: str) -> list[Artifact]:
    """Give the artifacts that a destination does not have as they are now, in order of their names."""
    return [Artifact(*each) for each in _backend.artifacts(run_dir, address)]


def deliver(run_dir: Path, kind: str, *, run: str, uri: str | None = None, exit_code: int = 0) -> Outcome:
    """Deliver the artifacts that a destination does not have, by the vendor's own package.

    Args:
        run_dir: The run directory.
        kind: ``"mlflow"`` or ``"wandb"``.
        run: The remote run.
        uri: The MLflow server or store.
        exit_code: How the run ended, for W&B.
    """
    address = f"{kind} {uri or 'online'} {run}"
    waiting = pending(run_dir, address)
    if not waiting:
        return Outcome(0, 0, None)
    environment.quieten_vendors()
    try:
        vendor = import_module(kind)
    except ImportError as error:
        missing = _REMEDY.format(extra=kind) if error.name == kind else f"{kind} cannot be imported: {error}"
        return Outcome(0, len(waiting), missing)
    upload = _to_mlflow(vendor, uri, run) if kind == "mlflow" else _to_wandb(vendor, run, exit_code, run_dir)
    delivered = 0
    why: str | None = None
    for batch in [[each] for each in waiting] if kind == "mlflow" else [waiting]:
        try:
            upload(batch)
            _backend.note_artifacts(run_dir, address, batch)
        except Exception as error:  # noqa: BLE001 - a stranger's code: what it raises is why the rest waits
            line = next(iter(str(error).splitlines()), "")
            why = why or f"{batch[0].name}: {type(error).__name__}: {line}"
        else:
            delivered += len(batch)
    return Outcome(delivered, len(waiting) - delivered, why)


def _to_mlflow(mlflow: Any, uri: str | None, run: str) -> Callable[[list[Artifact]], None]:  # noqa: ANN401 - a module
    client = mlflow.MlflowClient(tracking_uri=uri)

    def upload(batch: list[Artifact]) -> None:
        for each in batch:
            client.log_artifact(run, str(each.path), artifact_path=os.path.dirname(each.name) or None)  # noqa: PTH120 - a name

    return upload


def _to_wandb(wandb: Any, run: str, exit_code: int, run_dir: Path) -> Callable[[list[Artifact]], None]:  # noqa: ANN401
    def upload(_: list[Artifact]) -> None:
        # A version has every artifact; what W&B has by its checksum is not sent again.
        files = wandb.Artifact(f"run-{run}-artifacts", type="codex_obs")
        for each in map(Artifact._make, _backend.artifacts(run_dir, None)):
            # Without a copy of its own among W&B's files.
            files.add_file(str(each.path), name=each.name, policy="immutable", skip_cache=True)
        with _wandb_client.opened(wandb, run, run_dir, exit_code) as opened:
            opened.log_artifact(files).wait(timeout=_WANDB_TIMEOUT_S)

    return upload
