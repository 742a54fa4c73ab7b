"""Logs 8 metrics so many times, and says what that took. `python whole_process.py SUBJECT FOLDER CALLS`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(subject: str, folder: Path, calls: int) -> None:
    """Print wall-clock and processor seconds from the first call until closed, and the most memory of it all."""
    metrics = {f"train/metric_{index}": 0.1 + index / 7 for index in range(8)}
    seconds = cpu_s = 0.0
    if subject != "bare":
        from loggers import FILE_WRITERS

        if subject == "codex_obs":
            import codex_obs

            run = codex_obs.init(folder / "run")
            log, close = run.log, lambda: run.close(timeout=None)
        else:
            logger = FILE_WRITERS[subject](folder / "rows.ndjson")
            log, close = logger.log, logger.close
        began, began_cpu = time.perf_counter(), time.process_time()
        for step in range(calls):
            log(metrics, step=step)
        close()
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
        if subject == "codex_obs":
            stats = run.stats()
            assert stats["rows_written"] == stats["rows_logged"] == calls * len(metrics)
    sys.stdout.write(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """Give the most memory of this program. What `getrusage` shows begins with that of the program that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
