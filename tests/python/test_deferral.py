"""A value that its device has not computed yet holds up nobody, and its row follows: in order, once, or counted."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
import gpu
from children import run_in_child
from codex_obs import _backend, _deferral
from codex_obs.testing import open_run, read_rows
from device import Value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE_S = 30.0
KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
import codex_obs
from device import Value

run = codex_obs.init(sys.argv[1])
for step in range(50):
    run.log({"loss": Value(step * 0.5, is_ready=step < 20), "lr": 0.25}, step=step)
assert run.stats()["rows_waiting"] >= 30
print("logged", flush=True)
time.sleep(3600)
"""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def waiting(run: codex_obs.Run) -> int:
    stats = run.stats()
    assert stats["rows_logged"] == stats["rows_written"] + stats["rows_waiting"] + stats["rows_dropped"]
    return stats["rows_waiting"]


def losses(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "tracking_summary.ndjson").read_text().splitlines()
    extras = [record["extra"] for line in lines if (record := json.loads(line))["status"] == "degraded"]
    return [{name: extra[name] for name in ("cause", "count", "first_step", "last_step")} for extra in extras]


def values(directory: Path, metric: str) -> list[tuple[object, object]]:
    return [(row["step"], row["value"]) for row in read_rows(directory) if row["metric"] == metric]


