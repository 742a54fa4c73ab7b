# The extension module. Only `codex_obs._backend` imports it.

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self, SupportsIndex, TypeAlias, final

from typing_extensions import disjoint_base

from codex_obs._settings.settings import Settings
from codex_obs.sidecar.handle import Launch
from codex_obs.types import BoundLog

__all__ = [
    "ArrowStream",
    "Catalog",
    "CoreError",
    "Destination",
    "Latest",
    "LineFollower",
    "LineLog",
    "LinePages",
    "ManualClock",
    "Report",
    "RowPages",
    "Run",
    "RunState",
    "Series",
    "SessionRecord",
    "StreamOutcome",
    "Survey",
    "SyncProgress",
    "__version__",
    "artifacts",
    "canonical_json",
    "checked_step",
    "config_hash",
    "copy_artifact",
    "deferred_metrics",
    "deferred_rows",
    "drop_deferred",
    "is_object",
    "is_shard",
    "is_written",
    "known_run",
    "list_runs",
    "listen_to_events",
    "log_deferred",
    "members_of",
    "note_artifacts",
    "page_lines",
    "page_rows",
    "read_payloads",
    "read_rows",
    "recover",
    "resume_after_fork",
    "run_state",
    "shard_name",
    "sidecar_again",
    "sidecar_ends",
    "sidecar_note",
    "sidecar_start",
    "sidecar_state_path",
    "sidecar_stream",
    "sidecar_turn_path",
    "sidecar_words",
    "summarize",
    "survey_run",
    "sync",
    "wandb_run_id",
    "writers",
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

# Where the log of a run goes, and how. It shows no secret.
@final
class Destination:
    @staticmethod
    def mlflow(
        uri: str,
        *,
        environment: Mapping[str, str] = ...,
        run_id: str | None = None,
        new_run: str | None = None,
        experiment_id: str = "0",
        experiment_name: str | None = None,
        ranks: str = "main",
        interval_s: float = ...,
        flush_metrics: int = ...,
        request_metrics: int = ...,
        request_bytes: int = ...,
        timeout_s: float = ...,
        store: Callable[[str, str, bytes], tuple[int, bytes]] | None = None,
    ) -> Destination: ...
    @staticmethod
    def tensorboard(
        folder: str | os.PathLike[str] | None = None, *, ranks: str = "main", interval_s: float = ...
    ) -> Destination: ...
    @staticmethod
    def otlp(
        endpoint: str,
        *,
        is_whole: bool = False,
        headers: Sequence[tuple[str, str]] = ...,
        certificates: tuple[tuple[str, str] | None, tuple[str, str] | None, tuple[str, str] | None] = ...,
        resource: Sequence[tuple[str, str]] = ...,
        environment: Mapping[str, str] = ...,
        mlflow: str | None = None,
        experiment_id: str = "0",
        experiment_name: str | None = None,
        has_metrics: bool = False,
        interval_s: float = ...,
        timeout_s: float = ...,
    ) -> Destination: ...
    @staticmethod
    def wandb(*, environment: Mapping[str, str] = ..., ranks: str = "main", interval_s: float = ...) -> Destination: ...
    @staticmethod
    def wandb_online(
        factory: Callable[[str], object],
        *,
        environment: Mapping[str, str] = ...,
        ranks: str = "main",
        interval_s: float = ...,
    ) -> Destination: ...
    @staticmethod
    def plugin(
        name: str,
        factory: Callable[[], object],
        *,
        ranks: str = "main",
        interval_s: float = ...,
        flush_metrics: int = ...,
    ) -> Destination: ...

def wandb_run_id(run_id: str) -> str: ...

# One stream of a run: the base class of `codex_obs.Run`.
@disjoint_base
class Run:
    def __new__(
        cls,
        directory: str | os.PathLike[str],
        settings: Settings,
        *,
        run_id: str | None = None,
        name: str | None = None,
        own_stream: bool = False,
        clock: ManualClock | None = None,
        backing: str = "auto",
        destinations: Sequence[Destination] = ...,
        sidecar: Launch | None = None,
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
        step: SupportsIndex | None = None,
        *,
        split: object = "train",
        dataset: object = None,
        tags: object = None,
        timestamp: float | datetime | None = None,
    ) -> None: ...
    def bind(self, *names: str, split: object = "train", dataset: object = None, tags: object = None) -> BoundLog: ...
    def _bound(self, names: tuple[str, ...], split: object, dataset: object, tags: str | None) -> BoundLog: ...
    def event(self, category: object, message: object = None, **fields: object) -> None: ...
    def flush(self, timeout: float | None = None, *, sync: bool = False) -> bool: ...
    def stats(self) -> dict[str, int]: ...
    def _close(self, timeout: float | None, status: str = "finished") -> bool: ...
    def _end(self, timeout: float | None, status: str = "finished") -> bool: ...
    def _record_losses(self) -> None: ...
    def _begins_at(self) -> tuple[int, int] | None: ...
    def _ended_streams(self) -> dict[str, tuple[int, int]]: ...
    def _resume_step(self) -> int | None: ...
    def _largest_step(self) -> tuple[int | None] | None: ...
    def _set_next_step(self, step: int) -> None: ...
    def _take_warnings(self) -> list[str]: ...
    def _write_params(self, config: object, argv: Sequence[str], derived: object, metadata: object) -> bool: ...
    def _write_session(self, record: str, fields: Mapping[str, object]) -> bool: ...
    def _write_telemetry(
        self,
        event: str,
        ids: tuple[str, str, str, str | None] | None,
        measurements: Mapping[str, object],
        metadata: Mapping[str, object],
    ) -> bool: ...
    def _write_summary(self, component: str, status: str, reason: str | None, extra: Mapping[str, object]) -> bool: ...
    def _opened(self) -> None: ...

# A table as an Arrow C stream; it can be taken once.
@final
class ArrowStream:
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...
    # Each column by name, as a stream of its own.
    def columns(self) -> list[tuple[str, ArrowStream]]: ...

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
    @property
    def superseded(self) -> int: ...

# The rows of runs, page by page.
@final
class RowPages:
    # The next page, and what the reader saw since the one before; None behind the last.
    def take(self) -> tuple[ArrowStream, Report] | None: ...

# The last value of each metric of a run.
@final
class Latest:
    def __new__(cls, directory: str) -> Latest: ...
    def refresh(self) -> None: ...
    # Of each stream its rows and its last step.
    def rows(self) -> list[tuple[str, int, int | None]]: ...
    # Stream, split, metric and last value, in order.
    def values(self) -> list[tuple[str, str, str, float]]: ...

# The lines of a log as they are written.
@final
class LineFollower:
    def __new__(cls, directory: str, kind: str) -> LineFollower: ...
    # Those that were written since the last time, at most a batch of each stream; nothing where there are no more.
    def take(self) -> list[str]: ...

# A log that one process appends whole lines to, with rotation and archives.
@final
class LineLog:
    def __new__(cls, path: str, settings: Settings) -> LineLog: ...
    # Whether the log was rotated for the line: then `settle` has something to do.
    def append(self, line: bytes) -> bool: ...
    # Packs or deletes rotated shards beyond the count.
    def settle(self) -> None: ...

# Lines of a log, page by page.
@final
class LinePages:
    # The name of a stream and whole lines of it; None behind the last.
    def take(self) -> tuple[str, bytes] | None: ...
    # Why the rest of some files could not be read, each once.
    def take_problems(self) -> list[str]: ...

# One session of a run's main stream. A job's key: name, restart count, launcher, launching process, number of the run.
@final
class SessionRecord:
    @property
    def started_micros(self) -> int: ...
    @property
    def host(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def job(self) -> tuple[str | None, int, str | None, str | None, int] | None: ...
    @property
    def config_hash(self) -> str | None: ...
    @property
    def status(self) -> str | None: ...
    @property
    def ended_micros(self) -> int | None: ...

# What a directory says of its run, before anyone opens it.
@final
class RunState:
    @property
    def run_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def is_live(self) -> bool: ...
    @property
    def first_session(self) -> SessionRecord | None: ...
    @property
    def last_session(self) -> SessionRecord | None: ...

# Values and their steps, a run each.
_Points: TypeAlias = tuple[list[float | None], list[int | None]]

# The runs of a folder, column by column.
@final
class Catalog:
    @property
    def paths(self) -> list[str]: ...
    @property
    def names(self) -> list[str | None]: ...
    @property
    def run_ids(self) -> list[str | None]: ...
    @property
    def statuses(self) -> list[str | None]: ...
    @property
    def started_micros(self) -> list[int | None]: ...
    @property
    def ended_micros(self) -> list[int | None]: ...
    @property
    def last_steps(self) -> list[int | None]: ...
    @property
    def rows(self) -> list[int | None]: ...
    @property
    def configs(self) -> list[str | None]: ...
    @property
    def metrics(self) -> list[tuple[int, _Points, _Points, _Points]]: ...
    @property
    def problems(self) -> list[tuple[str, str]]: ...

_Key: TypeAlias = tuple[str, str, str, str | None, str | None]
# Of each pixel its number; first and last x; smallest, largest, first and last finite value; rows; those that are not a
# number, and those that are infinite, positive and negative.
_PixelColumns: TypeAlias = tuple[
    list[int],
    tuple[list[int], list[int]],
    tuple[list[float | None], list[float | None], list[float | None], list[float | None]],
    tuple[list[int], list[int], list[int], list[int]],
]

# The curves of a run.
@final
class Series:
    def __new__(cls, path: str, *, superseded: bool = False) -> Series: ...
    def refresh(self, *, progress: Callable[[int, int], None] | None = None) -> Report: ...
    # Each with its rows that have a number, a structured value, and neither.
    def keys(self) -> list[tuple[_Key, int, int, int]]: ...
    def range(self, keys: Sequence[_Key], *, axis: str) -> tuple[int, int] | None: ...
    def pixels(self, keys: Sequence[_Key], *, axis: str, start: int, stop: int, pixels: int) -> list[_PixelColumns]: ...
    # Step, time and JSON text of structured values, evenly chosen; what was added is read.
    def values(self, key: _Key) -> list[tuple[int | None, int | None, str]]: ...
    def held(self) -> int: ...

_Left: TypeAlias = tuple[int | None, int, int, int, bool]
_Delivery: TypeAlias = tuple[str, str, str | None, _Left, tuple[int, int], tuple[int, int, int], str | None]

# What there is to say of a run.
@final
class Survey:
    # Name, whether a process writes it, rows, and those of which the session cannot be told.
    streams: Final[list[tuple[str, bool, int, int]]]
    # Stream, number, start and end in microseconds, host, pid, status, step that it went back to, rows.
    sessions: Final[list[tuple[str, int, int, int | None, str, int, str | None, int | None, int]]]
    earlier_sessions: Final[int]
    # Stream, whether its writer lives, bytes on disk.
    journals: Final[list[tuple[str, bool, int, int | None]]]
    # Stream, address, remote run; rows, bytes, parameters and tags that are left, and whether the end is; rows that are
    # missing and gaps; points that were taken and refused, and rows that were not sent; the status that was told.
    deliveries: Final[list[_Delivery]]
    report: Final[Report]

# How far a delivery has come.
@final
class SyncProgress:
    stream: Final[str]
    delivered: Final[int]
    rejected: Final[int]
    bytes_left: Final[int]
    bytes_total: Final[int]
    looks: Final[int]
    waiting: Final[str | None]

# The result of a stream's delivery.
@final
class StreamOutcome:
    stream: Final[str]
    spans: Final[int]
    delivered: Final[int]
    rejected: Final[int]
    params: Final[int]
    tags: Final[int]
    lines_skipped: Final[int]
    rows_structured: Final[int]
    rows_without_step: Final[int]
    rows_without_value: Final[int]
    rows_missing: Final[int]
    rows_missing_new: Final[int]
    gaps: Final[int]
    gaps_new: Final[int]
    remote_run: Final[str | None]
    page: Final[str | None]
    done: Final[bool]
    problem: Final[str | None]
    status: Final[str | None]
    notices: Final[list[str]]

def copy_artifact(
    directory: str | os.PathLike[str], source: str | os.PathLike[str], name: str | None = None, *, mode: int
) -> list[Path]: ...

# Name, path, bytes, time of the last change in nanoseconds. With an address those that it does not have.
_Artifact: TypeAlias = tuple[str, Path, int, int]

def artifacts(directory: str | os.PathLike[str], address: str | None) -> list[_Artifact]: ...
def note_artifacts(directory: str | os.PathLike[str], address: str, artifacts: Sequence[_Artifact]) -> None: ...
def config_hash(config: object) -> str: ...
def canonical_json(value: object) -> bytes: ...

# A step as `log` takes it; errors tell the name.
def checked_step(step: object, name: str) -> int: ...

# Whether something has members as a configuration has, and these, with None for those that cannot be read.
def is_object(value: object) -> bool: ...
def members_of(value: object) -> dict[str, object]: ...

# Whether a file with this name has rows of a run: a shard, plain or packed, or an archive.
def is_shard(file_name: str) -> bool: ...

# Stream, number and suffix of the coding in the name of a shard of a kind.
def shard_name(file_name: str, kind: str) -> tuple[str, int, str] | None: ...
def summarize(
    paths: Sequence[str], *, superseded: bool = False, progress: Callable[[int, int], None] | None = None
) -> tuple[ArrowStream, Report]: ...
def read_rows(paths: Sequence[str], *, superseded: bool = False) -> tuple[ArrowStream, Report]: ...
def read_payloads(paths: Sequence[str]) -> tuple[ArrowStream, Report]: ...
def page_rows(paths: Sequence[str], *, superseded: bool = False) -> RowPages: ...
def page_lines(paths: Sequence[str], kind: str) -> LinePages: ...
def run_state(directory: str) -> RunState | None: ...
def listen_to_events(listener: Callable[[object, object, Mapping[str, object]], object]) -> None: ...
def deferred_rows(run: Run) -> int: ...
def deferred_metrics(run: Run) -> list[tuple[str, str]]: ...
def log_deferred(run: Run, metric: tuple[str, str], *, at_once: bool = False) -> int: ...
def drop_deferred(run: Run, *, as_parents: bool = False) -> int: ...
def resume_after_fork(*, at_once: bool) -> None: ...
def recover(directory: str, *, foreign: bool = False) -> dict[str, int]: ...
def list_runs(folder: str, *, metrics: Sequence[str] = ..., live_rows: bool = True) -> Catalog: ...
def survey_run(directory: str) -> Survey: ...
def known_run(directory: str, destination: Destination) -> str | None: ...
def sync(
    directory: str,
    destination: Destination,
    *,
    follow: bool = False,
    dry_run: bool = False,
    aside: bool | None = None,
    progress: Callable[[SyncProgress], bool] | None = None,
) -> list[StreamOutcome]: ...
def sidecar_start(run: Run) -> None: ...
def sidecar_again(run: Run) -> bool | None: ...
def sidecar_ends(run: Run) -> int | None: ...
def sidecar_words(run: Run) -> list[str]: ...
def sidecar_stream() -> str: ...
def sidecar_state_path(directory: str) -> Path: ...
def sidecar_turn_path(directory: str) -> Path: ...
def is_written(directory: str, rank: int) -> bool: ...
def sidecar_note(directory: str, component: str, status: str, reason: str | None, extra: str) -> None: ...
def writers(directory: str) -> list[tuple[str, int]]: ...
