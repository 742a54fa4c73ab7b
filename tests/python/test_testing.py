"""The test doubles that are shipped behave as a real run does."""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from contextlib import nullcontext
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import codex_obs
from codex_obs import _open_runs
from codex_obs.testing import LoggedCall, ManualClock, MemoryRun, open_run, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from codex_obs.types import RunLike, SupportsLog

NAIVE = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - what is refused
AWARE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

# Calls that both refuse, or both take: (positional, keywords).
CALLS: list[tuple[Any, dict[str, Any]]] = [
    ({"a": 1}, {}),
    ({"a": 1}, {"step": 5}),
    ({"a": 1}, {"step": -5}),
    ({"a": 1}, {"step": np.int64(5)}),
    ({"a": 1}, {"step": np.array(5)}),
    ({"a": 1}, {"step": True}),
    ({"a": 1}, {"step": np.bool_(1)}),
    ({"a": 1}, {"step": 1.0}),
    ({"a": 1}, {"step": np.float64(1)}),
    ({"a": 1}, {"step": "1"}),
    ({"a": 1}, {"step": 2**63 - 1}),
    ({"a": 1}, {"step": 2**63}),
    ({"a": 1}, {"step": -(2**63)}),
    ({"a": 1}, {"step": -(2**63) - 1}),
    ({"a": 1}, {"split": "eval", "dataset": "d"}),
    ({"a": 1}, {"split": 5, "dataset": 6.5}),
    ({"a": 1}, {"split": None}),
    ({"a": 1}, {"tags": {"phase": "x"}}),
    ({"a": 1}, {"tags": [("a", 1)]}),
    ({"a": 1}, {"tags": "text"}),
    ({"a": 1}, {"tags": MappingProxyType({"a": 1})}),
    ({"a": 1}, {"timestamp": 1.5}),
    ({"a": 1}, {"timestamp": 1}),
    ({"a": 1}, {"timestamp": Decimal("1.5")}),
    ({"a": 1}, {"timestamp": AWARE}),
    ({"a": 1}, {"timestamp": NAIVE}),
    ({"a": 1}, {"timestamp": True}),
    ({"a": 1}, {"timestamp": "2026-01-01"}),
    ({"a": 1}, {"timestamp": dt.date(2026, 1, 1)}),
    ({}, {}),
    ({}, {"step": 1.5}),
    (OrderedDict(a=1), {}),
    (MappingProxyType({"a": 1}), {}),
    ([("a", 1)], {}),
    (None, {}),
    ("a", {}),
    (5, {}),
    ({5: 1}, {}),
    ({"a": 1, None: 2}, {}),
    ({b"a": 1}, {}),
]


def outcome(log: Callable[..., None], metrics: object, keywords: dict[str, Any]) -> type[BaseException] | None:
    try:
        log(metrics, **keywords)
    except (TypeError, ValueError) as error:
        return type(error)
    return None


@pytest.mark.parametrize(("metrics", "keywords"), CALLS, ids=[str(number) for number in range(len(CALLS))])
def test_the_double_refuses_what_a_run_refuses(metrics: Any, keywords: dict[str, Any], run_dir: Path) -> None:
    double = MemoryRun()
    with codex_obs.init(run_dir) as run:
        assert outcome(double.log, metrics, keywords) == outcome(run.log, metrics, keywords)
    rows = read_rows(run_dir)
    called = [(name, call.step, call.split, call.dataset) for call in double.calls for name in call.metrics]
    assert called == [(row["metric"], row["step"], row["split"], row["dataset"]) for row in rows]


def test_steps_that_are_left_out_are_those_of_a_run(run_dir: Path) -> None:
    double = MemoryRun()
    with codex_obs.init(run_dir) as run:
        targets: tuple[SupportsLog, ...] = (double, run)
        for target in targets:
            for step in (None, None, 10, 3, None, -7, None, 2**63 - 1, None):
                target.log({"a": 1}, step=step)
    assert [step for step, _ in double.values("a")] == [row["step"] for row in read_rows(run_dir)]


