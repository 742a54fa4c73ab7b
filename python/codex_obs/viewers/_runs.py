"""The runs that a page shows: those in the folders that were named, and none outside of them."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs import _catalog, _selection
from codex_obs.errors import CodexObsError, NoLogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias

    Extent: TypeAlias = Callable[[Path], tuple[int, int | None]]

# A list is not made anew for as long: several pages, and a person who types a filter, ask often.
_FRESH_S = 1.0
# Rows of the list that a page gets; the filter finds the others.
MAX_ROWS = 1000
# What a row has for those who look for words, and what is not sent.
_WORDS = "words"


class Runs:
    """Runs by their keys: what leads from the folder that was named to the run.

    Args:
        paths: Folders of runs, and runs.
        extent: Gives the rows and the last step of a run that is written now, without reading all of it each time.
    """

    def __init__(self, paths: Sequence[Path], *, extent: Extent | None = None) -> None:
        self._extent = extent
        paths = list(dict.fromkeys(paths))
        self.roots = [path.resolve() for path in paths]
        # As they were named; the folder itself has no name of its own.
        self._shown = [str(path if path.name else path.resolve()) for path in paths]
        self._base = self.roots[0] if len(self.roots) == 1 else Path(os.path.commonpath(self.roots))
        self._lock = threading.Lock()
        self._paths: dict[str, Path] = {}
        self._kept: tuple[float, frozenset[str], list[Mapping[str, object]], list[str]] | None = None

    def find(self, key: str) -> Path:
        """Give the folder of a run.

        Raises:
            NoLogError: If there is no such run, or it leads out of the folders that were named.
        """
        if key not in self._paths:
            self._rows((), anew=True)
        path = self._paths.get(key)
        if path is None:
            raise NoLogError(f"There is no run {key}.")
        self._refuse_links(key, path)
        return path

    def listing(
        self,
        *,
        metrics: Sequence[str] = (),
        where: Iterable[str] = (),
        sort: str | None = None,
        reverse: bool = False,
        limit: int = MAX_ROWS,
    ) -> dict[str, object]:
        """Give the runs that fulfil every condition, with the metrics that are asked for.

        Raises:
            CodexObsError: If a condition or the key to sort by is wrong, or a folder cannot be read.
        """
        conditions = [_selection.Condition.parse(text) for text in where]
        keys = [*(condition.key for condition in conditions), *([sort] if sort else [])]
        wanted = list(dict.fromkeys([*metrics, *_selection.metrics_in(keys)]))
        rows, problems = self._rows(wanted)
        chosen = _selection.select(rows, conditions, sort, reverse=reverse, limit=None) if rows else []
        return {
            "roots": _catalog.texts(self._shown),
            "count": len(rows),
            "chosen": len(chosen),
            "runs": [self._checked(row) for row in chosen[:limit]],
            "problems": problems,
        }

    def _checked(self, row: Mapping[str, object]) -> Mapping[str, object]:
        key = str(row["key"])
        try:
            self._refuse_links(key, self._paths[key])
        except NoLogError as error:
            return {"key": key, "problem": str(error)}
        return {name: value for name, value in row.items() if name != _WORDS}

    def _refuse_links(self, key: str, path: Path) -> None:
        """Refuse a run that is outside of the folders that were named, or has a file that is."""
        links = [path]
        try:
            links += [Path(entry.path) for entry in os.scandir(path) if entry.is_symlink()]
        except OSError as error:
            raise NoLogError(f"{key} cannot be read: {error.strerror}.") from error
        if not all(self._is_inside(link) for link in links):
            raise NoLogError(f"{key} leads out of the folders that were named, by a symbolic link.")

    def _is_inside(self, path: Path) -> bool:
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return False  # it leads nowhere, or in a circle
        return any(real == root or root in real.parents for root in self.roots)

    def _rows(self, metrics: Sequence[str], *, anew: bool = False) -> tuple[list[Mapping[str, object]], list[str]]:
        with self._lock:
            asked = frozenset(metrics)
            if self._kept is not None and not anew:
                made, known, rows, problems = self._kept
                if time.monotonic() - made < _FRESH_S and asked <= known:
                    return rows, problems
            rows, problems = [], []
            paths: dict[str, Path] = {}
            for root in self.roots:
                for key, path, row in self._rows_of(root, sorted(asked), problems):
                    if key not in paths:
                        paths[key] = path
                        named = (key, row["name"], row["run_id"])
                        rows.append({"key": key, **row, _WORDS: "\n".join(str(text) for text in named if text)})
            rows.sort(key=lambda row: str(row["started"] or ""), reverse=True)
            # Counted from the oldest run on, so that a new one changes no other's: colours depend on it.
            rows = [{**row, "place": len(rows) - 1 - place} for place, row in enumerate(rows)]
            self._paths = paths
            self._kept = (time.monotonic(), asked, rows, problems)
            return rows, problems

    def _rows_of(
        self, root: Path, metrics: Sequence[str], problems: list[str]
    ) -> Iterable[tuple[str, Path, Mapping[str, object]]]:
        catalog = _catalog.list_runs(root, metrics, live_rows=self._extent is None)
        points = {name: found[1:] for name, found in zip(metrics, catalog.metrics, strict=True) if found[0]}
        problems += [f"{self._key(Path(path))}: {why}" for path, why in catalog.problems]
        for found in _catalog.rows_of(catalog, points):
            row = dict(found)
            path = Path(str(row.pop("path")))
            if row["status"] == "running" and row["rows"] is None and self._extent is not None:
                # One that is not to be shown, or whose files were moved just now, is listed as it is.
                with suppress(CodexObsError):
                    self._refuse_links(self._key(path), path)
                    row["rows"], row["last_step"] = self._extent(path)
            yield self._key(path), path, row

    def _key(self, path: Path) -> str:
        relative = os.path.relpath(path, self._base)
        name = self._base.name if relative == os.curdir else relative
        return _catalog.texts([name])[0]
