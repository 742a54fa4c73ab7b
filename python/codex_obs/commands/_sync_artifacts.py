"""What ``codex-ndjson sync`` does about artifacts, once the rows are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from codex_obs.commands._command import EXIT_INCOMPLETE, say, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from codex_obs._backend import StreamOutcome
    from codex_obs._settings.settings import Settings

_FOLDER = "artifacts"
_EXIT_CODES = {"finished": 0, "failed": 1, "killed": 255}


def deliver(path: Path, to: str, settings: Settings, outcomes: Sequence[StreamOutcome], *, quiet: bool) -> int:
    """Deliver the artifacts of a run to MLflow or W&B, which need their own packages for them. Give the exit code."""
    is_online = to == "wandb" and settings.wandb == "online"
    leader = outcomes[0] if outcomes else None
    if leader is None or not leader.done or not (to == "mlflow" or is_online) or not (path / _FOLDER).is_dir():
        return 0
    from codex_obs import _backend  # noqa: PLC0415 - rarely needed
    from codex_obs.destinations import artifacts  # noqa: PLC0415 - as above

    state = _backend.run_state(str(path))
    run = leader.remote_run if to == "mlflow" else state and _backend.wandb_run_id(state.run_id)
    if run is None:
        return 0
    found = artifacts.deliver(
        path,
        to,
        run=run,
        uri=settings.mlflow_tracking_uri if to == "mlflow" else None,
        exit_code=_EXIT_CODES.get(leader.status or "finished", 0),
    )
    if found.delivered and not quiet:
        typer.echo(f"{visible(path)}: {_count(found.delivered)} delivered to {to}")
    if not found.waiting:
        return 0
    wait = "waits" if found.waiting == 1 else "wait"
    say(f"{visible(path)}: {_count(found.waiting)} {wait} for {to}: {visible(found.why or '')}")
    return EXIT_INCOMPLETE


def _count(number: int) -> str:
    return f"{number:,} artifact" if number == 1 else f"{number:,} artifacts"
