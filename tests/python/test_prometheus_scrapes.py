"""A real Prometheus scrapes a run of 10,000 metrics in both formats, and the port is free after the trainer's death."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from beside import DEADLINE_S, Place, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = shutil.which("prometheus")
METRICS = 10_000
TRAINER = """
run = codex_obs.init(RUN, run_id="r", prometheus_port={port})
run.log({{f"m/{{number}}": number for number in range({metrics})}}, step=3)
run.log({{'a"\\\\ \\nü': 0.5, "up": float("inf")}}, step=4, split="eval")
run.flush()
child = os.fork()
if child == 0:
    time.sleep(120)
    os._exit(0)
pathlib.Path("child").write_text(str(child))
time.sleep(120)
"""

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Prometheus: apt-get install prometheus")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class TextOnly(ThreadingHTTPServer):
    """Asks for the text format on behalf of a Prometheus, which prefers OpenMetrics."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.target = port
        self.kinds: set[str] = set()


class _Relay(BaseHTTPRequestHandler):
    server: TextOnly

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        try:
            status, kind, body = get(self.server.target, "/metrics", accept="text/plain")
        except OSError:
            self.send_error(502)
            return
        self.server.kinds.add(kind)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)


def get(port: int, path: str, *, accept: str = "*/*") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


class Prometheus:
    """A server of its own, with its data in a folder of the test."""

    def __init__(self, folder: Path, targets: dict[str, int]) -> None:
        self.port = free_port()
        jobs = [
            {"job_name": name, "scrape_interval": "1s", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for name, port in targets.items()
        ]
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": jobs}))
        command = [str(PROGRAM), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        with (folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--web.listen-address=127.0.0.1:{self.port}"], stdout=log, stderr=log, cwd=folder
            )

    def ask(self, query: str) -> dict[str, str]:
        """Give the values that a query finds, by job."""
        try:
            body = get(self.port, f"/api/v1/query?{urlencode({'query': query})}")[2]
        except OSError:
            assert self.process.poll() is None
            return {}
        found: list[dict[str, Any]] = json.loads(body)["data"]["result"] if body.startswith(b"{") else []
        return {one["metric"]["job"]: one["value"][1] for one in found}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE_S)


@pytest.fixture
def relay() -> Iterator[TextOnly]:
    server = TextOnly(free_port())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_both_formats_are_scraped_and_the_port_is_free_after_a_kill(place: Place, relay: TextOnly) -> None:
    port = relay.target
    prometheus = Prometheus(place.folder, {"open metrics": port, "text": relay.server_port})
    try:
        trainer = place.begin(TRAINER.format(port=port, metrics=METRICS))
        until(lambda: place.text("child"))
        jobs = ("open metrics", "text")
        until(lambda: prometheus.ask("count by (job) (codex_metric)") == dict.fromkeys(jobs, str(METRICS + 2)))
        assert relay.kinds == {"text/plain; version=0.0.4; charset=utf-8"}
        expected = {
            "sum by (job) (codex_metric{split='train'})": str(sum(range(METRICS))),
            "codex_metric{metric='m/9999',split='train',stream='main',run_id='r'}": "9999",
            "codex_metric{metric='a\"\\\\ \\nü',split='eval'}": "0.5",
            "codex_metric{metric='up'}": "+Inf",
            "codex_step{stream='main'}": "4",
            "codex_rows_logged_total{stream='main'}": str(METRICS + 2),
            "sum by (job) (codex_rows_dropped_total) or 0 * up": "0",
            "up": "1",
        }
        for query, value in expected.items():
            assert prometheus.ask(query) == dict.fromkeys(jobs, value), query
        trainer.kill()
        trainer.wait(DEADLINE_S)
        child = int(place.text("child") or "")
        until(lambda: prometheus.ask("up") == dict.fromkeys(jobs, "0"))
        os.kill(child, 0)
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
        os.kill(child, signal.SIGKILL)
        trainer.communicate(timeout=DEADLINE_S)
    finally:
        prometheus.stop()
    until(lambda: not place.sidecars())
