"""HTTP as bytes: what a proxy reads from both sides."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    import threading

_MOST_HEAD = 1 << 20


@dataclass
class Request:
    """A request as it came."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    head: bytes
    length: int
    connection: int
    at: float
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Give the value of a header, if it is there."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> dict[str, Any]:
        """Give the body of a request that has come whole."""
        content = json.loads(self.body)
        assert isinstance(content, dict)
        return content


@dataclass(frozen=True)
class Answer:
    """An answer as it came: status line and headers with the empty line, and the body."""

    head: bytes
    body: bytes


def read_head(client: socket.socket, stopping: threading.Event, connection: int) -> Request:
    """Read a request up to its body."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        assert len(head) < _MOST_HEAD
        try:
            byte = client.recv(1)
        except TimeoutError:
            if stopping.is_set():
                raise EOFError from None
            continue
        if not byte:
            raise EOFError
        head += byte
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, path, _ = first.split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    request = Request(method, path, headers, head, 0, connection, time.time())
    request.length = int(request.header("content-length") or 0)
    return request


def read_answer(upstream: socket.socket) -> Answer:
    """Read the server's answer, which always says how long it is."""
    with upstream.makefile("rb") as reader:
        lines = []
        while (line := reader.readline(_MOST_HEAD)) not in {b"\r\n", b""}:
            lines.append(line)
        if not line:
            raise EOFError
        named = (item.partition(b":") for item in lines[1:])
        lengths = [int(value) for name, _, value in named if name.lower() == b"content-length"]
        return Answer(b"".join(lines) + line, reader.read(lengths[0]))
