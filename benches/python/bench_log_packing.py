"""What a call of `Run.log` costs while old shards are packed, beside a run whose old shards are deleted.

Rounds of the two take turns, and each gives quantiles of its single calls, the timer included. On two processors the
packer, the writer and the loop share them, as they do in training.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import pytest

from codex_obs.testing import open_run
from loggers import metrics_of
from race import replayed, report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    import codex_obs
    from conftest import Figures

    Quantiles = dict[str, dict[str, list[float]]]

ROUNDS = 21
# About thirty megabytes of rows, eight shards: one is always being packed. The writer keeps up with each block.
CALLS, BLOCK = 20_000, 500
SHARD_BYTES = 4 << 20
WITHOUT = "without packing"
# Which of a thousand calls in order, and how much more it may be.
PLACES = {"the median": (500, 1.1), "99 %": (990, 1.25), "99.9 %": (999, 1.5)}

pytestmark = replayed


def calls_of(run: codex_obs.Run) -> list[float]:
    """Give the seconds of single calls, in order of length."""
    metrics, log, clock, times = metrics_of(8), run.log, time.perf_counter_ns, []
    for block in range(0, CALLS, BLOCK):
        for step in range(block, block + BLOCK):
            began = clock()
            log(metrics, step=step)
            times.append((clock() - began) / 1e9)
        assert run.flush()
    return sorted(times)


@pytest.fixture(scope="module")
def quantiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Quantiles]:
    folder = tmp_path_factory.mktemp("packing")

    def opened(name: str, archive: Literal["zstd", "none"]) -> codex_obs.Run:
        path: Path = folder / name
        return open_run(path, max_shard_bytes=SHARD_BYTES, backup_count=1, max_shard_age_s=None, archive=archive)

    runs = {"codex_obs": opened("packs", "zstd"), WITHOUT: opened("deletes", "none")}
    found: Quantiles = {place: {name: [] for name in runs} for place in PLACES}
    order = list(runs)
    packed = 0
    for _ in range(ROUNDS):
        order.append(order.pop(0))
        for name in order:
            before = runs[name].stats()["shards_packed"]
            times = calls_of(runs[name])
            packed += runs[name].stats()["shards_packed"] - before
            for place, (thousandth, _) in PLACES.items():
                found[place][name].append(times[len(times) * thousandth // 1000])
            # Nothing of this round slows the next one: not its rows, and not what is left to be packed.
            assert runs[name].flush()
            wait_until_packed(runs[name])
    assert packed > ROUNDS, "shards are packed while calls are timed"
    for run in runs.values():
        assert run.stats()["rows_dropped"] == 0
    yield found
    for run in runs.values():
        assert run.close(timeout=None)


def wait_until_packed(run: codex_obs.Run) -> None:
    deadline, packed = time.monotonic() + 60, -1
    while packed != run.stats()["shards_packed"]:
        assert time.monotonic() < deadline
        packed = run.stats()["shards_packed"]
        time.sleep(0.1)


@pytest.mark.parametrize("subject", ["codex_obs", WITHOUT])
@pytest.mark.parametrize("place", PLACES)
def test_calls_beside_packing(
    benchmark: BenchmarkFixture, figures: Figures, quantiles: Quantiles, place: str, subject: str
) -> None:
    comparison = f"8 floats while shards are packed, {place}"
    report(benchmark, figures, comparison, subject, quantiles[place][subject])
    figures.allow(comparison, WITHOUT, PLACES[place][1])
