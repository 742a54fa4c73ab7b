"""What the tests of the Python layer share: no run stays open from one test to the next, and a server to export to."""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest

from beside import ENTRY_POINTS, MODULE, Place
from codex_obs import _open_runs
from installed import install

if TYPE_CHECKING:
    from collections.abc import Iterator

API = "/api/2.0/mlflow/"


@pytest.fixture(autouse=True)
def _no_run_stays_open() -> Iterator[None]:
    yield
    for run in _open_runs.all_open():
        run.close()


def _terms(search: str) -> set[tuple[str, str]]:
    """Give the tags that a search asks for."""
    return set(re.findall("tags\\.`([^`]+)` = '([^']*)'", search))


class Tracking(ThreadingHTTPServer):
    """As much of MLflow's REST interface as an exporter asks for. It keeps what it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self.runs: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        # Identifiers by name.
        self.experiments: dict[str, str] = {}
        self.headers: list[str] = []
        self.changed = threading.Condition()
        # With one it answers everything with this status and says why.
        self.refusal: tuple[int, str] | None = None
        # It answers batches with this metric with this status and names its place.
        self.refused_metric: str | None = None
        self.refused_status = 400
        # Batches are not answered while it is closed; how many have come to it.
        self.gate = threading.Event()
        self.gate.set()
        self.at_gate = 0

    def answer(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        if method == "runs/search":
            return {"runs": [run for run in self.runs.values() if self._tags(run).issuperset(_terms(body["filter"]))]}
        if method == "runs/create":
            run_id = f"{len(self.runs) + 1:032x}"
            info = {"run_id": run_id, "experiment_id": body["experiment_id"], "name": body.get("run_name")}
            self.runs[run_id] = {"info": info, "data": {"tags": body["tags"], "params": [], "metrics": []}}
            return {"run": self.runs[run_id]}
        if method == "experiments/get-by-name":
            return {"experiment": {"experiment_id": self.experiments[body["experiment_name"]]}}
        if method == "experiments/create":
            self.experiments[body["name"]] = str(100 + len(self.experiments))
            return {"experiment_id": self.experiments[body["name"]]}
        run = self.runs[body["run_id"]]
        if method == "runs/update":
            run["info"] |= {key: body[key] for key in ("status", "end_time") if key in body}
        elif method == "runs/log-batch":
            for kind in ("metrics", "params", "tags"):
                # What is equal is one, as in MLflow's own store.
                run["data"][kind] += [item for item in body.get(kind, []) if item not in run["data"][kind]]
        return {"run": run} if method == "runs/get" else {}

    def complaint(self, method: str, body: dict[str, Any]) -> tuple[int, str] | None:
        """Give status and words for what is refused."""
        if method == "experiments/get-by-name" and body["experiment_name"] not in self.experiments:
            return 404, f"Could not find experiment with name {body['experiment_name']!r}"
        keys = [metric["key"] for metric in body.get("metrics", [])]
        if self.refused_metric not in keys:
            return None
        place = f"metrics[{keys.index(self.refused_metric)}].name"
        return self.refused_status, f"Invalid value for parameter '{place}' supplied"

    def _tags(self, run: dict[str, Any]) -> set[tuple[str, str]]:
        return {(tag["key"], str(tag["value"])) for tag in run["data"]["tags"]}

    def points(self) -> list[tuple[str, float | str, int]]:
        """Give name, value and step of every metric, in the order in which they came."""
        metrics = [metric for run in self.runs.values() for metric in run["data"]["metrics"]]
        return [(metric["key"], metric["value"], metric["step"]) for metric in metrics]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing where a client goes away."""

    def wait(self, condition: Any) -> None:
        """Wait until something is true after a request."""
        with self.changed:
            assert self.changed.wait_for(condition, 60)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Tracking

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(200, b"OK")
            return
        path, _, query = self.path.partition("?")
        self._reply(path, dict(parse_qsl(query)))

    def do_POST(self) -> None:
        self._reply(self.path, json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _reply(self, path: str, body: dict[str, Any]) -> None:
        method = path.removeprefix(API)
        if method == "runs/log-batch" and body.get("metrics"):
            with self.server.changed:
                self.server.at_gate += 1
                self.server.changed.notify_all()
            self.server.gate.wait(60)
        with self.server.changed:
            self.server.calls.append((method, body))
            self.server.headers.append(str(self.headers))
            refusal = self.server.refusal or self.server.complaint(method, body)
            if refusal is None:
                status, answer = 200, self.server.answer(method, body)
            else:
                code = "RESOURCE_DOES_NOT_EXIST" if refusal[0] == 404 else "INVALID_PARAMETER_VALUE"
                status, answer = refusal[0], {"error_code": code, "message": refusal[1]}
            self.server.changed.notify_all()
        self._send(status, json.dumps(answer).encode())

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def tracking() -> Iterator[Tracking]:
    """Give a server to export to."""
    server = Tracking()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """Give a folder that other users can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def beside_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a package with destinations that is really installed."""
    return install(tmp_path_factory.mktemp("beside"), "beside_plugins", MODULE, ENTRY_POINTS)


@pytest.fixture
def place(tmp_path: Path, beside_site: Path) -> Iterator[Place]:
    """Give a place for trainers, beside which nothing runs any more afterwards."""
    found = Place(tmp_path, beside_site)
    yield found
    for pid in found.sidecars():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
