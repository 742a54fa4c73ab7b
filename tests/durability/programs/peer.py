"""Logs numbers to a tracker in a given manner, or reads back what it kept; marks every number whose call returned."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from faults.marks import CHILD, LOG_ON, Marks
from faults.peers import TRACKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CALLS = 300
CALLS_PER_S = 200
FORKS = 20
CHILD_CALLS = 20


class Logger:
    def __init__(self, log: Callable[[int], object], marks: Marks) -> None:
        self.log = log
        self.marks = marks

    def all(self, numbers: Iterable[int], calls_per_s: float | None = None) -> None:
        pause = threading.Event()
        for number in numbers:
            begun = time.perf_counter_ns()
            try:
                self.log(number)
            except Exception:  # noqa: BLE001 - which ones a tracker raises is what is asked
                self.marks.raised(number)
            else:
                self.marks.accepted(number, time.perf_counter_ns() - begun)
            if calls_per_s is not None:
                pause.wait(1 / calls_per_s)

    def until_told(self, calls_per_s: float | None) -> None:
        number = 0
        while self.marks.command == LOG_ON:
            self.all([number], calls_per_s)
            number += 1

    def forks(self) -> None:
        context = multiprocessing.get_context("fork")
        for index in range(FORKS):
            self.all(range(index * 10, index * 10 + 10))
            first = CHILD * (index + 1)
            child = context.Process(target=self.all, args=(range(first, first + CHILD_CALLS),))
            child.start()
            child.join()


def main() -> None:
    name, manner, folder, marks_path = sys.argv[1:]
    tracker = TRACKERS[name]
    if manner == "read":
        print("\n" + json.dumps(list(tracker.read(Path(folder)))), flush=True)
        return
    log, close = tracker.open(Path(folder))
    logger = Logger(log, Marks(Path(marks_path)))
    match manner:
        case "paced":
            logger.until_told(CALLS_PER_S)
        case "full speed":
            logger.until_told(None)
        case "fork":
            logger.forks()
        case "prepare":
            pass
        case _:
            logger.all(range(CALLS))
    match manner:
        case "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
            # What comes after the last call must not matter.
            threading.Event().wait()
        case "os._exit":
            os._exit(0)
        case "exception":
            raise RuntimeError("the training failed")
        case "return":
            pass
        case _:
            close()


if __name__ == "__main__":
    main()
