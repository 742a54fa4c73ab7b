"""Exporters of the OpenTelemetry SDK: they get each span that ends as the SDK's own."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_obs._telemetry.ids import Ids

_logger = logging.getLogger("codex_obs")
_PLAIN = (str, bool, int, float)
_LARGEST = 2**63 - 1


class SpanExporter(Protocol):
    """An exporter of the OpenTelemetry SDK, as far as it is used."""

    def export(self, spans: Sequence[Any]) -> object:
        """Take spans."""


class Exporting:
    """Hands spans to an exporter, where they end.

    Raises:
        ImportError: If the OpenTelemetry SDK is not installed.
    """

    def __init__(self, exporter: SpanExporter, resource: Sequence[tuple[str, str]]) -> None:
        try:
            from opentelemetry import trace  # noqa: PLC0415 - of the extra
            from opentelemetry.sdk import trace as sdk  # noqa: PLC0415 - as above
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415 - as above
        except ImportError as error:
            raise ImportError("an exporter needs the OpenTelemetry SDK: pip install 'codex_obs[otel]'") from error
        self._exporter = exporter
        self._trace: Any = trace
        self._sdk: Any = sdk
        # Not `Resource.create`, which reads the environment.
        self._resource: Any = Resource(dict(resource))
        self._scope: Any = InstrumentationScope("codex_obs")
        self._has_failed = False

    def export(self, ids: Ids, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        """Hand over a span, as its last line has it. An exporter that raises is warned of once."""
        span = self._readable(ids, measurements, metadata)
        try:
            self._exporter.export([span])
        except Exception as error:  # noqa: BLE001 - an exporter's trouble is none of the program's
            if not self._has_failed:
                self._has_failed = True
                _logger.warning("the span exporter raised %s; said once", type(error).__name__)

    def _readable(self, ids: Ids, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> object:
        trace = self._trace
        is_remote = bool(metadata.get("parent_is_foreign") or metadata.get("parent_is_remote"))
        parent = (
            None if ids.parent_span_id is None else self._context(ids.trace_id, ids.parent_span_id, is_remote=is_remote)
        )
        is_error = metadata.get("status") == "error"
        status = trace.Status(
            trace.StatusCode.ERROR if is_error else trace.StatusCode.OK,
            metadata.get("status_message") if is_error else None,
        )
        return self._sdk.ReadableSpan(
            name=metadata["name"],
            context=self._context(ids.trace_id, ids.span_id, is_remote=False),
            parent=parent,
            resource=self._resource,
            attributes=_plain(metadata["attributes"]),
            events=[
                self._sdk.Event(event["name"], attributes=_plain(event["attributes"]), timestamp=event["time"])
                for event in metadata.get("events", ())
            ],
            kind=trace.SpanKind.CLIENT if metadata.get("kind") == "client" else trace.SpanKind.INTERNAL,
            start_time=measurements["start_time"],
            end_time=measurements["system_time"],
            instrumentation_scope=self._scope,
            status=status,
        )

    def _context(self, trace_id: str, span_id: str, *, is_remote: bool) -> object:
        flags = self._trace.TraceFlags(self._trace.TraceFlags.SAMPLED)
        return self._trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=is_remote, trace_flags=flags)


def _plain(attributes: Mapping[str, object]) -> dict[str, Any]:
    """Return attributes as collectors take them: what is nested goes as its JSON text."""
    return {key: _value(value) for key, value in attributes.items() if value is not None}


def _value(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and not -_LARGEST <= value <= _LARGEST:
        return str(value)
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], _PLAIN):
        first = type(value[0])
        if all(type(one) is first for one in value):
            return list(value)
    return json.dumps(value, default=str)
