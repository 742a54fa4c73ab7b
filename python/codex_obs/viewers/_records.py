"""What a run has beside its curves: structured values, samples of the machine, spans."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from codex_obs import _inspection
from codex_obs.viewers._wire import column, pack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from codex_obs._series import Key, Series

# As many columns as a heat map has room for.
_MAX_HISTOGRAMS = 160
_MAX_TEXTS = 50
_MAX_TEXT = 4000
_MAX_SAMPLES = 2000
_MAX_SPANS = 3000
# What is kept on the way to them, so that memory does not grow with the log.
_KEPT_SPANS = 20_000
_MAX_CURVES = 300
_MAX_NAME = 512
# What ends the name of a span's first line, and of its last.
_BEGINS = ("start", "requested")
_ENDS = ("stop", "exception", "success", "failure", "approved", "denied", "timeout")
_FAILED = ("exception", "failure", "denied", "timeout")


def values_of(series: Series, key: Key) -> dict[str, object]:
    """Give the histograms and the texts of a metric, evenly chosen where there are many."""
    histograms = series.histograms(key, most=_MAX_HISTOGRAMS)
    texts = series.texts(key, most=_MAX_TEXTS)
    return {
        "histograms": [[each.step, each.counts, each.edges] for each in histograms],
        "texts": [[each.step, each.text[:_MAX_TEXT], max(len(each.text) - _MAX_TEXT, 0)] for each in texts],
    }


def samples(runs: Sequence[tuple[str, Path]]) -> bytes:
    """Give every number of the machine's samples as a curve over time, in seconds since the epoch."""
    heads: list[dict[str, object]] = []
    columns = []
    for head, points in sampled(runs):
        heads.append({**head, "n": len(points), "form": "rows"})
        columns += [column(x for x, _ in points), column(y for _, y in points), column(0.0 for _ in points)]
    return pack({"curves": heads}, columns)


def sampled(runs: Sequence[tuple[str, Path]]) -> Iterator[tuple[dict[str, object], list[tuple[float, float]]]]:
    """Give whose numbers they are, and times and values, evenly chosen where they are many."""
    for name, path in runs:
        curves: dict[tuple[str, str], _Thinned] = {}
        for record in _inspection.lines(path, "system_metrics"):
            time = record.get("ts")
            if isinstance(time, int | float):
                host = str(record.get("host", ""))[:_MAX_NAME]
                for what, value in _numbers(record):
                    key = host, what[:_MAX_NAME]
                    if key in curves or len(curves) < _MAX_CURVES:
                        curves.setdefault(key, _Thinned()).add((float(time), value))
        for (host, what), curve in curves.items():
            head: dict[str, object] = {"run": name, "split": host, "metric": what, "rows": curve.count}
            yield head, curve.chosen()


class _Thinned:
    """Points evenly chosen of any number, without keeping more than twice as many as are shown."""

    def __init__(self) -> None:
        self.count = 0
        self._every = 1
        self._points: list[tuple[float, float]] = []

    def add(self, point: tuple[float, float]) -> None:
        if self.count % self._every == 0:
            self._points.append(point)
        self.count += 1
        if len(self._points) > 2 * _MAX_SAMPLES:
            self._points = self._points[::2]
            self._every *= 2

    def chosen(self) -> list[tuple[float, float]]:
        return self._points[:: -(-len(self._points) // _MAX_SAMPLES)]


def _numbers(record: dict[str, object]) -> Iterator[tuple[str, float]]:
    """Give what a chart can show of a sample: the machine's own numbers, and of each GPU."""
    for name in ("cpu_percent", "gpu_util_mean"):
        yield from _number(name, record.get(name))
    for name, parts in (
        ("memory", ("percent", "used")),
        ("swap", ("percent",)),
        ("cgroup", ("memory_used",)),
        ("disk", ()),
        ("network", ()),
    ):
        inner = record.get(name)
        if isinstance(inner, dict):
            for part in parts or inner:
                yield from _number(f"{name}.{part}", inner.get(part))
    load = record.get("load_avg")
    if isinstance(load, list) and load:
        yield from _number("load_avg", load[0])
    gpus = record.get("gpus")
    for place, gpu in enumerate(gpus if isinstance(gpus, list) else []):
        if isinstance(gpu, dict):
            for part in ("util", "mem_used", "temp_c", "power_w"):
                yield from _number(f"gpu.{gpu.get('index', place)}.{part}", gpu.get(part))


def _number(name: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def spans(path: Path) -> dict[str, object]:
    """Give the spans of a run that ended last, in order of their beginning, and how many there are in all."""
    found: dict[str, dict[str, object]] = {}
    count = 0
    for record in _inspection.lines(path, "telemetry"):
        span, event, moment = record.get("span_id"), record.get("event"), _seconds(record.get("timestamp"))
        if not isinstance(span, str) or not isinstance(event, str) or moment is None:
            continue
        name, _, kind = event.rpartition(".")
        is_end = kind in _ENDS
        if kind not in _BEGINS and not is_end:
            continue
        span = span[:_MAX_NAME]
        if span not in found:
            count += 1
            # One that goes on for longer than so many others comes back with its end, which says when it began.
            if len(found) == _KEPT_SPANS:
                del found[next(iter(found))]
        if not is_end:
            found[span] = _span(record, name, moment)
        else:
            known = found.setdefault(span, _span(record, name, moment - _duration_s(record)))
            known |= {"stop": moment, "failed": kind in _FAILED}
    chosen = list(found.values())[-_MAX_SPANS:]
    return {"spans": sorted(chosen, key=lambda one: str(one["start"])), "count": count}


def _span(record: dict[str, object], name: str, start: float) -> dict[str, object]:
    metadata = record.get("metadata")
    label = metadata.get("name") if isinstance(metadata, dict) else None
    parent = record.get("parent_span_id")
    return {
        "id": str(record["span_id"])[:_MAX_NAME],
        "parent": parent[:_MAX_NAME] if isinstance(parent, str) else None,
        "name": (label if isinstance(label, str) else name)[:_MAX_NAME],
        "kind": name[:_MAX_NAME],
        "start": start,
        "stop": None,
        "failed": False,
    }


def _duration_s(record: dict[str, object]) -> float:
    measurements = record.get("measurements")
    duration = measurements.get("duration_ms") if isinstance(measurements, dict) else None
    return duration / 1000 if isinstance(duration, int | float) else 0.0


def _seconds(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
