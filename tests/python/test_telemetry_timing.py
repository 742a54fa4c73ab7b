"""Durations and counts: measured right whatever is timed, and gathered into few lines."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from codex_obs import telemetry
from codex_obs._telemetry import timing
from codex_obs.telemetry import _timing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_timing, "_clock", clock)
    return clock


def lines(run: codex_obs.Run) -> list[dict[str, Any]]:
    """Give the lines of what was timed and counted, once the run is closed."""
    path = run.path / "telemetry.ndjson"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in found if line["event"] in {timing.TIMED, timing.COUNTED}]


def test_each_kind_of_function_takes_what_it_takes(clock: Clock, tmp_path: Path) -> None:
    @telemetry.track_time("function", events=True)
    def function(value: int) -> int:
        clock.now += 1
        return value

    @telemetry.track_time("coroutine", events=True)
    async def coroutine() -> str:
        clock.now += 2
        await asyncio.sleep(0)
        return "done"

    @telemetry.track_time("generator", events=True)
    def generator() -> Generator[int, str, str]:
        clock.now += 3
        try:
            sent = yield 1
        except KeyError:
            sent = "thrown"
        clock.now += 4
        yield len(sent)
        return sent

    @telemetry.track_time("async generator", events=True)
    async def async_generator() -> AsyncGenerator[int, str]:
        clock.now += 5
        sent = yield 1
        clock.now += 6
        yield len(sent)

    async def use_async() -> None:
        assert await coroutine() == "done"
        numbers = async_generator()
        assert await anext(numbers) == 1
        clock.now += 100
        assert await numbers.asend("four") == 4
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)

    with codex_obs.init(tmp_path / "run") as run:
        assert function(7) == 7
        asyncio.run(use_async())
        numbers = generator()
        assert next(numbers) == 1
        clock.now += 100
        assert numbers.send("abc") == 3
        with pytest.raises(StopIteration) as stopped:
            next(numbers)
        assert stopped.value.value == "abc"
        thrown = generator()
        next(thrown)
        assert thrown.throw(KeyError()) == 6
        thrown.close()
        with telemetry.track_time("block", events=True):
            clock.now += 8
    assert function.__name__ == "function"
    sums = [(line["metadata"]["metric"], line["measurements"]["sum"]) for line in lines(run)]
    assert sums == [
        ("function", 1),
        ("coroutine", 2),
        ("async generator", 11),
        ("generator", 7),
        ("generator", 7),
        ("block", 8),
    ]


def test_many_durations_and_counts_are_one_line_a_name(clock: Clock, tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "run") as run:
        for seconds in (0.001, 0.02, 0.02, 100.0):
            with telemetry.track_time("step", labels={"phase": "train"}):
                clock.now += seconds
        for _ in range(3):
            telemetry.count("examples", 32)
        with pytest.raises(ValueError, match="must not be negative"):
            telemetry.count("examples", -1)
    found = {line["metadata"]["metric"]: line for line in lines(run)}
    assert len(lines(run)) == 2
    measured = found["step"]["measurements"]
    assert (measured["count"], measured["sum"]) == (4, pytest.approx(100.041))
    assert (measured["min"], measured["max"]) == (pytest.approx(0.001), pytest.approx(100.0))
    assert measured["buckets"] == [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found["step"]["metadata"]["bounds"] == list(timing.BOUNDS)
    assert found["step"]["metadata"]["labels"] == {"phase": "train"}
    assert found["examples"]["measurements"]["sum"] == 96
