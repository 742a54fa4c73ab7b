"""A summary as CSV, JSON or Parquet bytes, and output files that appear whole or not at all."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs._backend import is_shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    import polars as pl

# Timestamps in text: ISO 8601, UTC, always six fractional digits, as in the rows.
_TIMESTAMP_FORMAT = "%Y-%m-%dT%H:%M:%S%.6fZ"

# A spreadsheet takes a cell that starts like this for a formula; source: OWASP, "CSV injection".
# An apostrophe is doubled, so that taking one away gives every text back.
_FORMULA_START = r"\A[=+\-@'\t\r\n]"

# Files that a run writes or reads itself, under whatever number and coding. A run lives in a folder that has one.
_OWN_FILE = re.compile(
    r"(metrics|metrics_manifest|params|tracking_summary|telemetry|system_metrics|export_rejected|export_names)\b.*"
    r"\.(ndjson|jsonl)(\..*)?|run\.(nd)?json|mlflow\.db",
    re.IGNORECASE,
)
_INTERNALS = ".codex_obs"
# Folders in a run directory whose files have other writers; among the artifacts there is room for another.
_OF_DESTINATIONS = {"tensorboard", "wandb", "mlruns"}
_ARTIFACTS = "artifacts"


class OutputError(Exception):
    """A destination cannot be written; the text is one sentence for the user."""


def to_csv(frame: pl.DataFrame, *, header: bool = True) -> bytes:
    """Encode as CSV: text that a spreadsheet would run gets a leading ``'``, null is empty, empty text is ``""``."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    text = pl.col(pl.String)
    harmless = pl.when(text.str.contains(_FORMULA_START)).then(pl.lit("'") + text).otherwise(text).name.keep()
    buffer = io.BytesIO()
    _with_text_timestamps(frame.with_columns(harmless)).write_csv(buffer, include_header=header)
    return buffer.getvalue()


def to_json(frame: pl.DataFrame) -> bytes:
    """Encode as a JSON array of objects, one a line, with null for what is missing."""
    rows = _with_text_timestamps(frame).iter_rows(named=True)
    lines = ",\n".join(json.dumps(row, allow_nan=False, separators=(",", ":")) for row in rows)
    return f"[\n{lines}\n]\n".encode() if lines else b"[]\n"


def to_parquet(frame: pl.DataFrame) -> bytes:
    """Encode as Parquet, with every type kept."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def check_destination(destination: Path, inputs: Sequence[Path] = ()) -> None:
    """Refuse a destination that cannot become a regular file, or is a file of a run, before any work is done.

    Args:
        destination: File to create or replace.
        inputs: Run directories or files that are read. None of them, nor any other file of their run, is replaced,
            whatever name leads to it.

    Raises:
        OutputError: If it is a folder, a link, a device or the like, lies in a folder that does not exist, or is a file
            of a run.
    """
    _check_place(destination)
    if _is_of_a_run(destination, inputs):
        raise OutputError(f"{destination} is a file of the run itself, which is never replaced: name another file.")


def _is_of_a_run(destination: Path, inputs: Sequence[Path]) -> bool:
    folder = Path(os.path.realpath(destination.parent))
    if _INTERNALS in folder.parts or (_OWN_FILE.fullmatch(destination.name) and _holds_a_run(folder, destination.name)):
        return True
    if is_shard(destination.name) and destination.exists():
        return True
    taken = _OF_DESTINATIONS | ({_ARTIFACTS} if destination.exists() else set())
    if any(inner.name in taken and (inner.parent / "run.json").exists() for inner in (folder, *folder.parents)):
        return True
    try:
        there = destination.stat()
    except OSError:
        return False
    return any(os.path.samestat(there, own) for own in _files_of(inputs))


def _holds_a_run(folder: Path, destination_name: str) -> bool:
    """Tell whether other files than the destination, which may be an earlier result, are those of a run."""
    try:
        names = {path.name for path in folder.iterdir()} - {destination_name}
    except OSError:
        return False
    return any(name == _INTERNALS or _OWN_FILE.fullmatch(name) for name in names)


def _files_of(inputs: Sequence[Path]) -> Iterator[os.stat_result]:
    """Give what identifies the inputs and the files of their runs."""
    folders = set()
    for path in inputs:
        is_folder = path.is_dir()
        folders.add(path if is_folder else path.parent)
        if not is_folder:
            with suppress(OSError):
                yield path.stat()
    for folder in [*folders, *(folder / _INTERNALS for folder in folders)]:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if folder.name == _INTERNALS or _OWN_FILE.fullmatch(entry.name):
                    with suppress(OSError):
                        yield Path(entry.path).stat()


def _check_place(destination: Path) -> None:
    try:
        if not destination.parent.is_dir():
            raise OutputError(f"The folder {destination.parent} does not exist: create it first.")
        mode = destination.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{destination} cannot be written: {error.strerror}.") from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"{destination} is a folder: give the name of a file.")
    if stat.S_ISLNK(mode):
        raise OutputError(f"{destination} is a symbolic link, which is not written through: give the file's own path.")
    if not stat.S_ISREG(mode):
        raise OutputError(f"{destination} is not a regular file; use - for standard output.")


def write_whole(destination: Path, content: bytes, *, file_mode: int) -> None:
    """Write a file so that its name never shows a part of it, not even after a crash.

    Args:
        destination: File to create or replace.
        content: All of it.
        file_mode: Permissions of the new file; the umask may narrow them.

    Raises:
        OutputError: If it cannot be written; what was there before is then still there.
    """
    with replacing(destination, file_mode=file_mode) as file:
        file.write(content)


@contextmanager
def replacing(destination: Path, *, file_mode: int) -> Iterator[BinaryIO]:
    """Give a file to write, whose content takes the destination's place at the end, unless something is raised.

    Args:
        destination: File to create or replace.
        file_mode: Permissions of the new file; the umask may narrow them.

    Raises:
        OutputError: If it cannot be written; what was there before is then still there.
    """
    _check_place(destination)
    # A fixed short name: one derived from the destination's could be longer than the file system allows.
    temporary = destination.parent / f".codex-ndjson-{secrets.token_hex(8)}.tmp"
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, file_mode)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(destination)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise OutputError(f"{destination} cannot be written: {error.strerror}.") from error
    _sync_folder(destination.parent)


def _sync_folder(folder: Path) -> None:
    # Some network file systems cannot sync a folder. The file itself is safe by then.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _with_text_timestamps(frame: pl.DataFrame) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    return frame.with_columns(pl.col(pl.Datetime("us", "UTC")).dt.strftime(_TIMESTAMP_FORMAT))
