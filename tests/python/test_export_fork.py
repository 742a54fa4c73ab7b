"""Forks of a process that exports: the parent delivers on by itself, and the child has nothing of the delivery."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import codex_obs

# Python from 3.12 on warns of any thread at a fork, and a server is one of the test's own.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("by", ["the main thread", "another thread"])
def test_what_was_logged_before_a_fork_arrives_without_another_call(by: str, tracking: Any, run_dir: Path) -> None:
    with codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri) as run:
        for step in range(3):
            run.log({"loss": 0.5}, step=step)
            if by == "the main thread":
                fork()
            else:
                forking = threading.Thread(target=fork)
                forking.start()
                forking.join()
        tracking.wait(lambda: len(tracking.points()) == 3)
    assert tracking.points() == [("train/loss", 0.5, step) for step in range(3)]


def test_a_child_of_a_fork_amid_a_request_has_no_lock_of_the_delivery(run_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        run = codex_obs.init(run_dir, mlflow_tracking_uri=uri, export_timeout_s=600.0)
        run.log({"loss": 0.5}, step=0)
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(1) == b"P"
            child = os.fork()
            if child == 0:
                os._exit(len(locks()))
            assert len(locks()) == 1
            assert os.waitpid(child, 0)[1] == 0
        run.close(0.5)


def locks() -> list[str]:
    paths = []
    for link in Path("/proc/self/fd").iterdir():
        # The folder itself was open while it was read.
        with contextlib.suppress(OSError):
            paths.append(str(link.readlink()))
    return [path for path in paths if ".codex_obs/export-" in path]
