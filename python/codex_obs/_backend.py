"""The only importer of the extension. Turns its errors into the public ones."""

import sys
from _thread import get_ident

from codex_obs import _core  # noqa: TID251 - this is the module that may
from codex_obs.errors import (
    CodexObsError,
    ConflictError,
    DamagedFileError,
    LogFileError,
    NoLogError,
    SettingError,
    UnsafePathError,
)

TYPE_CHECKING = False  # importing `typing` for it would take longer than everything else here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    # Stream, split, metric, dataset and run.
    Key: TypeAlias = tuple[str, str, str, str | None, str | None]
    # The key of a job in a start record: name, restart count, launcher, launching process, number of the run.
    JobRecord: TypeAlias = tuple[str | None, int, str | None, str | None, int]

__all__ = [
    "ArrowStream",
    "Catalog",
    "CoreError",
    "Destination",
    "Latest",
    "LineFollower",
    "LineLog",
    "ManualClock",
    "Recorder",
    "Report",
    "RowPages",
    "RunState",
    "Series",
    "StreamOutcome",
    "Survey",
    "SyncProgress",
    "__version__",
    "artifacts",
    "begin_end",
    "canonical_json",
    "checked_step",
    "config_hash",
    "copy_artifact",
    "deferred_metrics",
    "deferred_rows",
    "drop_deferred",
    "emit_warnings",
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
    "pixels",
    "public_error",
    "read_payloads",
    "read_rows",
    "recover",
    "refresh",
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
    "survey",
    "sync",
    "values",
    "wandb_run_id",
    "writers",
]

ArrowStream = _core.ArrowStream
Catalog = _core.Catalog
CoreError = _core.CoreError
LineLog = _core.LineLog
ManualClock = _core.ManualClock
Destination = _core.Destination
Latest = _core.Latest
LineFollower = _core.LineFollower
Recorder = _core.Run
Report = _core.Report
RowPages = _core.RowPages
RunState = _core.RunState
Series = _core.Series
StreamOutcome = _core.StreamOutcome
Survey = _core.Survey
SyncProgress = _core.SyncProgress
__version__ = _core.__version__
canonical_json = _core.canonical_json
checked_step = _core.checked_step
config_hash = _core.config_hash
deferred_metrics = _core.deferred_metrics
deferred_rows = _core.deferred_rows
drop_deferred = _core.drop_deferred
log_deferred = _core.log_deferred
is_object = _core.is_object
is_shard = _core.is_shard
is_written = _core.is_written
listen_to_events = _core.listen_to_events
members_of = _core.members_of
resume_after_fork = _core.resume_after_fork
shard_name = _core.shard_name
wandb_run_id = _core.wandb_run_id
sidecar_again = _core.sidecar_again
sidecar_ends = _core.sidecar_ends
sidecar_start = _core.sidecar_start
sidecar_state_path = _core.sidecar_state_path
sidecar_stream = _core.sidecar_stream
sidecar_turn_path = _core.sidecar_turn_path
sidecar_words = _core.sidecar_words

_PUBLIC_ERRORS = {
    "setting": SettingError,
    "conflict": ConflictError,
    "no_log": NoLogError,
    "not_ours": UnsafePathError,
    "io": LogFileError,
    "corrupt": DamagedFileError,
}


def public_error(error: CoreError) -> CodexObsError:
    """Make the public exception for a failure of the extension; control characters in the text are escaped."""
    from codex_obs._visible import visible  # noqa: PLC0415 - importing the package is to take no longer than it must

    public = _PUBLIC_ERRORS.get(error.kind, CodexObsError)(visible(str(error)))
    if isinstance(public, LogFileError):
        public.errno = error.errno
    return public


def summarize(
    paths: "Sequence[str]", *, superseded: bool = False, progress: "Callable[[int, int], None] | None" = None
) -> tuple[ArrowStream, Report]:
    """Summarise run directories, or files of a run.

    Args:
        paths: Run directories, or files.
        superseded: Whether rows that a later session has superseded count too.
        progress: Called now and then with the bytes done and all bytes; what it raises ends the work.

    Raises:
        CodexObsError: If nothing can be read there.
    """
    try:
        return _core.summarize(paths, superseded=superseded, progress=progress)
    except CoreError as error:
        raise public_error(error) from None


