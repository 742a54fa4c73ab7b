"""Spans: what takes time, inside of what, and how it ended."""

from __future__ import annotations

import sys
import time
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from codex_obs import _backend
from codex_obs._settings import environment
from codex_obs._telemetry import attributes as names
from codex_obs._telemetry import content, opentelemetry
from codex_obs._telemetry.ids import (
    Ids,
    checked,
    generation,
    new_span_id,
    new_trace_id,
    of_traceparent,
    to_traceparent,
    token_of,
)
from codex_obs._telemetry.recording import record, wiring

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType, TracebackType
    from typing import Self

    from codex_obs._telemetry.recording import Log

MAX_EVENTS = 128  # as many as OpenTelemetry's own SDK keeps
_IS_GENERATOR = 0x20 | 0x200  # CO_GENERATOR, CO_ASYNC_GENERATOR
_TRACE_DIGITS, _SPAN_DIGITS = 32, 16
_CONTEXT_MODULES = frozenset({"contextlib"})


class Kind(NamedTuple):
    """What a span is of, and what its lines are called.

    Attributes:
        name: What it is of.
        start: The event of its first line.
        stop: That of its last line.
        failure: That of its last line where an exception left it.
    """

    name: str
    start: str
    stop: str
    failure: str


THREAD = Kind("thread", "thread.start", "thread.stop", "thread.exception")
TURN = Kind("turn", "turn.start", "turn.stop", "turn.exception")
SPAN = Kind("span", "span.start", "span.stop", "span.exception")
TOOL = Kind("tool", "tool.start", "tool.success", "tool.failure")
MCP_TOOL = Kind("mcp.tool_call", "mcp.tool_call.start", "mcp.tool_call.success", "mcp.tool_call.failure")
APPROVAL = Kind("approval", "approval.requested", "approval.approved", "approval.denied")
APPROVAL_TIMEOUT = "approval.timeout"
KINDS = (THREAD, TURN, SPAN, TOOL, MCP_TOOL, APPROVAL)

# What is inherited outside of every span.
_OUTSIDE: Mapping[str, object] = {"originator": "sdk"}
_BASE = names.named(names.INHERITED, _OUTSIDE)
_current: ContextVar[Span | None] = ContextVar("codex_obs_span", default=None)


