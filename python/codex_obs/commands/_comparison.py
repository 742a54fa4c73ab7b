"""Runs side by side: what they were configured with and how their metrics went, the differences first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codex_obs import _catalog, reading
from codex_obs._moments import moment_text
from codex_obs.commands._input import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from codex_obs._backend import Catalog, Report

_MICROS = 1_000_000


@dataclass(frozen=True)
class Missing:
    """What a run does not have, which is not the same as null."""


MISSING = Missing()


@dataclass(frozen=True)
class Line:
    """One thing that is compared.

    Attributes:
        kind: ``run``, ``config`` or ``metric``.
        key: Its name: a column of `codex_obs.runs`, a parameter, or ``split/metric.last``, ``.min``, ``.max``,
            ``.last_step``.
        values: One for each run; `MISSING` where a run does not have it.
    """

    kind: str
    key: str
    values: Sequence[object]

    @property
    def differs(self) -> bool:
        """Whether the runs do not agree. ``1`` and ``True`` are not the same."""
        first, *others = ((type(value) is bool, value) for value in self.values)
        return any(other != first for other in others)


@dataclass(frozen=True)
class Comparison:
    """Runs side by side."""

    paths: Sequence[str]
    lines: Sequence[Line]
    # What the reader of each run has to say.
    reports: Sequence[Report]
    problems: Sequence[tuple[str, str]]


def compare(paths: Sequence[Path]) -> Comparison:
    """Compare runs.

    Raises:
        CodexObsError: If one of them cannot be read.
        InputError: If a path is no run.
    """
    facts, metrics, reports, problems = [], [], [], []
    for path in paths:
        frame, report = reading.summarize_files([path])
        catalog = _catalog.list_runs(path, [])
        place = next((index for index, found in enumerate(catalog.paths) if path.samefile(found)), None)
        if place is None:
            raise InputError(f"{path} is no run: give run directories.")
        config = _catalog.config_of(catalog, place)
        facts.append((_facts(catalog, place), config))
        metrics.append(dict(_metrics(frame)))
        reports.append(report)
        problems += [(found, why) for found, why in catalog.problems if found == catalog.paths[place]]
    lines = [Line("run", key, [one[key] for one, _ in facts]) for key in facts[0][0]]
    for kind, sides in (("config", [dict(_flat("", config)) for _, config in facts]), ("metric", metrics)):
        keys = dict.fromkeys(key for side in sides for key in side)
        lines += [Line(kind, key, [side.get(key, MISSING) for side in sides]) for key in keys]
    return Comparison([str(path) for path in paths], lines, reports, problems)


def _facts(catalog: Catalog, place: int) -> dict[str, object]:
    started, duration = catalog.started_micros[place], _catalog.durations_micros(catalog)[place]
    return {
        "name": catalog.names[place],
        "run_id": catalog.run_ids[place],
        "status": catalog.statuses[place],
        "started": None if started is None else moment_text(started),
        "duration": None if duration is None else duration / _MICROS,
        "last_step": catalog.last_steps[place],
        "rows": catalog.rows[place],
    }


def _flat(prefix: str, config: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _metrics(frame: pl.DataFrame) -> Iterator[tuple[str, object]]:
    """Give the last, smallest and largest value of each metric, datasets and run ids put together."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    grouped = (
        frame.sort("last_timestamp", "last_step", nulls_last=False, maintain_order=True)
        .group_by("split", "metric", maintain_order=True)
        .agg(pl.last("last_value", "last_step"), pl.min("min_value"), pl.max("max_value"))
        .sort("split", "metric")
    )
    for split, metric, last, step, least, most in grouped.rows():
        for part, value in (("last", last), ("min", least), ("max", most), ("last_step", step)):
            yield f"{split}/{metric}.{part}", value
