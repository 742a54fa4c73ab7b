"""MLflow's stores on disk, read without its package: a SQLite database, or a folder of files (``mlruns``).

Tables and files as of MLflow 3; those that are read here have been the same since 1.0.
"""

from __future__ import annotations

import math
import os
import sqlite3
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from codex_obs._sources._base import Ended, Facts, Point, SourceError, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from codex_obs._sources._base import Account, Piece
    from codex_obs.types import Status

_STATUSES: dict[str, Status] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}
# As file stores write them: RunStatus of MLflow's service.proto.
_NUMBERED: dict[str, Status] = {"3": "finished", "4": "failed", "5": "killed"}
_NAME_TAG = "mlflow.runName"
# Tags of MLflow's own that describe it and not the run.
_PRIVATE_TAGS = ("mlflow.log-model.history", "mlflow.runName", "mlflow.runColor")
_META = "meta.yaml"


class StoredRun:
    """One run of MLflow, however it is stored."""

    has_folders = False

    def __init__(self, name: str, run_id: str, origin: Mapping[str, object]) -> None:
        self.label = name or run_id
        self.run_id = run_id
        self.origin = {"tool": "mlflow", **origin}

    def made_facts(self, params: Mapping[str, object], tags: Mapping[str, object], started_ms: float | None) -> Facts:
        """Put together what `facts` gives."""
        shown = {key: value for key, value in tags.items() if key not in _PRIVATE_TAGS}
        started_s = None if started_ms is None else started_ms / 1000
        return Facts(self.label, self.run_id, params, shown, started_s, self.origin)


def ended(status: str, ended_ms: float | None) -> Ended | None:
    """Read how a run ended, if it did."""
    found = _STATUSES.get(status) or _NUMBERED.get(status)
    return None if found is None else Ended(found, ended_ms / 1000 if ended_ms else None)


class DatabaseRun(StoredRun):
    """A run in a SQLite database."""

    def __init__(self, database: Path, name: str, run_id: str, experiment: str) -> None:
        super().__init__(name, run_id, {"experiment": experiment})
        self._database = database

    def facts(self) -> Facts:
        """Give name, parameters, tags and the start."""
        with _connected(self._database) as connection:
            params = dict(connection.execute("SELECT key, value FROM params WHERE run_uuid = ?", (self.run_id,)))
            tags = dict(connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (self.run_id,)))
            row = connection.execute("SELECT start_time FROM runs WHERE run_uuid = ?", (self.run_id,)).fetchone()
        return self.made_facts(params, tags, row[0] if row else None)

    def pieces(self, account: Account) -> Iterator[Piece]:
        """Give the metrics in the order of their time, and the end."""
        with _connected(self._database) as connection:
            total = connection.execute("SELECT count(*) FROM metrics WHERE run_uuid = ?", (self.run_id,)).fetchone()[0]
            rows = connection.execute(
                "SELECT key, value, is_nan, timestamp, step FROM metrics WHERE run_uuid = ?"
                " ORDER BY timestamp, step, rowid",
                (self.run_id,),
            )
            for done, (key, value, is_nan, timestamp_ms, step) in enumerate(rows):
                account.tell(done, total)
                yield Point({key: math.nan if is_nan else number(value)}, step, timestamp_ms / 1000)
            row = connection.execute(
                "SELECT status, end_time, artifact_uri FROM runs WHERE run_uuid = ?", (self.run_id,)
            )
            status, ended_ms, artifacts = row.fetchone()
            datasets = _count(connection, "SELECT count(*) FROM inputs WHERE destination_id = ?", self.run_id)
        if datasets:
            account.left["dataset"] += datasets
        _count_artifacts(artifacts, account)
        end = ended(status, ended_ms)
        if end is not None:
            yield end


