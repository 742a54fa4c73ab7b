"""For the tests of programs that log: a run without files, a real run with a clock of the test's own, rows as they are.

def test_training_logs_its_loss():
    run = MemoryRun()
    train(run, epochs=2)
    assert run.values("loss") == [(0, 0.5), (1, 0.4)]
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, SupportsIndex

from codex_obs import _backend, _exit
from codex_obs._backend import ManualClock, checked_step, shard_name
from codex_obs._run import Run, params_in, require_status
from codex_obs._settings.settings import Settings
from codex_obs.errors import CodexObsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from codex_obs.destinations.base import Artifact, Destination, Point, RunFacts, Value
    from codex_obs.types import BoundLog, Metrics, RunPath, SettingsFields, Status, Tags, Timestamp

__all__ = [
    "LoggedCall",
    "LoggedEvent",
    "ManualClock",
    "MemoryDestination",
    "MemoryRun",
    "deliver",
    "open_run",
    "read_rows",
]

# As the engine's `record::event`: a test compares them.
_STEP_FIELDS = ("timesteps", "policy_version", "step", "global_step", "update")


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """One call of `log`, as a `MemoryRun` keeps it."""

    metrics: Mapping[str, object]
    step: int
    split: str
    dataset: str | None
    tags: Mapping[str, object]
    timestamp: Timestamp | None


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One call of `event`, as a `MemoryRun` keeps it.

    Attributes:
        category: As it was given.
        message: As it was given.
        fields: As they were given.
        step: What the fields say, or None.
    """

    category: object
    message: object
    fields: Mapping[str, object]
    step: int | None


