"""`Run.bind` writes what `log` writes."""

from __future__ import annotations

import gc
import math
import os
import re
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codex_obs
from codex_obs.testing import ManualClock, MemoryRun, open_run, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from codex_obs import Run
    from codex_obs.types import RunLike

MANIFEST_ID = re.compile(rb"manifest-[0-9a-f]{32}")


@pytest.fixture
def run(run_dir: Path) -> Iterator[Run]:
    with open_run(run_dir, fsync="never", clock=ManualClock(1e9), max_shard_bytes=None) as run:
        yield run


class Lines:
    """What a file has gained since the last look, without the random part of manifest ids."""

    def __init__(self, run: Run, name: str) -> None:
        self._run = run
        self._path = run.path / name
        self._seen = 0

    def new(self) -> bytes:
        assert self._run.flush(30)
        text = self._path.read_bytes() if self._path.exists() else b""
        new, self._seen = text[self._seen :], len(text)
        return MANIFEST_ID.sub(b"manifest", new)


class Unreadable:
    def __float__(self) -> float:
        raise LookupError


texts = st.text(st.characters(), max_size=8)
scalars = st.one_of(
    st.floats(),
    st.integers(),
    st.booleans(),
    st.none(),
    texts,
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.floats().map(np.float64),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.integers(0, 2**64 - 1).map(np.uint64),
    st.integers(-128, 127).map(np.int8),
    st.booleans().map(np.bool_),
    st.floats().map(np.longdouble),
    st.floats().map(np.array),
    st.just(10**400),
    st.builds(Unreadable),
    st.lists(st.integers(0, 5), max_size=3),
    st.dictionaries(texts, st.floats(), max_size=2),
)
names = st.one_of(texts, st.just("größe"), st.just("\ud800"), st.just("long" * 2000))
tags = st.one_of(st.none(), st.dictionaries(texts | st.just("nonfinite"), st.integers() | texts, max_size=3))


def test_the_rows_are_those_of_log_byte_for_byte(run: Run) -> None:
    metrics, manifest = Lines(run, "metrics.ndjson"), Lines(run, "metrics_manifest.ndjson")

    @given(
        values=st.dictionaries(names, scalars, max_size=12),
        more=st.lists(scalars, max_size=12),
        step=st.none() | st.integers(-(2**63), 2**40),
        timestamp=st.none() | st.floats(0, 1e9) | st.just(math.nan),
        call=st.fixed_dictionaries(
            {}, optional={"split": texts | st.none() | st.integers(), "dataset": texts | st.none(), "tags": tags}
        ),
    )
    def same(
        values: dict[str, Any], more: list[Any], step: int | None, timestamp: float | None, call: dict[str, Any]
    ) -> None:
        bound = run.bind(*values, **call)
        others = dict(zip(values, [*more, *values.values()], strict=False))
        for metrics_of_call in (values, others, values):
            before = run.stats()
            # Without a step both calls must find the same largest one.
            given_step = run._resume_step() if step is None else step
            run.log(metrics_of_call, step=given_step, timestamp=timestamp, **call)
            lines, between = (metrics.new(), manifest.new()), run.stats()
            if step is None and given_step is not None:
                run._set_next_step(given_step)
            bound(*metrics_of_call.values(), step=step, timestamp=timestamp)
            assert (metrics.new(), manifest.new()) == lines
            after = run.stats()
            changes = ("rows_logged", "texts_cut", "surrogates_replaced", "values_unreadable", "timestamps_replaced")
            assert [after[name] - between[name] for name in changes] == [
                between[name] - before[name] for name in changes
            ]

    run.log({"first": 0.0}, step=0)
    metrics.new()
    same()


@pytest.mark.parametrize("legacy", [False, True])
def test_structured_values_flatten_as_in_log(run_dir: Path, legacy: bool) -> None:  # noqa: FBT001 - parametrised
    value = {"a": {"b": 1, "c": 2.5}}
    with open_run(run_dir, flatten=True, legacy=legacy) as run:
        run.bind("m", "n")(value, [1, 2], step=1)
        run.log({"m": value, "n": [1, 2]}, step=1)
    rows = [{key: row[key] for key in ("metric", "value", "step")} for row in read_rows(run_dir)]
    assert [row["metric"] for row in rows[:3]] == ["m/a/b", "m/a/c", "n"]
    assert rows[:3] == rows[3:]


@pytest.mark.parametrize("given_values", [(), (0.5,), (0.5, 0.9, 1.0)])
def test_another_number_of_values_is_refused_and_writes_nothing(run: Run, given_values: tuple[float, ...]) -> None:
    log = run.bind("loss", "acc")
    with pytest.raises(TypeError, match=f"2 values.*{len(given_values)} were given"):
        log(*given_values, step=1)
    assert run.stats()["rows_logged"] == 0


