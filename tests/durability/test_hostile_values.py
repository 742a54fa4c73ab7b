"""Values that raise, recurse, log, fork, close the run or are absurd: valid JSON, nothing raised, no lock held."""

from __future__ import annotations

import decimal
import fractions
import json
import math
import os
import random
import shutil
import struct
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import codex_obs
from faults.judge import judge, lines_of
from faults.ledger import Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Scale
    from faults.ledger import Ledger

ROWS = 10_000
# Of five to twenty calls each, with one or two rows.
EXAMPLES = 1000
DEADLINE_S = 120.0
# Quiet and signalling, of both signs, with and without a payload.
NANS = (0x7FF8 << 48, 0xFFF8 << 48, 0x7FF8 << 48 | 0xBEEF, 0x7FF0 << 48 | 1, 0xFFF0 << 48 | 1, 0x7FFF_FFFF_FFFF_FFFF)
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


def recursing() -> Any:
    return recursing()


def absurd() -> list[object]:
    nans = [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in NANS]
    # A signalling one does not survive every way of handing it on; NumPy keeps its bits.
    signalling = np.array(NANS, dtype=np.uint64).view(np.float64)
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
    return [*numbers, *nans, *signalling, *texts, *containers, *others, *numpy, *arrays, *odd]


@pytest.mark.filterwarnings("ignore")
def test_hostile_values(tmp_path: Path, scale: Scale, ledger: Ledger) -> None:
    entry = Entry("hostile values, with another thread logging")
    directory = tmp_path / "run"
    run = codex_obs.init(directory, max_shard_bytes=1_000_000, backup_count="all")
    errors = [ValueError, RecursionError, MemoryError, KeyError, UnicodeError, StopIteration, OSError]
    actions = [
        *map(raising, errors),
        recursing,
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


def closing(run: codex_obs.Run) -> Callable[[], Any]:
    def action() -> float:
        run.close(timeout=1)
        return 0.5

    return action


def test_value_that_closes_the_run(tmp_path: Path, ledger: Ledger) -> None:
    """Whether its own row is in time or not, it is counted, and nothing hangs, raises or is torn."""
    entry = Entry("a value of which a method closes the run")
    for hook in HOOKS:
        directory = tmp_path / hook
        with codex_obs.init(directory) as run:
            for step in range(10):
                run.log({"before": step}, step=step)
            value = hostile(hook, closing(run))
            within_deadline(lambda: run.log({"value": value, "nested": [value]}, step=10, tags={"tag": value}))  # noqa: B023 - used at once
        stats = run.stats()
        whole, torn = lines_of(directory)
        entry.attempts += 1
        entry.accepted += stats["rows_logged"]
        entry.lost += abs(stats["rows_logged"] - stats["rows_dropped"] - whole)
        entry.torn += torn
        assert (entry.lost, entry.torn) == (0, 0), f"{hook}: {stats}"
        assert whole >= 10, f"{hook}: {stats}"
    ledger.enter(entry)


def within_deadline(action: Callable[[], object]) -> None:
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(action()), daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert outcome, "it hangs or raised what it must not raise"


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(), max_size=200)
    | st.binary(max_size=200)
    | st.decimals()
    | st.fractions()
    | st.dates()
    | st.timedeltas()
    | st.builds(object)
)
# Names with half a surrogate pair, too: `st.characters()` leaves them out unless it is asked.
NAMES = st.text(st.characters(exclude_categories=()), max_size=50)
VALUES = st.recursive(
    SCALARS | NAMES,
    lambda values: (
        st.lists(values, max_size=5)
        | st.tuples(values, values)
        | st.dictionaries(NAMES | st.integers() | st.none() | st.booleans(), values, max_size=5)
    ),
    max_leaves=20,
)
CALLS = st.lists(
    st.tuples(st.dictionaries(NAMES, VALUES, max_size=4), st.dictionaries(NAMES, VALUES, max_size=3), VALUES, VALUES),
    min_size=5,
    max_size=20,
)


@pytest.mark.filterwarnings("ignore")
def test_any_values(fast_dir: Path, scale: Scale, ledger: Ledger) -> None:
    entry = Entry("any values at all (hypothesis)")
    numbers = iter(range(10**9))

    @settings(max_examples=scale.times(EXAMPLES), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(CALLS)
    def log_any(calls: list[tuple[dict[str, object], dict[str, object], object, object]]) -> None:
        directory = fast_dir / f"run-{next(numbers)}"
        with codex_obs.init(directory, ring_bytes=256 << 10, fsync="never") as run:
            for step, (metrics, tags, split, dataset) in enumerate(calls):
                run.log(metrics, step=step, tags=tags, split=split, dataset=dataset)
        rows = sum(len(metrics) for metrics, *_ in calls)
        stats = run.stats()
        whole, torn = lines_of(directory)
        assert (stats["rows_logged"], stats["rows_written"], whole, torn) == (rows, rows, rows, 0)
        require_json(directory)
        floats = [value for metrics, *_ in calls for value in metrics.values() if type(value) is float]
        read = codex_obs.read(directory)
        found = read.filter(pl.col("value").is_not_null() | pl.col("nonfinite").is_not_null()).height
        assert found >= len(floats), "a float is missing"
        assert read["nonfinite"].is_not_null().sum() >= sum(not math.isfinite(value) for value in floats)
        entry.attempts += 1
        entry.accepted += rows
        shutil.rmtree(directory)

    log_any()
    assert scale.factor < 1 or entry.accepted >= ROWS, "too few rows"
    ledger.enter(entry)


def require_json(directory: Path) -> None:
    for path in directory.glob("*.ndjson*"):
        for line in path.read_bytes().splitlines():
            json.loads(line, parse_constant=lambda token: pytest.fail(f"{token} is no JSON"))


def check(directory: Path, entry: Entry, calls: int, beside: int, stats: dict[str, int]) -> None:
    require_json(directory)
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
