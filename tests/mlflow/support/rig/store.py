"""Stores of MLflow on this machine: delivering to them and reading them back, by MLflow's own package."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sysconfig
from contextlib import closing
from typing import TYPE_CHECKING, Any

import polars as pl

from faults.tally import wait_until
from rig.rest import SCHEMA
from rig.server import python_of_the_server
from rig.trainer import PROGRAMS, environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# MLflow makes a database in seconds, which are minutes on a busy machine.
DEADLINE_S = 600.0
VARIABLES = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}


class Worker:
    """A process that has MLflow's package and ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        python = python_of_the_server()
        assert python is not None, "there is no MLflow"
        self._orders = 0
        self._process = subprocess.Popen(
            [python, PROGRAMS / "store_worker.py", sysconfig.get_path("purelib")],
            env=environment(**VARIABLES),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def command(self, *arguments: object, kill_when: Callable[[], bool] | None = None) -> tuple[int, str]:
        """Run `codex-ndjson`, perhaps until something holds; give its status and all that it printed."""
        return self._obeyed({"command": list(map(str, arguments))}, kill_when)

    def program(self, text: str) -> str:
        """Run a program; give all that it printed."""
        status, words = self._obeyed({"program": text}, None)
        assert status == 0, words
        return words

    def tormented(self, text: str, kill_when: Callable[[], bool]) -> tuple[int, str]:
        """Run a program until something holds, and kill it; give its status and all that it printed."""
        return self._obeyed({"program": text}, kill_when)

    def sync(self, *arguments: object) -> str:
        """Deliver, whole; give all that was printed."""
        status, words = self.command("sync", *arguments)
        assert status == 0, words
        return words

    def runs(self, uri: str, experiment: str = "Default") -> list[dict[str, Any]]:
        """Read back every run of an experiment."""
        status, words = self._obeyed({"uri": uri, "experiment": experiment}, None)
        assert status == 0, words
        found: list[dict[str, Any]] = json.loads(words.splitlines()[-1])["runs"]
        return found

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=DEADLINE_S)

    def _obeyed(self, order: dict[str, Any], kill_when: Callable[[], bool] | None) -> tuple[int, str]:
        self._orders += 1
        output = self.folder / f"output-{self._orders}"
        told = {"folder": str(self.folder), "output": str(output), **order}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        pid = self._answer()["pid"]
        if kill_when is not None:
            wait_until(kill_when, DEADLINE_S, "a delivery that has come so far")
            os.kill(pid, signal.SIGKILL)
        return self._answer()["status"], output.read_text()

    def _answer(self) -> dict[str, int]:
        assert self._process.stdout is not None
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer


def points_of(run: dict[str, Any]) -> pl.DataFrame:
    """Give the points of a run that was read back."""
    rows = [(key, time_ms, step, float(value)) for key, value, time_ms, step in run["points"]]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def count(path: Path) -> int:
    """Count the points that a store on disk has by now."""
    if path.is_dir():
        return sum(file.read_bytes().count(b"\n") for file in path.glob("*/*/metrics/**/*") if file.is_file())
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM metrics").fetchone()[0])
    except sqlite3.OperationalError:  # not made yet, or being written
        return 0


def statuses(database: Path) -> list[str]:
    """Give the statuses of the runs that a database has by now."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return [status for (status,) in connection.execute("SELECT status FROM runs")]
    except sqlite3.OperationalError:  # not made yet, or being written
        return []
