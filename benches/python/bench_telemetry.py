"""What a span costs the program, beside OpenTelemetry's own SDK, which keeps it in memory and exports on a thread."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs import telemetry
from loggers import is_installed
from race import race, replayed, report, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures

SPANS = 500
PEER = "OpenTelemetry SDK"

pytestmark = replayed


@pytest.fixture
def run(tmp_path: Path) -> Iterator[codex_obs.Run]:
    with codex_obs.init(tmp_path / "run", fsync="never", max_shard_bytes=None) as run:
        yield run
    assert run.stats()["telemetry_dropped"] == 0


def their_spans() -> Callable[[], None]:
    sdk, export = import_module("opentelemetry.sdk.trace"), import_module("opentelemetry.sdk.trace.export")
    memory = import_module("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.BatchSpanProcessor(memory.InMemorySpanExporter()))
    tracer = provider.get_tracer("bench")

    def work() -> None:
        for number in range(SPANS):
            with tracer.start_as_current_span("step", attributes={"number": number}):
                pass

    return work


def our_spans() -> None:
    for number in range(SPANS):
        with telemetry.span("step", number=number):
            pass


def our_events() -> None:
    for number in range(SPANS):
        telemetry.emit("step.done", {"number": number})


@pytest.mark.parametrize(("kind", "most"), [("a span", 1.0), ("an event", 0.35)])
def test_a_span_beside_the_sdk(
    benchmark: BenchmarkFixture, figures: Figures, run: codex_obs.Run, kind: str, most: float
) -> None:
    if not is_installed("opentelemetry"):
        pytest.skip(f"{PEER} is not installed here")
    ours = our_spans if kind == "a span" else our_events
    ours()
    assert telemetry.read(run).height == SPANS
    comparison = f"telemetry, {kind}"
    seconds = race(
        {
            "codex_obs": timed(SPANS, ours, run.flush),
            PEER: timed(SPANS, their_spans(), lambda: None),
        }
    )
    figures.compare(comparison, PEER, seconds[PEER])
    report(benchmark, figures, comparison, "codex_obs", seconds["codex_obs"])
    figures.allow(comparison, PEER, most)
