"""Durations and counts, gathered in the process and written as one line a name now and then."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from codex_obs import _open_runs
from codex_obs._telemetry.recording import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_obs._telemetry.recording import Log

TIMED = "timing.observed"
COUNTED = "count.added"
GATHERED_S = 10.0  # what a kill may cost
# Upper bounds in seconds: those of Prometheus' own clients, with one more for long steps.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Key(NamedTuple):
    """Of what something is gathered.

    Attributes:
        name: What was timed or counted.
        labels: What tells it from others of the name, sorted.
        is_count: Whether it was counted.
    """

    name: str
    labels: tuple[tuple[str, str], ...]
    is_count: bool


class _Gathered:
    __slots__ = ("buckets", "count", "largest", "smallest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.smallest = float("inf")
        self.largest = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)


class _Store:
    """What was gathered and not written yet. A forked child begins with nothing: the rest is its parent's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.renew()

    def renew(self) -> None:
        self.lock = threading.Lock()
        self.gathered: dict[Key, _Gathered] = {}
        self.due = self.clock() + GATHERED_S


_store = _Store(time.monotonic)


def observe(key: Key, amount: float, *, at_once: bool) -> None:
    """Take note of one duration in seconds, or of so many more."""
    if at_once:
        alone = _Gathered()
        _add(alone, key, amount)
        _write(key, alone, None)
        return
    with _store.lock:
        gathered = _store.gathered.get(key)
        if gathered is None:
            gathered = _store.gathered[key] = _Gathered()
        _add(gathered, key, amount)
        is_due = _store.clock() >= _store.due
    if is_due:
        flush(None)


def flush(log: Log | None) -> None:
    """Write what was gathered, to `log` or to the current run."""
    with _store.lock:
        gathered, _store.gathered = _store.gathered, {}
        _store.due = _store.clock() + GATHERED_S
    for key, found in gathered.items():
        _write(key, found, log)


def _add(gathered: _Gathered, key: Key, amount: float) -> None:
    gathered.count += 1
    gathered.total += amount
    if not key.is_count:
        gathered.smallest = min(gathered.smallest, amount)
        gathered.largest = max(gathered.largest, amount)
        gathered.buckets[bisect_left(BOUNDS, amount)] += 1


def _write(key: Key, gathered: _Gathered, log: Log | None) -> None:
    measured: dict[str, object] = {"system_time": time.time_ns(), "sum": gathered.total}
    metadata: dict[str, object] = {"originator": "sdk", "metric": key.name, "labels": dict(key.labels)}
    if not key.is_count:
        measured |= {
            "count": gathered.count,
            "min": gathered.smallest,
            "max": gathered.largest,
            "buckets": gathered.buckets,
        }
        metadata["bounds"] = list(BOUNDS)
    record(COUNTED if key.is_count else TIMED, None, measured, metadata, log)


_open_runs.before_close(flush, after_fork=_store.renew)
