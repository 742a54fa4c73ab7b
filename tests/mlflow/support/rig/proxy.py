"""A proxy on the path to the server that misbehaves as it is told, byte by byte."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from rig.answer import Answer, Request, read_answer, read_head

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

    Handler = Callable[["Exchange"], None]

_RESET = struct.pack("ii", 1, 0)
LOG_BATCH = "runs/log-batch"


@dataclass
class Exchange:
    """One request of the client, whose body may not have been read yet."""

    proxy: Proxy
    client: socket.socket
    request: Request
    keep_alive: bool = True

    def body(self, limit: int | None = None) -> bytes:
        """Read the body, or its first `limit` bytes."""
        request = self.request
        wanted = request.length if limit is None else min(limit, request.length)
        while len(request.body) < wanted:
            try:
                more = self.client.recv(min(65536, wanted - len(request.body)))
            except TimeoutError:
                if self.proxy.stopping.is_set():
                    raise EOFError from None
                continue
            if not more:
                raise EOFError
            request.body += more
        return request.body

    def forward(self) -> Answer:
        """Let the server do what it was asked for, and give its answer without passing it on."""
        return self.proxy.ask_server(self.request, self.body())

    def answer(self, status: int | str, body: bytes = b"{}", **headers: str) -> None:
        """Answer as if the server had, once the request has come whole."""
        self.body()
        lines = [f"HTTP/1.1 {status if isinstance(status, str) else f'{status} Said So'}"]
        named = {"content-type": "application/json", "content-length": str(len(body))}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines += [f"{name}: {value}" for name, value in named.items()]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def pass_on(self, answer: Answer | None = None) -> None:
        """Behave: give the client the server's answer."""
        answer = answer or self.forward()
        self.send(answer.head + answer.body)

    def send(self, content: bytes) -> bool:
        """Send bytes as they are; false once the client or the proxy is gone."""
        view = memoryview(content)
        while view and not self.proxy.stopping.is_set():
            try:
                view = view[self.client.send(view) :]
            except TimeoutError:
                continue
            except OSError:
                return False
        return not view

    def drip(self, content: bytes, every_s: float) -> None:
        """Send a byte now and then, until the client has had enough."""
        self.keep_alive = False
        for byte in content:
            if not self.send(bytes([byte])) or self.gone(every_s):
                return

    def pour(self, block: bytes) -> int:
        """Send the same bytes again and again, until the client has had enough; say how many it took."""
        self.keep_alive = False
        taken = 0
        while self.send(block):
            taken += len(block)
        self.proxy.poured = max(self.proxy.poured, taken)
        return taken

    def reset(self) -> None:
        """End the connection with a reset instead of a farewell."""
        self.keep_alive = False
        with contextlib.suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.client.close()

    def hang(self) -> None:
        """Say nothing until the client hangs up."""
        self.keep_alive = False
        self.gone(3600)

    def half_close(self) -> None:
        """Say that nothing more will come, and go on listening."""
        self.keep_alive = False
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_WR)
        self.hang()

    def close(self) -> None:
        """Close the connection after this exchange, whatever its headers said."""
        self.keep_alive = False

    def gone(self, within_s: float) -> bool:
        """Wait for the client to hang up."""
        deadline = time.monotonic() + within_s
        while (left := deadline - time.monotonic()) > 0 and not self.proxy.stopping.is_set():
            if not select.select([self.client], [], [], min(left, 0.1))[0]:
                continue
            try:
                if not self.client.recv(65536):
                    return True
            except TimeoutError:
                continue
            except OSError:
                return True
        return self.proxy.stopping.is_set()


@dataclass(frozen=True)
class Misbehaviour:
    """What the proxy does, how often, and to which requests."""

    on_request: Handler | None = None
    # With a connection that has just come, instead of reading from it.
    on_connection: Handler | None = None
    # How many times; for ever if None.
    times: int | None = None
    # The end of the path; any if empty.
    endpoint: str = LOG_BATCH
    # How it identifies itself, and how it does once it behaves.
    tls: ssl.SSLContext | None = None
    healed_tls: ssl.SSLContext | None = None
    # At first nobody listens, or nobody accepts and the queue is full.
    start: Literal["listening", "refusing", "deaf"] = "listening"


