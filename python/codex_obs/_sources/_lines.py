"""Wide JSON lines: one object a step, a key a metric."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from codex_obs._nonfinite import NUMBERS
from codex_obs._sources._base import Ended, Facts, Point, SourceError, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from codex_obs._sources._base import Account, Piece

# The first that is there and fits; what is not taken stays a metric.
_STEPS = ("step", "_step", "global_step", "timesteps", "iteration", "iter", "update", "epoch")
_TIMES = ("timestamp", "_timestamp", "wall_time", "datetime", "date", "time", "ts")
# Numbers from here on are times, not durations: 1973 in seconds. From the second on they are milliseconds.
_EARLIEST_S = 1e8
_MILLISECONDS = 1e11
_LATEST_S = 253_402_300_800
_RUN_ID = re.compile(rb'"run_id"\s*:\s*("(?:[^"\\]|\\.)*")')


class JsonLines:
    """A file of objects.

    Steps are under ``step``, ``_step``, ``global_step``, ``timesteps``, ``iteration``, ``iter``, ``update`` or
    ``epoch``, the first that is an integer in the first object that has one of them; without any, objects are counted.
    Times are under ``timestamp``, ``_timestamp``, ``wall_time``, ``datetime``, ``date``, ``time`` or ``ts``: seconds or
    milliseconds since the epoch, or RFC 3339. Text under ``split`` is the split of the object's metrics.

    Args:
        path: The file; with the suffix ``.gz`` it is unpacked.
        run_id: Take objects of this run only; None for all.
    """

    def __init__(self, path: Path, run_id: str | None = None) -> None:
        self._path = path
        self.run_id = run_id
        self.label = run_id or path.name.partition(".")[0]
        # As `codex-obs export` names columns.
        self.has_folders = run_id is not None

    def facts(self) -> Facts:
        """Give the file's name, and the run's id where the objects have one."""
        return Facts(name=self._path.name.partition(".")[0], run_id=self.run_id, origin={"tool": "json lines"})

    def pieces(self, account: Account) -> Iterator[Piece]:
        """Give an object after the other."""
        total = self._path.stat().st_size
        step_key: str | None = None
        with opened(self._path) as raw:
            for line in _unpacked(self._path, raw):
                account.tell(raw.tell(), total)
                row = _row(line, account)
                if row is None or (self.run_id is not None and row.pop("run_id", None) != self.run_id):
                    continue
                if step_key not in row:
                    step_key = next((key for key in _STEPS if step_of(row.get(key)) is not None), step_key)
                yield from _points(row, step_key, account, is_ours=self.has_folders)
        yield Ended("finished")


def _points(row: dict[str, object], step_key: str | None, account: Account, *, is_ours: bool) -> Iterator[Point]:
    step = None if step_key is None else step_of(row.get(step_key))
    if step is not None and step_key is not None:
        del row[step_key]
    time_s = None
    for key in _TIMES:
        time_s = moment_of(row.get(key))
        if time_s is not None:
            del row[key]
            break
    split = row.pop("split") if isinstance(row.get("split"), str) else "train"
    stream = row.pop("stream", None) if is_ours else None
    if stream is not None and stream != "main":
        account.left["name of a stream"] += 1
    values = _flat(row)
    if values:
        yield Point(values, step, time_s, str(split))


def _flat(row: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Name nested values ``a/b``; an object without a number in it is one value, as a histogram is. Null is none."""
    found: dict[str, object] = {}
    for key, value in row.items():
        if isinstance(value, dict) and not {"counts", "edges"} <= value.keys() and _has_number(value):
            found.update(_flat(value, f"{prefix}{key}/"))
        elif isinstance(value, str):
            found[prefix + key] = NUMBERS.get(value, value)
        elif value is not None:
            found[prefix + key] = value
    return found


def _has_number(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_number, value.values()))
    return isinstance(value, int | float)


def _row(line: bytes, account: Account) -> dict[str, object] | None:
    if not line.strip():
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        account.damaged["line that is no JSON"] += 1
        return None
    if not isinstance(row, dict):
        account.damaged["line that is no object"] += 1
        return None
    return row


def step_of(value: object) -> int | None:
    """Read a step; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if float(value).is_integer() and -(2**63) <= value < 2**63 else None


def moment_of(value: object) -> float | None:
    """Read a time as seconds since the epoch; None if it is none."""
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or value < _EARLIEST_S:
        return None
    seconds = value / 1000 if value >= _MILLISECONDS else float(value)
    return seconds if seconds < _LATEST_S else None


def _unpacked(path: Path, raw: BinaryIO) -> Iterator[bytes]:
    if path.suffix != ".gz":
        yield from raw
        return
    try:
        yield from gzip.GzipFile(fileobj=raw)
    except (EOFError, gzip.BadGzipFile) as error:
        raise SourceError(f"{path} is damaged: {error}.") from error


def json_lines(path: Path) -> list[JsonLines]:
    """Give the runs of a file: one for each ``run_id`` that its objects name, as ``codex-obs export`` writes it.

    Raises:
        SourceError: If the file cannot be read, or its objects are rows already.
    """
    ids: dict[bytes, None] = {}
    is_first = True
    with opened(path) as raw:
        for line in _unpacked(path, raw):
            if is_first and line.strip():
                is_first = False
                _refuse_rows(path, line)
            found = _RUN_ID.search(line)
            if found is not None:
                ids.setdefault(found[1])
    names = [str(json.loads(name)) for name in ids]
    return [JsonLines(path, name) for name in names] or [JsonLines(path)]


def _refuse_rows(path: Path, line: bytes) -> None:
    try:
        first = json.loads(line)
    except ValueError:
        return
    if isinstance(first, dict) and isinstance(first.get("metric", first.get("key")), str) and "value" in first:
        raise SourceError(
            f"{path} has one object a metric, which is a log already: codex-obs summarize {path} reads it."
        )