class MemoryRun:
    """Takes the place of a `Run` in a test: checks arguments as it does, and keeps calls instead of writing rows.

    Attributes:
        calls: The calls of `log` with at least one metric, in order.
        events: The calls of `event`, in order. They are counted as one row each.
        params: The mappings given to `log_params`, in order.
        status: How the session ended, or None while it is open.
    """

    def __init__(
        self, *, run_id: str = "memory", name: str = "memory", config: Mapping[str, object] | None = None
    ) -> None:
        self.calls: list[LoggedCall] = []
        self.events: list[LoggedEvent] = []
        self.params: list[Mapping[str, object]] = []
        self.status: Status | None = None
        self._run_id = run_id
        self._name = name
        self._config: Mapping[str, object] = MappingProxyType(dict(config or {}))
        self._rows_dropped = 0

    @property
    def run_id(self) -> str:
        """Identity of the run."""
        return self._run_id

    @property
    def name(self) -> str:
        """Name of the run."""
        return self._name

    @property
    def path(self) -> Path:
        """A directory that does not exist: nothing is written."""
        return Path("/nonexistent") / self._name

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return "main"

    @property
    def config(self) -> Mapping[str, object]:
        """Every parameter given so far. Read-only."""
        return self._config

    @property
    def closed(self) -> bool:
        """Whether the session has ended."""
        return self.status is not None

    def log(
        self,
        metrics: Metrics,
        step: SupportsIndex | None = None,
        *,
        split: object = "train",
        dataset: object = None,
        tags: Tags | None = None,
        timestamp: Timestamp | None = None,
    ) -> None:
        """Keep a call. After the end it is only counted.

        Raises:
            TypeError: If an argument has a type that `Run.log` refuses.
            ValueError: If the step is outside 64 bits.
        """
        _check_metrics(metrics)
        given_step = None if step is None else checked_step(step, "step")
        _check_tags(tags)
        _check_timestamp(timestamp)
        if self.closed:
            self._rows_dropped += len(metrics)
        elif metrics:
            self.calls.append(
                LoggedCall(
                    metrics=MappingProxyType(dict(metrics)),
                    step=self._next_step() if given_step is None else given_step,
                    split=str(split),
                    dataset=None if dataset is None else str(dataset),
                    tags=MappingProxyType(dict(tags or {})),
                    timestamp=timestamp,
                )
            )

    def bind(self, *names: str, split: object = "train", dataset: object = None, tags: Tags | None = None) -> BoundLog:
        """Return a function of a value for each name, which keeps a call as `log` does.

        Raises:
            TypeError: If a name is no text or `tags` is no mapping.
            ValueError: If a name is given twice.
        """
        _check_metrics(dict.fromkeys(names))
        if len(set(names)) < len(names):
            raise ValueError(f"a metric is named twice: {', '.join(names)}")
        _check_tags(tags)
        kept_tags = None if tags is None else dict(tags)

        def log(*values: object, step: SupportsIndex | None = None, timestamp: Timestamp | None = None) -> None:
            if len(values) != len(names):
                raise TypeError(f"log takes {len(names)} values, one for each name of bind, and got {len(values)}")
            metrics = dict(zip(names, values, strict=True))
            self.log(metrics, step=step, split=split, dataset=dataset, tags=kept_tags, timestamp=timestamp)

        return log

    def event(self, category: object, message: object = None, **fields: object) -> None:
        """Keep an event. After the end it is only counted.

        Raises:
            TypeError: If the field that tells the step has a type that `Run.event` refuses.
            ValueError: If it is outside 64 bits.
        """
        named = next((name for name in _STEP_FIELDS if fields.get(name) is not None), None)
        step = None if named is None else checked_step(fields[named], named)
        if self.closed:
            self._rows_dropped += 1
        else:
            self.events.append(LoggedEvent(category, message, MappingProxyType(dict(fields)), step))

    def values(self, metric: str, *, split: str | None = None) -> list[tuple[int, object]]:
        """Return the step and value of every row of a metric, in order; of one split, if it is given."""
        return [
            (call.step, call.metrics[metric])
            for call in self.calls
            if metric in call.metrics and split in (None, call.split)
        ]

    def log_params(self, params: object) -> None:
        """Keep parameters.

        Raises:
            TypeError: If `params` has no names and values.
        """
        members = params_in(params)
        self.params.append(MappingProxyType(members))
        self._config = MappingProxyType({**self._config, **members})

    def flush(self, timeout: float | None = None, *, sync: bool = False) -> bool:  # noqa: ARG002 - as Run.flush
        """Return True: nothing waits."""
        return True

    def close(self, timeout: float | None = 5.0) -> bool:
        """End the session as finished."""
        return self.finish("finished", timeout=timeout)

    def finish(self, status: Status = "finished", *, timeout: float | None = 5.0) -> bool:  # noqa: ARG002 - as Run.finish
        """End the session; the first status stays.

        Raises:
            SettingError: If `status` is none that a run can have.
        """
        require_status(status)
        self.status = self.status or status
        return True

    def stats(self) -> dict[str, int]:
        """Return the counters of a run that has lost nothing but what was logged after its end."""
        written = sum(len(call.metrics) for call in self.calls) + len(self.events)
        return {
            "rows_logged": written + self._rows_dropped,
            "rows_written": written,
            "rows_waiting": 0,
            "rows_dropped": self._rows_dropped,
            "rows_dropped_closed": self._rows_dropped,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish(_exit.status_of(error))

    def _next_step(self) -> int:
        steps = [call.step for call in self.calls] + [event.step for event in self.events if event.step is not None]
        largest = max(steps, default=-1)
        return min(largest + 1, 2**63 - 1)


def open_run(
    run_dir: RunPath,
    *,
    clock: ManualClock | None = None,
    backing: str = "auto",
    config: Mapping[str, object] | None = None,
    **settings_fields: Unpack[SettingsFields],
) -> Run:
    """Open a real run in a directory, which becomes the current one inside ``with`` only.

    Args:
        run_dir: Where it lies.
        clock: The clock of timestamps and rotation, for tests that move it by hand.
        backing: How the journal outlives the process: ``"auto"``, ``"mapped"`` or ``"mirrored"``.
        config: Parameters.
        **settings_fields: Fields of `Settings`.

    Raises:
        CodexObsError: As `codex_obs.init`.
    """
    return Run(
        str(Path.cwd() / run_dir),
        Settings(**settings_fields),
        name="test",
        config=config,
        as_current=False,
        clock=clock,
        backing=backing,
    )


def read_rows(path: RunPath, kind: str = "metrics") -> list[dict[str, object]]:
    """Read the lines of a run directory as they are, with the standard library's JSON.

    Args:
        path: The run directory. What is still in journals is not seen: flush or close the run first.
        kind: Which files: ``"metrics"``, ``"metrics_manifest"``, ``"params"``, ``"tracking_summary"`` or ``"run"``.

    Returns:
        The objects in order of position: the main stream first, then the others by name; each from its oldest shard on.
    """
    shards = []
    for file in Path(path).iterdir():
        name = shard_name(file.name, kind)
        if name is not None and not name[2]:
            stream, number, _ = name
            shards.append((stream != "main", stream, -number, file))
    return [json.loads(line) for *_, file in sorted(shards) for line in file.read_text("utf-8").splitlines()]


def _check_metrics(metrics: object) -> None:
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics must be a mapping, not {type(metrics).__name__}")
    for name in metrics:
        if not isinstance(name, str):
            raise TypeError(f"a metric's name must be text, not {type(name).__name__}")


def _check_tags(tags: object) -> None:
    if tags is not None and not isinstance(tags, Mapping):
        raise TypeError(f"tags must be a mapping or None, not {type(tags).__name__}")


def _check_timestamp(timestamp: object) -> None:
    if timestamp is None:
        return
    if isinstance(timestamp, datetime):
        if timestamp.utcoffset() is None:
            raise TypeError("timestamp must have a time zone: datetime.now(timezone.utc) has one")
    elif isinstance(timestamp, bool) or not hasattr(timestamp, "__float__"):
        raise TypeError(f"timestamp must be seconds or an aware datetime, not {type(timestamp).__name__}")


class MemoryDestination:
    """A destination that keeps what it is handed, for tests of programs that deliver.

    Attributes:
        run: The run, once the destination is open.
        state: What it was opened with.
        points_by_stream: The rows with a number, in the order in which they came.
        values_by_stream: Those with a structured value.
        parameters: The parameters as text.
        files: The content of artifacts, by name.
        status: How the run ended, once that was said.
    """

    def __init__(self) -> None:
        self.run: RunFacts | None = None
        self.state: Mapping[str, object] = {}
        self.points_by_stream: dict[str, list[Point]] = {}
        self.values_by_stream: dict[str, list[Value]] = {}
        self.parameters: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.status: str | None = None

    def open(self, run: RunFacts, state: Mapping[str, object]) -> None:
        """Take note of the run and of the state."""
        self.run, self.state = run, state

    def points(self, stream: str, points: Sequence[Point]) -> None:
        """Keep rows with a number."""
        self.points_by_stream.setdefault(stream, []).extend(points)

    def values(self, stream: str, values: Sequence[Value]) -> None:
        """Keep rows with a structured value."""
        self.values_by_stream.setdefault(stream, []).extend(values)

    def params(self, params: Mapping[str, str]) -> None:
        """Keep parameters."""
        self.parameters |= params

    def artifacts(self, artifacts: Sequence[Artifact]) -> None:
        """Keep files."""
        self.files |= {each.name: each.path.read_bytes() for each in artifacts}

    def finish(self, status: str) -> None:
        """Take note of the end."""
        self.status = status


def deliver(path: RunPath, destination: Destination, *, streams: Literal["main", "all"] = "main") -> None:
    """Deliver what a run has logged to a destination, as ``codex-ndjson sync`` does.

    Args:
        path: The run directory.
        destination: The plugin, as an object.
        streams: Whose rows: the main stream's, or those of all streams.

    Raises:
        CodexObsError: If there is no run, or not everything could be delivered; the text says why.
    """
    directory = os.fspath(path)
    handed = _backend.Destination.plugin("memory", lambda: destination, ranks=streams)
    # Nothing is waited for: what cannot be delivered at once is the test's own destination's answer.
    for outcome in _backend.sync(directory, handed, progress=lambda progress: progress.waiting is None):
        if not outcome.done:
            raise CodexObsError(f"{directory}, stream {outcome.stream}: {outcome.problem}")
