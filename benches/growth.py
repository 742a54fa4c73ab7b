"""Draw what a row costs to log and to summarise as the log grows: more rows, more names, more shards.

    python benches/growth.py docs/assets/growth.svg [--megarows 50] [--logs DIR] [--only "names read"]

What is drawn is the processor time of all threads for a row, medians of rounds in which the logs of a panel take turns.
The logs of a panel are written before the first is timed, and deleted before the next panel, unless `--logs` keeps them
for another time. 50 million rows need 13 GB of disk and as much memory for the file cache, or the disk is timed.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent / "python"))

import codex_obs
import floor
from chart import Series, draw
from codex_obs.reading import summarize_files
from logs import METRICS, RUNS, own, write_log
from summaries import shards

if TYPE_CHECKING:
    from collections.abc import Callable

    # Does something with so many rows, and gives their number.
    Work = Callable[[], int]

ROUNDS = 7
BYTES_A_ROW = 250
SHARD_BYTES = 64 << 20
MEGAROWS = (1, 2, 5, 10, 20, 50)
NAMES = (10, 40, 200, 1_000, 10_000)
SHARDS = (1, 5, 20, 200)
# Rows of the logs whose names or shards differ.
FIXED_ROWS = 4_000_000
# Names of a call, however many the log has.
WIDTH = 10


def names(count: int) -> list[str]:
    """Make names of one length, so that nothing but their number differs."""
    return [f"layer_{index:05}" for index in range(count)]


def written(
    path: Path,
    *,
    megabytes: int = FIXED_ROWS // 1_000_000 * BYTES_A_ROW,
    pieces: int = 16,
    metrics: list[str] = METRICS,
    width: int = len(METRICS),
    runs: int = RUNS,
) -> list[Path]:
    """Give the shards of a log, which is written if it is not there yet."""
    if not path.exists():
        write_log(path, own, size_bytes=megabytes * 1_000_000, shards=pieces, metrics=metrics, width=width, runs=runs)
    return shards(path)


def summary_of(files: list[Path]) -> int:
    frame, _ = summarize_files(files)
    return int(frame["count"].sum())


def rows_read(folder: Path, megarows: int) -> dict[int, Work]:
    megabytes = megarows * BYTES_A_ROW
    files = written(folder / f"{megarows}", megabytes=megabytes, pieces=max(1, megabytes * 1_000_000 // SHARD_BYTES))
    steps = [millions for millions in MEGAROWS if millions <= megarows]
    return {
        millions * 1_000_000: partial(summary_of, files[: max(1, len(files) * millions // megarows)])
        for millions in steps
    }


def names_read(folder: Path, _: int) -> dict[int, Work]:
    return {
        count: partial(summary_of, written(folder / f"{count}", metrics=names(count), width=WIDTH, runs=1))
        for count in NAMES
    }


def shards_read(folder: Path, _: int) -> dict[int, Work]:
    return {count: partial(summary_of, written(folder / f"{count}", pieces=count)) for count in SHARDS}


def calls(count: int) -> list[dict[str, float]]:
    """Make what is logged in turns: dicts with other names each."""
    each = names(count)
    return [
        {name: 0.1 + place / 7 for place, name in enumerate(each[start : start + WIDTH])}
        for start in range(0, count, WIDTH)
    ]


def log_rows(folder: Path, metrics: list[dict[str, float]], rows: int) -> int:
    """Log so many rows with the default settings, until they are in the files."""
    with tempfile.TemporaryDirectory(dir=folder) as run_dir:
        run = codex_obs.init(Path(run_dir) / "run")
        log, step = run.log, 0
        for _ in range(rows // (WIDTH * len(metrics))):
            for each in metrics:
                log(each, step=step)
                step += 1
        assert run.close(timeout=None)
        return run.stats()["rows_written"]


def rows_logged(folder: Path, megarows: int) -> dict[int, Work]:
    steps = [millions * 1_000_000 for millions in MEGAROWS if millions <= megarows]
    return {rows: partial(log_rows, folder, calls(WIDTH), rows) for rows in steps}


def names_logged(folder: Path, _: int) -> dict[int, Work]:
    return {count: partial(log_rows, folder, calls(count), FIXED_ROWS) for count in NAMES}


def names_copied(folder: Path, _: int) -> dict[int, Work]:
    """Give the same calls to the function in C that only copies names and values: what the names cost anybody."""
    compiled = floor.build(folder)
    if compiled is None:
        return {}

    def copy(metrics: list[dict[str, float]]) -> int:
        log, step = compiled.log, 0
        for _ in range(FIXED_ROWS // (WIDTH * len(metrics))):
            for each in metrics:
                log(each, step=step)
                step += 1
        return step * WIDTH

    return {count: partial(copy, calls(count)) for count in NAMES}


# What a panel shows, what makes its works, and rounds.
PANELS: dict[str, tuple[Callable[[Path, int], dict[int, Work]], int]] = {
    "rows read": (rows_read, ROUNDS),
    "names read": (names_read, ROUNDS),
    "shards read": (shards_read, ROUNDS),
    "rows logged": (rows_logged, 3),
    "names logged": (names_logged, ROUNDS),
    "names copied in C": (names_copied, ROUNDS),
}


def nanoseconds_a_row(works: dict[int, Work], rounds: int) -> Series:
    """Give the median of each work."""
    costs: dict[int, list[float]] = {size: [] for size in works}
    for _ in range(rounds):
        for size, work in works.items():
            started = time.process_time()
            rows = work()
            costs[size].append((time.process_time() - started) / rows * 1e9)
    return [(size, statistics.median(each)) for size, each in costs.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--megarows", type=int, default=MEGAROWS[-1])
    parser.add_argument("--logs", type=Path)
    parser.add_argument("--only", choices=PANELS, action="append")
    arguments = parser.parse_args()
    # That old rows go is meant so.
    logging.getLogger("codex_obs").setLevel(logging.ERROR)
    series: dict[str, Series] = {}
    for panel in arguments.only or PANELS:
        prepare, rounds = PANELS[panel]
        with tempfile.TemporaryDirectory() as temporary:
            folder = (arguments.logs or Path(temporary)) / panel.replace(" ", "-")
            folder.mkdir(parents=True, exist_ok=True)
            points = nanoseconds_a_row(prepare(folder, arguments.megarows), rounds)
        if not points:
            continue
        series[panel] = points
        costs = [cost for _, cost in points]
        print(  # noqa: T201 - the result
            f"{panel}: {', '.join(f'{size:,}: {cost:.1f}' for size, cost in points)} ns; "
            f"{max(costs) / min(costs) - 1:.0%} apart",
            flush=True,
        )
    arguments.picture.write_text(draw(series, ylabel="nanoseconds a row"), encoding="utf-8")


if __name__ == "__main__":
    main()
