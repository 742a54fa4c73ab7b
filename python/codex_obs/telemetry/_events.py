"""Events, and who hears of them."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from codex_obs._telemetry import attributes as names
from codex_obs._telemetry import content, handlers, spans
from codex_obs._telemetry.ids import new_span_id, token_of
from codex_obs._telemetry.recording import record, wiring
from codex_obs._telemetry.spans import Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from codex_obs._telemetry.handlers import Handler

_DEFAULT_LOGGER = "codex_obs-default-logger"
_USAGE = "thread.token_usage.updated"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_STARTS = {kind.start: kind for kind in spans.KINDS}
_ENDS = {event: kind for kind in spans.KINDS for event in (kind.stop, kind.failure)} | {
    spans.APPROVAL_TIMEOUT: spans.APPROVAL
}
# Facts that name a thread or turn, which what happens inside inherits.
_NAMING = frozenset({*names.INHERITED, "tracing_disabled"})
_logger = logging.getLogger("codex_obs")
_lock = threading.Lock()
# Spans whose ends are told by another event with the same token.
_told: dict[str, Span] = {}


def emit(
    event: str, measurements: Mapping[str, object] | None = None, metadata: Mapping[str, object] | None = None
) -> None:
    """Say that something happened. Inside of a span it is an event of that, too.

    The events of spans, such as ``turn.start`` and ``turn.stop``, make one if both have the same ``span_token`` in
    their
    metadata: for programs that cannot use ``with``.

    Args:
        event: What happened: a dotted name such as ``rate_limit.limited``.
        measurements: Numbers. ``system_time`` (nanoseconds since the epoch) is added, and ``duration_ms`` to a
            ``duration`` in nanoseconds.
        metadata: Anything else. Content (``input``, ``arguments``, ``output``, ``diff``) is left out unless it is
            captured.
    """
    measured: dict[str, object] = {"system_time": time.time_ns(), **(measurements or {})}
    duration = measured.get("duration")
    if isinstance(duration, int) and "duration_ms" not in measured:
        measured["duration_ms"] = duration / 1e6
    given = dict(metadata or {})
    token = given.get("span_token")
    if isinstance(token, str) and token and (event in _STARTS or event in _ENDS):
        _tell_of_span(event, token, given)
        return
    kept = given if wiring.captures_content else content.without(given)
    span = spans.current()
    if span is None:
        record(event, None, measured, {**spans.inherited(None), "span_token": token_of(new_span_id()), **kept}, None)
        return
    usage = {names.USAGE[key]: value for key, value in measured.items() if key in names.USAGE and event == _USAGE}
    if usage:
        span.set(**usage)
    span.event(event, **{key: value for key, value in measured.items() if key != "system_time"}, **kept)
    full = {**spans.inherited(span), "span_token": span.ids.token, **kept}
    record(event, span.ids, measured, full, span.log)


def _tell_of_span(event: str, token: str, given: dict[str, object]) -> None:
    del given["span_token"]
    with _lock:
        found = _told.pop(token, None)
    if event in _STARTS or found is None:
        kind = _STARTS.get(event) or _ENDS[event]
        ids = (_text(given.pop("trace_id", None)), _text(given.pop("span_id", None)))
        name = _text(given.get("tool") or given.get("name"))
        found = Span(
            kind,
            " ".join(filter(None, [f"codex.{kind.name}", name])),
            facts={key: given.pop(key) for key in [*names.OWN[kind.name], "pid"] if key in given},
            inherited={key: given.pop(key) for key in _NAMING if key in given},
            contents={key: given.pop(key) for key in [*names.CONTENT] if key in given},
            attributes=given,
            ids=ids,
        )
        found.begin_alone(token)
        given = {}
    if event in _ENDS:
        found.end_alone(event, given)
    else:
        with _lock:
            _told[token] = found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def attach(handler_id: str, event: str, handler: Handler, config: object = None) -> None:
    """Have a function called for an event, where it happens.

    Args:
        handler_id: A name, for `detach`.
        event: The event; ``*`` is every one.
        handler: Called with the event, its measurements, its metadata, and `config`. One that raises is detached, with
            one warning.
        config: Passed on to it.

    Raises:
        ValueError: If a handler of that name is attached.
    """
    handlers.attach(handler_id, [event], handler, config)


def attach_many(handler_id: str, events: Iterable[str], handler: Handler, config: object = None) -> None:
    """Have a function called for several events; else as `attach`."""
    handlers.attach(handler_id, events, handler, config)


def detach(handler_id: str) -> bool:
    """Have a handler called no more. Gives whether it was attached."""
    return handlers.detach(handler_id)


def attach_default_logger(level: str = "info") -> str:
    """Log the spans of agents and what they took to the logger ``codex_obs``.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``. What failed is logged as an error.

    Returns:
        The name of the handler, for `detach`.

    Raises:
        ValueError: If it is attached already, or there is no such level.
    """
    if level not in _LEVELS:
        raise ValueError(f"level={level!r:.80} cannot be used: give debug, info, warning or error")
    handlers.attach(_DEFAULT_LOGGER, [handlers.EVERY], _log, _LEVELS[level])
    return _DEFAULT_LOGGER


def _log(event: str, measurements: Mapping[str, object], metadata: Mapping[str, object], config: object) -> None:
    level = config if isinstance(config, int) else logging.INFO
    if metadata.get("status") == "error":
        level = logging.ERROR
    facts = {key: metadata[key] for key in ("thread_id", "turn_id", "tool", "status_message") if key in metadata}
    if "duration_ms" in measurements:
        facts["duration_ms"] = measurements["duration_ms"]
    words = " ".join(f"{key}={value}" for key, value in facts.items())
    _logger.log(level, "%s %s", event, words)
