"""The address that Prometheus reads: ``/metrics``, on one address and no other."""

from __future__ import annotations

import os
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from codex_obs._prometheus.facts import Facts, merged
from codex_obs._prometheus.text import OPEN_METRICS_TYPE, TEXT_TYPE, render
from codex_obs.errors import CodexObsError

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK = "127.0.0.1"
_PATH = "/metrics"
# A client that says nothing for so long is let go.
_TIMEOUT_S = 10.0


class MetricsServer:
    """Answers on a thread of its own until it is closed.

    Args:
        runs: The run directories, each with its identity.
        port: The port; 0 takes one that is free.
        address: The address that it listens on.

    Raises:
        OSError: If the port cannot be had.
    """

    def __init__(self, runs: Sequence[tuple[str, str]], port: int, address: str = LOOPBACK) -> None:
        facts = [Facts(os.fspath(directory), run_id) for directory, run_id in runs]
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            timeout = _TIMEOUT_S

            def do_GET(self) -> None:
                if self.path.partition("?")[0] != _PATH:
                    self.send_error(HTTPStatus.NOT_FOUND, f"there is {_PATH} and nothing else")
                    return
                is_open_metrics = "application/openmetrics-text" in self.headers.get("Accept", "")
                try:
                    with lock:
                        families = merged(run.families() for run in facts)
                except CodexObsError as error:
                    self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "the run cannot be read", str(error))
                    return
                body = render(families, is_open_metrics=is_open_metrics)
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", OPEN_METRICS_TYPE if is_open_metrics else TEXT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
                """Say nothing: scrapes are no news."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # A port that somebody else listens on is theirs.
            allow_reuse_port = False

        self._server = Server((address, port), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="codex-obs-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the port back at once."""
        self._server.shutdown()
        self._server.server_close()
