"""Logs of tools that other packages read, by the entry points ``codex_obs.readers``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, Protocol

from codex_obs._sources._base import Ended, Facts, Point, SourceError
from codex_obs._sources._lines import moment_of, step_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from codex_obs._sources._base import Account, Piece

GROUP: Final = "codex_obs.readers"


class Reader(Protocol):
    """What a plugin has: a class that is made without arguments."""

    def can_read(self, path: Path) -> bool:
        """Say whether a path is a log of its kind, without reading much of it."""

    def rows(self, path: Path) -> Iterable[Mapping[str, object]]:
        """Give its rows: ``metric`` and ``value``, and what there is of ``step``, ``split`` and ``timestamp``."""


class PluginRun:
    """What one plugin reads.

    Args:
        name: The plugin's name.
        reader: The plugin.
        path: What it reads.
    """

    has_folders = False
    run_id = None

    def __init__(self, name: str, reader: Reader, path: Path) -> None:
        self._name = name
        self._reader = reader
        self._path = path
        self.label = path.stem

    def facts(self) -> Facts:
        """Give what is known before the values are read: where they come from."""
        return Facts(origin={"reader": self._name, "path": str(self._path)})

    def pieces(self, account: Account) -> Iterator[Piece]:
        """Give its rows one after the other; what is no row is counted.

        Raises:
            SourceError: If the plugin fails.
        """
        last_s: float | None = None
        for row in self._rows():
            account.tell(0, 0)
            point = _point(row)
            if point is None:
                account.damaged[f"row that {self._name} gave and is none"] += 1
                continue
            last_s = point.time_s if last_s is None else max(last_s, point.time_s or last_s)
            yield point
        yield Ended("finished", last_s)

    def _rows(self) -> Iterator[Mapping[str, object]]:
        try:
            yield from self._reader.rows(self._path)
        except Exception as error:
            raise SourceError(
                f"the reader {self._name} failed on {self._path}: {type(error).__name__}: {error}"
            ) from error


def plugin_runs(path: Path, account: Account) -> list[PluginRun]:
    """Ask the plugins of installed packages, in the order of their names, which of them reads a path."""
    for entry in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
        try:
            reader = entry.load()()
            can_read = bool(reader.can_read(path))
        except Exception:  # noqa: BLE001 - foreign code; `codex-obs plugins diagnose` says more
            account.damaged[f"reader of another package ({entry.name})"] += 1
            continue
        if can_read:
            return [PluginRun(entry.name, reader, path)]
    return []


def _point(row: object) -> Point | None:
    if not isinstance(row, Mapping):
        return None
    metric = row.get("metric")
    if not isinstance(metric, str) or "value" not in row:
        return None
    split = row.get("split")
    time_s = moment_of(row.get("timestamp"))
    return Point(
        {metric: row["value"]},
        step_of(row.get("step")),
        time_s if time_s is not None and math.isfinite(time_s) else None,
        split if isinstance(split, str) and split else "train",
    )
