"""The settings of a run as an object, which the engine reads by the names of its attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codex_obs._settings import environment
from codex_obs._settings.addresses import hidden_user_info, without_user_info
from codex_obs._settings.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from codex_obs.types import Archive, BackupCount, Deferred, ExportRanks, Fsync, Overflow, SettingsFields, Wandb


@dataclass(frozen=True, kw_only=True, init=False, repr=False)
class Settings:
    """How a run is written. What is not given comes from the environment, else from the defaults.

    `dataclasses.replace` makes a changed copy. A user name and password in the tracking URI are not shown by `repr` and
    not kept by a pickle: where that arrives, they come from the environment.

    Attributes:
        rank: Rank of this process in a distributed job, or None. Rank 0 and None write the main stream.
        resume_step: Step of the first `log` call that gives none, or None to continue after the stream's largest.
        max_shard_bytes: Rotate before a row that would make the shard larger; None never rotates by size.
        max_shard_age_s: Rotate before a row when the shard was last written this many seconds ago; None never does.
        backup_count: Rotated shards kept as plain files, ``"all"``, or None to rotate nothing at all.
        archive: ``"zstd"`` packs older shards, ``"none"`` deletes them.
        archive_max_bytes: Most bytes of a file's archives, or None: beyond it the oldest are deleted.
        max_unexported_shards: Shards kept beyond limit and count while a destination has not read them.
        ring_bytes: Size of the journal, from 256 KiB to 1 GiB.
        max_block_s: Longest wait of `log` for a writer that makes no progress, in seconds.
        overflow: ``"block"`` waits for room in the journal, ``"drop"`` never does.
        fsync: ``"interval"``, ``"never"`` or ``"always"``: when rows are forced to the disk.
        fsync_interval_s: Time between two syncs under ``"interval"``, in seconds.
        file_mode: Permissions of new files, such as ``0o640``; must contain ``0o600``.
        legacy: Write rows of the old format.
        deferred: Whether the row of a value that its device has not computed yet follows later; ``"cuda"`` also defers
            tensors on a GPU, which has not been tested.
        disabled: Make a run that does nothing: no file, no thread, every counter 0.
        console: Write each event as a line to standard error, too.
        flatten: Turn a mapping whose leaves are scalars into metrics ``a/b``.
        mlflow_tracking_uri: Address of the MLflow server to export to, or a store on this machine, or None. An empty
            text is None too, whatever the environment says.
        mlflow_run_id: MLflow run to export to, or None for the one that belongs to the run directory, else a new one.
        mlflow_experiment_id: MLflow experiment of a new MLflow run.
        mlflow_experiment_name: Its name instead, or None. It is made if there is none.
        prometheus_port: Port of 127.0.0.1 at which the process beside this one answers Prometheus, or None.
        destinations: Destinations of other packages, by name, that the process beside this one delivers to.
        tensorboard: Whether event files for TensorBoard are written, or the folder for them.
        wandb: ``"offline"`` writes an offline run of W&B; None or ``"disabled"`` writes none.
        system_metrics: ``"auto"`` samples the machine beside the run, into ``system_metrics.jsonl`` or the file that is
            given; None does not.
        system_metrics_interval_s: Time from one sample to the next, in seconds, 0.1 or more.
        export_ranks: ``"main"`` exports the main stream, ``"all"`` every stream.
        export_interval_s: Longest time that a metric waits for others before it is sent, in seconds.
        export_flush_metrics: So many metrics are sent without waiting for others.
        export_request_metrics: Most metrics of one request.
        export_request_bytes: Most bytes of one request.
        export_timeout_s: Longest time of one request, in seconds.

    Raises:
        SettingError: If a value, given or from the environment, cannot be used. The text names it.
    """

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
    prometheus_port: int | None
    destinations: tuple[str, ...]
    tensorboard: bool | str
    wandb: Wandb | None
    system_metrics: str | None
    system_metrics_interval_s: float
    export_ranks: ExportRanks
    export_interval_s: float
    export_flush_metrics: int
    export_request_metrics: int
    export_request_bytes: int
    export_timeout_s: float

    def __init__(self, **given: Unpack[SettingsFields]) -> None:
        for name, value in environment.resolved(given).items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        values = vars(self) | self._addresses(hidden_user_info)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    def __getstate__(self) -> dict[str, object]:
        return vars(self) | self._addresses(without_user_info)

    def __copy__(self) -> Settings:
        # Not by way of the pickle, which knows no password. What never changes is its own copy.
        return self

    def __deepcopy__(self, _seen: object) -> Settings:
        return self

    def _addresses(self, change: Callable[[str], str]) -> dict[str, object]:
        """Change what may hold a user name and password."""
        secret = {name: getattr(self, name) for name, entry in TABLE.items() if entry.is_secret}
        return {name: change(address) for name, address in secret.items() if address is not None}


# Where pickles say that it is: a name of the package, which stays when its files change.
Settings.__module__ = "codex_obs"
