"""A training loop with an exporter: it logs as it is told, and says on standard output what it has seen."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time

import codex_obs

told = json.loads(sys.argv[1])
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(levelname)s %(message)s")
begun = time.perf_counter()
run = codex_obs.init(told["directory"], **told.get("options", {}))
init_s = time.perf_counter() - begun
pace = threading.Event()
calls, rate = told.get("calls", 10), told.get("calls_per_s")
took_ns = []
begun = time.perf_counter()
for step in range(calls):
    values = {name: step + index / 8 for index, name in enumerate(told["metrics"])}
    before = time.perf_counter_ns()
    run.log(values, step=step)
    took_ns.append(time.perf_counter_ns() - before)
    if rate is not None:
        pace.wait(max(0.0, begun + (step + 1) / rate - time.perf_counter()))
if told.get("wait_for_a_line"):
    print("logged", flush=True)
    sys.stdin.readline()
closing = time.perf_counter()
closed = run.close(told.get("close_s", 30.0))
took_ns.sort()
report = {
    "stats": run.stats(),
    "closed": closed,
    "close_s": time.perf_counter() - closing,
    "init_s": init_s,
    "longest_log_s": took_ns[-1] / 1e9,
    "log_9999_s": took_ns[int(len(took_ns) * 0.9999)] / 1e9,
    "threads": sorted(thread.name for thread in threading.enumerate()),
}
print(json.dumps(report), flush=True)
