"""A summary as a process of its own: how long a small one takes, and how much memory a large one needs."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from logs import own, write_log
from race import race, replayed, report, timed
from summaries import shards

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures

ROUNDS = 9
COMPARISON = "codex-ndjson summarize, 1 MB"
BUDGET_S = 0.4
COMMANDS = {
    "codex_obs": "from codex_obs.cli import main; main()",
    "import polars": "import polars",
    "import typer": "import typer",
    "nothing": "pass",
}
# How often the shards of a gigabyte are copied; the reader knows links to the same file.
COPIES = {"1 GB": 1, "10 GB": 10}
MOST_MIB = 100
MEMORY_ROUNDS = 3
MEMORY = """
import sys
from codex_obs.reading import summarize
from whole_process import peak_bytes
import polars
polars.DataFrame({"a": [1]}).sort("a")
before = peak_bytes()
rows = int(summarize(sys.argv[1])["count"].sum())
print(rows, peak_bytes() - before)
"""


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    folder = tmp_path_factory.mktemp("small") / "run"
    rows = write_log(folder, own, size_bytes=1_000_000, shards=1)

    def process(code: str) -> Callable[[], None]:
        command = [sys.executable, "-c", code, "summarize", "--input", str(folder)]

        def work() -> None:
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            assert "Wrote" in done.stdout or "main()" not in code

        return work

    process(COMMANDS["codex_obs"])()
    lines = (folder / "metrics_summary.csv").read_text().splitlines()
    column = lines[0].split(",").index("count")
    assert sum(int(line.split(",")[column]) for line in lines[1:]) == rows
    return race({name: timed(1, process(code), lambda: None) for name, code in COMMANDS.items()}, rounds=ROUNDS)


@replayed
@pytest.mark.parametrize("subject", COMMANDS)
def test_a_small_summary(
    benchmark: BenchmarkFixture, figures: Figures, taken: dict[str, list[float]], subject: str
) -> None:
    report(benchmark, figures, COMPARISON, subject, taken[subject])
    if subject == "codex_obs":
        figures.notes.append(f"{COMPARISON}: {statistics.median(taken[subject]):.2f} s of {BUDGET_S} s allowed")


@pytest.mark.parametrize("size", COPIES)
def test_memory(figures: Figures, gigabyte: tuple[Path, int], tmp_path: Path, size: str) -> None:
    path, rows = gigabyte
    if shutil.disk_usage(tmp_path).free < 2 * COPIES[size] << 30:
        pytest.skip("no room for the copies")
    for number, shard in enumerate(shards(path) * COPIES[size]):
        shutil.copyfile(shard, tmp_path / f"metrics.ndjson{f'.{number}' if number else ''}")
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    peaks = []
    for _ in range(MEMORY_ROUNDS):
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        found, over = map(int, done.stdout.split())
        assert found == rows * COPIES[size]
        peaks.append(over / (1 << 20))
    shutil.rmtree(tmp_path)
    over = figures.measures[f"peak memory above the imports, MiB: {size}"] = statistics.median(peaks)
    figures.notes.append(f"peak memory of a summary of {size}: {over:.1f} MiB above the imports, of {MOST_MIB} allowed")
