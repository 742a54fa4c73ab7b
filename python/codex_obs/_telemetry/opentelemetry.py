"""Spans of OpenTelemetry as parents of ours, and ours as parents of its.

Nothing is imported that the program has not imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from codex_obs._telemetry.ids import Ids

_TRACE = "opentelemetry.trace"
_CONTEXT = "opentelemetry.context"


def _modules() -> tuple[Any, Any] | None:
    trace, context = sys.modules.get(_TRACE), sys.modules.get(_CONTEXT)
    # While another thread imports it, parts are missing.
    if trace is None or context is None or not hasattr(trace, "set_span_in_context") or not hasattr(context, "detach"):
        return None
    return trace, context


def current(ours: AbstractSet[str]) -> tuple[str, str] | None:
    """Return trace and span of OpenTelemetry's current span, unless it is one of ours, or there is none."""
    modules = _modules()
    if modules is None:
        return None
    found = modules[0].get_current_span().get_span_context()
    if not found.is_valid:
        return None
    span_id = f"{found.span_id:016x}"
    return None if span_id in ours else (f"{found.trace_id:032x}", span_id)


def enter(ids: Ids) -> object:
    """Make a span of ours OpenTelemetry's current one. Gives what `leave` needs."""
    modules = _modules()
    if modules is None:
        return None
    trace, context = modules
    mine = trace.SpanContext(
        int(ids.trace_id, 16),
        int(ids.span_id, 16),
        is_remote=False,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return context.attach(trace.set_span_in_context(trace.NonRecordingSpan(mine)))


def leave(token: object) -> None:
    """Undo `enter`."""
    if token is None:
        return
    # `detach` logs what goes wrong where a span is left in another context than it was entered in.
    context = sys.modules[_CONTEXT]
    runtime = getattr(context, "_RUNTIME_CONTEXT", None)
    try:
        if runtime is None:
            context.detach(token)
        else:
            runtime.detach(token)
    except ValueError:
        # Entered in another context, which is gone or has its own current span.
        return