class Span:
    """Something that takes time: enter it with ``with`` or ``async with``.

    The functions of `codex_obs.telemetry` make it. What happens inside, in this thread or task, is a part of it. An
    exception that leaves it makes it an error and goes its way.
    """

    __slots__ = (
        "_attributes",
        "_base",
        "_began",
        "_contents",
        "_dropped",
        "_ending",
        "_events",
        "_facts",
        "_frame",
        "_generation",
        "_given_ids",
        "_has_ended",
        "_ids",
        "_inherited",
        "_kind",
        "_log",
        "_name",
        "_otel",
        "_outer",
        "_start_ns",
        "_status",
        "_written_to",
    )

    def __init__(
        self,
        kind: Kind,
        name: str,
        *,
        facts: Mapping[str, object],
        inherited: Mapping[str, object],
        contents: Mapping[str, object],
        attributes: Mapping[str, object],
        ids: tuple[str | None, str | None] = (None, None),
        log: Log | None = None,
    ) -> None:
        trace_id, span_id = ids
        self._kind = kind
        self._name = name
        self._facts = facts
        self._inherited = inherited
        self._contents = dict(contents)
        self._attributes = dict(attributes)
        self._given_ids = (
            None if trace_id is None else checked(trace_id, _TRACE_DIGITS, "trace_id"),
            None if span_id is None else checked(span_id, _SPAN_DIGITS, "span_id"),
        )
        self._log = log
        self._events: list[dict[str, object]] = []
        self._dropped = 0
        self._ids: Ids | None = None
        self._outer: Span | None = None
        self._frame: FrameType | None = None
        self._otel: object = None
        self._has_ended = False
        self._ending: str | None = None
        self._base: Mapping[str, object] = {}
        self._written_to: Log | None = None
        self._status: tuple[str, str] | None = None

    @property
    def ids(self) -> Ids:
        """What identifies it.

        Raises:
            RuntimeError: If it was not entered yet.
        """
        if self._ids is None:
            raise RuntimeError("the span was not entered: use it with `with`")
        return self._ids

    @property
    def trace_id(self) -> str:
        """32 hex digits, once it is entered."""
        return self.ids.trace_id

    @property
    def span_id(self) -> str:
        """16 hex digits, once it is entered."""
        return self.ids.span_id

    @property
    def traceparent(self) -> str:
        """The span as W3C Trace Context spells it, for other processes."""
        return to_traceparent(self.ids)

    @property
    def log(self) -> Log | None:
        """The run that it is written to, if that is not the current one."""
        return self._log

    def set(self, **attributes: object) -> None:
        """Add attributes; what has the name of a fact of its kind, such as ``result`` of a thread, counts as that."""
        known = names.OWN[self._kind.name]
        for key, value in attributes.items():
            if key in content.KEYS:
                self._contents[key] = value
            elif key in known:
                self._facts = {**self._facts, key: value}
            else:
                self._attributes[key] = value

    def event(self, name: str, **attributes: object) -> None:
        """Note a moment in it. Of more than 128 the others are counted."""
        self._note(name, attributes)

    def fail(self, why: str = "") -> None:
        """Have it end as an error, without an exception. `why` is kept, so it should be no content."""
        self._status = ("error", why)

    def approve(self) -> None:
        """Have an approval end as approved, which it does without a word, too."""
        self._ending = APPROVAL.stop

    def deny(self, reason: str | None = None) -> None:
        """Have an approval end as denied."""
        self._ending = APPROVAL.failure
        if reason is not None:
            self.set(reason=reason)

    def time_out(self) -> None:
        """Have an approval end since nobody answered."""
        self._ending = APPROVAL_TIMEOUT

    def __enter__(self) -> Self:
        self._enter(sys._getframe(1))  # noqa: SLF001 - whether a generator enters it
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._generation != generation():
            # It is the parent's, who ends it.
            return
        opentelemetry.leave(self._otel)
        # Ended by another context, or beneath one that is still open, it is passed over where it stands.
        if _current.get() is self:
            _current.set(self._outer)
        self._frame = None
        # A generator that is closed early did nothing wrong.
        self._end(None if isinstance(error, GeneratorExit) else error)

    async def __aenter__(self) -> Self:
        self._enter(sys._getframe(1))  # noqa: SLF001 - as above: the frame that awaits this
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _enter(self, frame: FrameType) -> None:
        if self._ids is not None:
            raise RuntimeError("the span was entered before: make a new one")
        self._begin(frame)
        _current.set(self)
        self._otel = opentelemetry.enter(self.ids)

    def begin_alone(self, token: str) -> None:
        """Begin it without having anything happen inside: its end is told by another event with the same token."""
        self._begin(None, token)

    def end_alone(self, event: str, extra: Mapping[str, object]) -> None:
        """End one that began alone."""
        self._ending = event
        self.set(**extra)
        is_failure = event == self._kind.failure and self._kind is not APPROVAL
        if is_failure and self._status is None:
            self._status = ("error", "")
        self._end(None)

    def _begin(self, frame: FrameType | None, token: str | None = None) -> None:
        self._outer = _current.get()
        parent = _live(self._outer)
        if frame is not None and frame.f_code.co_flags & _IS_GENERATOR:
            parent = _entered_by(self._outer, frame) or parent
            if not _is_context_manager(frame):
                self._frame = frame
        trace, parent_id, origin = _origin(parent, self._outer)
        given_trace, given_span = self._given_ids
        if given_trace is not None and given_trace != trace:
            trace, parent_id, origin = given_trace, None, {}
        outside = inherited(parent)
        if self._inherited:
            self._inherited = {**outside, **self._inherited}
            self._base = names.named(names.INHERITED, self._inherited)
        else:
            # Most add nothing to what names them.
            self._inherited = outside
            self._base = _BASE if parent is None else parent._base  # noqa: SLF001 - of this class
        if parent is not None:
            self._log = self._log or parent._log  # noqa: SLF001 - of this class
        if origin:
            self._facts = {**self._facts, **origin}
        span_id = given_span or new_span_id()
        self._ids = Ids(token or token_of(span_id), trace, span_id, parent_id)
        self._generation = generation()
        self._start_ns = time.time_ns()
        self._began = time.perf_counter_ns()
        metadata = self._metadata(self._named())
        # Its last line goes where the first one went.
        begun = {"system_time": self._start_ns}
        self._written_to = record(self._kind.start, self._ids, begun, metadata, self._log)

    def _named(self) -> dict[str, object]:
        """The attributes: ours, those of the conventions, the caller's."""
        kind = self._kind.name
        found = dict(self._base)
        if self._facts:
            found.update(names.named(names.OWN[kind], self._facts))
        if kind in names.OPERATION:
            found[names.OPERATION_NAME] = names.OPERATION[kind]
        if wiring.captures_content:
            found.update(self._attributes)
            found.update(names.named(names.CONTENT, self._contents))
            if names.OPERATION.get(kind) == "execute_tool" and "output" in self._contents:
                found[names.TOOL_OUTPUT] = self._contents["output"]
        elif self._attributes:
            found.update(content.without(self._attributes))
        return found

    def _metadata(self, attributes: dict[str, object]) -> dict[str, object]:
        contents = self._contents if wiring.captures_content else {}
        metadata: dict[str, object] = {
            **self._inherited,
            **self._facts,
            **contents,
            "span_token": self.ids.token,
            "name": self._name,
            "attributes": attributes,
        }
        if self._kind is MCP_TOOL:
            metadata["kind"] = "client"
        return metadata

    def _end(self, error: BaseException | None) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        duration = max(0, time.perf_counter_ns() - self._began)
        duration_ms = duration / 1e6
        event, (status, words) = self._verdict(error)
        attributes = self._named()
        attributes[names.DURATION] = duration_ms
        if error is not None:
            attributes[names.ERROR_TYPE] = _class_name(error)
            self._note("exception", _of_exception(error))
        metadata = self._metadata(attributes)
        metadata["status"] = status
        if words:
            metadata["status_message"] = words
        if self._events:
            metadata["events"] = self._events
        if self._dropped:
            metadata["events_dropped"] = self._dropped
        end = self._start_ns + duration
        measurements = {
            "duration": duration,
            "duration_ms": duration_ms,
            "system_time": end,
            "start_time": self._start_ns,
        }
        record(event, self.ids, measurements, metadata, self._written_to)
        if wiring.export is not None and not self._inherited.get("tracing_disabled"):
            wiring.export(self.ids, measurements, metadata)

    def _verdict(self, error: BaseException | None) -> tuple[str, tuple[str, str]]:
        if error is not None:
            words = _class_name(error)
            if wiring.captures_content:
                words = f"{words}: {_text(error)}"
            return self._kind.failure, ("error", words)
        event = self._ending or self._kind.stop
        if self._status is not None:
            failed = self._kind.failure if self._ending is None else event
            return failed, self._status
        return event, ("ok", "")

    def _note(self, name: str, attributes: Mapping[str, object]) -> None:
        if len(self._events) >= MAX_EVENTS:
            self._dropped += 1
            return
        kept = dict(attributes) if wiring.captures_content else content.without(attributes)
        self._events.append({"name": name, "time": time.time_ns(), "attributes": kept})