def read_rows(paths: "Sequence[str]", *, superseded: bool = False) -> tuple[ArrowStream, Report]:
    """Read the rows of run directories, or of files of a run, in order of position.

    Raises:
        CodexObsError: If nothing can be read there.
    """
    try:
        return _core.read_rows(paths, superseded=superseded)
    except CoreError as error:
        raise public_error(error) from None


def read_payloads(paths: "Sequence[str]") -> tuple[ArrowStream, Report]:
    """Read the structured values of run directories, or of files of a run, in order of position.

    Raises:
        CodexObsError: If nothing can be read there.
    """
    try:
        return _core.read_payloads(paths)
    except CoreError as error:
        raise public_error(error) from None


def page_rows(paths: "Sequence[str]", *, superseded: bool = False) -> "Iterator[tuple[ArrowStream, Report]]":
    """Read the rows of run directories, or of files of a run, in order of position, page by page.

    Yields:
        A page, and what the reader saw since the one before.

    Raises:
        CodexObsError: If nothing can be read there.
    """
    try:
        pages = _core.page_rows(paths, superseded=superseded)
        while (page := pages.take()) is not None:
            yield page
    except CoreError as error:
        raise public_error(error) from None


def page_lines(paths: "Sequence[str]", kind: str, problems: "list[str] | None" = None) -> "Iterator[tuple[str, bytes]]":
    """Read the lines of a log beside the rows as they are, archives and rotated shards first, page by page.

    Args:
        paths: Run directories, or files of such a log.
        kind: The log, such as ``system_metrics``.
        problems: Takes why the rest of a file could not be read.

    Yields:
        The name of a stream, and whole lines of it.

    Raises:
        CodexObsError: If there is nothing, or it cannot be read.
    """
    try:
        pages = _core.page_lines(paths, kind)
    except CoreError as error:
        raise public_error(error) from None
    while (page := pages.take()) is not None:
        yield page
    if problems is not None:
        problems += pages.take_problems()


def writers(directory: str) -> list[tuple[str, int]]:
    """Return the stream and the number of each process of this machine that has a stream of a run open.

    Raises:
        CodexObsError: If that cannot be looked at.
    """
    try:
        return _core.writers(directory)
    except CoreError as error:
        raise public_error(error) from None


def refresh(series: Series, *, progress: "Callable[[int, int], None] | None" = None) -> Report:
    """Read what was added to a run since its series was read last.

    Args:
        series: The curves of the run.
        progress: Called now and then with the bytes done and all bytes; what it raises ends the work.

    Raises:
        CodexObsError: If nothing can be read there.
    """
    try:
        return series.refresh(progress=progress)
    except CoreError as error:
        raise public_error(error) from None


def values(series: Series, key: "Key") -> list[tuple[int | None, int | None, str]]:
    """Return step, time and JSON text of structured values of a key, evenly chosen if they are many.

    Raises:
        CodexObsError: If nothing can be read there.
    """
    try:
        return series.values(key)
    except CoreError as error:
        raise public_error(error) from None


def pixels(
    series: Series, keys: "Sequence[Key]", *, axis: str, start: int, stop: int, pixels: int
) -> "list[_core._PixelColumns]":
    """Return the pixels of each of the keys that have rows, column by column.

    Raises:
        CodexObsError: If there are to be none, or too many.
    """
    try:
        return series.pixels(keys, axis=axis, start=start, stop=stop, pixels=pixels)
    except CoreError as error:
        raise public_error(error) from None


def recover(directory: str, *, foreign: bool = False) -> dict[str, int]:
    """Bring back what dead writers left in the journals of a run directory.

    Raises:
        CodexObsError: If there is no run, or its files cannot be written.
    """
    try:
        return _core.recover(directory, foreign=foreign)
    except CoreError as error:
        raise public_error(error) from None


def run_state(directory: str) -> RunState | None:
    """Return what a directory says of its run, or None if it holds none.

    Raises:
        CodexObsError: If its files cannot be read, or are damaged.
    """
    try:
        return _core.run_state(directory)
    except CoreError as error:
        raise public_error(error) from None


def list_runs(folder: str, metrics: "Sequence[str]", *, live_rows: bool) -> Catalog:
    """Return the runs in a folder and below it, and of each how the metrics went that are asked for.

    Raises:
        CodexObsError: If there is no such folder, or it cannot be read.
    """
    try:
        return _core.list_runs(folder, metrics=metrics, live_rows=live_rows)
    except CoreError as error:
        raise public_error(error) from None


