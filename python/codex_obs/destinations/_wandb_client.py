"""How W&B's own client is asked for a run."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from codex_obs._settings import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

_INIT_TIMEOUT_S = 20.0
# An end that takes longer is not sure, and what may not have arrived is sent again.
FINISH_TIMEOUT_S = 30.0
_TRANSMIT_INTERVAL_S = 1.0
_NO_PROJECT = "uncategorized"  # W&B's own name for it


@contextmanager
def opened(wandb: Any, run: str, run_dir: Path, exit_code: int) -> Iterator[Any]:  # noqa: ANN401 - as below
    """Open a run that exists, for something that is no row, and end it."""
    with TemporaryDirectory(prefix="artifacts-", dir=run_dir / ".codex_obs") as folder:
        found = begin(wandb, Path(folder), id=run)
        try:
            yield found
        finally:
            found.finish(exit_code=exit_code)


def begin(wandb: Any, folder: Path, **run: object) -> Any:  # noqa: ANN401 - of a module without types
    """Open a run."""
    settings = wandb.Settings(
        init_timeout=_INIT_TIMEOUT_S,
        finish_timeout=FINISH_TIMEOUT_S,
        finish_timeout_raises=True,
        x_file_stream_transmit_interval=_TRANSMIT_INTERVAL_S,
        silent=True,
        console="off",
        # It would describe this process, and not the one that trains.
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        save_code=False,
        disable_job_creation=True,
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return wandb.init(
        # W&B would guess one from the folder that this process works in.
        **{"project": environment.of_wandb().get("WANDB_PROJECT") or _NO_PROJECT, **run},
        dir=str(folder),
        resume="allow",
        mode="online",
        reinit="create_new",
        settings=settings,
    )
