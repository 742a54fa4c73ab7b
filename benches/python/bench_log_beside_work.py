"""What logging costs in a training loop that does something else: a millisecond of matrix products a step.

The work empties the processor's caches between two calls, so every logger is slower than in a tight loop, and so is a
function that does nothing. The second figure is what the work itself loses to whatever the logger does meanwhile.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

import floor
from loggers import is_installed, metrics_of, open_file_writer, open_ours
from race import replayed, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures

    Log = Callable[..., None]

STEPS = 200
ROUNDS = 9
WORK_S = 1e-3

pytestmark = replayed


def nothing(metrics: dict[str, float], *, step: int) -> None:
    """Take the place of a logger."""


def matrix_products() -> Callable[[], None]:
    """Make work of about a millisecond on one thread."""
    left = np.random.default_rng(0).random((192, 192))
    out = np.empty_like(left)

    def seconds(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            np.matmul(left, left, out=out)
        return time.perf_counter() - started

    times = max(1, round(WORK_S / min(seconds(1) for _ in range(50))))

    def work() -> None:
        for _ in range(times):
            np.matmul(left, left, out=out)

    return work


@pytest.fixture(scope="module")
def loggers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Log]]:
    folder = tmp_path_factory.mktemp("beside")
    ours = open_ours(folder)
    closes = [ours.close]
    found: dict[str, Log] = {"codex_obs": ours.log, "nothing": nothing}
    if is_installed("orjson"):
        orjson = open_file_writer("orjson", folder)
        closes.append(orjson.close)
        found["orjson"] = orjson.log
    if (compiled := floor.build(folder)) is not None:
        found["floor"] = compiled.log
        found["nothing in C"] = compiled.nothing
    yield found
    for close in closes:
        close()


@pytest.fixture(scope="module")
def loops(loggers: dict[str, Log]) -> dict[str, tuple[list[float], list[float]]]:
    """Give the seconds of a call and of a step's work, the median of each round."""
    threads = pytest.importorskip("threadpoolctl") if is_installed("threadpoolctl") else None
    limit = None if threads is None else threads.threadpool_limits(1)
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in loggers}
    metrics, work, clock = metrics_of(8), matrix_products(), time.perf_counter
    order = list(loggers)
    for _ in range(ROUNDS):
        order.append(order.pop(0))
        for name in order:
            log, calls, works = loggers[name], [], []
            for step in range(STEPS):
                began = clock()
                work()
                worked = clock()
                log(metrics, step=step)
                calls.append(clock() - worked)
                works.append(worked - began)
            found[name][0].append(statistics.median(calls))
            found[name][1].append(statistics.median(works))
    if limit is not None:
        limit.unregister()
    return found


@pytest.mark.parametrize("subject", ["codex_obs", "floor", "orjson", "nothing", "nothing in C"])
def test_a_call_after_a_millisecond_of_work(
    benchmark: BenchmarkFixture,
    figures: Figures,
    loops: dict[str, tuple[list[float], list[float]]],
    subject: str,
) -> None:
    comparison = "8 floats, 1 ms of work a step"
    report(benchmark, figures, comparison, subject, loops[subject][0] if subject in loops else None)
    figures.allow(comparison, "floor", 2.0)


@pytest.mark.parametrize("subject", ["codex_obs", "orjson", "nothing"])
def test_the_work_beside_logging(
    benchmark: BenchmarkFixture,
    figures: Figures,
    loops: dict[str, tuple[list[float], list[float]]],
    subject: str,
) -> None:
    comparison = "the work of a step beside logging"
    report(benchmark, figures, comparison, subject, loops[subject][1] if subject in loops else None)
    figures.allow(comparison, "nothing", 1.005)