def both(run: Run) -> list[RunLike]:
    return [run, MemoryRun()]


WRONG: dict[str, tuple[Callable[[Any], object], type[Exception]]] = {
    "a name twice": (lambda run: run.bind("a", "b", "a"), ValueError),
    "no text": (lambda run: run.bind("a", 5), TypeError),
    "a list of names": (lambda run: run.bind(["a"]), TypeError),
    "tags": (lambda run: run.bind("a", tags=[("a", 1)]), TypeError),
    "no value": (lambda run: run.bind("a")(), TypeError),
    "step": (lambda run: run.bind("a")(1.0, step=1.5), TypeError),
    "large step": (lambda run: run.bind("a")(1.0, step=2**63), ValueError),
    "timestamp": (lambda run: run.bind("a")(1.0, timestamp="now"), TypeError),
    "split": (lambda run: run.bind("a")(1.0, split="eval"), TypeError),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused_by_run_and_double(run: Run, case: str) -> None:
    bind, error = WRONG[case]
    targets: tuple[RunLike, ...] = (run, MemoryRun())
    for target in targets:
        with pytest.raises(error):
            bind(target)
        assert target.stats()["rows_logged"] == 0


def test_the_double_keeps_the_same_calls() -> None:
    run = MemoryRun()
    facts = {"phase": "x"}
    log = run.bind("loss", "acc", split="eval", dataset="d", tags=facts)
    facts["phase"] = "y"
    log(0.5, 0.9, step=3)
    log(0.4, 0.8)
    run.bind()(step=1)
    assert [(dict(call.metrics), call.step, call.split, call.dataset, dict(call.tags)) for call in run.calls] == [
        ({"loss": 0.5, "acc": 0.9}, 3, "eval", "d", {"phase": "x"}),
        ({"loss": 0.4, "acc": 0.8}, 4, "eval", "d", {"phase": "x"}),
    ]


def test_tags_are_read_when_it_is_bound(run: Run) -> None:
    facts = {"phase": "warm"}
    log = run.bind("loss", tags=facts)
    facts["phase"] = "late"
    log(0.5, step=1)
    assert run.flush(30)
    assert [row["tags"] for row in read_rows(run.path)] == [{"phase": "warm"}]


def test_a_run_that_is_closed_counts_and_stays_quiet(run: Run) -> None:
    log = run.bind("loss", "acc")
    assert run.close()
    log(0.5, 0.9, step=1)
    assert run.stats()["rows_dropped_closed"] == 2


def test_names_that_fill_several_frames(run_dir: Path) -> None:
    names = [f"{number:03}" * 1000 for number in range(100)]
    with open_run(run_dir, ring_bytes=1 << 18) as run:
        log = run.bind(*names)
        for step in range(2):
            log(*range(100), step=step)
    rows = read_rows(run_dir)
    assert [(row["step"], row["metric"], row["value"]) for row in rows] == [
        (step, name, float(value)) for step in range(2) for value, name in enumerate(names)
    ]


def test_a_value_that_logs_leaves_both_calls_whole(run: Run) -> None:
    log = run.bind("a", "b")

    class Logs:
        def __float__(self) -> float:
            log(10.0, 20.0, step=2)
            return 2.0

    log(1.0, Logs(), step=1)
    assert run.flush(30)
    assert [(row["step"], row["value"]) for row in read_rows(run.path)] == [(2, 10.0), (2, 20.0), (1, 1.0), (1, 2.0)]


def test_threads_share_it(run: Run) -> None:
    log = run.bind("a", "b")

    def work(number: int) -> None:
        for step in range(500):
            log(step, number, step=step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert run.flush(30)
    rows = read_rows(run.path)
    assert [row["metric"] for row in rows] == ["a", "b"] * 2000
    pairs = {(first["step"], second["value"]) for first, second in zip(rows[::2], rows[1::2], strict=True)}
    assert pairs == {(step, float(number)) for step in range(500) for number in range(4)}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_logs_to_its_own_stream(run: Run) -> None:
    log = run.bind("a", "b", split="eval")
    log(1.0, 2.0, step=1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            log(3.0, 4.0, step=2)
            code = 0 if run.stats()["rows_logged"] == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    log(5.0, 6.0, step=3)
    assert run.close()
    rows = codex_obs.read(run.path).sort("step")
    assert rows["value"].to_list() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert rows["split"].unique().to_list() == ["eval"]


def test_it_keeps_the_run_alive_and_lets_a_cycle_go(run_dir: Path) -> None:
    run = open_run(run_dir)
    log = run.bind("a")
    run.close()
    gone = weakref.ref(run)
    run.__dict__["prepared"] = log
    del run
    gc.collect()
    assert gone() is not None
    del log
    gc.collect()
    assert gone() is None
