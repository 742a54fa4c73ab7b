"""A run that is watched: its curves, last values, state, system and losses, as far as they are known at each look."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from codex_obs import _backend, _inspection
from codex_obs._drawing import Points, labels, points
from codex_obs._moments import duration_text
from codex_obs._series import Series
from codex_obs._visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from codex_obs._series import Axis, Curve, Key, Pixels

# Looking for losses reads the whole run: at most so much of the time goes into it.
_LOOK_EVERY_S, _LOOK_SHARE = 10.0, 20.0
_TAIL_BYTES = 65536
_GIGABYTE = 1e9
_NONE = "-"


class Line(NamedTuple):
    """One metric in the table."""

    key: Key
    name: str
    last: str
    step: int | None
    smallest: str
    largest: str
    rows: str
    nonfinite: int


class Watched:
    """One run.

    Args:
        path: The run directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._series = Series(path)
        self._rows = 0
        self._last_step: int | None = None
        self._losses = "losses: not looked at yet"
        self._next_look_s = 0.0

    def refresh(self) -> list[Line]:
        """Read what was added, and give a line for each metric that has numbers."""
        self._series.refresh()
        curves = self._series.names()
        self._rows = sum(curve.rows for curve in curves)
        drawn = [curve for curve in curves if curve.kind == "number"]
        keys = [curve.key for curve in drawn]
        values = self._series.pixels(keys, axis="time", pixels=1)
        steps = self._series.pixels(keys, axis="step", pixels=1)
        lines = [
            _line(name, curve, values[curve.key], steps[curve.key])
            for name, curve in zip(labels(keys), drawn, strict=True)
        ]
        self._last_step = max((line.step for line in lines if line.step is not None), default=None)
        return lines

    def curves(self, keys: Sequence[Key], *, axis: Axis, width: int) -> dict[Key, Points]:
        """Give what charts of so many pixels draw; seconds since the first row on the axis of time."""
        drawn: dict[Key, Points] = {}
        for key in keys:
            found = self._series.range([key], axis=axis)
            if found is None:
                drawn[key] = Points([], [])
                continue
            start, stop = found
            pixels = self._series.pixels([key], axis=axis, start=start, stop=stop, pixels=width)[key]
            xs, ys = points(pixels)
            drawn[key] = Points([(x - start) / 1e6 for x in xs] if axis == "time" else xs, ys)
        return drawn

    def state(self) -> str:
        """Say who it is and how it stands."""
        state = _backend.run_state(os.fspath(self.path))
        name = visible(state.name) if state is not None else visible(self.path.name)
        words = [name, f"{self._rows:,} rows"]
        if self._last_step is not None:
            words.append(f"step {self._last_step:,}")
        if state is not None and state.first_session is not None and state.last_session is not None:
            status = "running" if state.is_live else state.last_session.status or "crashed"
            ended = state.last_session.ended_micros
            end_s = time.time() if state.is_live or ended is None else ended / 1e6
            words[1:1] = [status]
            if state.is_live or ended is not None:
                words.append(duration_text(max(end_s - state.first_session.started_micros / 1e6, 0.0)))
        return "  ".join(words)

    def system(self) -> str:
        """Give the last sample of the machine, of each host that writes some."""
        samples = [sample for path in sorted(self.path.glob("system_metrics*.jsonl")) if (sample := _last_line(path))]
        if not samples:
            return 'system: no samples (system_metrics="auto" takes them)'
        several = len({str(sample.get("host")) for sample in samples}) > 1
        return "  ".join(_sample_text(sample, with_host=several) for sample in samples)

    def losses(self) -> str:
        """Say what is lost, which is looked at now and then."""
        now = time.monotonic()
        if now >= self._next_look_s:
            found = _inspection.inspect(self.path)["losses"]
            texts = [visible(str(loss["words"])) for loss in found] if isinstance(found, list) else []
            self._losses = f"LOST: {'; '.join(texts)}" if texts else "nothing is lost"
            taken_s = time.monotonic() - now
            self._next_look_s = now + taken_s + max(_LOOK_EVERY_S, _LOOK_SHARE * taken_s)
        return self._losses


def _line(name: str, curve: Curve, pixels: Pixels, steps: Pixels) -> Line:
    # Rows without a time are on the axis of steps only.
    pixels = pixels if pixels.rows else steps
    nonfinite = sum(map(sum, (pixels.nan, pixels.positive_infinity, pixels.negative_infinity)))
    return Line(
        curve.key,
        name,
        _number(pixels.last[-1] if pixels.last else None),
        steps.last_x[-1] if steps.last_x else None,
        _number(min((value for value in pixels.minimum if value is not None), default=None)),
        _number(max((value for value in pixels.maximum if value is not None), default=None)),
        f"{curve.rows:,}",
        nonfinite,
    )


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.5g}"


def _last_line(path: Path) -> dict[str, object] | None:
    """Read the last whole line of a log."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL_BYTES, 0))
        *_, last, _ = file.read().split(b"\n")
        found = json.loads(last)
        return found if isinstance(found, dict) else None
    return None


def _sample_text(sample: dict[str, object], *, with_host: bool) -> str:
    words = [visible(str(sample.get("host")))] if with_host else []
    cpu = sample.get("cpu_percent")
    if isinstance(cpu, int | float):
        words.append(f"CPU {cpu:.0f} %")
    memory = sample.get("memory")
    if isinstance(memory, dict) and isinstance(memory.get("used"), int | float) and memory.get("total"):
        words.append(f"memory {memory['used'] / _GIGABYTE:.1f} of {memory['total'] / _GIGABYTE:.1f} GB")
    gpus = sample.get("gpus")
    for gpu in gpus if isinstance(gpus, list) else ():
        words += _gpu_words(gpu)
    return "  ".join(words)


def _gpu_words(gpu: dict[str, object]) -> list[str]:
    told = [f"GPU {gpu.get('index')}"]
    for name, scale, unit in (
        ("util", 1.0, "%"),
        ("mem_used", _GIGABYTE, "GB"),
        ("temp_c", 1.0, "°C"),
        ("power_w", 1.0, "W"),
    ):
        value = gpu.get(name)
        if isinstance(value, int | float):
            told.append(f"{value / scale:.{1 if scale > 1 else 0}f} {unit}")
    return [" ".join(told)]
