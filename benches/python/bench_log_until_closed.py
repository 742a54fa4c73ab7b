"""4 million rows with the default settings, from the first call until `close` returned, in a fresh process each."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import pytest

from loggers import is_installed
from race import replayed, report

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures

CALLS = 500_000
ROWS = 8 * CALLS
ROUNDS = 3
SUBJECTS = ("codex_obs", "orjson", "msgspec", "bare")
MOST_BYTES = 32 << 20

pytestmark = replayed


class Taken(TypedDict):
    seconds: float
    cpu_s: float
    peak_bytes: int


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Taken]]:
    found: dict[str, list[Taken]] = {
        name: [] for name in SUBJECTS if name in ("codex_obs", "bare") or is_installed(name)
    }
    for _ in range(ROUNDS):
        for subject, each in found.items():
            folder = tmp_path_factory.mktemp("closed")
            program = Path(__file__).with_name("whole_process.py")
            command = [sys.executable, str(program), subject, str(folder), str(CALLS)]
            each.append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
            if subject != "bare":
                check_last_line(folder)
            # Gone before the disk has taken them: the next subject must not wait for it.
            shutil.rmtree(folder)
    return found


def check_last_line(folder: Path) -> None:
    """Look at the end of the newest file: every row before it is counted by the program or stands in the same file."""
    path = folder / "run" / "metrics.ndjson"
    data = (path if path.exists() else folder / "rows.ndjson").read_bytes()
    last = json.loads(data[data.rindex(b"\n", 0, -1) + 1 :])
    assert (last["step"], last["metric"], last["value"]) == (CALLS - 1, "train/metric_7", 1.1)


@pytest.mark.parametrize("subject", SUBJECTS[:3])
def test_rows_until_closed(
    benchmark: BenchmarkFixture, figures: Figures, taken: dict[str, list[Taken]], subject: str
) -> None:
    comparison = f"{ROWS:,} rows until closed"
    seconds = [each["seconds"] for each in taken[subject]] if subject in taken else None
    report(benchmark, figures, comparison, subject, seconds)
    figures.allow(comparison, "orjson", 0.25)
    if seconds is not None:
        figures.notes.append(f"{subject}: {ROWS / statistics.median(seconds) / 1e6:.2f} M rows/s until closed")


@pytest.mark.parametrize("subject", SUBJECTS[:3])
def test_processor_time(
    benchmark: BenchmarkFixture, figures: Figures, taken: dict[str, list[Taken]], subject: str
) -> None:
    comparison = "processor seconds of a million rows"
    seconds = [each["cpu_s"] / (ROWS / 1e6) for each in taken[subject]] if subject in taken else None
    report(benchmark, figures, comparison, subject, seconds)
    figures.allow(comparison, "orjson", 1 / 3)


def test_memory(taken: dict[str, list[Taken]], figures: Figures) -> None:
    peaks = {name: statistics.median(run["peak_bytes"] for run in runs) for name, runs in taken.items()}
    over = (peaks["codex_obs"] - peaks["bare"]) / (1 << 20)
    figures.measures["peak memory of 4 million rows, MiB"] = over
    figures.notes.append(
        f"peak memory of {ROWS:,} rows: {over:.1f} MiB above a bare interpreter, of {MOST_BYTES >> 20} MiB allowed"
    )
