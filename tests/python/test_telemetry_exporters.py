"""Exporters of the OpenTelemetry SDK, and spans of OpenTelemetry around and inside of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import codex_obs
from codex_obs import telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_is_configured() -> Iterator[None]:
    yield
    telemetry.configure({})


def test_an_exporter_gets_each_span_where_it_ends(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    found = telemetry.configure({"OTEL_SERVICE_NAME": "svc"}, exporter=exporter)
    assert (found.enabled, found.endpoint, found.exporter) == (True, None, exporter)
    with codex_obs.init(tmp_path / "run") as run:
        with telemetry.thread("t") as thread:
            with pytest.raises(ZeroDivisionError), telemetry.tool("x", server="s", n=1, nested={"a": [1]}):
                raise ZeroDivisionError
            assert [span.name for span in exporter.get_finished_spans()] == ["codex.mcp.tool_call x"]
        with telemetry.thread("private", tracing_disabled=True):
            pass
        frame = telemetry.read(run)
    tool, outer = exporter.get_finished_spans()
    assert tool.parent is not None
    assert tool.context is not None
    assert outer.context is not None
    assert tool.parent.span_id == outer.context.span_id == int(thread.span_id, 16)
    assert (tool.status.status_code, tool.status.description) == (trace.StatusCode.ERROR, "ZeroDivisionError")
    assert tool.kind is trace.SpanKind.CLIENT
    assert tool.attributes is not None
    assert (tool.attributes["n"], tool.attributes["nested"]) == (1, '{"a": [1]}')
    assert [event.name for event in tool.events] == ["exception"]
    assert tool.resource.attributes["service.name"] == "svc"
    assert f"{tool.context.trace_id:032x}" == thread.trace_id
    row = frame.filter(frame["name"] == tool.name).row(0, named=True)
    assert tool.start_time is not None
    assert row["start"].timestamp() == pytest.approx(tool.start_time / 1e9, abs=1e-5)


def test_an_exporter_that_raises_is_no_trouble_of_the_program(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def export(self, spans: object) -> object:
            raise RuntimeError(spans)

    telemetry.configure({}, exporter=Broken())
    for _ in range(2):
        with telemetry.span("s"):
            pass
    assert [record.getMessage() for record in caplog.records] == ["the span exporter raised RuntimeError; said once"]


def test_spans_of_both_are_parents_of_each_other(tmp_path: Path) -> None:
    theirs = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    tracer = provider.get_tracer("test")
    with codex_obs.init(tmp_path / "run") as run:
        with tracer.start_as_current_span("theirs outside"):
            inside_of_theirs = telemetry.span("ours inside")
            with telemetry.span("ours") as ours, tracer.start_as_current_span("theirs inside"), inside_of_theirs:
                pass
            assert trace.get_current_span().get_span_context().span_id != int(ours.span_id, 16)
        with telemetry.span("alone"):
            pass
        frame = telemetry.read(run)
    provider.shutdown()
    contexts = {span.name: (span.context, span.parent) for span in theirs.get_finished_spans()}
    rows = {row["name"]: row for row in frame.iter_rows(named=True)}
    outside, inside = contexts["theirs outside"], contexts["theirs inside"]
    assert outside[0] is not None
    assert inside[0] is not None
    assert inside[1] is not None
    assert rows["ours"]["parent_span_id"] == f"{outside[0].span_id:016x}"
    assert rows["ours"]["trace_id"] == f"{outside[0].trace_id:032x}"
    assert inside[1].span_id == int(rows["ours"]["span_id"], 16)
    assert rows["ours inside"]["parent_span_id"] == f"{inside[0].span_id:016x}"
    assert rows["alone"]["parent_span_id"] is None
