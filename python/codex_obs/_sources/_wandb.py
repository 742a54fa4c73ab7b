"""W&B run files (``.wandb``), as ``wandb`` writes them beside every run, offline or not.

The package itself has no reader of them any more. The container is read by `_records`, the numbers of fields are those
of ``wandb_internal.proto``, which have not changed since 2022.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from codex_obs._sources import _records, _wire
from codex_obs._sources._base import Account, Ended, Facts, Params, Point, SourceError, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from codex_obs._sources._base import Piece

SUFFIX = ".wandb"
# The axis that this package's own W&B files have, under which metrics are called `split/metric`.
_OUR_STEP = "codex/step"

# Field numbers of Record, and of the records in it.
_HISTORY, _SUMMARY, _CONFIG, _FILES, _STATS, _ARTIFACT, _ALERT, _METRIC, _OUTPUT = 2, 3, 5, 6, 7, 8, 10, 12, 13
_RUN, _EXIT, _USED_ARTIFACT = 17, 18, 25
_OTHERS = {_ARTIFACT: "artifact", _USED_ARTIFACT: "artifact", _ALERT: "alert", _OUTPUT: "line of console output"}
_STARTED = 17
_TEXTS_OF_RUN = {6: "group", 7: "job_type", 9: "notes"}
_ORIGIN_OF_RUN = {2: "entity", 3: "project", 12: "sweep", 13: "host"}
# Files that a run always has; others are the user's.
_USUAL_FILES = ("requirements.txt", "wandb-metadata.json", "wandb-summary.json", "config.yaml", "output.log", "media/")


class WandbRun:
    """A run out of its files: one, or several where it was resumed.

    Args:
        files: In the order in which they were written.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self.has_folders = False
        self._run: dict[int, int | bytes] = {}
        self._tags: list[str] = []
        self._read_head()
        self.run_id = _wire.text(self._run.get(1)) or files[0].stem.removeprefix("run-")
        self.label = _wire.text(self._run.get(8)) or self.run_id
        self.started_s = _seconds(_wire.sub(self._run.get(_STARTED))) if _STARTED in self._run else None

    def _read_head(self) -> None:
        """Read up to the first values."""
        with opened(self._files[0]) as file:
            for record in _records.wandb_records(file, Account()):
                for number, value in _wire.fields(record):
                    if number == _RUN and not self._run:
                        self._run = _wire.members(_wire.sub(value))
                        self._tags = [_wire.text(tag) for n, tag in _wire.fields(_wire.sub(value)) if n == 10]  # noqa: PLR2004
                    elif number == _METRIC and _wire.text(_wire.members(_wire.sub(value)).get(1)) == _OUR_STEP:
                        self.has_folders = True
                    elif number == _HISTORY:
                        return

    def facts(self) -> Facts:
        """Give name, configuration, tags, notes, and where the run belongs."""
        tags = {word: found for number, word in _TEXTS_OF_RUN.items() if (found := _wire.text(self._run.get(number)))}
        origin = {
            word: found for number, word in _ORIGIN_OF_RUN.items() if (found := _wire.text(self._run.get(number)))
        }
        return Facts(
            name=self.label,
            run_id=self.run_id,
            params=_config(_wire.sub(self._run.get(4))),
            tags={**({"tags": self._tags} if self._tags else {}), **tags},
            started_s=self.started_s,
            origin={"tool": "wandb", **origin},
        )

    def pieces(self, account: Account) -> Iterator[Piece]:
        """Give history, system metrics, what was set in the summary by hand, changed configuration, and the end."""
        total = sum(path.stat().st_size for path in self._files)
        reader = _Reader(self.started_s, account, is_ours=self.has_folders)
        done = 0
        for path in self._files:
            with opened(path) as file:
                for record in _records.wandb_records(file, account):
                    done += len(record)
                    account.tell(done, total)
                    yield from reader.read(record)
        yield from reader.end()


