"""A real MLflow server on a free port of the loopback interface."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).parents[4]
# Where `make mlflow-server` installs the server: its pins stay out of the environment of development.
PYTHON = "CODEX_OBS_TEST_MLFLOW_PYTHON"
_DEFAULT = ROOT / ".venv-mlflow" / "bin" / "python"
# Importing MLflow alone takes ten seconds of one core, and the machine may be busy.
START_S = 600.0
STOP_S = 120.0
_never = threading.Event()


def python_of_the_server() -> Path | None:
    """Give the interpreter that has MLflow, or None where there is none."""
    path = Path(os.environ.get(PYTHON, _DEFAULT))
    return path if path.exists() else None


def free_port() -> int:
    """Choose a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Server:
    """An MLflow server that can be stopped and started again on the same port, with the same database."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.folder = folder
        self.database = database or f"sqlite:///{folder / 'mlflow.db'}"
        self.port = free_port()
        self._python = python_of_the_server()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it says that it is well."""
        assert self._python is not None, "there is no MLflow server to start"
        options = {"--backend-store-uri": self.database, "--host": "127.0.0.1", "--port": self.port, "--workers": 1}
        arguments = [str(word) for option in options.items() for word in option]
        command = [str(self._python), "-m", "mlflow", "server", "--no-serve-artifacts", *arguments]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )
        deadline = monotonic() + START_S
        while not self._is_well():
            assert self._process.poll() is None, f"the server ended: {self.log()[-2000:]}"
            assert monotonic() < deadline, f"the server did not start within {START_S:g} s: {self.log()[-2000:]}"
            _never.wait(0.1)

    def stop(self) -> None:
        """End it, and what it started."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def log(self) -> str:
        """Give what it has printed."""
        return (self.folder / "server.log").read_text(errors="replace")

    def _is_well(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _environment(self) -> dict[str, str]:
        foreign = ("MLFLOW_", "CODEX_", "PYTHON", "VIRTUAL_ENV")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        # Job runners are seven more processes that no test here needs, and usage reports would leave this machine.
        return kept | {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "PYTHONUNBUFFERED": "1",
        }