def survey(directory: str) -> Survey:
    """Return how well a run is: sessions and rows, journals, and how far behind its destinations are.

    Raises:
        CodexObsError: If there is no log, or it cannot be read.
    """
    try:
        return _core.survey_run(directory)
    except CoreError as error:
        raise public_error(error) from None


def artifacts(directory: "Path", address: str | None) -> "list[tuple[str, Path, int, int]]":
    """Give name, path, bytes and time of artifacts: all, or those that a destination does not have as they are now.

    Raises:
        CodexObsError: If they cannot be listed.
    """
    try:
        return _core.artifacts(directory, address)
    except CoreError as error:
        raise public_error(error) from None


def note_artifacts(directory: "Path", address: str, artifacts: "Sequence[tuple[str, Path, int, int]]") -> None:
    """Note that a destination has artifacts.

    Raises:
        CodexObsError: If that cannot be written.
    """
    try:
        _core.note_artifacts(directory, address, artifacts)
    except CoreError as error:
        raise public_error(error) from None


def copy_artifact(directory: "Path", source: str, name: str | None, *, mode: int) -> "list[Path]":
    """Copy a file or a folder to the artifacts of a run. Give what was left out.

    Raises:
        CodexObsError: If it cannot be read or written, or the name leads out of the folder.
    """
    try:
        return _core.copy_artifact(directory, source, name, mode=mode)
    except CoreError as error:
        raise public_error(error) from None


def known_run(directory: str, destination: Destination) -> str | None:
    """Return the remote run that ``run.json`` names for a destination, without contacting it.

    Raises:
        CodexObsError: If there is no run, or the set-up cannot work.
    """
    try:
        return _core.known_run(directory, destination)
    except CoreError as error:
        raise public_error(error) from None


def sync(
    directory: str,
    destination: Destination,
    *,
    follow: bool = False,
    dry_run: bool = False,
    aside: bool | None = None,
    progress: "Callable[[SyncProgress], bool] | None" = None,
) -> list[StreamOutcome]:
    """Deliver what a run has logged and a destination does not have yet, stream by stream.

    Args:
        directory: The run directory.
        destination: Where it goes.
        follow: Whether to continue until the run has ended.
        dry_run: Whether to count only, without contacting the server.
        aside: Not None in the sidecar: whether a run that ended without a word is told to be killed.
        progress: Called several times a second. False, or what it raises, ends the work; what was delivered by then
            stays delivered.

    Raises:
        CodexObsError: If there is no run, or the set-up cannot work.
    """
    try:
        return _core.sync(directory, destination, follow=follow, dry_run=dry_run, aside=aside, progress=progress)
    except CoreError as error:
        raise public_error(error) from None


def sidecar_note(
    directory: str, component: str, status: str, reason: str | None, extra: "Mapping[str, object]"
) -> None:
    """Put on record, as the sidecar of this machine, how something stands.

    Raises:
        CodexObsError: If the record cannot be written.
    """
    try:
        _core.sidecar_note(directory, component, status, reason, canonical_json(extra).decode())
    except CoreError as error:
        raise public_error(error) from None


class _End:
    """The thread that ends this process, once it does."""

    thread: int | None = None


def begin_end() -> None:
    """Let this thread alone log what the engine has to say from now on.

    A daemon thread that waits for anything, such as a write to standard error, while the interpreter is taken down is
    ended by it there and then (up to Python 3.13). With the engine below it on the stack the process would abort.
    """
    _End.thread = get_ident()


def emit_warnings(texts: "Iterable[str]") -> None:
    """Log what the engine has to say, on the logger of the package, so that it can be seen who speaks.

    If `logging` is not imported, it could only do what is done here, and its import would hold up a call of `log`
    for milliseconds.
    """
    texts = [f"codex_obs: {text}" for text in texts]
    if not texts or _End.thread not in (None, get_ident()):
        return
    # Names, paths and a server's words stand in them. Nothing may be imported for that: the interpreter may be ending.
    texts = [text if text.isprintable() else text.encode("unicode_escape").decode("ascii") for text in texts]
    get_logger = getattr(sys.modules.get("logging"), "getLogger", None)
    if get_logger is None:
        if sys.stderr is not None:
            sys.stderr.writelines(f"{text}\n" for text in texts)
        return
    logger = get_logger("codex_obs")
    for text in texts:
        logger.warning("%s", text)
