"""What a destination of another package is called with, and what it may answer.

A plugin is a class without arguments to its constructor. An installed package names it by an entry point of the group
``codex_obs.destinations``; ``codex-ndjson sync RUN --to NAME`` calls it. Its methods are called by one thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Later(Exception):  # noqa: N818 - what a plugin answers, named by what it means
    """Raised by a plugin: the same is to be handed over again. Any other exception but `Never` counts as this.

    Args:
        why: What went wrong, for people.
        after_s: Seconds until then. Without it the pauses grow from one second to half a minute.
    """

    def __init__(self, why: str = "", *, after_s: float | None = None) -> None:
        super().__init__(why)
        self.after_s = after_s


class Never(Exception):  # noqa: N818 - as above
    """Raised by a plugin: what it was handed is refused for good.

    Of several points, halves are handed over until the refused one is alone; it is kept in ``export_rejected.ndjson``
    with the words, and so is an artifact. Raised by a method for anything else, it ends the delivery.
    """


class RunFacts(NamedTuple):
    """Which run it is.

    Attributes:
        run_id: The identifier in every row.
        name: What people call the run.
        path: The run directory.
        started_s: When the run was created, in seconds since the epoch.
    """

    run_id: str
    name: str
    path: Path
    started_s: float


class Point(NamedTuple):
    """A row with a number.

    Attributes:
        metric: Name of the metric; in other streams than the main one it begins with the stream's name and a slash.
        split: Part of the data, such as ``train``.
        step: Training step.
        value: The number; may be NaN or infinite.
        timestamp_s: Time of the row, in seconds since the epoch, exact to the microsecond.
        dataset: The dataset, if the row has one.
        tags: The caller's tags.
    """

    metric: str
    split: str
    step: int
    value: float
    timestamp_s: float
    dataset: str | None
    tags: Mapping[str, object]


class Value(NamedTuple):
    """A row with a structured value.

    Attributes:
        metric: As in `Point`.
        split: As in `Point`.
        step: As in `Point`.
        type: Name of the value's class.
        payload: The value as JSON has it; None if it was too long to be kept.
        timestamp_s: As in `Point`.
        dataset: As in `Point`.
        tags: As in `Point`.
    """

    metric: str
    split: str
    step: int
    type: str
    payload: object
    timestamp_s: float
    dataset: str | None
    tags: Mapping[str, object]


class Artifact(NamedTuple):
    """A file that `Run.log_artifact` copied.

    Attributes:
        name: Its path below ``artifacts/``, with slashes.
        path: Where it lies.
        size: Its bytes.
        mtime_ns: When it was written last, in nanoseconds since the epoch.
    """

    name: str
    path: Path
    size: int
    mtime_ns: int


class Destination(Protocol):
    """The methods that every plugin has.

    These it may have as well: ``values(stream, values)`` for structured values, ``spans(stream, spans)`` and
    ``samples(samples)`` for lines of ``telemetry.ndjson`` and ``system_metrics.jsonl`` as dictionaries,
    ``params(params)`` for parameters as text, ``artifacts(artifacts)`` for files, again once they were replaced,
    ``finish(status)`` for the end of the run.

    Rows are handed over at least once: again after `Later`, and after a crash between taking them and noting the
    place. A method that takes rows may return what is to be noted with the place, as JSON has it: a length to cut a
    file to, say. It comes back in ``open``, so that nothing is there twice.
    """

    def open(self, run: RunFacts, state: Mapping[str, object]) -> None:
        """Begin, before anything else is called. `state` is what was returned last for each stream."""

    def points(self, stream: str, points: Sequence[Point]) -> object:
        """Take rows of a stream, in order. Return once they are safe at the destination."""
