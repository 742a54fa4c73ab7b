"""Curves of a run for charts: what each pixel of a range of steps or of time shows of a metric.

A series is read once and kept in memory, about 12 bytes a row; after that only what was added to the run is read.
Beyond eight million rows, consecutive ones are taken together: minimum and maximum stay true, a pixel may begin and end
a few rows beside its place, and what a narrow range has is read again from the files. Of the structured values of each
key some are kept, evenly chosen; of them too only what was added is read again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeVar

from codex_obs import _backend, _json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from codex_obs._backend import Report
    from codex_obs.types import RunPath

Axis: TypeAlias = Literal["step", "time"]
"""What the x axis shows: steps, or microseconds since the epoch."""
Kind: TypeAlias = Literal["number", "structured", "empty"]
"""What most is to be shown of a key: numbers if it has any, else structured values."""

_T = TypeVar("_T")

DEFAULT_PIXELS = 1000
# Histograms and texts of one key that are given: as many as a chart shows side by side.
DEFAULT_VALUES = 100


class Key(NamedTuple):
    """What a curve is of. ``run_id`` is None for rows of the folder's own run."""

    stream: str
    split: str
    metric: str
    dataset: str | None = None
    run_id: str | None = None


class Curve(NamedTuple):
    """A key and how many of its rows have a number (finite or not), a structured value, and neither."""

    key: Key
    numbers: int
    structured: int
    empty: int

    @property
    def rows(self) -> int:
        """All of its rows."""
        return self.numbers + self.structured + self.empty

    @property
    def kind(self) -> Kind:
        """What there is to show."""
        return "number" if self.numbers else "structured" if self.structured else "empty"


class Pixels(NamedTuple):
    """The pixels of one curve that have rows, column by column.

    A pixel's values are over its finite ones, None if there are none. ``first`` is the value with the smallest x, of
    several rows there the one that was logged first; ``last`` that with the largest x, of several the one logged last.
    """

    place: list[int]
    first_x: list[int]
    last_x: list[int]
    minimum: list[float | None]
    maximum: list[float | None]
    first: list[float | None]
    last: list[float | None]
    rows: list[int]
    nan: list[int]
    positive_infinity: list[int]
    negative_infinity: list[int]


class Histogram(NamedTuple):
    """A structured value that has counts and edges."""

    step: int | None
    time: int | None
    counts: list[float]
    edges: list[float]


class Text(NamedTuple):
    """A structured value that is a text."""

    step: int | None
    time: int | None
    text: str


class Series:
    """The curves of a run. Safe to use from several threads.

    Args:
        path: A run directory, or a file of one.
        superseded: Whether rows that a later session replaced (`rewind_to`) count too.

    Raises:
        CodexObsError: If there is no log, or it cannot be read. So does every method that reads.
    """

    def __init__(self, path: RunPath, *, superseded: bool = False) -> None:
        self.path = os.fspath(path)
        self._series = _backend.Series(self.path, superseded=superseded)

    def refresh(self, *, progress: Callable[[int, int], None] | None = None) -> Report:
        """Read what was added to the run since the last time, or all of it the first time.

        Args:
            progress: Called now and then with the bytes done and all bytes; what it raises ends the work.

        Returns:
            What was read now.
        """
        return _backend.refresh(self._series, progress=progress)

    def names(self) -> list[Curve]:
        """Give what there is to show, by stream (the main one first), split, metric, dataset and run."""
        return [Curve(Key(*key), *counts) for key, *counts in self._series.keys()]  # noqa: SIM118 - no dict

    def range(self, keys: Iterable[Key], *, axis: Axis = "step") -> tuple[int, int] | None:
        """Give the first and the last x that keys have together; None if they have none."""
        return self._series.range(list(keys), axis=axis)

    def pixels(
        self,
        keys: Iterable[Key],
        *,
        axis: Axis = "step",
        start: int | None = None,
        stop: int | None = None,
        pixels: int = DEFAULT_PIXELS,
    ) -> dict[Key, Pixels]:
        """Give what charts draw of keys: a range of the axis in parts of equal width, and the rows in each.

        Rows without an x are left out: without a step they have a place on the time axis only. Every row counts at its
        x, also where steps repeat or fall.

        Args:
            keys: Whose curves.
            axis: What the x axis shows.
            start: First x; by default the first one that the keys have.
            stop: Last x, which belongs to the range; by default the last one that they have.
            pixels: How many parts.
        """
        keys = list(dict.fromkeys(Key(*key) for key in keys))
        if start is None or stop is None:
            first, last = self.range(keys, axis=axis) or (0, -1)
            start, stop = (first if start is None else start), (last if stop is None else stop)
        drawn = _backend.pixels(self._series, keys, axis=axis, start=start, stop=stop, pixels=pixels)
        columns = (Pixels(place, *xs, *values, *counts) for place, xs, values, counts in drawn)
        return dict(zip(keys, columns, strict=True))

    def histograms(self, key: Key, *, most: int = DEFAULT_VALUES) -> list[Histogram]:
        """Give the histograms of a key, ``{"counts": …, "edges": …}``, in order of step, evenly chosen if too many.

        Args:
            key: Whose.
            most: How many at most.
        """
        found = (_histogram(step, time, value) for step, time, value in self._values(key))
        return _thinned([histogram for histogram in found if histogram is not None], most)

    def texts(self, key: Key, *, most: int = DEFAULT_VALUES) -> list[Text]:
        """Give the texts of a key in order of step, evenly chosen if there are too many.

        Args:
            key: Whose.
            most: How many at most.
        """
        values = self._values(key)
        found = [Text(step, time, value) for step, time, value in values if isinstance(value, str)]
        return _thinned(found, most)

    def held(self) -> int:
        """Give the bytes of memory that the numbers and the structured values take."""
        return self._series.held()

    def _values(self, key: Key) -> Iterator[tuple[int | None, int | None, object]]:
        found = _backend.values(self._series, Key(*key))
        # A step that is missing comes first, as in every table of rows.
        for step, time, payload in sorted(found, key=lambda value: (value[0] is not None, value[0] or 0)):
            yield step, time, _json.loads(payload)


def _histogram(step: int | None, time: int | None, value: object) -> Histogram | None:
    if not isinstance(value, dict):
        return None
    counts, edges = _numbers(value.get("counts")), _numbers(value.get("edges"))
    if counts is None or edges is None or len(edges) != len(counts) + 1:
        return None
    return Histogram(step, time, counts, edges)


def _numbers(value: object) -> list[float] | None:
    if not isinstance(value, list) or not all(isinstance(number, int | float) for number in value):
        return None
    return value


def _thinned(values: Sequence[_T], most: int) -> list[_T]:
    """Give `most` of the values, evenly chosen, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    last = max(most - 1, 1)
    return [values[index * (len(values) - 1) // last] for index in range(most)]
