"""Subjects timed in turns, so that whatever else the machine does meanwhile falls on all of them."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures

    # Does its work once and gives the seconds of one call.
    Round = Callable[[], float]


class Replay:
    """A clock for pytest-benchmark that shows times measured before."""

    # Shown in results as the name of the timer.
    __name__ = "perf_counter, in turns"

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        return self._now

    def spend(self, seconds: float) -> None:
        self._now += seconds


REPLAY = Replay()
replayed = pytest.mark.benchmark(timer=REPLAY)


def race(rounds_of: Mapping[str, Round], *, rounds: int = 61) -> dict[str, list[float]]:
    """Give the seconds a call of every subject, one for each round; each round begins with another subject."""
    seconds: dict[str, list[float]] = {subject: [] for subject in rounds_of}
    for one_round in rounds_of.values():
        one_round()
    order = list(rounds_of)
    for _ in range(rounds):
        order.append(order.pop(0))
        for subject in order:
            seconds[subject].append(rounds_of[subject]())
    return seconds


def timed(calls: int, work: Callable[[], object], settle: Callable[[], object]) -> Round:
    """Make a round of `work`, which makes so many calls.

    `settle` is not timed. It comes before, and after: what the work leaves to a thread must not slow the next subject.
    """

    def one_round() -> float:
        settle()
        started = time.perf_counter()
        work()
        seconds = time.perf_counter() - started
        settle()
        return seconds / calls

    return one_round


def report(
    benchmark: BenchmarkFixture, figures: Figures, comparison: str, subject: str, seconds: list[float] | None
) -> None:
    """Show what a subject took."""
    if seconds is None:
        pytest.skip(f"{subject} is not installed here")
    benchmark.group = comparison
    benchmark.name = f"{comparison}: {subject}"
    benchmark.fullname = benchmark.name
    rest = iter(seconds)
    benchmark.pedantic(lambda: REPLAY.spend(next(rest)), rounds=len(seconds), iterations=1)
    figures.add(comparison, subject, statistics.median(seconds))
