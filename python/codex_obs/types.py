"""Types for annotating code that uses codex_obs. Nothing here is needed at run time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol, SupportsIndex, TypeAlias, TypedDict

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from codex_obs._settings.settings import Settings

RunPath: TypeAlias = str | os.PathLike[str]
"""Where a run lies, or a file of it."""


class HasPath(Protocol):
    """A run, open or closed."""

    @property
    def path(self) -> Path:
        """The run directory."""

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything logged so far is in the files."""


Runs: TypeAlias = RunPath | HasPath | Sequence[RunPath | HasPath]
"""What is read: a run directory, a `Run`, a file of a run, or several of them."""

Metrics: TypeAlias = Mapping[str, object]
"""Metric names and their values: numbers, whatever holds exactly one number, or structured values."""

Tags: TypeAlias = Mapping[str, object]
"""Free key-value pairs of a call or a run."""

Timestamp: TypeAlias = float | datetime
"""Seconds since the epoch, or an aware datetime."""

Status: TypeAlias = Literal["finished", "failed", "killed"]
"""How a session of a run ended."""

Overflow: TypeAlias = Literal["block", "drop"]
"""What `log` does when the journal is full."""

Fsync: TypeAlias = Literal["interval", "never", "always"]
"""When what is written is also forced to the disk."""

ExportRanks: TypeAlias = Literal["main", "all"]
"""Whose metrics are exported."""

Wandb: TypeAlias = Literal["offline", "online", "disabled"]
"""What of Weights & Biases is written."""

Resume: TypeAlias = Literal["allow", "must", "never", "new"]
"""What a directory that holds a run means to `init`."""

BackupCount: TypeAlias = int | Literal["all"] | None
"""How many rotated shards are kept as plain files: a number, every one, or (None) nothing is ever rotated."""

Archive: TypeAlias = Literal["zstd", "none"]
"""What happens to older shards: they are packed, or deleted."""

Deferred: TypeAlias = bool | Literal["cuda"]
"""Whether rows of values that their device has not computed yet follow later; tensors on a GPU too."""


class SettingsFields(TypedDict, total=False):
    """The keywords of `Settings`, which `init` takes too."""

    rank: int | None
    resume_step: int | None
    max_shard_bytes: int | None
    max_shard_age_s: float | None
    backup_count: BackupCount
    archive: Archive
    archive_max_bytes: int | None
    max_unexported_shards: int
    ring_bytes: int
    max_block_s: float
    overflow: Overflow
    fsync: Fsync
    fsync_interval_s: float
    file_mode: int
    legacy: bool
    flatten: bool
    deferred: Deferred
    disabled: bool
    console: bool
    mlflow_tracking_uri: str | None
    mlflow_run_id: str | None
    mlflow_experiment_id: str
    mlflow_experiment_name: str | None
    tensorboard: bool | str | os.PathLike[str]
    prometheus_port: int | None
    destinations: Sequence[str]
    wandb: Wandb | None
    system_metrics: bool | str | os.PathLike[str] | None
    system_metrics_interval_s: float
    export_ranks: ExportRanks
    export_interval_s: float
    export_flush_metrics: int
    export_request_metrics: int
    export_request_bytes: int
    export_timeout_s: float


class InitArguments(SettingsFields, total=False):
    """The keywords of `init`, which integrations of frameworks take too."""

    run_id: str | None
    name: str | None
    config: object
    tags: object
    resume: Resume | None
    rewind_to: SupportsIndex | None
    settings: Settings | None


class BoundLog(Protocol):
    """What `Run.bind` returns."""

    def __call__(self, *values: object, step: SupportsIndex | None = None, timestamp: Timestamp | None = None) -> None:
        """Log a value for each of the names, as `Run.log` does."""


class SupportsLog(Protocol):
    """Anything that takes metrics: a `Run`, or a double from `codex_obs.testing`."""

    def log(
        self,
        metrics: Metrics,
        step: SupportsIndex | None = None,
        *,
        split: object = "train",
        dataset: object = None,
        tags: Tags | None = None,
        timestamp: Timestamp | None = None,
    ) -> None:
        """Log metrics, as `Run.log` does."""


class RunLike(SupportsLog, Protocol):
    """What a `Run` and its test double have in common."""

    @property
    def run_id(self) -> str:
        """Identity of the run."""

    @property
    def name(self) -> str:
        """Name of the run."""

    @property
    def path(self) -> Path:
        """The run directory."""

    @property
    def stream(self) -> str:
        """Name of this writer's stream."""

    @property
    def config(self) -> Mapping[str, object]:
        """Every parameter logged so far."""

    def bind(self, *names: str, split: object = "train", dataset: object = None, tags: Tags | None = None) -> BoundLog:
        """Prepare calls with the same names, as `Run.bind` does."""

    def event(self, category: object, message: object = None, **fields: object) -> None:
        """Log an event of a trainer, as `Run.event` does."""

    def log_params(self, params: object) -> None:
        """Log parameters, as `Run.log_params` does."""

    def flush(self, timeout: float | None = None, *, sync: bool = False) -> bool:
        """Wait until what was logged is in the files."""

    def close(self, timeout: float | None = 5.0) -> bool:
        """End the session as finished."""

    def finish(self, status: Status = "finished", *, timeout: float | None = 5.0) -> bool:
        """End the session with a status."""

    def stats(self) -> dict[str, int]:
        """Counters."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
