"""A training loop that logs as it is told, and says on standard output what it has seen."""

from __future__ import annotations

import json
import logging
import random
import sys
import threading
import time
from array import array
from pathlib import Path

import codex_obs
from faults.tally import Tally

NONFINITE = [float("nan"), float("inf"), float("-inf")]


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


def main() -> None:
    told = json.loads(sys.argv[1])
    logging.basicConfig(level=told.get("level", "INFO"), format="%(name)s %(levelname)s %(message)s")
    begun = time.perf_counter()
    identity = {name: told[name] for name in ("run_id", "name") if name in told}
    run = codex_obs.init(told["directory"], **identity, **told.get("options", {}))
    init_s = time.perf_counter() - begun
    tally = Tally(told["tally"]) if "tally" in told else None
    calls, rate = told.get("calls", 10), told.get("calls_per_s")
    names = told["metrics"]
    odd = told.get("odd_values", False)
    pace = threading.Event()
    # A loop in step with the kernel's clock meets all of its ticks or none.
    unevenly = random.Random(calls).random
    # As large from the start as it will ever be: what grows after that is not the program's.
    took_ns = array("q", bytes(8 * calls))
    resident = []
    begun = time.perf_counter()
    for step in range(calls):
        values = {name: step + index / 8 for index, name in enumerate(names)}
        if odd:
            values[names[-1]] = NONFINITE[step % 3]
        before = time.perf_counter_ns()
        run.log(values, step=step)
        took_ns[step] = time.perf_counter_ns() - before
        if tally is not None:
            tally[0] = step + 1
        if step % max(1, calls // 20) == 0:
            resident.append(resident_mib())
        if rate is not None:
            pace.wait(max(0.0, begun + (step + 0.5 + unevenly()) / rate - time.perf_counter()))
    resident.append(resident_mib())
    closing = time.perf_counter()
    closed = run.close(told.get("close_s", 30.0))
    ordered = sorted(took_ns)
    report = {
        "stats": run.stats(),
        "closed": closed,
        "close_s": time.perf_counter() - closing,
        "whole_s": time.perf_counter() - begun,
        "init_s": init_s,
        "longest_log_s": ordered[-1] / 1e9,
        "longest_logs_s": [nanoseconds / 1e9 for nanoseconds in ordered[-max(1, calls // 1000) :]],
        "resident_mib": resident,
    }
    print(json.dumps(report), flush=True)


main()
