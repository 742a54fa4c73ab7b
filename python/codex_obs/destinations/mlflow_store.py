"""A store of MLflow on this machine, behind the REST calls that the engine sends to a server.

MLflow's package opens the store, at the first call. What the engine sends twice, after a crash say, is there once.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import logging
import math
import os
import sqlite3
import struct
import sys
import time
from array import array
from bisect import bisect_left
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

from codex_obs._settings import environment, tracking
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlflow.entities import Metric, Run
    from mlflow.store.tracking.abstract_store import AbstractStore

_METHODS = "/api/2.0/mlflow/"
_PACKAGES = {tracking.FILE: ("mlflow",), tracking.SQLITE: ("mlflow", "sqlalchemy", "alembic")}
# MLflow looks a host up to report its use.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
# MLflow opens no folder of files without being told that it may.
ALLOW_FILES = {"MLFLOW_ALLOW_FILE_STORE": "true"}
# Its log would repeat our warnings.
_UNLOGGED = {"MLFLOW_CONFIGURE_LOGGING": "false"}
_DEFAULT_EXPERIMENT = "0"
_INTERNAL_ERROR = "INTERNAL_ERROR"
_INVALID = "INVALID_PARAMETER_VALUE"
_BUSY = "TEMPORARILY_UNAVAILABLE"
_MAX_NAME_BYTES = 255  # of a file, on every file system of Linux
_BLOCK_BYTES = 4096  # read at a time from a file's end
_JSON_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def require_packages(uri: str) -> None:
    """Look whether the packages are installed that a store needs. Nothing is imported.

    Raises:
        SettingError: If one is missing.
    """
    missing = next((name for name in _PACKAGES[tracking.scheme_of(uri)] if find_spec(name) is None), None)
    if missing is not None:
        raise SettingError(f"an MLflow store needs the package {missing}: pip install 'codex_obs[mlflow]'")


def prepare_folder(root: Path) -> None:
    """Make the folder of a store of files, with experiment 0, without which MLflow cannot use a folder that exists."""
    root.mkdir(parents=True, exist_ok=True)
    experiment = root / _DEFAULT_EXPERIMENT
    meta = experiment / "meta.yaml"
    if meta.exists() or (root / ".trash" / _DEFAULT_EXPERIMENT).exists():
        return
    experiment.mkdir(exist_ok=True)
    now_ms = time.time_ns() // 1_000_000
    # Text in JSON's quotes is YAML, too.
    lines = {
        "artifact_location": json.dumps(f"file://{quote(str(experiment))}"),
        "creation_time": now_ms,
        "experiment_id": f"'{_DEFAULT_EXPERIMENT}'",
        "last_update_time": now_ms,
        "lifecycle_stage": "active",
        "name": "Default",
    }
    new = experiment / f"meta.yaml.{os.getpid()}"
    new.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()), encoding="utf-8")
    new.replace(meta)


def opened(uri: str) -> AbstractStore:
    """Open the store of a canonical URI by MLflow's package, and make it if there is none."""
    path = Path(tracking.path_of(uri))
    if tracking.scheme_of(uri) == tracking.FILE:
        prepare_folder(path)
        from mlflow.store.tracking.file_store import FileStore  # noqa: PLC0415 - loaded when it is needed

        return FileStore(uri, uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415 - as above

    # MLflow's own default is a folder below the working directory of the process that creates the database.
    return SqlAlchemyStore(uri, tracking.folder_uri(str(path.parent / "artifacts")))


class Store:
    """Answers REST calls of MLflow out of a store on this machine. It is used by one thread.

    Args:
        uri: The store's canonical URI.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._store: AbstractStore | None = None
        # What the store had of each metric when it was first seen: hashes in order.
        self._known: dict[tuple[str, str], array[int]] = {}

    def __call__(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Give the status and the body with which a server would answer.

        Args:
            method: ``GET`` or ``POST``.
            path: From ``/api/2.0/mlflow/`` on, with its query.
            body: A JSON document, or nothing.
        """
        address = urlsplit(path)
        call = f"{method} {address.path.removeprefix(_METHODS)}"
        answer = _CALLS.get(call)
        if answer is None:
            return _complaint(404, "ENDPOINT_NOT_FOUND", f"{call} is not answered here")
        asked = json.loads(body) if body else dict(parse_qsl(address.query, keep_blank_values=True))
        try:
            return 200, json.dumps(answer(self, asked)).encode()
        except Exception as error:  # noqa: BLE001 - whatever MLflow or its store raises becomes an answer
            return _answer_of(error)

    def _opened(self) -> AbstractStore:
        if self._store is None:
            environment.propose({**QUIET, **ALLOW_FILES, **_UNLOGGED})
            # What goes wrong is in the answers.
            logging.getLogger("mlflow").setLevel(logging.CRITICAL)
            self._store = opened(self._uri)
        return self._store

    def _log_batch(self, asked: Mapping[str, object]) -> dict[str, object]:
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415 - loaded at the first call

        store, run_id = self._opened(), _text(asked, "run_id")
        metrics = [
            Metric(_text(one, "key"), _number(one["value"]), _integer(one, "timestamp"), _integer(one, "step"))
            for one in _members(asked, "metrics")
        ]
        params = [Param(_text(one, "key"), _text(one, "value")) for one in _members(asked, "params")]
        tags = [RunTag(_text(one, "key"), _text(one, "value")) for one in _members(asked, "tags")]
        for kind, texts in {"params": params, "tags": tags}.items():
            if texts and tracking.scheme_of(self._uri) == tracking.FILE:
                folder = self._folder_of(run_id) / kind
                for index, text in enumerate(texts):
                    _check_file(folder, text.key, f"{kind}[{index}].key")
        new = self._new(run_id, metrics)
        try:
            store.log_batch(run_id, metrics=new, params=params, tags=tags)
        except BaseException:
            # A part may be there now.
            self._known.clear()
            if tracking.scheme_of(self._uri) == tracking.FILE:
                folder = self._folder_of(run_id) / "metrics"
                for key in {one.key for one in new}:
                    with contextlib.suppress(OSError):
                        _mend(folder / key)
            raise
        return {}

    def _new(self, run_id: str, metrics: Sequence[Metric]) -> list[Metric]:
        """Leave out what is there."""
        first: dict[str, int] = {}
        for index, metric in enumerate(metrics):
            first.setdefault(metric.key, index)
        unseen = {key: index for key, index in first.items() if (run_id, key) not in self._known}
        if unseen:
            for key, points in self._stored(run_id, unseen):
                self._known[run_id, key] = array("Q", sorted(map(_hash, points)))
        return [one for one in metrics if not _has(self._known[run_id, one.key], _hash_of(one))]

    def _stored(self, run_id: str, metrics: Mapping[str, int]) -> Iterator[tuple[str, Iterator[_Point]]]:
        """Read what the store has of metrics, of which the first place in the request is given.

        MLflow itself would make an object of every point at once.
        """
        if tracking.scheme_of(self._uri) == tracking.SQLITE:
            path = tracking.path_of(self._uri)
            with contextlib.closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as database:
                for key in metrics:
                    yield key, _points_of_database(database, run_id, key)
            return
        folder = self._folder_of(run_id) / "metrics"
        for key, index in metrics.items():
            _check_file(folder, key, f"metrics[{index}].name")
            _mend(folder / key)
            yield key, _points_of_file(folder / key)

    def _folder_of(self, run_id: str) -> Path:
        """Give the folder of a run in a store of files."""
        root = Path(tracking.path_of(self._uri))
        # MLflow itself would read every metric.
        for meta in root.glob(f"*/{glob.escape(run_id)}/meta.yaml"):
            return meta.parent
        return Path(root, self._opened().get_run(run_id).info.experiment_id, run_id)

    def _create_run(self, asked: Mapping[str, object]) -> dict[str, object]:
        from mlflow.entities import RunTag  # noqa: PLC0415 - loaded at the first call

        run = self._opened().create_run(
            experiment_id=_text(asked, "experiment_id"),
            user_id="",
            start_time=_integer(asked, "start_time"),
            tags=[RunTag(_text(one, "key"), _text(one, "value")) for one in _members(asked, "tags")],
            run_name=_text(asked, "run_name"),
        )
        return {"run": _as_json(run)}

    def _get_run(self, asked: Mapping[str, object]) -> dict[str, object]:
        store, run_id = self._opened(), _text(asked, "run_id")
        if tracking.scheme_of(self._uri) == tracking.FILE:
            for folder in Path(tracking.path_of(self._uri)).glob(f"*/{glob.escape(run_id)}/metrics"):
                for parent, _, names in os.walk(folder):
                    for name in names:
                        _mend(Path(parent, name))
        return {"run": _as_json(store.get_run(run_id))}

    def _update_run(self, asked: Mapping[str, object]) -> dict[str, object]:
        from mlflow.entities import RunStatus  # noqa: PLC0415 - loaded at the first call

        status = RunStatus.from_string(_text(asked, "status"))
        self._opened().update_run_info(_text(asked, "run_id"), status, _integer(asked, "end_time"), None)
        return {}

    def _search_runs(self, asked: Mapping[str, object]) -> dict[str, object]:
        from mlflow.entities import ViewType  # noqa: PLC0415 - loaded at the first call

        found = self._opened().search_runs(
            experiment_ids=asked["experiment_ids"],
            filter_string=_text(asked, "filter"),
            run_view_type=ViewType.from_string(_text(asked, "run_view_type").lower()),
            max_results=_integer(asked, "max_results"),
            order_by=asked["order_by"],
        )
        return {"runs": [_as_json(run) for run in found]}

    def _create_experiment(self, asked: Mapping[str, object]) -> dict[str, object]:
        return {"experiment_id": self._opened().create_experiment(_text(asked, "name"), None, [])}

    def _get_experiment(self, asked: Mapping[str, object]) -> dict[str, object]:
        name = _text(asked, "experiment_name")
        found = self._opened().get_experiment_by_name(name)
        if found is None:
            from mlflow.exceptions import MlflowException  # noqa: PLC0415 - loaded at the first call
            from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST  # noqa: PLC0415 - as above

            raise MlflowException(f"Could not find experiment with name '{name}'", RESOURCE_DOES_NOT_EXIST)
        return {"experiment": {"experiment_id": found.experiment_id, "name": found.name}}


# Time in milliseconds, step, value.
_Point = tuple[int, int, float]
_CALLS = {
    "POST runs/log-batch": Store._log_batch,  # noqa: SLF001 - its own
    "POST runs/create": Store._create_run,  # noqa: SLF001 - as above
    "GET runs/get": Store._get_run,  # noqa: SLF001 - as above
    "POST runs/update": Store._update_run,  # noqa: SLF001 - as above
    "POST runs/search": Store._search_runs,  # noqa: SLF001 - as above
    "POST experiments/create": Store._create_experiment,  # noqa: SLF001 - as above
    "GET experiments/get-by-name": Store._get_experiment,  # noqa: SLF001 - as above
}


class _RefusedError(Exception):
    """A part of a request cannot be stored."""


def _points_of_database(database: sqlite3.Connection, run_id: str, key: str) -> Iterator[_Point]:
    query = "SELECT timestamp, step, value, is_nan FROM metrics WHERE run_uuid = ? AND key = ?"
    for timestamp_ms, step, value, is_nan in database.execute(query, (run_id, key)):
        yield timestamp_ms, step, math.nan if is_nan else value


def _points_of_file(file: Path) -> Iterator[_Point]:
    with contextlib.suppress(FileNotFoundError), file.open("rb") as lines:
        for line in lines:
            parts = line.split()
            with contextlib.suppress(ValueError, IndexError):  # a line that was torn holds no point
                yield int(parts[0]), int(parts[2]), float(parts[1])


def _mend(file: Path) -> None:
    """Take away what a full disk has left: half a line, or a file without one. MLflow would read nothing of the run."""
    with contextlib.suppress(FileNotFoundError):
        with file.open("r+b") as lines:
            end = length = lines.seek(0, os.SEEK_END)
            while length:
                start = max(0, length - _BLOCK_BYTES)
                lines.seek(start)
                place = lines.read(length - start).rfind(b"\n")
                length = start + place + 1
                if place >= 0:
                    break
            if length != end:
                lines.truncate(length)
        if length == 0:
            file.unlink()


def _check_file(folder: Path, key: str, part: str) -> None:
    """Refuse a name that cannot be a file's, or whose file is the folder of others, or the other way round."""
    above = (parent for parent in (folder / key).parents if parent.is_relative_to(folder))
    if any(len(os.fsencode(one)) > _MAX_NAME_BYTES for one in key.split("/")):
        why = f"a part of it has more than {_MAX_NAME_BYTES} bytes"
    elif (folder / key).is_dir():
        why = "other names begin with it"
    elif (file := next((parent for parent in above if parent.is_file()), None)) is not None:
        why = f"it begins with another name, {str(file.relative_to(folder))!r}"
    else:
        return
    # As in MLflow's own refusals: the part is what the engine looks for, and the name could hold another.
    raise _RefusedError(
        f"Invalid value for parameter '{part}': a folder of files cannot hold it, since {why}; a SQLite store can"
    )


def _hash(point: _Point) -> int:
    timestamp_ms, step, value = point
    # What a database stores as one: it has the largest number in the place of an infinite one, and no negative zero.
    value = math.nan if math.isnan(value) else min(max(value, -sys.float_info.max), sys.float_info.max) + 0.0
    packed = struct.pack("<qqd", timestamp_ms, step, value)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little")


def _hash_of(metric: Metric) -> int:
    return _hash((metric.timestamp, metric.step, metric.value))


def _has(hashes: array[int], one: int) -> bool:
    place = bisect_left(hashes, one)
    return place < len(hashes) and hashes[place] == one


def _as_json(run: Run) -> dict[str, object]:
    info = run.info
    return {
        "info": {
            "run_id": info.run_id,
            "experiment_id": info.experiment_id,
            "status": info.status,
            "artifact_uri": info.artifact_uri,
        },
        "data": {"params": _pairs(run.data.params), "tags": _pairs(run.data.tags)},
    }


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _members(asked: Mapping[str, object], name: str) -> Iterable[Mapping[str, object]]:
    members = asked.get(name)
    return members if isinstance(members, list) else []


def _text(asked: Mapping[str, object], name: str) -> str:
    return str(asked[name])


def _integer(asked: Mapping[str, object], name: str) -> int:
    value = asked[name]
    assert isinstance(value, int)  # noqa: S101 - the engine writes one
    return value


def _number(value: object) -> float:
    assert isinstance(value, float | int | str)  # noqa: S101 - as above
    return _JSON_NUMBERS[value] if isinstance(value, str) else float(value)


def _answer_of(error: Exception) -> tuple[int, bytes]:
    """Give what a server would answer."""
    if isinstance(error, _RefusedError):
        return _complaint(400, _INVALID, str(error))
    if any(isinstance(one, OSError | sqlite3.OperationalError) for one in _causes(error)):
        # A full disk, say, or a database that others write to: not the request's fault.
        return _complaint(503, _BUSY, str(error))
    exceptions = sys.modules.get("mlflow.exceptions")
    if exceptions is not None and isinstance(error, exceptions.MlflowException):
        return _complaint(error.get_http_status_code(), error.error_code, str(error.message))
    return _complaint(500, _INTERNAL_ERROR, f"{type(error).__name__}: {error}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _complaint(status: int, code: str, message: str) -> tuple[int, bytes]:
    return status, json.dumps({"error_code": code, "message": message}).encode()
