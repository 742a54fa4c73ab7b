"""Lines of telemetry as a frame of spans and events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

_OF_LINE = ("event", "span_token", "trace_id", "span_id", "parent_span_id", "run_id")


def frame(lines: Iterable[tuple[str, bytes]], problems: list[str]) -> pl.DataFrame:
    """Make a frame of lines, each with its stream. What cannot be read is left out, which `problems` says."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    rows: list[dict[str, object]] = []
    spans: dict[tuple[str, str], dict[str, object]] = {}
    skipped = 0
    for stream, line in lines:
        document = _document(line)
        if document is None:
            skipped += 1
            continue
        row = _row(stream, document)
        if row["kind"] == "event":
            rows.append(row)
            continue
        key = (stream, str(row["span_token"]))
        known = spans.get(key)
        if known is None or row["status"] is None:
            spans[key] = row
            rows.append(row)
        else:
            # The last line has all of it, and stands where the first one did.
            known.update(row)
    if skipped:
        problems.append(f"{skipped} {'line is' if skipped == 1 else 'lines are'} no telemetry and left out")
    return pl.DataFrame(rows, schema=_schema())


def _document(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:  # no JSON, or no UTF-8
        return None
    return found if isinstance(found, dict) else None


def _row(stream: str, document: dict[str, Any]) -> dict[str, object]:
    measurements, metadata = _object(document.get("measurements")), _object(document.get("metadata"))
    is_span = "name" in metadata and ("status" in metadata or _is_start(str(document.get("event"))))
    start, end = measurements.get("start_time"), measurements.get("system_time")
    if start is None:
        start, end = end, None
    return {
        **{key: document.get(key) for key in _OF_LINE},
        "stream": stream,
        "kind": "span" if is_span else "event",
        "name": metadata.get("name") if is_span else None,
        "status": metadata.get("status"),
        "start": start if isinstance(start, int) else None,
        "end": end if isinstance(end, int) else None,
        "duration_ms": measurements.get("duration_ms"),
        "thread_id": metadata.get("thread_id"),
        "turn_id": metadata.get("turn_id"),
        "attributes": json.dumps(_object(metadata.get("attributes"))),
        "measurements": json.dumps(measurements),
        "metadata": json.dumps(metadata),
    }


def _is_start(event: str) -> bool:
    return event.endswith((".start", ".requested"))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _schema() -> dict[str, pl.DataType]:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    text, time = pl.String(), pl.Datetime("ns", "UTC")
    names = (
        "stream",
        "run_id",
        "kind",
        "event",
        "name",
        "span_token",
        "trace_id",
        "span_id",
        "parent_span_id",
        "status",
    )
    return {
        **dict.fromkeys(names, text),
        "start": time,
        "end": time,
        "duration_ms": pl.Float64(),
        **dict.fromkeys(("thread_id", "turn_id", "attributes", "measurements", "metadata"), text),
    }
