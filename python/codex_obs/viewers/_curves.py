"""Curves of several runs for one chart: the same pixels for each of them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from codex_obs._series import Series
from codex_obs.viewers._wire import column, pack

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from codex_obs._series import Curve, Key, Pixels

Axis: TypeAlias = Literal["step", "time", "relative"]

# Runs that were looked at stay in memory, about 12 bytes a row, up to so much together: the process stays below
# 200 MiB.
_MAX_HELD_BYTES = 96 << 20
# What was added to a run is looked for this often at most, however many charts ask.
_FRESH_S = 0.5
_MICROS = 1_000_000


class Asked(NamedTuple):
    """What a chart shows: a range of an axis, as the page counts it (steps, or seconds), in how many pixels."""

    axis: Axis
    start: float | None
    stop: float | None
    pixels: int


class _Open:
    """A run that is looked at."""

    def __init__(self, path: Path) -> None:
        self.series = Series(path)
        self.lock = threading.Lock()
        self.read_s = float("-inf")
        self.began: int | None = None

    def refresh(self) -> None:
        with self.lock:
            if time.monotonic() - self.read_s < _FRESH_S:
                return
            self.series.refresh()
            self.read_s = time.monotonic()
            if self.began is None:
                found = self.series.range([curve.key for curve in self.series.names()], axis="time")
                self.began = found and found[0]


class Curves:
    """The curves of runs, read when they are first asked for. Safe to use from several threads."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, _Open] = OrderedDict()
        self._lock = threading.Lock()

    def names(self, path: Path) -> list[Curve]:
        """Give what there is to show of a run."""
        return self._of(path).series.names()

    def extent(self, path: Path) -> tuple[int, int | None]:
        """Give how many rows a run has, and its last step."""
        series = self._of(path).series
        curves = series.names()
        found = series.range([curve.key for curve in curves], axis="step")
        return sum(curve.rows for curve in curves), found and found[1]

    def series(self, path: Path) -> Series:
        """Give a run's series, up to date."""
        return self._of(path).series

    def pixels(self, runs: Sequence[tuple[str, Path]], metric: str, asked: Asked) -> bytes:
        """Give the curves of a metric: every split, stream and dataset of each run.

        Args:
            runs: Keys and folders.
            metric: Its name.
            asked: What the chart shows.
        """
        found: list[tuple[str, _Open, list[Curve]]] = []
        for name, path in runs:
            opened = self._of(path)
            curves = [curve for curve in opened.series.names() if curve.key.metric == metric and curve.numbers]
            if curves:
                found.append((name, opened, curves))
        ranges = [_range(opened, [curve.key for curve in curves], asked.axis) for _, opened, curves in found]
        known = [each for each in ranges if each is not None]
        start = asked.start if asked.start is not None else min((first for first, _ in known), default=0.0)
        stop = asked.stop if asked.stop is not None else max((last for _, last in known), default=0.0)
        heads: list[dict[str, object]] = []
        columns: list[array[float]] = []
        for name, opened, curves in found:
            zero, scale = _scale(opened, asked.axis)
            drawn = opened.series.pixels(
                [curve.key for curve in curves],
                axis="step" if asked.axis == "step" else "time",
                start=round(start * scale) + zero,
                stop=round(stop * scale) + zero,
                pixels=asked.pixels,
            )
            for curve in curves:
                pixels = drawn[curve.key]
                form, parts = _columns(pixels, zero, scale)
                heads.append(
                    {"run": name, **curve.key._asdict(), "rows": curve.rows, "form": form, "n": len(pixels.place)}
                )
                columns += parts
        return pack({"start": start, "stop": stop, "whole": _whole(known), "curves": heads}, columns)

    def _of(self, path: Path) -> _Open:
        with self._lock:
            opened = self._open.get(path)
            if opened is None:
                opened = self._open[path] = _Open(path)
            self._open.move_to_end(path)
        opened.refresh()
        self._forget()
        return opened

    def _forget(self) -> None:
        """Forget the runs that were asked for longest ago, all but the last, once they are too many bytes."""
        with self._lock:
            held = sum(opened.series.held() for opened in self._open.values())
            while held > _MAX_HELD_BYTES and len(self._open) > 1:
                _, opened = self._open.popitem(last=False)
                held -= opened.series.held()


def _range(opened: _Open, keys: Iterable[Key], axis: Axis) -> tuple[float, float] | None:
    found = opened.series.range(keys, axis="step" if axis == "step" else "time")
    zero, scale = _scale(opened, axis)
    return found and ((found[0] - zero) / scale, (found[1] - zero) / scale)


def _whole(ranges: Sequence[tuple[float, float]]) -> list[float] | None:
    return [min(first for first, _ in ranges), max(last for _, last in ranges)] if ranges else None


def _scale(opened: _Open, axis: Axis) -> tuple[int, int]:
    """Give what the page's zero is, and how much one of the page's units is."""
    if axis == "step":
        return 0, 1
    return (opened.began or 0) if axis == "relative" else 0, _MICROS


def _columns(pixels: Pixels, zero: int, scale: int) -> tuple[str, list[array[float]]]:
    """Give the columns of a curve: ten of them, or three where each pixel has one row."""

    def xs(values: Iterable[int]) -> array[float]:
        return column((value - zero) / scale for value in values) if zero or scale != 1 else column(values)

    counts = (pixels.nan, pixels.positive_infinity, pixels.negative_infinity)
    if max(pixels.rows, default=0) <= 1:
        kinds = [nan + 2 * up + 3 * down for nan, up, down in zip(*counts, strict=True)]
        return "rows", [xs(pixels.first_x), column(pixels.last), column(kinds)]
    values = (pixels.minimum, pixels.maximum, pixels.first, pixels.last)
    return "pixels", [
        xs(pixels.first_x),
        xs(pixels.last_x),
        *(column(each) for each in values),
        *(column(each) for each in (pixels.rows, *counts)),
    ]
