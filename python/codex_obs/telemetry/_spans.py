"""The spans of agents, and those of anybody."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from codex_obs._telemetry import spans
from codex_obs._telemetry.spans import Span

if TYPE_CHECKING:
    from collections.abc import Mapping


def thread(
    thread_id: str | None = None,
    *,
    input: object = None,  # noqa: A002 - what everybody calls it
    originator: str | None = None,
    source: str | None = None,
    workflow: str | None = None,
    group: str | None = None,
    tracing_disabled: bool = False,
    trace_id: str | None = None,
    span_id: str | None = None,
    **attributes: object,
) -> Span:
    """Give the span of a conversation with an agent. What happens inside inherits all that names it.

    Args:
        thread_id: Its identifier.
        input: What it is about: content.
        originator: Who runs it. Default: ``sdk``, or that of the thread around it.
        source: Where it was asked for.
        workflow: What it is a part of.
        group: With which others it belongs together.
        tracing_disabled: Keep its spans at home: in the log, and exported nowhere.
        trace_id: 32 hex digits. Default: those of the span around it, else random ones.
        span_id: 16 hex digits. Default: random ones.
        **attributes: Anything else.

    Raises:
        ValueError: If an id is no such hex digits.
    """
    named = {
        "thread_id": thread_id,
        "originator": originator,
        "source": source,
        "workflow": workflow,
        "group": group,
        "tracing_disabled": tracing_disabled or None,
    }
    return Span(
        spans.THREAD,
        "codex.thread",
        facts={"pid": os.getpid()},
        inherited=_given(named),
        contents=_given({"input": input}),
        attributes=attributes,
        ids=(trace_id, span_id),
    )


def turn(
    turn_id: str | None = None,
    *,
    input: object = None,  # noqa: A002 - as above
    model: str | None = None,
    agent: str | None = None,
    trace_id: str | None = None,
    span_id: str | None = None,
    **attributes: object,
) -> Span:
    """Give the span of one request to an agent and everything up to its answer.

    Args:
        turn_id: Its identifier, which what happens inside inherits.
        input: The request: content.
        model: Which model answers.
        agent: Which agent.
        trace_id: As for `thread`.
        span_id: As for `thread`.
        **attributes: Anything else.
    """
    return Span(
        spans.TURN,
        "codex.turn",
        facts=_given({"model": model, "agent": agent}),
        inherited=_given({"turn_id": turn_id}),
        contents=_given({"input": input}),
        attributes=attributes,
        ids=(trace_id, span_id),
    )


def tool(
    name: str,
    *,
    call_id: str | None = None,
    server: str | None = None,
    arguments: object = None,
    trace_id: str | None = None,
    span_id: str | None = None,
    **attributes: object,
) -> Span:
    """Give the span of one call of a tool. With `server` it is one of an MCP server.

    Args:
        name: The tool.
        call_id: The identifier of the call.
        server: The MCP server that has the tool.
        arguments: What it is called with: content. What it gives is ``span.set(output=…)``.
        trace_id: As for `thread`.
        span_id: As for `thread`.
        **attributes: Anything else.
    """
    kind = spans.TOOL if server is None else spans.MCP_TOOL
    return Span(
        kind,
        f"codex.{kind.name} {name}",
        facts=_given({"tool": name, "call_id": call_id, "server": server}),
        inherited={},
        contents=_given({"arguments": arguments}),
        attributes=attributes,
        ids=(trace_id, span_id),
    )


def approval(
    name: str,
    *,
    call_id: str | None = None,
    trace_id: str | None = None,
    span_id: str | None = None,
    **attributes: object,
) -> Span:
    """Give the span of a question whether something may be done.

    It ends as approved, unless `Span.deny` or `Span.time_out` was called or an exception leaves it, which is a denial.

    Args:
        name: What is to be done, such as the name of a tool.
        call_id: The identifier of the call that it is about.
        trace_id: As for `thread`.
        span_id: As for `thread`.
        **attributes: Anything else.
    """
    return Span(
        spans.APPROVAL,
        f"codex.approval {name}",
        facts=_given({"tool": name, "call_id": call_id}),
        inherited={},
        contents={},
        attributes=attributes,
        ids=(trace_id, span_id),
    )


def span(name: str, /, **attributes: object) -> Span:
    """Give a span of anything.

    Args:
        name: What people call it.
        **attributes: What is known of it.
    """
    return Span(spans.SPAN, name, facts={}, inherited={}, contents={}, attributes=attributes)


def current_span() -> Span | None:
    """Return the span that this thread or task is in, or None."""
    return spans.current()


def traceparent() -> str | None:
    """Return the current span as W3C Trace Context spells it, or None.

    As the variable ``TRACEPARENT`` in the environment of another process it is the parent of the spans there.
    """
    found = spans.current()
    return None if found is None else found.traceparent


def _given(facts: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in facts.items() if value is not None}
