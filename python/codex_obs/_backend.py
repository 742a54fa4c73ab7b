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
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeAlias

    # The key of a job in a start record: name, restart count, launcher, launching process, number of the run.
    JobRecord: TypeAlias = tuple[str | None, int, str | None, str | None, int]

__all__ = [
    "ArrowStream",
    "Catalog",
    "CoreError",
    "ManualClock",
    "MlflowExport",
    "Recorder",
    "Report",
    "RowPages",
    "RunState",
    "StreamOutcome",
    "Survey",
    "SyncProgress",
    "__version__",
    "begin_end",
    "canonical_json",
    "config_hash",
    "emit_warnings",
    "is_object",
    "known_run",
    "list_runs",
    "members_of",
    "page_rows",
    "public_error",
    "read_payloads",
    "read_rows",
    "recover",
    "resume_after_fork",
    "run_state",
    "summarize",
    "survey",
    "sync",
]

ArrowStream = _core.ArrowStream
Catalog = _core.Catalog
CoreError = _core.CoreError
ManualClock = _core.ManualClock
MlflowExport = _core.MlflowExport
Recorder = _core.Run
Report = _core.Report
RowPages = _core.RowPages
RunState = _core.RunState
StreamOutcome = _core.StreamOutcome
Survey = _core.Survey
SyncProgress = _core.SyncProgress
__version__ = _core.__version__
canonical_json = _core.canonical_json
config_hash = _core.config_hash
is_object = _core.is_object
members_of = _core.members_of
resume_after_fork = _core.resume_after_fork

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


def list_runs(folder: str, metrics: "Sequence[str]") -> Catalog:
    """Return the runs in a folder and below it, and of each how the metrics went that are asked for.

    Raises:
        CodexObsError: If there is no such folder, or it cannot be read.
    """
    try:
        return _core.list_runs(folder, metrics=metrics)
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


def known_run(directory: str, export: MlflowExport) -> str | None:
    """Return the remote run that ``run.json`` names for a destination, without contacting it.

    Raises:
        CodexObsError: If there is no run, or the set-up cannot work.
    """
    try:
        return _core.known_run(directory, export)
    except CoreError as error:
        raise public_error(error) from None


def sync(
    directory: str,
    export: MlflowExport,
    *,
    follow: bool = False,
    dry_run: bool = False,
    progress: "Callable[[SyncProgress], bool] | None" = None,
) -> list[StreamOutcome]:
    """Deliver what a run has logged and a destination does not have yet, stream by stream.

    Args:
        directory: The run directory.
        export: Where it goes.
        follow: Whether to continue until the run has ended.
        dry_run: Whether to count only, without contacting the server.
        progress: Called several times a second. False, or what it raises, ends the work; what was delivered by then
            stays delivered.

    Raises:
        CodexObsError: If there is no run, or the set-up cannot work.
    """
    try:
        return _core.sync(directory, export, follow=follow, dry_run=dry_run, progress=progress)
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
