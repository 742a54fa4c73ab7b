# The extension module. Only `codex_obs._backend` imports it.

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self, SupportsIndex, final

from typing_extensions import disjoint_base

from codex_obs.types import BoundLog

__all__ = [
    "ArrowStream",
    "CoreError",
    "ManualClock",
    "MlflowExport",
    "Report",
    "Run",
    "StreamOutcome",
    "SyncProgress",
    "__version__",
    "canonical_json",
    "config_hash",
    "known_run",
    "read_rows",
    "recover",
    "resume_after_fork",
    "summarize",
    "sync",
]

__version__: Final[str]

# A failure with its kind, which `codex_obs._backend` turns into the public exception.
class CoreError(Exception):
    kind: str
    errno: int | None

# A clock that stands still until it is moved. Times are seconds since the epoch.
@final
class ManualClock:
    def __new__(cls, now_s: float = 0.0) -> ManualClock: ...
    @property
    def now_s(self) -> float: ...
    def advance(self, seconds: float) -> None: ...
    def set(self, now_s: float) -> None: ...

# An MLflow server and how metrics go there. It shows no secret.
@final
class MlflowExport:
    def __new__(
        cls,
        uri: str,
        *,
        environment: Mapping[str, str] = ...,
        run_id: str | None = None,
        keeps_known: bool = False,
        new_run: str | None = None,
        experiment_id: str = "0",
        experiment_name: str | None = None,
        ranks: str = "main",
        interval_s: float = ...,
        flush_metrics: int = ...,
        request_metrics: int = ...,
        request_bytes: int = ...,
        timeout_s: float = ...,
    ) -> MlflowExport: ...

# One stream of a run: the base class of `codex_obs.Run`.
@disjoint_base
class Run:
    def __new__(
        cls,
        directory: str | os.PathLike[str],
        *,
        run_id: str | None = None,
        name: str | None = None,
        rank: int = 0,
        max_shard_bytes: int | None = ...,
        max_shard_age_s: float | None = ...,
        backup_count: int | None = ...,
        archive: str = "zstd",
        archive_max_bytes: int | None = None,
        max_unexported_shards: int = ...,
        ring_bytes: int = ...,
        max_block_s: float = ...,
        overflow: str = "block",
        fsync: str = "interval",
        fsync_interval_s: float = ...,
        file_mode: int = ...,
        legacy: bool = False,
        flatten: bool = False,
        clock: ManualClock | None = None,
        backing: str = "auto",
        export: MlflowExport | None = None,
        dormant: bool = False,
        is_worker: bool = False,
    ) -> Self: ...
    @property
    def run_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def directory(self) -> Path: ...
    @property
    def stream(self) -> str: ...
    @property
    def closed(self) -> bool: ...
    @property
    def _is_open(self) -> bool: ...
    def _refuse(self) -> None: ...
    def log(
        self,
        metrics: Mapping[str, object],
        *,
        step: SupportsIndex | None = None,
        split: object = "train",
        dataset: object = None,
        tags: Mapping[str, object] | None = None,
        timestamp: float | datetime | None = None,
    ) -> None: ...
    def bind(
        self,
        *names: str,
        split: object = "train",
        dataset: object = None,
        tags: Mapping[str, object] | None = None,
    ) -> BoundLog: ...
    def _bound(self, names: tuple[str, ...], split: object, dataset: object, tags: str | None) -> BoundLog: ...
    def event(self, category: object, message: object = None, **fields: object) -> None: ...
    def flush(self, timeout: float | None = None, *, sync: bool = False) -> bool: ...
    def stats(self) -> dict[str, int]: ...
    def _close(self, timeout: float | None, status: str = "finished") -> bool: ...
    def _end(self, timeout: float | None, status: str = "finished") -> bool: ...
    def _record_losses(self) -> None: ...
    def _resume_step(self) -> int | None: ...
    def _largest_step(self) -> tuple[int | None] | None: ...
    def _set_next_step(self, step: int) -> None: ...
    def _take_warnings(self) -> list[str]: ...
    def _write_params(self, config: object, argv: Sequence[str], derived: object, metadata: object) -> bool: ...
    def _write_session(self, record: str, fields: Mapping[str, object]) -> bool: ...
    def _write_summary(self, component: str, status: str, reason: str | None, extra: Mapping[str, object]) -> bool: ...
    def _opened(self) -> None: ...

# A table as an Arrow C stream; it can be taken once.
@final
class ArrowStream:
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

# What a reader saw beside the rows it gave.
@final
class Report:
    @property
    def rows(self) -> int: ...
    @property
    def lines(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def skipped_examples(self) -> list[tuple[str, int, str]]: ...
    @property
    def faulty_fields(self) -> int: ...
    @property
    def valueless_rows(self) -> int: ...
    @property
    def fault_examples(self) -> list[tuple[str, int, str]]: ...
    @property
    def files(self) -> int: ...
    @property
    def unread_files(self) -> int: ...
    @property
    def unread_examples(self) -> list[str]: ...
    @property
    def journals(self) -> list[tuple[str, str]]: ...
    @property
    def notes(self) -> list[str]: ...
    @property
    def recovered(self) -> int: ...
    @property
    def retired(self) -> int: ...

# How far a delivery has come.
@final
class SyncProgress:
    @property
    def stream(self) -> str: ...
    @property
    def delivered(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def bytes_left(self) -> int: ...
    @property
    def bytes_total(self) -> int: ...
    @property
    def waiting(self) -> str | None: ...

# What came of a stream's delivery.
@final
class StreamOutcome:
    @property
    def stream(self) -> str: ...
    @property
    def delivered(self) -> int: ...
    @property
    def rejected(self) -> int: ...
    @property
    def params(self) -> int: ...
    @property
    def tags(self) -> int: ...
    @property
    def lines_skipped(self) -> int: ...
    @property
    def rows_structured(self) -> int: ...
    @property
    def rows_without_step(self) -> int: ...
    @property
    def rows_without_value(self) -> int: ...
    @property
    def gaps(self) -> int: ...
    @property
    def remote_run(self) -> str | None: ...
    @property
    def page(self) -> str | None: ...
    @property
    def done(self) -> bool: ...
    @property
    def problem(self) -> str | None: ...
    @property
    def status(self) -> str | None: ...
    @property
    def notices(self) -> list[str]: ...

def config_hash(config: object) -> str: ...
def canonical_json(value: object) -> bytes: ...
def summarize(
    paths: Sequence[str], *, progress: Callable[[int, int], None] | None = None
) -> tuple[ArrowStream, Report]: ...
def read_rows(paths: Sequence[str]) -> tuple[ArrowStream, Report]: ...
def resume_after_fork(*, at_once: bool) -> None: ...
def recover(directory: str, *, foreign: bool = False) -> dict[str, int]: ...
def known_run(directory: str, export: MlflowExport) -> str | None: ...
def sync(
    directory: str,
    export: MlflowExport,
    *,
    follow: bool = False,
    dry_run: bool = False,
    progress: Callable[[SyncProgress], bool] | None = None,
) -> list[StreamOutcome]: ...