def current() -> Span | None:
    """Return the span that this thread or task is in."""
    return _live(_current.get())


def inherited(span: Span | None) -> Mapping[str, object]:
    """Return what happens in a span inherits from it."""
    return _OUTSIDE if span is None else span._inherited  # noqa: SLF001 - of this module


def note_event(category: object, message: object, fields: Mapping[str, object]) -> None:
    """Note what `Run.event` was told in the span that it was called in."""
    span = current()
    if span is not None:
        words = {} if message is None else {"message": message}
        span._note(str(category), {**fields, **words})  # noqa: SLF001 - of this module


# From here on: a program that uses no span loads nothing of this.
_backend.listen_to_events(note_event)


def _live(span: Span | None) -> Span | None:
    """Return the innermost span that is open and whose generator, if it is one's, is running."""
    while span is not None and (span._has_ended or _is_suspended(span._frame)):  # noqa: SLF001 - of this module
        span = span._outer  # noqa: SLF001 - of this module
    return span


def _is_suspended(frame: FrameType | None) -> bool:
    # A frame that runs has a caller; a generator that has yielded has none.
    return frame is not None and frame.f_back is None


def _entered_by(span: Span | None, frame: FrameType) -> Span | None:
    """Return the innermost open span that was entered in `frame`: nearer than the generator's caller."""
    while span is not None and (span._has_ended or span._frame is not frame):  # noqa: SLF001 - of this module
        span = span._outer  # noqa: SLF001 - of this module
    return span


def _is_context_manager(frame: FrameType) -> bool:
    """Whether a generator is one that ``contextlib`` makes a context manager of: what it is suspended for is inside."""
    caller = frame.f_back
    return caller is not None and caller.f_globals.get("__name__") in _CONTEXT_MODULES


def _origin(parent: Span | None, chain: Span | None) -> tuple[str, str | None, dict[str, object]]:
    """Return trace and parent of a span that begins, and what is to be said of a parent that is not ours."""
    foreign = opentelemetry.current(_known(chain))
    if foreign is not None:
        return foreign[0], foreign[1], {"parent_is_foreign": True}
    if parent is not None:
        return parent.ids.trace_id, parent.ids.span_id, {}
    handed = _handed_over()
    if handed is not None:
        return handed[0], handed[1], {"parent_is_remote": True}
    return new_trace_id(), None, {}


@cache
def _handed_over() -> tuple[str, str] | None:
    """Return trace and span of the process that started this one."""
    return of_traceparent(environment.traceparent())


def _known(span: Span | None) -> frozenset[str]:
    if "opentelemetry.trace" not in sys.modules:
        return frozenset()
    found = set()
    while span is not None:
        found.add(span.ids.span_id)
        span = span._outer  # noqa: SLF001 - of this module
    return frozenset(found)


def _class_name(error: BaseException) -> str:
    kind = type(error)
    return (
        kind.__qualname__ if kind.__module__ in {"builtins", "__main__"} else f"{kind.__module__}.{kind.__qualname__}"
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a stranger's __str__ may do anything
        return ""


def _of_exception(error: BaseException) -> dict[str, object]:
    found: dict[str, object] = {"exception.type": _class_name(error)}
    if wiring.captures_content:
        found["exception.message"] = _text(error)
    return found