def test_the_row_follows_with_step_and_time_of_the_call(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        late = Value(0.5)
        run.log({"loss": late, "lr": 0.1}, split="eval", dataset="digits", tags={"phase": "a"})
        run.log({"lr": 0.2})
        assert run.flush(0.2) is False
        assert waiting(run) == 1
        late.finish()
        assert run.flush(DEADLINE_S)
        assert waiting(run) == 0
    rows = {row["metric"]: row for row in read_rows(tmp_path / "run") if row["step"] == 0}
    assert rows["loss"] == {**rows["lr"], "metric": "loss", "value": 0.5}
    assert (rows["loss"]["split"], rows["loss"]["dataset"], rows["loss"]["tags"]) == ("eval", "digits", {"phase": "a"})


def test_steps_that_are_left_out_are_counted_at_the_call(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        late = [Value(number) for number in range(3)]
        for value in late:
            run.log({"loss": value})
        run.log({"lr": 0.1})
        for value in late:
            value.finish()
    assert values(tmp_path / "run", "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert values(tmp_path / "run", "lr") == [(3, 0.1)]


@pytest.mark.parametrize("seed", range(4))
def test_each_metric_keeps_the_order_of_its_calls_whatever_is_ready_first(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    made: list[Value] = []
    is_over = threading.Event()

    def compute() -> None:
        # In any order: what exists already may have to wait for what does not.
        while (unready := [value for value in made if not value.exists]) or not is_over.is_set():
            if unready:
                chance.choice(unready).finish()
            time.sleep(0.000_5)

    device = threading.Thread(target=compute)
    device.start()
    with open_run(tmp_path / "run") as run:
        for step in range(150):
            metrics = {name: Value(step, is_ready=step % 5 == 0) for name in "abc"[: 1 + step % 3]}
            made += metrics.values()
            run.log({**metrics, "b": float(step)} if step % 7 == 0 else metrics, step=step)
        is_over.set()
        assert run.flush(DEADLINE_S)
    device.join()
    rows = read_rows(tmp_path / "run")
    for name in "abc":
        steps = [row["step"] for row in rows if row["metric"] == name]
        assert steps == [step for step in range(150) if name <= "abc"[step % 3] or (name == "b" and step % 7 == 0)]


def test_a_number_waits_for_the_rows_of_its_metric_and_for_no_others(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        late = Value(1.0)
        run.log({"loss": late}, step=1)
        run.log({"lr": 0.5}, step=2)
        run.log({"loss": 2.0}, step=2, split="eval")
        threading.Timer(0.05, late.finish).start()
        run.log({"loss": 3.0}, step=3)
        assert late.exists
        run.flush(DEADLINE_S)
    assert [row["value"] for row in read_rows(tmp_path / "run")] == [0.5, 2.0, 1.0, 3.0]


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_deferral_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    settings = codex_obs.Settings(deferred=False)
    if way == "environment":
        monkeypatch.setenv("CODEX_OBS_DEFERRED", "0")
        settings = codex_obs.Settings()
    with codex_obs.init(tmp_path / "run", settings=settings) as run:
        late = Value(1.0)
        threading.Timer(0.05, late.finish).start()
        run.log({"loss": late})
        assert run.flush(DEADLINE_S)
        assert run.stats()["rows_written"] == 1
        assert late.times_asked == 0


def test_bound_logs_and_events_defer_too(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        late = [Value(number) for number in range(3)]
        run.bind("a", "b")(late[0], 0.5, step=7)
        run.event("TRAINER", "update", update=3, loss=late[1], steps_per_second=9.0)
        run.event("ACTOR", update=4, only=late[2])
        wait_until(lambda: waiting(run) == 3)
        for value in late:
            value.finish()
    found = {(row["split"], row["metric"], row["step"]): row["value"] for row in read_rows(tmp_path / "run")}
    assert found == {
        ("train", "a", 7): 0.0,
        ("train", "b", 7): 0.5,
        ("trainer", "loss", 3): 1.0,
        ("trainer", "steps_per_second", 3): 9.0,
        ("actor", "only", 4): 2.0,
    }


def test_a_value_of_several_numbers_is_deferred_as_well(tmp_path: Path) -> None:
    class Vector(Value):
        shape = (2,)

        def tolist(self) -> list[float]:
            return [float(self), float(self)]

    with open_run(tmp_path / "run") as run:
        late = Vector(0.5)
        run.log({"gradients": late})
        assert waiting(run) == 1
        late.finish()
    [row] = read_rows(tmp_path / "run")
    assert "manifest_id" in str(row["tags"])
    assert '"payload":[0.5,0.5]' in (tmp_path / "run" / "metrics_manifest.ndjson").read_text()


def test_a_computation_that_fails_is_a_row_that_says_so(tmp_path: Path) -> None:
    class Gone(Value):
        def is_ready(self) -> bool:
            if self.times_asked:
                raise RuntimeError("Array has been deleted.")
            return super().is_ready()

        def __float__(self) -> float:
            raise RuntimeError("Array has been deleted.")

    with open_run(tmp_path / "run") as run:
        failed = Value(0.0, OverflowError("in the device"))
        run.log({"failed": failed, "gone": Gone(1.0), "fine": 1.0})
        failed.finish()
        assert run.flush(DEADLINE_S)
        assert run.stats()["values_unreadable"] == 2
    tags = {row["metric"]: row["tags"] for row in read_rows(tmp_path / "run")}
    assert tags == {"failed": {"unreadable": "OverflowError"}, "gone": {"unreadable": "RuntimeError"}, "fine": {}}


def test_close_gives_up_at_its_timeout_and_says_how_many_values_never_came(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = codex_obs.init(tmp_path / "run")
    for step in range(5, 8):
        run.log({"loss": Value(0.0), "lr": 0.1}, step=step)
    started = time.monotonic()
    assert run.flush(0.1) is False
    assert run.close(1.0) is True
    assert time.monotonic() - started < 1.6
    stats = run.stats()
    assert (stats["rows_logged"], stats["rows_written"], stats["rows_dropped_deferred"]) == (6, 3, 3)
    assert losses(tmp_path / "run") == [{"cause": "deferred", "count": 3, "first_step": 5, "last_step": 7}]
    said = [record.getMessage() for record in caplog.records]
    assert any("3 rows wait for their values" in text for text in said)
    assert any("3 rows are dropped: their values did not exist yet" in text for text in said)
    assert not (tmp_path / "run" / ".codex_obs" / "journal-main").exists()


def test_a_reader_in_this_process_waits_and_gets_the_rows(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        late = Value(0.5)
        run.log({"loss": late})
        threading.Timer(0.1, late.finish).start()
        assert codex_obs.read(run)["value"].to_list() == [0.5]


def test_ten_thousand_values_wait_for_the_oldest_and_lose_nothing(tmp_path: Path) -> None:
    late = [Value(step) for step in range(10_000)]
    most, ticks = 0, 0

    def compute() -> None:
        nonlocal most, ticks
        for value in late:
            # It finishes one only when the loop is so far ahead that it has to wait, which must not keep this waiting.
            while not (is_logged.is_set() or _backend.deferred_rows(run) > _deferral.MOST_ROWS):
                time.sleep(0.001)
                ticks += 1
            most = max(most, _backend.deferred_rows(run))
            value.finish()

    is_logged = threading.Event()
    with open_run(tmp_path / "run") as run:
        device = threading.Thread(target=compute)
        device.start()
        for step, value in enumerate(late):
            run.log({"loss": value}, step=step)
        is_logged.set()
        device.join()
    assert ticks > 0
    assert _deferral.MOST_ROWS < most <= _deferral.MOST_ROWS + 1
    assert values(tmp_path / "run", "loss") == [(step, float(step)) for step in range(10_000)]


INTERRUPTED = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[2])
from codex_obs import _deferral
import codex_obs
from device import Value
signal.signal(signal.SIGINT, signal.default_int_handler)
_deferral.MOST_ROWS = 2
late = [Value(step) for step in range(3)]
run = codex_obs.init(sys.argv[1])
for step, value in enumerate(late[:2]):
    run.log({"loss": value}, step=step)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    run.log({"loss": late[2]}, step=2)
except KeyboardInterrupt:
    print("interrupted", run.stats()["rows_waiting"], flush=True)
for value in late:
    value.finish()
run.close()
"""


def test_an_interrupt_while_there_are_too_many_loses_nothing(tmp_path: Path) -> None:
    support = sys.modules["device"].__file__
    assert support is not None
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "run"), os.path.dirname(support)],  # noqa: PTH120 - text
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "interrupted 3\n"
    assert values(tmp_path / "run", "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_a_kill_costs_what_did_not_exist_and_recovery_says_how_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "run"
    support = sys.modules["device"].__file__
    assert support is not None
    arguments = [sys.executable, "-c", KILLED, str(directory), os.path.dirname(support)]  # noqa: PTH120 - text
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "logged\n"
        finally:
            process.kill()
    with codex_obs.init(directory):
        pass
    assert values(directory, "loss") == [(step, step * 0.5) for step in range(20)]
    assert len(values(directory, "lr")) == 50
    assert losses(directory) == [{"cause": "deferred", "count": 30, "first_step": None, "last_step": None}]
    assert any("30 rows of an earlier process were never computed" in text.getMessage() for text in caplog.records)


def test_recovery_counts_what_did_not_exist(tmp_path: Path) -> None:
    def child() -> None:
        run = codex_obs.init(tmp_path / "run")
        run.log({"loss": Value(1.0), "lr": 0.5})

    run_in_child(child)
    assert codex_obs.recover(tmp_path / "run")["rows_deferred"] == 1
    assert codex_obs.recover(tmp_path / "run")["rows_deferred"] == 0
    assert [loss["count"] for loss in losses(tmp_path / "run")] == [1]
    assert values(tmp_path / "run", "lr") == [(0, 0.5)]


def test_a_fork_leaves_the_rows_that_wait_to_the_parent(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        late = [Value(step) for step in range(3)]
        for step, value in enumerate(late):
            run.log({"loss": value}, step=step)

        def child() -> None:
            assert waiting(run) == 0
            # Were they the child's as well, they would be written now.
            for value in late:
                value.finish()
            own = Value(9.0)
            run.log({"own": own}, step=9)
            own.finish()
            assert run.close(DEADLINE_S)

        run_in_child(child)
        assert waiting(run) == 3
        for value in late:
            value.finish()
    assert values(tmp_path / "run", "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    rows = codex_obs.read(tmp_path / "run")
    assert rows.filter(rows["metric"].cast(str) == "own")["value"].to_list() == [9.0]
    assert rows.height == 4


def test_no_thread_is_started_for_plain_numbers(tmp_path: Path) -> None:
    def threads() -> set[str]:
        return {thread.name for thread in threading.enumerate() if "deferred" in thread.name}

    with open_run(tmp_path / "run") as run:
        run.log({"loss": 1.0, "ready": Value(2.0, is_ready=True)})
        assert threads() == set()
        late = Value(1.0)
        run.log({"loss": late})
        assert len(threads()) == 1
        late.finish()
    wait_until(lambda: threads() == set())


def test_rows_that_are_logged_while_a_value_is_read_are_kept(tmp_path: Path) -> None:
    class Talkative(Value):
        def __float__(self) -> float:
            run.log({"loss": -1.0}, step=100)
            return super().__float__()

    with open_run(tmp_path / "run") as run:
        late = [Talkative(step) for step in range(2)]
        for step, value in enumerate(late):
            run.log({"loss": value}, step=step)
        for value in late:
            value.finish()
        assert run.flush(DEADLINE_S)
    found = values(tmp_path / "run", "loss")
    assert sorted(found, key=str) == sorted([(0, 0.0), (1, 1.0), (100, -1.0), (100, -1.0)], key=str)


def test_a_tensor_on_a_gpu_is_copied_when_it_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that a CUDA tensor takes, of a stand-in that records them. A GPU has its own test, marked `gpu`."""
    calls, arrived = gpu.calls_of(monkeypatch)
    with open_run(tmp_path / "run", deferred="cuda") as run:
        tensor = gpu.Tensor(calls, 0.5)
        run.log({"loss": tensor})
        tensor.number = 7.0
        assert waiting(run) == 1
        arrived.set()
    order = [call for call in calls if "query" not in call]
    assert order[:7] == ["numel", "no_grad", "detach", "clone", "Stream.wait_stream", "stream", "Event.record"]
    assert "Event.synchronize" in order
    assert values(tmp_path / "run", "loss") == [(0, 0.5)]
