"""What a call of `Run.log` costs the training loop in a tight loop, beside other ways to leave the same rows.

Every time is that of the whole loop divided by its calls, in rounds that take turns. `floor` is the C function of
`floor.c`, which only copies. Ratios to another way of calling `log` itself are given as ratios to `log`.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import floor
from loggers import CALLS_A_ROUND, FILE_WRITERS, is_installed, metrics_of, open_file_writer, open_ours
from race import race, replayed, report, timed
from trackers import TRACKERS, check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures
    from loggers import Logger, Ours
    from race import Round

    Times = dict[str, list[float]]

# Calls between two flushes of ours: at 32 floats they fill half of the ring.
CALLS = 4_000
WIDTHS = (1, 8, 32)
TAGS = {"phase": "warm-up", "host": "node-1"}

pytestmark = replayed


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> ModuleType | None:
    return floor.build(tmp_path_factory.mktemp("floor"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    logger = open_ours(tmp_path_factory.mktemp("ours"))
    yield logger
    logger.close()


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Logger]]:
    folder = tmp_path_factory.mktemp("peers")
    loggers = {peer: open_file_writer(peer, folder) for peer in FILE_WRITERS if is_installed(peer)}
    yield loggers
    for logger in loggers.values():
        logger.close()


def loop(log: Callable[..., object], metrics: object, calls: int = CALLS) -> Callable[[], None]:
    def work() -> None:
        for step in range(calls):
            log(metrics, step=step)

    return work


def calls_of(logger: Logger, subject: str, metrics: dict[str, float]) -> Round:
    calls = CALLS_A_ROUND[subject] * 8 // max(len(metrics), 8)
    return timed(calls, loop(logger.log, metrics, calls), logger.settle)


@pytest.fixture(scope="module")
def tight(ours: Ours, peers: dict[str, Logger], compiled: ModuleType | None) -> dict[int, Times]:
    found = {}
    for width in WIDTHS:
        metrics = metrics_of(width)
        rounds: dict[str, Round] = {
            name: calls_of(logger, name, metrics) for name, logger in {"codex_obs": ours, **peers}.items()
        }
        if compiled is not None:
            before = compiled.written()
            compiled.log(metrics, step=0)
            assert compiled.written() - before >= sum(len(name) + 10 for name in metrics)
            calls = CALLS_A_ROUND["floor"] * 8 // max(width, 8)
            rounds["floor"] = timed(calls, loop(compiled.log, metrics, calls), lambda: None)
        found[width] = race(rounds)
    return found


@pytest.mark.parametrize("subject", ["codex_obs", *FILE_WRITERS, "floor"])
@pytest.mark.parametrize("width", WIDTHS)
def test_calls_in_a_tight_loop(
    benchmark: BenchmarkFixture, figures: Figures, tight: dict[int, Times], subject: str, width: int
) -> None:
    comparison = f"log, {width} floats"
    report(benchmark, figures, comparison, subject, tight[width].get(subject))
    figures.allow(comparison, "orjson", {1: 0.15, 8: 0.08, 32: 0.08}[width])
    figures.notes.append("journal: mapped, but where the line says pwrite")


@pytest.fixture(scope="module")
def trackers(ours: Ours, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Times]:
    folder, metrics = tmp_path_factory.mktemp("trackers"), metrics_of(8)
    metrics = {name.replace("/", "."): value for name, value in metrics.items()}
    rounds: dict[str, Round] = {"codex_obs": timed(CALLS, loop(ours.log, metrics), ours.settle)}
    ends = []
    for name, (package, opened, calls) in TRACKERS.items():
        if not is_installed(package):
            continue
        tracker = opened(folder / name)
        check(tracker, metrics)
        log, _, end = tracker
        ends.append(end)
        steps = iter(range(10, 1 << 40))

        def work(log: Callable[..., None] = log, calls: int = calls, steps: Iterator[int] = steps) -> None:
            for _ in range(calls):
                log(metrics, next(steps))

        rounds[name] = timed(calls, work, lambda: None)
    yield race(rounds, rounds=5)
    for end in ends:
        end()


# Their own libraries warn of themselves, and leave files to the garbage collector.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("subject", ["codex_obs", *TRACKERS])
def test_calls_of_other_trackers(benchmark: BenchmarkFixture, figures: Figures, trackers: Times, subject: str) -> None:
    report(benchmark, figures, "log, 8 floats, trackers", subject, trackers.get(subject))


@pytest.fixture(scope="module")
def kinds(ours: Ours, compiled: ModuleType | None) -> Times:
    metrics = metrics_of(8)
    run, values = ours.run, tuple(metrics.values())
    bound, scalars = run.bind(*metrics), {name: np.float32(value) for name, value in metrics.items()}
    described = run.bind(*metrics, split="eval", dataset="digits/test", tags=TAGS)
    numbers = tuple(scalars.values())

    def prepared(log: Callable[..., None], values: tuple[Any, ...]) -> Callable[[], None]:
        def work() -> None:
            a, b, c, d, e, f, g, h = values
            for step in range(CALLS):
                log(a, b, c, d, e, f, g, h, step=step)

        return work

    def with_dict() -> None:
        a, b, c, d, e, f, g, h = values
        for step in range(CALLS):
            run.log(
                {
                    "train/metric_0": a,
                    "train/metric_1": b,
                    "train/metric_2": c,
                    "train/metric_3": d,
                    "train/metric_4": e,
                    "train/metric_5": f,
                    "train/metric_6": g,
                    "train/metric_7": h,
                },
                step=step,
            )

    def with_description() -> None:
        for step in range(CALLS):
            run.log(metrics, step=step, split="eval", dataset="digits/test", tags=TAGS)

    works = {
        "log": loop(run.log, metrics),
        "NumPy float32": loop(run.log, scalars),
        "split, dataset, two tags": with_description,
        "a dict built for each call": with_dict,
        "bind": prepared(bound, values),
        "bind, NumPy float32": prepared(bound, numbers),
        "bind, split, dataset, two tags": prepared(described, values),
        "no metrics": loop(run.log, {}),
    }
    rounds: dict[str, Round] = {name: timed(CALLS, work, ours.settle) for name, work in works.items()}
    if compiled is not None:
        rounds["nothing in C"] = timed(CALLS, loop(compiled.nothing, metrics), lambda: None)
    return race(rounds)


KINDS = {
    "NumPy float32": 2.0,
    "split, dataset, two tags": 2.0,
    "a dict built for each call": None,
    "bind": 1.0,
    "bind, NumPy float32": None,
    "bind, split, dataset, two tags": None,
    "no metrics": None,
    "nothing in C": None,
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_calls(benchmark: BenchmarkFixture, figures: Figures, kinds: Times, kind: str) -> None:
    comparison = f"8 floats: {kind}"
    figures.compare(comparison, "log", kinds["log"])
    report(benchmark, figures, comparison, "codex_obs", kinds.get(kind))
    if (allowed := KINDS[kind]) is not None:
        figures.allow(comparison, "log", allowed)


CALLS_OF_THREADS = 12_000


def threads_calling(log: Callable[..., None], number: int) -> Callable[[], None]:
    """Make the same number of calls together, whatever the number of threads: starting them costs little beside."""
    metrics = metrics_of(8)

    def calls() -> None:
        for step in range(CALLS_OF_THREADS // number):
            log(metrics, step=step)

    def work() -> None:
        threads = [threading.Thread(target=calls) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return work


@pytest.fixture(scope="module")
def threaded(ours: Ours) -> Times:
    return race(
        {str(number): timed(CALLS_OF_THREADS, threads_calling(ours.log, number), ours.settle) for number in (1, 4)}
    )


def test_four_threads(benchmark: BenchmarkFixture, figures: Figures, threaded: Times) -> None:
    comparison = "8 floats, 4 threads"
    figures.compare(comparison, "one thread", threaded["1"])
    report(benchmark, figures, comparison, "codex_obs", threaded["4"])
    figures.allow(comparison, "one thread", 2.0)


@pytest.fixture(scope="module")
def singly(ours: Ours, peers: dict[str, Logger]) -> Times:
    """Times of single calls, sorted, the timer included."""
    metrics, found = metrics_of(8), {}
    for name, logger in {"codex_obs": ours, "orjson": peers.get("orjson")}.items():
        if logger is not None:
            found[name] = []
    for _ in range(12):
        for name, times in found.items():
            logger = ours if name == "codex_obs" else peers[name]
            logger.settle()
            log, clock = logger.log, time.perf_counter_ns
            for step in range(CALLS):
                started = clock()
                log(metrics, step=step)
                times.append((clock() - started) / 1e9)
    return {name: sorted(times) for name, times in found.items()}


@pytest.mark.parametrize("subject", ["codex_obs", "orjson"])
@pytest.mark.parametrize("share", [0.5, 0.99, 0.999])
def test_the_slowest_calls(
    benchmark: BenchmarkFixture, figures: Figures, singly: Times, subject: str, share: float
) -> None:
    comparison = f"log, 8 floats, single calls, {share * 100:g} %"
    times = singly.get(subject)
    report(benchmark, figures, comparison, subject, times and [times[int(len(times) * share)]])
    if share == 0.999:
        figures.allow(comparison, "orjson", 0.05)
    elif share == 0.99 and subject == "codex_obs" and times:
        figures.notes.append(f"{comparison}: {times[int(len(times) * share)] * 1e6:.2f} µs of at most 1 µs")


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory, peers: dict[str, Logger]) -> Iterator[Times]:
    ours = open_ours(tmp_path_factory.mktemp("mirrored"), backing="mirrored")
    metrics = metrics_of(8)
    loggers: dict[str, Logger] = {"codex_obs": ours}
    if "orjson" in peers:
        loggers["orjson"] = peers["orjson"]
    yield race({name: calls_of(logger, name, metrics) for name, logger in loggers.items()})
    ours.close()


@pytest.mark.parametrize("subject", ["codex_obs", "orjson"])
def test_calls_with_a_system_call_each(
    benchmark: BenchmarkFixture, figures: Figures, mirrored: Times, subject: str
) -> None:
    comparison = "log, 8 floats, pwrite"
    report(benchmark, figures, comparison, subject, mirrored.get(subject))
    figures.allow(comparison, "orjson", 0.3)
