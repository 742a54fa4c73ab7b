"""A fault: what the proxy does, what a bare client sees of it, and what the exporter must make of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rig.proxy import Misbehaviour

if TYPE_CHECKING:
    from collections.abc import Callable

    from rig.proxy import Exchange

# `delivered`: everything is at the server when `close` returns. `kept`: nothing is lost, and `sync` delivers it once
# the fault is over. `rejected`: the poisoned metric is set aside, the rest is delivered. `stopped`: the exporter gives
# up and names the remedy; `sync` delivers once it is applied.
Verdict = Literal["delivered", "kept", "rejected", "stopped"]


@dataclass(frozen=True)
class Fault:
    """One line of the table."""

    name: str
    misbehaviour: Misbehaviour
    verdict: Verdict
    # What a client with little patience sees when it sends `probe`: see `rig.observer`.
    seen: str
    # Whether the server has that request all the same.
    stored: bool = False
    probe: bytes = b'{"run_id":"0","metrics":[]}'.ljust(200)
    # Requests to log a batch that the exporter may make before the fault is over.
    most_requests: int = 30
    environment: dict[str, str] = field(default_factory=dict)


def once(name: str, handler: Callable[[Exchange], None], seen: str, *, stored: bool = False, times: int = 1) -> Fault:
    """Make a fault of requests to log a batch that passes."""
    return Fault(name, Misbehaviour(handler, times=times), "delivered", seen, stored=stored)


def lasting(
    name: str,
    handler: Callable[[Exchange], None],
    seen: str,
    verdict: Verdict = "kept",
    *,
    stored: bool = False,
    most_requests: int = 30,
    **more: Any,
) -> Fault:
    """Make a fault of requests to log a batch that goes on."""
    return Fault(name, Misbehaviour(handler), verdict, seen, stored=stored, most_requests=most_requests, **more)
