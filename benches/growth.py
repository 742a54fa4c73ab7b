"""Draw what a row costs to summarise as the log grows: more rows, more names, more shards.

    python benches/growth.py docs/assets/growth.svg [--megarows 20] [--folder DIR]

Every log is written before the first is timed; they are timed in turns, and medians of the processor time of all
threads are drawn. Needs about 20 GB of disk and as much memory for the file cache, or the disk is timed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "python"))

from chart import Series, draw
from codex_obs.reading import summarize_files
from logs import own, write_log
from summaries import shards

ROUNDS = 7
BYTES_A_ROW = 250
SHARD_BYTES = 64 << 20
NAMES = (10, 40, 200, 1_000, 10_000)
SHARDS = (1, 5, 20, 200)
# Rows of the logs whose names or shards differ.
FIXED_ROWS = 4_000_000


@dataclass(frozen=True)
class Log:
    """Files to summarise together."""

    series: str
    size: int
    files: list[Path]


def logs(folder: Path, megarows: int) -> list[Log]:
    """Write all logs."""
    rows = megarows * 1_000_000
    path = folder / "rows"
    write_log(path, own, size_bytes=rows * BYTES_A_ROW, shards=max(1, rows * BYTES_A_ROW // SHARD_BYTES))
    files = shards(path)
    steps = [millions for millions in (1, 2, 5, 10, 20, 50) if millions <= megarows]
    found = [
        Log("rows", millions * 1_000_000, files[: max(1, len(files) * millions // megarows)]) for millions in steps
    ]
    for names in NAMES:
        path = folder / f"names-{names}"
        write_log(path, own, size_bytes=FIXED_ROWS * BYTES_A_ROW, shards=16, metrics=names, runs=1)
        found.append(Log("names", names, shards(path)))
    for count in SHARDS:
        path = folder / f"shards-{count}"
        write_log(path, own, size_bytes=FIXED_ROWS * BYTES_A_ROW, shards=count)
        found.append(Log("shards", count, shards(path)))
    return found


def nanoseconds_a_row(measured: list[Log]) -> dict[str, Series]:
    """Give the median of each log."""
    seconds: list[list[float]] = [[] for _ in measured]
    rows = [0] * len(measured)
    for _ in range(ROUNDS):
        for index, log in enumerate(measured):
            started = time.process_time()
            frame, _ = summarize_files(log.files)
            seconds[index].append(time.process_time() - started)
            rows[index] = int(frame["count"].sum())
    series: dict[str, Series] = {}
    for log, times, count in zip(measured, seconds, rows, strict=True):
        cost = statistics.median(times) / count * 1e9
        series.setdefault(log.series, []).append((log.size, cost))
        print(f"{log.series:>8} {log.size:>10} {cost:8.1f} ns a row, {count} rows")  # noqa: T201 - the result
    return series


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--megarows", type=int, default=20)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        series = nanoseconds_a_row(logs(Path(folder), arguments.megarows))
    for name, points in series.items():
        costs = [cost for _, cost in points]
        print(f"{name:>8}: {min(costs):.1f} to {max(costs):.1f} ns, {max(costs) / min(costs) - 1:.0%} apart")  # noqa: T201 - the result
    arguments.picture.write_text(draw(series, ylabel="nanoseconds a row"), encoding="utf-8")


if __name__ == "__main__":
    main()
