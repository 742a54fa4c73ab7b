"""Reading telemetry back as a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs import reading

if TYPE_CHECKING:
    import polars as pl

    from codex_obs.types import Runs


def read(path: Runs) -> pl.DataFrame:
    """Read the spans and events of runs.

    Args:
        path: A run directory, a `Run` (an open one is flushed first), or a list of them.

    Returns:
        One row a span and one an event, in the order in which they began or happened. ``kind`` is ``span`` or
        ``event``. Of a span, ``event`` is that of its last line, or of its first where it has no other: then ``status``
        is null, which is a span that is open or whose process died. ``start`` and ``end`` are UTC in nanoseconds,
        ``attributes`` and ``metadata`` JSON text. An event inside a span has the ids of that span.

    Raises:
        CodexObsError: If there is no run at `path`, or it cannot be read.
    """
    return reading.read_telemetry(path)
