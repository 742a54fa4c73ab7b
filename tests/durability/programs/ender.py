"""Logs a number of calls and ends in a given manner."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

import codex_obs
from faults.tally import ACCEPTED, LONGEST_NS, Tally

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 300
THREADS = 8


def log_all(run: codex_obs.Run, tally: Tally) -> None:
    for step in range(CALLS):
        tally.log(run, {"main": step}, step)


def signalled(number: int) -> Callable[[], None]:
    def end() -> None:
        os.kill(os.getpid(), number)
        # What comes after the last call must not matter.
        threading.Event().wait()

    return end


def raise_in_main() -> NoReturn:
    raise RuntimeError("the training failed")


def exit_in_thread() -> None:
    thread = threading.Thread(target=sys.exit, args=(3,))
    thread.start()
    thread.join()


def log_in_worker(directory: str, tally_path: str, number: int) -> None:
    """Log in a worker, through the inherited run or one of its own."""
    tally = Tally(f"{tally_path}-{number}")
    try:
        run = codex_obs.run_of_worker  # type: ignore[attr-defined] # set by the parent, if it was inherited
    except AttributeError:
        run = codex_obs.init(directory)
    for step in range(CALLS):
        tally.log(run, {f"worker{number}": step}, step)


def workers(method: str, run: codex_obs.Run, tally_path: str) -> None:
    import multiprocessing  # noqa: PLC0415 - costs more than all else that the other manners do

    context: Any = multiprocessing.get_context(method)
    if method == "fork":
        codex_obs.__dict__["run_of_worker"] = run
    processes = [context.Process(target=log_in_worker, args=(str(run.path), tally_path, number)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0, process.exitcode


def finalise(run: codex_obs.Run, tally_path: str) -> None:
    """Reach the end of the interpreter while eight daemon threads log."""
    started = threading.Barrier(THREADS + 1)

    def work(number: int) -> None:
        tally = Tally(f"{tally_path}-{number}")
        step = 0
        while True:
            begun = time.perf_counter_ns()
            run.log({f"worker{number}": step}, step=step)
            took = time.perf_counter_ns() - begun
            if run.closed:
                # Whether the exit handler still took this call is not known.
                return
            step += 1
            tally[ACCEPTED] = step
            tally[LONGEST_NS] = max(tally[LONGEST_NS], took)
            if step == CALLS:
                started.wait()

    for number in range(THREADS):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    started.wait()


def main() -> None:
    manner, directory, tally_path = sys.argv[1:]
    run = codex_obs.init(directory)
    tally = Tally(tally_path)
    log_all(run, tally)
    assert tally[ACCEPTED] == CALLS
    if manner.startswith("multiprocessing "):
        workers(manner.split()[1], run, tally_path)
    elif manner == "finalisation with 8 logging threads":
        finalise(run, tally_path)
    else:
        ends: dict[str, Callable[[], object]] = {
            "return": lambda: None,
            "exception": raise_in_main,
            "SIGTERM": signalled(signal.SIGTERM),
            "SIGINT": signalled(signal.SIGINT),
            "os._exit": lambda: os._exit(7),
            "sys.exit": lambda: sys.exit(3),
            "sys.exit in a thread": exit_in_thread,
        }
        ends[manner]()


if __name__ == "__main__":
    main()
