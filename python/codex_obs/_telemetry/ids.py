"""Identifiers of spans: random ones, and those that another process hands over."""

from __future__ import annotations

import os
import random
import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ZEROS = frozenset("0")
_TOKEN_BITS, _TRACE_BITS, _SPAN_BITS = 32, 128, 64


class Ids(NamedTuple):
    """What identifies a span.

    Attributes:
        token: Joins its lines.
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_span_id: Those of its parent; None of a root.
    """

    token: str
    trace_id: str
    span_id: str
    parent_span_id: str | None


class _Source:
    """Random numbers of this process's own: training programs seed the ones that everybody shares."""

    def __init__(self) -> None:
        self.generation = 0
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a forked child too, which must not repeat its parent's."""
        self.random = random.Random(os.urandom(32))  # noqa: S311 - identifiers, no secrets
        self.process = f"{self.random.getrandbits(_TOKEN_BITS):08x}"
        self.generation += 1


_source = _Source()
os.register_at_fork(after_in_child=_source.renew)


def generation() -> int:
    """Return a number that differs in a forked child."""
    return _source.generation


def token_of(span_id: str) -> str:
    """Return the token of a span, which tells the process, too."""
    return f"{_source.process}-{span_id}"


def new_trace_id() -> str:
    """Return a new trace."""
    return f"{_source.random.getrandbits(_TRACE_BITS) or 1:032x}"


def new_span_id() -> str:
    """Return a new span."""
    return f"{_source.random.getrandbits(_SPAN_BITS) or 1:016x}"


def to_traceparent(ids: Ids) -> str:
    """Spell a span as the header `traceparent` of W3C Trace Context."""
    return f"00-{ids.trace_id}-{ids.span_id}-01"


def of_traceparent(text: str | None) -> tuple[str, str] | None:
    """Return trace and span of such a header; None if it is none."""
    found = _TRACEPARENT.fullmatch((text or "").strip().lower())
    if found is None:
        return None
    version, trace, span, _, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or set(trace) == _ZEROS or set(span) == _ZEROS:
        return None
    return trace, span


def checked(text: str, digits: int, what: str) -> str:
    """Require hex digits that are not all zeros.

    Raises:
        ValueError: If they are not.
    """
    lowered = text.lower()
    if len(lowered) != digits or not re.fullmatch(r"[0-9a-f]+", lowered) or set(lowered) == _ZEROS:
        raise ValueError(f"{what} must be {digits} hex digits, not all of them 0")
    return lowered