def test_the_double_keeps_what_it_was_given() -> None:
    run = MemoryRun(config={"lr": 0.1})
    run.log({"loss": 0.5, "matrix": [[1]]}, step=1, tags={"phase": "x"}, timestamp=AWARE)
    run.log({"loss": 0.4}, split="eval", dataset="d")
    run.log({})
    assert run.calls == [
        LoggedCall({"loss": 0.5, "matrix": [[1]]}, 1, "train", None, {"phase": "x"}, AWARE),
        LoggedCall({"loss": 0.4}, 2, "eval", "d", {}, None),
    ]
    assert run.values("loss") == [(1, 0.5), (2, 0.4)]
    assert run.values("loss", split="eval") == [(2, 0.4)]
    run.log_params({"seed": 1})
    assert (run.params, dict(run.config)) == ([{"seed": 1}], {"lr": 0.1, "seed": 1})
    with pytest.raises(TypeError, match="mapping"):
        run.log_params([])


@pytest.mark.parametrize(("error", "status"), [(None, "finished"), (ValueError(), "failed"), (SystemExit(1), "killed")])
def test_the_double_ends_as_a_run_does(error: BaseException | None, status: str) -> None:
    run = MemoryRun()
    with nullcontext() if error is None else pytest.raises(type(error)), run:
        run.log({"a": 1})
        if error is not None:
            raise error
    run.log({"a": 2, "b": 3})
    assert run.finish("killed" if status != "killed" else "finished")
    assert (run.status, run.closed, len(run.calls)) == (status, True, 1)
    assert run.stats() == {
        "rows_logged": 3,
        "rows_written": 1,
        "rows_waiting": 0,
        "rows_dropped": 2,
        "rows_dropped_closed": 2,
    }
    with pytest.raises(codex_obs.SettingError):
        run.finish("done")  # type: ignore[arg-type]  # the point of the test


def test_the_double_and_a_run_are_of_one_shape(run_dir: Path) -> None:
    double: RunLike = MemoryRun()
    with codex_obs.init(run_dir) as run:
        real: RunLike = run
        own = {"calls", "events", "params", "values", "status"}
        public = {name for name in dir(double) if not name.startswith("_")} - own
        assert public <= {name for name in dir(real) if not name.startswith("_")}
    assert isinstance(double.path, type(real.path))


def test_a_real_run_with_a_clock_of_the_test_s_own(run_dir: Path) -> None:
    clock = ManualClock(1_000_000.0)
    with open_run(run_dir, clock=clock, max_shard_age_s=60.0) as run:
        run.log({"loss": 1.0})
        assert run.flush()
        clock.advance(60.0)
        run.log({"loss": 2.0})
    rows = read_rows(run_dir)
    assert [(row["timestamp"], row["value"]) for row in rows] == [
        ("1970-01-12T13:46:40.000000Z", 1.0),
        ("1970-01-12T13:47:40.000000Z", 2.0),
    ]


def test_a_run_opened_for_a_test_becomes_current_by_with_only(tmp_path: Path) -> None:
    current = codex_obs.init(tmp_path / "a")
    opened = open_run(tmp_path / "b")
    assert _open_runs.current() is current
    with opened:
        assert _open_runs.current() is opened
    assert _open_runs.current() is current


def test_rows_are_read_oldest_first_from_all_streams(run_dir: Path) -> None:
    for rank in (2, 0, 1):
        with codex_obs.init(run_dir, rank=rank, max_shard_bytes=1, backup_count=3) as run:
            for step in range(3):
                run.log({"a": rank}, step=step)
    rows = read_rows(run_dir)
    assert [(row["value"], row["step"]) for row in rows] == [(rank, step) for rank in (0, 1, 2) for step in range(3)]
    assert read_rows(run_dir, "metrics_manifest") == []
