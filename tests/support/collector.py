"""A collector of OTLP over HTTP: it keeps what OpenTelemetry's own protobuf decodes, and misbehaves if told."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Self

DEADLINE_S = 60.0


class Collector(ThreadingHTTPServer):
    """Takes spans. `misbehave` may answer a request itself, and gets the handler and the number of the request."""

    daemon_threads = True

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Answer)
        self.uri = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.server_port}"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.spans: list[Any] = []
        self.resource: dict[str, str] = {}
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.misbehave: Callable[[Any, int], bool] | None = None
        # Requests that were kept and not answered, if `misbehave` counts them.
        self.lost = 0
        self.changed = threading.Condition()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        # Those that are kept open would still be answered.
        with self.changed:
            for connection in self.connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that a test breaks."""

    def unique(self) -> dict[tuple[str, str], Any]:
        """Give each span once, by trace and span."""
        return {(span.trace_id.hex(), span.span_id.hex()): span for span in self.spans}

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is there."""
        with self.changed:
            assert self.changed.wait_for(condition, DEADLINE_S)

    def named(self, name: str) -> Any:
        """Give the span of a name, of which there is one."""
        (found,) = [span for span in self.unique().values() if span.name == name]
        return found


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Collector
    timeout = DEADLINE_S

    def setup(self) -> None:
        super().setup()
        with self.server.changed:
            self.server.connections.append(self.connection)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.changed:
            number = len(self.server.headers)
            self.server.headers.append({key.lower(): value for key, value in self.headers.items()})
            self.server.paths.append(self.path)
            self.server.bodies.append(body)
            self.server.changed.notify_all()
        if self.server.misbehave is not None and self.server.misbehave(self, number):
            return
        self.keep(body)
        self.answer(200, ExportTraceServiceResponse().SerializeToString())

    def keep(self, body: bytes) -> None:
        """Take the spans of a request."""
        request = ExportTraceServiceRequest()
        request.ParseFromString(gzip.decompress(body))
        with self.server.changed:
            for resource in request.resource_spans:
                self.server.resource = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self.server.spans.extend(scope.spans)
            self.server.changed.notify_all()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def attributes(span: Any) -> dict[str, object]:
    """Give the attributes of a span, or of an event of one."""
    found: dict[str, object] = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = (
            [getattr(one, one.WhichOneof("value")) for one in value.values] if kind == "array_value" else value
        )
    return found


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
