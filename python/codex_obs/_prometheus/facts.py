"""What there is to say of a run: last values, rows, destinations, the machine, durations and counts."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from codex_obs import _backend
from codex_obs._prometheus.text import Family, Kind, legal, number
from codex_obs.errors import CodexObsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Losses and backlogs are looked up at most this often: that reads more than the end of the log.
_SURVEY_S: Final = 5.0
_PREFIX: Final = "codex_"
_SYSTEM: Final = (
    # Name, where in a sample, what it is in base units, and what it is multiplied by for that.
    ("cpu_utilization_ratio", ("cpu_percent",), "Processor use of the host.", 0.01),
    ("cpu_count", ("cpu_count",), "Processors of the host.", 1.0),
    ("memory_total_bytes", ("memory", "total"), "Memory of the host.", 1.0),
    ("memory_used_bytes", ("memory", "used"), "Memory in use on the host.", 1.0),
    ("memory_available_bytes", ("memory", "available"), "Memory that can be had on the host.", 1.0),
    ("swap_used_bytes", ("swap", "used"), "Swap in use.", 1.0),
    ("disk_used_bytes", ("disk", "used"), "Bytes used of the disk of the run.", 1.0),
    ("disk_total_bytes", ("disk", "total"), "Size of the disk of the run.", 1.0),
    ("network_receive_bytes", ("network", "bytes_recv"), "Bytes received.", 1.0),
    ("network_transmit_bytes", ("network", "bytes_sent"), "Bytes sent.", 1.0),
    ("cgroup_memory_limit_bytes", ("cgroup", "memory_limit"), "Memory that the container may use.", 1.0),
    ("cgroup_memory_used_bytes", ("cgroup", "memory_used"), "Memory that the container uses.", 1.0),
)
_GPU: Final = (
    ("gpu_utilization_ratio", "util", "Use of a GPU.", 0.01),
    ("gpu_memory_used_bytes", "mem_used", "Memory in use on a GPU.", 1.0),
    ("gpu_memory_total_bytes", "mem_total", "Memory of a GPU.", 1.0),
    ("gpu_temperature_celsius", "temp_c", "Temperature of a GPU.", 1.0),
    ("gpu_power_watts", "power_w", "Power that a GPU takes.", 1.0),
)


class Facts:
    """A run as Prometheus sees it. One thread at a time calls it.

    Args:
        directory: The run directory.
        run_id: Its identity, the label of every sample.
    """

    def __init__(self, directory: str, run_id: str) -> None:
        self._directory = directory
        self._run = {"run_id": run_id}
        self._latest = _backend.Latest(directory)
        self._samples = _backend.LineFollower(directory, "system_metrics")
        self._events = _backend.LineFollower(directory, "telemetry")
        self._records = _backend.LineFollower(directory, "tracking_summary")
        self._dropped: Counter[str] = Counter()
        self._machines: dict[str, Mapping[str, object]] = {}
        self._gathered: dict[tuple[str, bool, tuple[tuple[str, str], ...]], _Gathered] = {}
        self._names: dict[tuple[str, bool], str] = {}
        self._survey: _backend.Survey | None = None
        self._surveyed = float("-inf")

    def families(self) -> list[Family]:
        """Read what is new, and return everything.

        Raises:
            CodexObsError: If the run cannot be read.
        """
        self._latest.refresh()
        return [*self._of_metrics(), *self._of_destinations(), *self._of_machines(), *self._of_timings()]

    def _of_metrics(self) -> list[Family]:
        metrics = Family(f"{_PREFIX}metric", "gauge", "Last value of a metric.")
        for stream, split, metric, value in self._latest.values():
            metrics.add(value, metric=metric, split=split, stream=stream, **self._run)
        steps = Family(f"{_PREFIX}step", "gauge", "Step of the last row.")
        logged = Family(f"{_PREFIX}rows_logged", "counter", "Rows in the files.")
        for stream, rows, step in self._latest.rows():
            logged.add(rows, stream=stream, **self._run)
            if step is not None:
                steps.add(step, stream=stream, **self._run)
        while lines := self._records.take():
            for line in lines:
                record = _object(line)
                extra = record.get("extra")
                if (
                    record.get("component") == "ndjson"
                    and record.get("status") == "degraded"
                    and isinstance(extra, dict)
                ):
                    self._dropped[str(extra.get("cause"))] += int(_number(extra.get("count")))
        dropped = Family(f"{_PREFIX}rows_dropped", "counter", "Rows that could not be kept.")
        for cause, count in sorted(self._dropped.items()):
            if cause != "retired":
                dropped.add(count, cause=cause, **self._run)
        return [metrics, steps, logged, dropped]

    def _of_destinations(self) -> list[Family]:
        if time.monotonic() - self._surveyed >= _SURVEY_S:
            try:
                self._survey = _backend.survey(self._directory)
            except CodexObsError:
                self._survey = None
            self._surveyed = time.monotonic()
        if self._survey is None:
            return []
        points = Family(f"{_PREFIX}destination_points", "counter", "Points that a destination has taken.")
        refused = Family(f"{_PREFIX}destination_refused", "counter", "Points that a destination has refused.")
        backlog = Family(f"{_PREFIX}destination_backlog_bytes", "gauge", "Bytes of the log that it has not got.")
        missing = Family(f"{_PREFIX}destination_missing_rows", "counter", "Rows deleted before they were delivered.")
        for stream, address, _remote, left, gone, totals, _told in self._survey.deliveries:
            labels = {"destination": address, "stream": stream, **self._run}
            points.add(totals[0], **labels)
            refused.add(totals[1], **labels)
            backlog.add(left[1], **labels)
            missing.add(gone[0], **labels)
        retired = Family(f"{_PREFIX}rows_retired", "counter", "Rows that retention has deleted.")
        retired.add(self._survey.report.retired, **self._run)
        return [family for family in (points, refused, backlog, missing, retired) if family.samples]

    def _of_machines(self) -> list[Family]:
        while lines := self._samples.take():
            for line in lines:
                sample = _object(line)
                self._machines[str(sample.get("host"))] = sample
        families: dict[str, Family] = {}
        for host, sample in sorted(self._machines.items()):
            labels = {"host": host, **self._run}
            for name, path, words, scale in _SYSTEM:
                _gauge(families, f"{_PREFIX}system_{name}", words).measure(_at(sample, path), scale, labels)
            gpus = sample.get("gpus")
            for gpu in gpus if isinstance(gpus, list) else []:
                of_gpu = {"gpu": str(gpu.get("index")), "name": str(gpu.get("name")), **labels}
                for name, key, words, scale in _GPU:
                    _gauge(families, f"{_PREFIX}system_{name}", words).measure(gpu.get(key), scale, of_gpu)
        return [family for family in families.values() if family.samples]

    def _of_timings(self) -> list[Family]:
        while lines := self._events.take():
            for line in lines:
                self._gather(_object(line))
        families: dict[tuple[str, bool], Family] = {}
        for (metric, is_count, labels), found in sorted(self._gathered.items()):
            family = families.get((metric, is_count))
            if family is None:
                name = self._name(metric, is_count=is_count)
                kind: Kind = "counter" if is_count else "histogram"
                words = f"How many {metric}." if is_count else f"How long {metric} takes."
                family = families[metric, is_count] = Family(name, kind, words)
            found.add_to(family, {**_legal_labels(dict(labels)), **self._run})
        return list(families.values())

    def _name(self, metric: str, *, is_count: bool) -> str:
        """The name of a family, which it keeps whatever comes later."""
        name = self._names.get((metric, is_count))
        if name is None:
            wanted = metric if is_count else f"{metric}_seconds"
            # What begins like ours is the program's.
            wanted = f"user_{wanted}" if wanted.startswith(_PREFIX) else wanted
            name = self._names[metric, is_count] = legal(wanted, self._names.values())
        return name

    def _gather(self, line: Mapping[str, object]) -> None:
        event, measured, metadata = line.get("event"), line.get("measurements"), line.get("metadata")
        if event not in ("timing.observed", "count.added"):
            return
        if not isinstance(measured, dict) or not isinstance(metadata, dict):
            return
        labels = metadata.get("labels")
        named = sorted((str(key), str(value)) for key, value in labels.items()) if isinstance(labels, dict) else []
        key = (str(metadata.get("metric")), event == "count.added", tuple(named))
        self._name(key[0], is_count=key[1])
        self._gathered.setdefault(key, _Gathered()).take(measured, metadata)


class _Gathered:
    """A histogram, or a count."""

    def __init__(self) -> None:
        self.count = 0.0
        self.total = 0.0
        self.bounds: list[float] = []
        self.buckets: list[float] = []

    def take(self, measured: Mapping[str, object], metadata: Mapping[str, object]) -> None:
        self.total += _number(measured.get("sum"))
        self.count += _number(measured.get("count"))
        bounds, buckets = metadata.get("bounds"), measured.get("buckets")
        if isinstance(bounds, list) and isinstance(buckets, list) and len(buckets) == len(bounds) + 1:
            if self.bounds != bounds:
                self.bounds, self.buckets = bounds, [0.0] * len(buckets)
            self.buckets = [one + _number(more) for one, more in zip(self.buckets, buckets, strict=True)]

    def add_to(self, family: Family, labels: dict[str, str]) -> None:
        if family.kind == "counter":
            family.add(self.total, **labels)
            return
        below = 0.0
        for bound, bucket in zip(self.bounds, self.buckets, strict=False):
            below += bucket
            family.samples.append(("_bucket", labels | {"le": number(bound)}, below))
        family.samples.append(("_bucket", labels | {"le": "+Inf"}, self.count))
        family.samples.append(("_sum", labels, self.total))
        family.samples.append(("_count", labels, self.count))


def merged(runs: Iterable[list[Family]]) -> list[Family]:
    """Put families of several runs together: each name stands once."""
    found: dict[str, Family] = {}
    for families in runs:
        for family in families:
            known = found.setdefault(family.name, Family(family.name, family.kind, family.help))
            known.samples += family.samples
    return list(found.values())


def _gauge(families: dict[str, Family], name: str, words: str) -> Family:
    return families.setdefault(name, Family(name, "gauge", words))


def _at(sample: Mapping[str, object], path: tuple[str, ...]) -> object:
    found: object = sample
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _object(line: str) -> Mapping[str, object]:
    found = json.loads(line)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _legal_labels(labels: Mapping[str, str]) -> dict[str, str]:
    made: dict[str, str] = {}
    for key, value in labels.items():
        # `le`, and the names that stand in every sample, are not the caller's.
        made[legal(key, {*made, "le", "run_id"})] = value
    return made
