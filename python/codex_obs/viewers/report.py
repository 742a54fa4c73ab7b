"""Charts of runs as one HTML file that needs no server and no network."""

from __future__ import annotations

import base64
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from codex_obs import _inspection
from codex_obs._series import Series
from codex_obs.viewers import _records
from codex_obs.viewers._assets import MissingPackageError, assets
from codex_obs.viewers._bundle import page
from codex_obs.viewers._runs import Runs
from codex_obs.viewers._wire import as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from codex_obs._series import Axis, Curve, Pixels

__all__ = ["MissingPackageError", "Report", "report"]

MAX_BYTES = 5_000_000
# Pixels of each curve, the first of these with which the file is small enough: a screen's width, down to a thumbnail's.
_PIXELS = (1000, 700, 500, 350, 250, 150, 100, 60)
# What a chart shows of a number: more digits than its axis has.
_DIGITS = 6
# Metrics whose last, smallest and largest values the table can show.
_MAX_COLUMNS = 500


class Report(NamedTuple):
    """A report and how much is in it."""

    html: str
    runs: int
    metrics: int
    pixels: int


class _Part(NamedTuple):
    """A curve of a run, and whose it is."""

    run: str
    series: Series
    curve: Curve


def report(paths: Sequence[Path], *, progress: Callable[[int, int], None] | None = None) -> Report:
    """Make a report of runs: the page of `codex-obs view` with all that it shows inside.

    The curves have as many pixels as fit into 5 MB together; smallest and largest value of each stay.

    Args:
        paths: Runs, and folders of runs.
        progress: Called with the runs read and all runs.

    Raises:
        MissingPackageError: If a package of the extra ``view`` is not installed.
        CodexObsError: If a run cannot be read.
    """
    files = assets()
    runs = Runs(paths)
    keys = [str(run["key"]) for run in runs.listing()["runs"]]  # type: ignore[attr-defined]  # a list of mappings
    parts: list[_Part] = []
    for done, key in enumerate(keys):
        if progress is not None:
            progress(done, len(keys))
        series = Series(runs.find(key))
        series.refresh()
        parts += [_Part(key, series, curve) for curve in series.names()]
    metrics = sorted({part.curve.key.metric for part in parts if part.curve.numbers})
    content = _content(runs, keys, parts, metrics)
    title = f"{', '.join(keys[:3])}{' …' if len(keys) > 3 else ''} · codex_obs"  # noqa: PLR2004 - a title's length
    for pixels in _PIXELS:
        curves = [found for part in parts if part.curve.numbers and (found := _curve(part, pixels))]
        html = page(files, title, _packed(content | {"curves": curves}))
        if len(html.encode()) <= MAX_BYTES:
            break
    return Report(html, len(keys), len(metrics), pixels)


def _content(runs: Runs, keys: Sequence[str], parts: Sequence[_Part], metrics: Sequence[str]) -> dict[str, Any]:
    paths = {key: runs.find(key) for key in keys}
    began: dict[str, int] = {}
    for key in keys:
        own = [part for part in parts if part.run == key]
        found = own[0].series.range([part.curve.key for part in own], axis="time") if own else None
        began[key] = found[0] if found else 0
    return {
        "listing": runs.listing(metrics=metrics[:_MAX_COLUMNS]),
        "names": {key: [] for key in keys} | _grouped(parts),
        "began": began,
        "values": [_values(part) for part in parts if part.curve.structured],
        "details": {key: {"key": key} | _inspection.inspect(path) for key, path in paths.items()},
        "system": _samples(list(paths.items())),
        "spans": {key: _records.spans(path) for key, path in paths.items()},
    }


def _grouped(parts: Iterable[_Part]) -> dict[str, list[list[object]]]:
    names: dict[str, list[list[object]]] = {}
    for run, _, curve in parts:
        names.setdefault(run, []).append([*curve.key, curve.kind, curve.rows])
    return names


def _values(part: _Part) -> dict[str, object]:
    key = part.curve.key
    return {"run": part.run, **key._asdict()} | _records.values_of(part.series, key)


def _samples(paths: Sequence[tuple[str, Path]]) -> list[dict[str, object]]:
    found = []
    for head, points in _records.sampled(paths):
        xs = [round(x * 1e6) for x, _ in points]
        time = {"x": _differences(xs), "last": [_rounded(value) for _, value in points]}
        found.append({**head, "time": time})
    return found


def _curve(part: _Part, pixels: int) -> dict[str, object] | None:
    key = part.curve.key
    drawn: dict[str, object] = {}
    axes: tuple[Axis, Axis] = ("step", "time")
    for axis in axes:
        columns = part.series.pixels([key], axis=axis, pixels=pixels)[key]
        if columns.place:
            drawn[axis] = _columns(columns)
    return {"run": part.run, **key._asdict(), "rows": part.curve.rows, **drawn} if drawn else None


def _columns(pixels: Pixels) -> dict[str, object]:
    """Give the columns of a curve in few letters: what is the same everywhere is left out."""
    columns: dict[str, object] = {"x": _differences(pixels.first_x), "last": list(map(_rounded, pixels.last))}
    if max(pixels.rows) > 1:
        columns["width"] = [last - first for first, last in zip(pixels.first_x, pixels.last_x, strict=True)]
        columns["count"] = pixels.rows
        for name, values in (("min", pixels.minimum), ("max", pixels.maximum), ("first", pixels.first)):
            columns[name] = list(map(_rounded, values))
    odd = {"nan": pixels.nan, "up": pixels.positive_infinity, "down": pixels.negative_infinity}
    return columns | {name: counts for name, counts in odd.items() if any(counts)}


def _differences(numbers: Sequence[int]) -> list[int]:
    return [*numbers[:1], *(after - before for before, after in pairwise(numbers))]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _packed(content: object) -> bytes:
    return base64.b64encode(zlib.compress(as_json(content).encode(), 9))
