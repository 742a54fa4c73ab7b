"""What a client with little patience sees: the proof that a fault is what it says."""

from __future__ import annotations

import socket
import threading
import zlib
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected

# For the next byte, and for the whole answer.
PATIENCE_S = 1.0
_IN_ALL_S = 2.0
_MOST = 1 << 22
# The first kind that fits.
_TROUBLES = {
    ConnectionRefusedError: "refused",
    RemoteDisconnected: "closed",
    ConnectionError: "reset",
    TimeoutError: "no answer",
    IncompleteRead: "short",
    HTTPException: "no HTTP",
    ValueError: "no HTTP",
}


def observe(port: int, path: str, body: bytes) -> str:
    """Post once. Gives the status, with the first bytes of a 200, or a word or two on what was wrong."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    over = threading.Event()

    def give_up() -> None:
        over.set()
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(_IN_ALL_S, give_up)
    timer.start()
    try:
        seen = _exchange(connection, path, body)
    finally:
        timer.cancel()
        timer.join()
        connection.close()
    return "no end" if over.is_set() else seen


def _exchange(connection: HTTPConnection, path: str, body: bytes) -> str:
    try:
        connection.request("POST", path, body)
        with connection.getresponse() as response:
            return _outcome(response)
    except (OSError, HTTPException, ValueError) as error:
        return next(word for kind, word in _TROUBLES.items() if isinstance(error, kind))


def _outcome(response: HTTPResponse) -> str:
    unpacked = zlib.decompressobj(31) if response.headers["content-encoding"] == "gzip" else None
    content = b""
    while more := response.read(65536):
        content += unpacked.decompress(more) if unpacked else more
        if len(content) > _MOST:
            return "too much"
    if response.length:
        return "short"
    return f"200 {content[:9].decode()}" if response.status == 200 else str(response.status)
