"""Rows that are logged while a process ends are in the log: those of threads, of exit handlers, of finalizers."""

from __future__ import annotations

import mmap
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

# Counts in shared memory every call that has returned, under the number of the thread or handler that made it.
START = """
import atexit, mmap, multiprocessing, os, sys, threading, time

@atexit.register
def registered_before():
    # Runs after the handler of the package, which is registered by `init`.
    for _ in range(1000):
        log(7)

import codex_obs

file = open(sys.argv[2], "r+b")
counts = mmap.mmap(file.fileno(), 8 * 8)
run = codex_obs.init(sys.argv[1], max_shard_bytes=None, fsync="never")

def log(who):
    number = int.from_bytes(counts[8 * who : 8 * who + 8], "little")
    run.log({f"who{who}": 0.5}, step=number)
    counts[8 * who : 8 * who + 8] = (number + 1).to_bytes(8, "little")

def start(who):
    begun = threading.Event()
    def forever():
        while True:
            log(who)
            begun.set()
    threading.Thread(target=forever, daemon=True).start()
    begun.wait()
"""

ENDINGS = {
    "the end of the program": "start(0); start(1)",
    "an exception": "start(0); raise SystemExit(0)",
    "a finalizer": "class Last:\n    def __del__(self):\n        log(2)\nlast = Last(); start(0)",
    "a forked child": """
if os.fork() == 0:
    start(3)
    sys.exit(0)
os.wait()
log(0)
""",
    "a worker of multiprocessing": """
def work():
    start(4)
    log(5)
worker = multiprocessing.get_context("fork").Process(target=work)
worker.start()
worker.join()
log(0)
""",
    "a thread of a worker that the run is not open in": """
def work():
    multiprocessing.util.Finalize(None, lambda: log(6), exitpriority=-1000)
worker = multiprocessing.get_context("fork").Process(target=work)
worker.start()
worker.join()
""",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_call_that_returned_is_in_the_log(run_dir: Path, tmp_path: Path, ending: str) -> None:
    counts_path = tmp_path / "counts"
    counts_path.write_bytes(bytes(8 * 8))
    program = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START + ENDINGS[ending], str(run_dir), str(counts_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert program.returncode == 0, program.stderr
    with counts_path.open("r+b") as file:
        counts = mmap.mmap(file.fileno(), 8 * 8)
        returned = {f"who{who}": int.from_bytes(counts[8 * who : 8 * who + 8], "little") for who in range(8)}
    assert returned["who7"] >= 1000
    rows = codex_obs.read(run_dir)
    found = {metric: rows.filter(rows["metric"] == metric).height for metric in returned}
    # A thread may be stopped between its row and its count.
    assert all(returned[metric] <= found[metric] <= returned[metric] + 2 for metric in returned), (returned, found)
    assert not list((run_dir / ".codex_obs").glob("journal*")), "the reader has brought everything back"


def test_a_plain_end_leaves_nothing_to_recover(run_dir: Path) -> None:
    program = f"import codex_obs\nrun = codex_obs.init({str(run_dir)!r})\nrun.log({{'m': 1.0}})\n"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    left = {path.name for path in (run_dir / ".codex_obs").iterdir()}
    assert not any(name.startswith(("journal", "lock-")) for name in left), left