@dataclass
class Proxy:
    """Passes requests on to a server on the loopback interface, or misbehaves."""

    port_of_the_server: int
    misbehaviour: Misbehaviour = field(default_factory=Misbehaviour)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    # Another host, which must never hear of anything.
    port_of_the_stranger: int = 0
    # Most bytes that one client took of an endless answer.
    poured: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._done = 0
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._upstream = threading.local()
        # Two sockets of one port: nobody else gets the port while this one refuses connections.
        self._place = _bound(0)
        self.port = int(self._place.getsockname()[1])
        self._listener: socket.socket | None = None
        self._fillers: list[socket.socket] = []
        self._clients: set[socket.socket] = set()
        if self.misbehaviour.start == "listening":
            self.listen()
        elif self.misbehaviour.start == "deaf":
            self._fall_deaf()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.stopping.set()
        self._place.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} hangs"

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http{'s' if self.misbehaviour.tls else ''}://127.0.0.1:{self.port}"

    def listen(self) -> None:
        """Accept connections."""
        listener = self._listener = _bound(self.port)
        listener.listen()
        self._spawn(self._accept, listener)

    def refuse(self) -> None:
        """Accept no more connections, and end those that there are."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    def heal(self) -> None:
        """Behave from now on."""
        told, self.misbehaviour = (
            self.misbehaviour,
            Misbehaviour(tls=self.misbehaviour.healed_tls or self.misbehaviour.tls),
        )
        if told.start != "listening":
            self.refuse()
            self.listen()

    def calls(self, endpoint: str = LOG_BATCH) -> list[Request]:
        """Give the requests whose path ends so."""
        return [request for request in list(self.requests) if request.path.partition("?")[0].endswith(endpoint)]

    def ask_server(self, request: Request, body: bytes) -> Answer:
        """Do a request at the server, on a connection of this thread's own."""
        for fresh in (False, True):
            upstream: socket.socket | None = None if fresh else getattr(self._upstream, "socket", None)
            if upstream is None:
                upstream = socket.create_connection(("127.0.0.1", self.port_of_the_server), timeout=120)
            self._upstream.socket = upstream
            try:
                upstream.sendall(request.head + body)
                return read_answer(upstream)
            except (OSError, EOFError):
                upstream.close()
                if fresh:
                    raise
        raise AssertionError

    def _fall_deaf(self) -> None:
        self._listener = _bound(self.port)
        self._listener.listen(0)
        for _ in range(3):
            filler = socket.socket()
            filler.settimeout(0)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def _spawn(self, target: Callable[[socket.socket], None], subject: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(subject,), name=f"proxy-{target.__name__}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                self._converse(client)
        finally:
            client.close()
            if (upstream := getattr(self._upstream, "socket", None)) is not None:
                upstream.close()

    def _converse(self, client: socket.socket) -> None:
        client.settimeout(0.1)
        nothing = Request("", "", [], b"", 0, 0, time.time())
        if (handler := self.misbehaviour.on_connection) is not None and self._claim():
            handler(Exchange(self, client, nothing))
            return
        if self.misbehaviour.tls is not None:
            client.settimeout(10)
            client = self.misbehaviour.tls.wrap_socket(client, server_side=True)
            client.settimeout(0.1)
        connection = self.connections
        with client:
            self._clients.add(client)
            try:
                self._answer_requests(client, connection)
            finally:
                self._clients.discard(client)

    def _answer_requests(self, client: socket.socket, connection: int) -> None:
        while not self.stopping.is_set():
            request = read_head(client, self.stopping, connection)
            self.requests.append(request)
            exchange = Exchange(self, client, request)
            (self._handler_of(request) or Exchange.pass_on)(exchange)
            if not exchange.keep_alive:
                return

    def _handler_of(self, request: Request) -> Handler | None:
        told = self.misbehaviour
        if told.on_request is None or not request.path.partition("?")[0].endswith(told.endpoint):
            return None
        return told.on_request if self._claim() else None

    def _claim(self) -> bool:
        with self._lock:
            self._done += 1
            return self.misbehaviour.times is None or self._done <= self.misbehaviour.times


def _bound(port: int) -> socket.socket:
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    place.bind(("127.0.0.1", port))
    return place