class _Reader:
    """Reads records, and remembers what is only said once."""

    def __init__(self, started_s: float | None, account: Account, *, is_ours: bool) -> None:
        self._started_s = started_s
        self._account = account
        self._is_ours = is_ours
        self._logged: set[str] = set()
        self._summary: dict[tuple[str, ...], object] = {}
        self._step = 0
        self._samples = 0
        self._time_s = started_s
        self._ended: Ended | None = None

    def read(self, record: bytes) -> Iterator[Piece]:
        try:
            found = [(number, _wire.sub(value)) for number, value in _wire.fields(record) if isinstance(value, bytes)]
            for number, message in found:
                yield from self._decoded(number, message)
        except (_wire.WireError, ValueError):
            self._account.damaged["record that cannot be read"] += 1

    def _decoded(self, number: int, message: bytes) -> Iterator[Piece]:
        if number == _HISTORY:
            yield from self._history(message)
        elif number == _STATS:
            values = {key[0]: value for key, value in _items(message, field=3)}
            yield Point(values, self._samples, _seconds(_wire.sub(_wire.members(message).get(2))), "system")
            self._samples += 1
        elif number == _CONFIG and (changed := _config(message)):
            yield Params(changed)
        else:
            self._note(number, message)

    def _note(self, number: int, message: bytes) -> None:
        """Keep what the end of the file decides about, and count what has no place."""
        if number == _SUMMARY:
            self._summary.update(_items(message))
        elif number == _EXIT:
            told = _wire.members(message)
            ended_s = None if self._started_s is None else self._started_s + _wire.integer(told.get(2))
            self._ended = Ended("failed" if _wire.integer(told.get(1)) else "finished", ended_s)
        elif number == _RUN:
            # Another one means that the run was resumed.
            self._ended = None
        elif number == _FILES:
            paths = [_wire.text(_wire.members(_wire.sub(file)).get(1)) for n, file in _wire.fields(message) if n == 1]
            for path in paths:
                if not path.startswith(_USUAL_FILES):
                    self._account.left["file"] += 1
        elif number in _OTHERS:
            self._account.left[_OTHERS[number]] += 1

    def _history(self, message: bytes) -> Iterator[Piece]:
        values, inner = {}, dict(_items(message))
        step = inner.pop(("_step",), None)
        time_s = inner.pop(("_timestamp",), None)
        inner.pop(("_runtime",), None)
        ours = inner.pop((_OUR_STEP,), None) if self._is_ours else None
        told = _wire.members(message).get(2)
        number = _wire.integer(_wire.members(_wire.sub(told)).get(1)) if told is not None else step
        if isinstance(ours, int):
            number = ours
            # The summary has it too.
            self._logged.add(_OUR_STEP)
        if isinstance(number, int):
            self._step = number
        if isinstance(time_s, int | float):
            self._time_s = float(time_s)
        for name, value in _nested(inner).items():
            self._logged.add(name.partition("/")[0])
            self._logged.add(name)
            values[name] = self._value(value)
        if values:
            yield Point(values, self._step, self._time_s)

    def _value(self, value: object) -> object:
        if not isinstance(value, dict) or "_type" not in value:
            return value
        if value["_type"] != "histogram":
            if "path" in value:
                self._account.left[f"file of a value ({value['_type']})"] += 1
            return value
        packed = value.get("packedBins")
        edges = value.get("bins")
        if isinstance(packed, dict):
            low, size, count = (packed[name] for name in ("min", "size", "count"))
            edges = [low + size * place for place in range(int(count) + 1)]
        return {"counts": value.get("values"), "edges": edges}

    def end(self) -> Iterator[Piece]:
        """Give what only the summary has, and how the run ended."""
        by_hand = {
            name: self._value(value)
            for name, value in _nested(self._summary).items()
            if not name.startswith("_") and self._logged.isdisjoint((name, name.partition("/")[0]))
        }
        if by_hand:
            yield Point(by_hand, self._step, self._time_s)
        if self._ended is not None:
            times = [time_s for time_s in (self._ended.time_s, self._time_s) if time_s is not None]
            yield Ended(self._ended.status, max(times, default=None))


def _items(message: bytes, field: int = 1) -> Iterator[tuple[tuple[str, ...], object]]:
    """Give the items of a history, summary, configuration or sample: path of keys, and value."""
    for number, item in _wire.fields(message):
        if number != field:
            continue
        path: list[str] = []
        found: object = None
        for inner, value in _wire.fields(_wire.sub(item)):
            if inner in (1, 2) and field == 1:
                path.append(_wire.text(value))
            elif inner == 1:
                path = [_wire.text(value)]
            else:
                found = _value_of(inner, value)
        yield tuple(path), found


def _value_of(number: int, value: int | bytes) -> object:
    """Read a value, as JSON text (16; of a sample 2) or, in newer files, by its type."""
    if number == 4:  # noqa: PLR2004 - field numbers of HistoryItem
        return bool(value)
    if number == 5:  # noqa: PLR2004
        zigzag = value if isinstance(value, int) else 0
        return zigzag >> 1 ^ -(zigzag & 1)
    if number == 6:  # noqa: PLR2004
        return _wire.double(value)
    if number == 7:  # noqa: PLR2004
        return _wire.text(value)
    return None if number == 3 else json.loads(_wire.text(value))  # noqa: PLR2004


def _nested(items: Mapping[tuple[str, ...], object]) -> dict[str, object]:
    """Name values ``a/b``; what has a ``_type`` among its keys is one value."""
    values: dict[str, object] = {}
    typed = {path[:-1] for path in items if path[1:] and path[-1] == "_type"}
    for path, value in items.items():
        owner = next((path[:end] for end in range(1, len(path)) if path[:end] in typed), None)
        if owner is None:
            values["/".join(path)] = value
            continue
        target = values.setdefault("/".join(owner), {})
        for key in path[len(owner) : -1]:
            target = target.setdefault(key, {})  # type: ignore[attr-defined]  # made by the line above it
        target[path[-1]] = value  # type: ignore[index]  # as above
    return values


def _config(message: bytes) -> dict[str, object]:
    found: dict[str, object] = {}
    for path, value in _items(message):
        if path and path[0] != "_wandb":
            target = found
            for key in path[:-1]:
                inner = target.setdefault(key, {})
                target = inner if isinstance(inner, dict) else target
            target[path[-1]] = value
    return found


def _seconds(message: bytes) -> float:
    moment = _wire.members(message)
    return _wire.integer(moment.get(1)) + _wire.integer(moment.get(2)) / 1e9


def wandb_runs(root: Path) -> list[WandbRun]:
    """Find the runs below a folder; the files of a resumed run are one.

    Raises:
        SourceError: If one cannot be read.
    """

    def refused(error: OSError) -> None:
        raise SourceError(f"{error.filename} cannot be read: {error.strerror}.")

    files = [
        root.__class__(folder) / name
        for folder, _, names in os.walk(root, onerror=refused)
        for name in sorted(names)
        if name.endswith(SUFFIX)
    ]
    by_id: dict[str, list[WandbRun]] = {}
    for path in sorted(files):
        run = WandbRun([path])
        by_id.setdefault(run.run_id, []).append(run)
    found = [sorted(runs, key=lambda run: run.started_s or 0.0) for runs in by_id.values()]
    return [runs[0] if len(runs) == 1 else WandbRun([path for run in runs for path in run._files]) for runs in found]  # noqa: SLF001 - of one kind