class FolderRun(StoredRun):
    """A run in a folder of files."""

    def __init__(self, folder: Path, experiment: str) -> None:
        self._folder = folder
        self._meta = _meta(folder)
        super().__init__(_file_text(folder / "tags" / _NAME_TAG) or self._meta.get("run_name", ""), folder.name,
                         {"experiment": experiment})  # fmt: skip

    def facts(self) -> Facts:
        """Give name, parameters, tags and the start."""
        params, tags = (
            {name: _file_text(path) for name, path in _files(self._folder / part)} for part in ("params", "tags")
        )
        return self.made_facts(params, tags, _integer(self._meta.get("start_time")))

    def pieces(self, account: Account) -> Iterator[Piece]:
        """Give one metric after the other, and the end."""
        files = list(_files(self._folder / "metrics"))
        total, done = sum(path.stat().st_size for _, path in files), 0
        for name, path in files:
            with opened(path) as file:
                for line in file:
                    done += len(line)
                    account.tell(done, total)
                    parts = line.split()
                    try:
                        timestamp_ms, value, step = int(parts[0]), float(parts[1]), int(parts[2]) if parts[2:] else 0
                    except (ValueError, IndexError):
                        account.damaged["line of a metric"] += 1
                        continue
                    yield Point({name: value}, step, timestamp_ms / 1000)
        for kind in ("inputs", "outputs"):
            if (self._folder / kind).is_dir():
                account.left["dataset or model"] += len(list((self._folder / kind).iterdir()))
        _count_artifacts(str(self._folder / "artifacts"), account)
        end = ended(self._meta.get("status", ""), _integer(self._meta.get("end_time")))
        if end is not None:
            yield end


def _count_artifacts(uri: str | None, account: Account) -> None:
    """Count the files of a run that lie on this machine."""
    place = unquote((uri or "").removeprefix("file://"))
    if not place.startswith("/") and "://" in place:
        account.left["folder of artifacts elsewhere"] += 1
        return
    files = sum(len(names) for _, _, names in os.walk(place)) if place else 0
    if files:
        account.left["artifact"] += files


def database_runs(path: Path, account: Account) -> list[DatabaseRun]:
    """List the runs of a SQLite store, oldest first.

    Raises:
        SourceError: If it is none.
    """
    with _connected(path) as connection:
        deleted = _count(connection, "SELECT count(*) FROM runs WHERE lifecycle_stage = ?", "deleted")
        rows = connection.execute(
            "SELECT r.run_uuid, coalesce(t.value, r.name, ''), e.name FROM runs r"
            " LEFT JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'mlflow.runName'"
            " LEFT JOIN experiments e ON e.experiment_id = r.experiment_id"
            " WHERE r.lifecycle_stage = 'active' ORDER BY r.start_time, r.run_uuid"
        ).fetchall()
    if deleted:
        account.left["deleted run"] += deleted
    return [DatabaseRun(path, name, run_id, experiment or "") for run_id, name, experiment in rows]


def folder_runs(root: Path, account: Account) -> list[FolderRun]:
    """List the runs of a folder of files: of all experiments, of one, or a single run.

    Raises:
        SourceError: If it cannot be read.
    """
    if (root / "metrics").is_dir() or "run_id" in _meta(root) or "run_uuid" in _meta(root):
        return [FolderRun(root, _meta(root.parent).get("name", ""))]
    experiments = (
        [root] if (root / _META).is_file() else sorted(path for path in _folders(root) if (path / _META).is_file())
    )
    found = []
    for experiment in experiments:
        name = _meta(experiment).get("name", "")
        for folder in sorted(path for path in _folders(experiment) if (path / _META).is_file()):
            if _meta(folder).get("lifecycle_stage") == "deleted":
                account.left["deleted run"] += 1
            elif "run_id" in _meta(folder) or "run_uuid" in _meta(folder):
                found.append(FolderRun(folder, name))
    return found


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}.") from error


def _meta(folder: Path) -> dict[str, str]:
    """Read the lines ``key: value`` of a ``meta.yaml``: those that are needed are plain words and numbers."""
    found = {}
    for line in (_file_text(folder / _META) or "").splitlines():
        key, colon, value = line.partition(":")
        if colon and not line[:1].isspace():
            found[key] = value.strip().strip("'\"")
    return found


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Give the files below a folder, by their names with ``/``."""
    for place, inner, names in os.walk(folder):
        inner.sort()
        for name in sorted(names):
            path = folder.__class__(place) / name
            yield path.relative_to(folder).as_posix(), path


def _file_text(path: Path) -> str:
    if not path.is_file():
        return ""
    with opened(path) as file:
        return file.read().decode(errors="replace")


def _integer(text: str | None) -> int | None:
    return int(text) if text and text.lstrip("-").isdigit() else None


def number(value: float) -> float:
    """Read a value out of a database, which has the largest number in the place of an infinite one."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database to read it."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise SourceError(f"{path} cannot be read as an MLflow store: {error}.") from error


def _count(connection: sqlite3.Connection, query: str, *arguments: str) -> int:
    try:
        return int(connection.execute(query, arguments).fetchone()[0])
    except sqlite3.OperationalError:
        # A table that older stores do not have.
        return 0
