"""Summarising a run of 16 shards and 240 groups, beside the nearest query of peers, none of which knows rotation."""

from __future__ import annotations

import shutil
import statistics
from functools import partial
from typing import TYPE_CHECKING

import pytest

import scan_floor
from logs import foreign, own, shuffled, tagged, write_log
from race import race, replayed, report, timed
from summaries import SUBJECTS, assert_same, shards

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures
    from logs import Shape

OURS = "codex_obs"
PEERS = ("duckdb", "polars")
# These take minutes for a gigabyte, so they get less.
SLOW_PEERS = ("pandas", "orjson")
# Knows our lines by heart and nothing else, so it reads no others.
FLOOR = "floor"
# Megabytes of the log that other benchmarks read too.
SHARED = 1000
ROUNDS = 5

# Shape of the rows, megabytes, peers, and the largest ratio allowed to a peer.
CASES: dict[str, tuple[Shape, int, tuple[str, ...], dict[str, float]]] = {
    "summarise 1 GB": (own, SHARED, (*PEERS, FLOOR), {"duckdb": 1 / 3, "polars": 1 / 4.5, FLOOR: 2.0}),
    "summarise 50 MB": (own, 50, SLOW_PEERS, {}),
    "summarise 250 MB, tags": (tagged, 250, PEERS, {}),
    "summarise 250 MB, foreign": (foreign, 250, PEERS, {"duckdb": 1.0}),
    "summarise 250 MB, keys shuffled": (shuffled, 250, PEERS, {"duckdb": 1.0}),
}


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, list[float]]]:
    """Keep what was measured for the tests that show it, one a subject."""
    return {}


@replayed
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("subject", [OURS, *PEERS, *SLOW_PEERS, FLOOR])
def test_summary(
    request: pytest.FixtureRequest,
    benchmark: BenchmarkFixture,
    measured: dict[str, dict[str, list[float]]],
    case: str,
    subject: str,
) -> None:
    _, _, peers, budgets = CASES[case]
    if subject not in (OURS, *peers):
        pytest.skip("reads no such log, or takes too long")
    figures: Figures = request.getfixturevalue("figures")
    if case not in measured:
        shape, megabytes, *_ = CASES[case]
        folder = request.getfixturevalue("tmp_path")
        if megabytes == SHARED:
            path, rows = request.getfixturevalue("gigabyte")
        else:
            path = folder / "run"
            rows = write_log(path, shape, size_bytes=megabytes * 1_000_000)
        measured[case] = seconds_of(case, path, rows, folder, figures)
        shutil.rmtree(folder)
    for peer, ratio in budgets.items():
        figures.allow(case, peer, ratio)
    report(benchmark, figures, case, subject, measured[case].get(subject))


def seconds_of(case: str, path: Path, rows: int, folder: Path, figures: Figures) -> dict[str, list[float]]:
    """Check that all subjects agree about a log, and time them in turns."""
    _, _, peers, _ = CASES[case]
    installed = {name: SUBJECTS[name] for name in (OURS, *peers) if name in SUBJECTS}
    if FLOOR in peers and (floor := scan_floor.build(folder)) is not None:
        installed[FLOOR] = floor
    expected = installed[OURS](path)
    assert expected["count"].sum() == rows
    for summarise in installed.values():
        assert_same(summarise(path), expected)
    # Reading leaves nothing behind that would have to settle.
    rounds_of = {name: timed(1, partial(summarise, path), lambda: None) for name, summarise in installed.items()}
    seconds = race(rounds_of, rounds=ROUNDS)
    median = statistics.median(seconds[OURS])
    size = sum(shard.stat().st_size for shard in shards(path))
    figures.notes.append(f"{case}: {size / median / 1e9:.2f} GB/s, {rows / median / 1e6:.1f} M rows/s")
    return seconds
