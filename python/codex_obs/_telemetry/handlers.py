"""Who hears of events: functions of the program, called where the event happens."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_logger = logging.getLogger("codex_obs")
_lock = threading.RLock()
EVERY = "*"


class Handler(Protocol):
    """A function that hears of events."""

    def __call__(
        self, event: str, measurements: Mapping[str, object], metadata: Mapping[str, object], config: object, /
    ) -> object:
        """Hear of one. What it returns is not looked at."""


class _Attached(NamedTuple):
    handler_id: str
    events: frozenset[str]
    handler: Handler
    config: object


_attached: tuple[_Attached, ...] = ()


def attach(handler_id: str, events: Iterable[str], handler: Handler, config: object) -> None:
    """Have a handler called for events.

    Raises:
        ValueError: If a handler of that name is attached.
    """
    global _attached  # noqa: PLW0603 - replaced as a whole, so that a loop over it needs no lock
    new = _Attached(handler_id, frozenset(events), handler, config)
    with _lock:
        if any(one.handler_id == handler_id for one in _attached):
            raise ValueError(f"a handler {handler_id!r} is attached already: detach it first, or choose another name")
        _attached = (*_attached, new)


def detach(handler_id: str) -> bool:
    """Have a handler called no more. Gives whether it was attached."""
    global _attached  # noqa: PLW0603 - as above
    with _lock:
        kept = tuple(one for one in _attached if one.handler_id != handler_id)
        was_there = len(kept) < len(_attached)
        _attached = kept
    return was_there


def tell(event: str, measurements: Mapping[str, object], metadata: Mapping[str, object]) -> None:
    """Call the handlers of an event. One that raises is detached, with one warning."""
    for one in _attached:
        if event not in one.events and EVERY not in one.events:
            continue
        try:
            one.handler(event, dict(measurements), dict(metadata), one.config)
        except Exception as error:  # noqa: BLE001 - whatever a handler does wrong is no trouble of the program
            if detach(one.handler_id):
                # Its words may be what it was told, so only its class is named.
                _logger.warning(
                    "the telemetry handler %r raised %s at %s and was detached",
                    one.handler_id,
                    type(error).__name__,
                    event,
                )


def are_attached() -> bool:
    """Return whether anybody listens."""
    return bool(_attached)
