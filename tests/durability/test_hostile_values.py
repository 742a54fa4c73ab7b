"""Values that raise, recurse, log, fork, close the run or are absurd: valid JSON, nothing raised, no lock held."""

from __future__ import annotations

import decimal
import fractions
import json
import os
import random
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

import codex_obs
from faults.judge import judge, lines_of
from faults.ledger import Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Scale
    from faults.ledger import Ledger

ROWS = 10_000
DEADLINE_S = 120.0
HOOKS = (
    "__float__",
    "__str__",
    "__repr__",
    "__array__",
    "__hash__",
    "__len__",
    "__iter__",
    "__index__",
    "__bool__",
    "__eq__",
)


def hostile(hook: str, action: Callable[[], Any]) -> object:
    """Make an object of which one method does something unexpected."""
    return type("Hostile", (), {hook: lambda *_: action()})()


def raising(error: type[Exception]) -> Callable[[], Any]:
    def action() -> Any:
        raise error("hostile")

    return action


def forking(run: codex_obs.Run) -> Callable[[], Any]:
    def action() -> float:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        run.log({"beside a fork": 1.0}, step=0)
        return 0.5

    return action


def absurd() -> list[object]:
    cyclic: list[object] = []
    cyclic.append(cyclic)
    deep: object = 1.0
    for _ in range(1000):
        deep = [deep]
    numbers = [float("nan"), float("inf"), -float("inf"), 1e308 * 10, -0.0, 5e-324, 10**400, -(10**400), 2**63, True]
    texts = ["\ud800", "\0", "\u2028", "x" * 100_000, b"\xff" * 1000, bytearray(b"\0")]
    containers = [
        cyclic,
        deep,
        {"a": {"b": cyclic}},
        {1: 2, None: 3, "\udfff": 4},
        set(range(100)),
        range(10**6),
        [float("nan")],
    ]
    others = [
        None,
        ...,
        NotImplemented,
        object(),
        object,
        int,
        1j,
        decimal.Decimal("sNaN"),
        fractions.Fraction(1, 3),
        "10",
    ]
    numpy = [np.dtype(code).type(1) for code in "?bhilqBHILQefdgFDG"]
    arrays = [np.zeros(shape) for shape in [(), (1,), (1, 1), (0,), (3,), (2, 2)]]
    odd = [
        np.array(["a", None], dtype=object),
        np.datetime64("NaT"),
        np.timedelta64(1),
        np.ma.masked,
        np.float16("nan"),
    ]
    return [*numbers, *texts, *containers, *others, *numpy, *arrays, *odd]


@pytest.mark.filterwarnings("ignore")
def test_hostile_values(tmp_path: Path, scale: Scale, ledger: Ledger) -> None:
    entry = Entry("hostile values, with another thread logging")
    directory = tmp_path / "run"
    run = codex_obs.init(directory, max_shard_bytes=1_000_000, backup_count="all")
    errors = [ValueError, RecursionError, MemoryError, KeyError, UnicodeError, StopIteration, OSError]
    actions = [
        *map(raising, errors),
        forking(run),
        lambda: run.log({"inner": 1.0}, step=0),
        lambda: "nonsense",
        lambda: run.flush(1),
    ]
    values = [*absurd(), *(hostile(hook, action) for hook in HOOKS for action in actions)]
    rng = random.Random(5)
    stop = threading.Event()
    beside = 0

    def log_beside() -> None:
        nonlocal beside
        while not stop.is_set():
            run.log({"beside": beside}, step=beside)
            beside += 1
            stop.wait(0.0005)

    thread = threading.Thread(target=log_beside)
    thread.start()
    calls = scale.times(ROWS, least=2 * len(values))
    try:
        for step in range(calls):
            value = values[step % len(values)]
            match rng.randrange(4):
                case 0 | 1:
                    run.log({"value": value}, step=step)
                case 2:
                    run.log({"value": {"nested": [value]}}, step=step)
                case _:
                    run.log({"value": 1.0}, step=step, tags={"tag": value}, split=value, dataset=value)
            entry.attempts += 1
    finally:
        stop.set()
        thread.join()
    run.log({f"name{index}": 1.0 for index in range(100_000)}, step=calls)
    run.log({"huge": "x" * 10_000_000}, step=calls)
    assert run.close(timeout=DEADLINE_S)
    check(directory, entry, calls, beside, run.stats())
    ledger.enter(entry)


def check(directory: Path, entry: Entry, calls: int, beside: int, stats: dict[str, int]) -> None:
    for path in directory.glob("*.ndjson*"):
        for line in path.read_bytes().splitlines():
            json.loads(line, parse_constant=lambda token: pytest.fail(f"{token} is no JSON"))
    judgement = judge(directory, expected(calls, beside))
    entry.accepted = judgement.accepted
    entry.lost = judgement.lost
    entry.torn = judgement.torn
    assert (judgement.lost, judgement.torn) == (0, 0), str(judgement)
    assert stats["rows_logged"] == stats["rows_written"] == lines_of(directory)[0]


def expected(calls: int, beside: int) -> pl.DataFrame:
    steps = {"value": range(calls), "beside": range(beside)}
    rows = [
        pl.DataFrame({"metric": [metric]}).join(pl.DataFrame({"step": s}), how="cross") for metric, s in steps.items()
    ]
    return pl.concat(rows)
