"""Whether the events of a run are those that `codex_obs.rl.SCHEMA` names."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codex_obs.rl import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

# What tells an update, the surest first: a step may be one of environments.
_UPDATE_TAGS = ("update", "policy_version")
_VERSION = "policy_version"
_TEXT_KEYS = ("phase",)
# Categories of which each update has an event.
_PER_UPDATE = ("ACTOR", "MISC")
# As many as a sentence names.
_SHOWN_STEPS = 3


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that the schema asks for and the run lacks.

    Attributes:
        category: Of which events.
        key: The key that they lack, or None if whole events are missing.
        events: How many events lack it, or are missing.
        of: How many events there should be with it.
        steps: The first of their steps.
    """

    category: str
    key: str | None
    events: int
    of: int
    steps: Sequence[int | None]

    @property
    def sentence(self) -> str:
        """What is missing, for people."""
        if self.of == 0:
            return f"no {self.category} event"
        shown = ", ".join("none" if step is None else str(step) for step in self.steps[:_SHOWN_STEPS])
        where = f"{shown}{', ...' if self.events > len(self.steps[:_SHOWN_STEPS]) else ''}"
        if self.key is None:
            return f"{self.category}: no event for {self.events} of {self.of} updates (step {where})"
        return f"{self.category}: {self.key} is missing from {self.events} of {self.of} events (step {where})"


@dataclass(slots=True)
class Found:
    """What a run has of one category."""

    events: int = 0
    rows: int = 0
    metrics: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    first_step: int | None = None
    last_step: int | None = None

    def as_json(self) -> dict[str, object]:
        """Return it as an object for JSON."""
        return {
            "events": self.events,
            "rows": self.rows,
            "first_step": self.first_step,
            "last_step": self.last_step,
            "metrics": dict(sorted(self.metrics.items())),
            "tags": dict(sorted(self.tags.items())),
        }


@dataclass(frozen=True, slots=True)
class _Event:
    step: int | None
    rows: int
    metrics: frozenset[str]
    tags: Mapping[str, object]

    @property
    def update(self) -> object:
        """What tells its update from others."""
        return next((self.tags[tag] for tag in _UPDATE_TAGS if self.tags.get(tag) is not None), self.step)

    def has(self, key: str) -> bool:
        return key in self.metrics or (key in _TEXT_KEYS and self.tags.get(key) is not None)


def check(rows: pl.LazyFrame) -> tuple[dict[str, Found], list[Missing]]:
    """Count the events of a run, and say what they lack.

    Args:
        rows: What `codex_obs.scan` gives.

    Returns:
        By category what there is, and what is missing.
    """
    events = _events(rows)
    found = {category: _counted(events[category]) for category in SCHEMA}
    missing = [Missing(category, None, 0, 0, ()) for category in SCHEMA if not events[category]]
    versions = {event.tags.get(_VERSION) for event in events["TRAINER"]} - {None}
    for category, keys in SCHEMA.items():
        for key in keys:
            if key == _VERSION:
                lacking = [event for event in events[category] if not _has_version(event, versions)]
            else:
                lacking = [event for event in events[category] if not event.has(key)]
            if lacking:
                steps = [event.step for event in lacking]
                missing.append(Missing(category, key, len(lacking), len(events[category]), steps))
    return found, missing + _without_update(events)


def _has_version(event: _Event, versions: set[object]) -> bool:
    """Whether an event tells its policy: by a tag, or as its step, which in other runs is one of environments."""
    if event.tags.get(_VERSION) is not None or event.has(_VERSION):
        return True
    # A policy that has not been trained yet is the version 0.
    return event.step is not None and (not versions or event.step in {0, *versions})


def _without_update(events: Mapping[str, list[_Event]]) -> list[Missing]:
    updates = {event.update: event.step for event in events["TRAINER"]}
    missing = []
    for category in _PER_UPDATE:
        numbers = {event.update for event in events[category]}
        # An actor may number its policies one behind: then as many events are enough.
        if not events[category] or len(numbers) >= len(updates):
            continue
        steps = [step for update, step in updates.items() if update not in numbers]
        missing.append(Missing(category, None, len(updates) - len(numbers), len(updates), steps))
    return missing


def _counted(events: Sequence[_Event]) -> Found:
    found = Found(events=len(events), rows=sum(event.rows for event in events))
    for event in events:
        found.metrics.update(event.metrics)
        found.tags.update(event.tags.keys())
    steps = [event.step for event in events if event.step is not None]
    found.first_step, found.last_step = min(steps, default=None), max(steps, default=None)
    return found


def _events(rows: pl.LazyFrame) -> dict[str, list[_Event]]:
    """Put the rows of each event together again: one call has one time, one step and the same words."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    splits = {category.lower(): category for category in SCHEMA}
    names = pl.col("split", "metric", "tags", "stream", "run_id").cast(pl.String)
    of_events = rows.with_columns(names).filter(pl.col("split").is_in(list(splits)))
    table = (
        of_events.group_by("run_id", "stream", "session", "timestamp", "split", "step", _words(), maintain_order=True)
        .agg(pl.col("metric"), pl.col("tags").first())
        .collect()
    )
    found: dict[str, list[_Event]] = {category: [] for category in SCHEMA}
    for split, step, metrics, tags in table.select("split", "step", "metric", "tags").iter_rows():
        words = json.loads(tags) if tags else {}
        event = _Event(step, len(metrics), frozenset(metrics) - {"event"}, words if isinstance(words, dict) else {})
        found[splits[split]].append(event)
    return found


def _words() -> pl.Expr:
    """Give the tags without what the log itself adds to a single row."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    own = r'"(?:manifest_id|nonfinite|unreadable)":"[^"]*"'
    return pl.col("tags").str.replace_all(f"{own},|,?{own}", "").alias("words")
