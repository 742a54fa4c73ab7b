"""Logs from several threads as fast as they can, and says what was counted and how much memory that took."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import codex_obs
from faults.tally import LONGEST_NS, STATE, Tally


def resident_bytes() -> int:
    """Give the private memory of this process: what it shares with the ring's file does not count."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def main() -> None:
    directory, tally_path, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    threads, calls = options.pop("threads"), options.pop("calls")
    # Numbers in every thread's last call.
    huge = options.pop("huge", 0)
    # Bytes of each text of each thread, and their number.
    text, texts = options.pop("text", 0), options.pop("texts", 0)
    tally = Tally(tally_path)
    run = codex_obs.init(directory, **options)
    run.log({"first": 0}, step=0)
    run.flush()
    before = resident_bytes()
    most = 0

    def work(number: int) -> None:
        nonlocal most
        for step in range(calls):
            begun = time.perf_counter_ns()
            run.log({f"thread{number}": step * 0.5, f"b{number}": 1.0, f"c{number}": 2.0}, step=step)
            took = time.perf_counter_ns() - begun
            tally[LONGEST_NS] = max(tally[LONGEST_NS], took)
            if step % 1000 == 0:
                most = max(most, resident_bytes())
        for step in range(calls, calls + texts):
            run.log({f"text{number}": "x" * text}, step=step)
        if huge:
            names = {f"thread{number}/{index}": float(index) for index in range(huge)}
            run.log(names, step=calls)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    tally[STATE] = 1
    closed = run.close(timeout=120)
    print(json.dumps({"closed": closed, "stats": run.stats(), "grew": most - before}), flush=True)


main()
