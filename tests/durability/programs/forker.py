"""Forks in a given manner while it logs, waits for every child, closes, and says what was accepted."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import platform
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING

import codex_obs

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import Queue

THREADS = 4
ROWS = 3
WATCHDOG_S = 60
WORKER_TASKS = 50
CLONE = {"x86_64": 56, "aarch64": 220}


class Forker:
    def __init__(self, directory: str, forks: int) -> None:
        self.run = codex_obs.init(directory, ring_bytes=256 << 10, backup_count="all")
        self.forks = forks
        self.accepted: dict[str, int] = {}
        self.hangs = 0
        self.stop = threading.Event()

    def log_until_told(self, number: int) -> None:
        step = 0
        while not self.stop.is_set():
            self.run.log({f"thread{number}": step}, step=step)
            step += 1
            self.accepted[f"thread{number}"] = step
            self.stop.wait(0.0005)

    def while_threads_log(self, action: Callable[[], None]) -> None:
        threads = [threading.Thread(target=self.log_until_told, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            action()
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    def wait(self, child: int, name: str) -> None:
        status = os.waitstatus_to_exitcode(self.await_end(child))
        if status == -signal.SIGKILL:
            self.hangs += 1
        elif status != 0:
            raise SystemExit(f"{name} ended with {status}")
        self.accepted[name] = ROWS

    @staticmethod
    def await_end(child: int) -> int:
        """Wait for a child without a thread, of which the next fork would warn, and kill it if it hangs."""
        descriptor = os.pidfd_open(child)
        try:
            if not select.select([descriptor], [], [], WATCHDOG_S)[0]:
                os.kill(child, signal.SIGKILL)
        finally:
            os.close(descriptor)
        return os.waitpid(child, 0)[1]

    def log_rows(self, name: str) -> None:
        for step in range(ROWS):
            self.run.log({name: step}, step=step)

    def child(self, name: str, fork: Callable[[], int], *, also: Callable[[], None] | None = None) -> None:
        child = fork()
        if child == 0:
            code = 1
            try:
                self.log_rows(name)
                if also is not None:
                    also()
                code = 0
            finally:
                os._exit(code)
        self.wait(child, name)

    def forks_alone(self) -> None:
        """The writer's thread must be none that the interpreter warns of, however recently it was woken."""
        for index in range(self.forks):
            self.log_rows(f"before{index}")
            self.accepted[f"before{index}"] = ROWS
            self.child(f"child{index}", os.fork)

    def forks_while_threads_log(self) -> None:
        def fork_all() -> None:
            for number in range(self.forks):
                self.child(f"child{number}", os.fork)

        self.while_threads_log(fork_all)

    def forks_of_forks(self) -> None:
        def fork_all() -> None:
            for number in range(self.forks):
                inner = f"grandchild{number}"
                self.child(f"child{number}", os.fork, also=lambda: self.child(inner, os.fork))  # noqa: B023 - used at once
                self.accepted[inner] = ROWS

        self.while_threads_log(fork_all)

    def clones_without_hooks(self) -> None:
        # Called with the interpreter's lock held, so that the child's only thread has it.
        syscall = ctypes.PyDLL(None).syscall
        number = CLONE[platform.machine()]

        def clone() -> int:
            return int(syscall(number, signal.SIGCHLD, 0, 0, 0, 0))

        for index in range(self.forks):
            self.log_rows(f"before{index}")
            self.accepted[f"before{index}"] = ROWS
            self.child(f"clone{index}", clone)

    def loader_workers(self) -> None:
        """Workers of a data loader: they live long, get tasks, log, and are ended by a signal."""
        context = multiprocessing.get_context("fork")

        def work(tasks: Queue[int], done: Queue[int], name: str) -> None:
            while True:
                task = tasks.get()
                self.run.log({name: task}, step=task)
                done.put(task)

        def train() -> None:
            for epoch in range(max(1, self.forks // 4)):
                tasks: Queue[int] = context.Queue()
                done: Queue[int] = context.Queue()
                names = [f"worker{epoch}-{number}" for number in range(4)]
                workers = [context.Process(target=work, args=(tasks, done, "worker"), daemon=True) for _ in names]
                for worker in workers:
                    worker.start()
                for task in range(WORKER_TASKS):
                    tasks.put(epoch * WORKER_TASKS + task)
                for _ in range(WORKER_TASKS):
                    done.get(timeout=WATCHDOG_S)
                for worker in workers:
                    worker.terminate()
                    worker.join()
                self.accepted["worker"] = (epoch + 1) * WORKER_TASKS

        self.while_threads_log(train)


def main() -> None:
    manner, directory, forks = sys.argv[1], sys.argv[2], int(sys.argv[3])
    forker = Forker(directory, forks)
    getattr(forker, manner)()
    closed = forker.run.close(timeout=60)
    print(json.dumps({"closed": closed, "accepted": forker.accepted, "hangs": forker.hangs}), flush=True)


main()
