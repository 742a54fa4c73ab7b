"""JAX on a device that takes its time: `log` waits for nothing, and what a kill costs did not exist yet.

The device is an XLA call written in C that sleeps. It needs no processor, so the times hold on a busy machine too.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

import codex_obs
from codex_obs.testing import open_run, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable

numpy = pytest.importorskip("numpy")
jax = pytest.importorskip("jax", reason="needs JAX: make frameworks")
SOURCE = Path(__file__).parent / "programs" / "sleeper.c"
TARGET = "codex_obs_test_sleep"
DEVICE_MS = 10
STEPS = 40
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import codex_obs, test_jax_deferral as device

step = device.program(device.load(sys.argv[2]))
run = codex_obs.init(sys.argv[1])
weights = device.weights()
for number in range(60):
    weights, loss = step(weights)
    run.log({"loss": loss}, step=number)
print(run.stats()["rows_waiting"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def load(library: str) -> str:
    jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(ctypes.CDLL(library).Sleep), platform="cpu")
    return TARGET


def program(target: str, ms: float = DEVICE_MS) -> Callable[[Any], Any]:
    """Give a step of a training that keeps the device busy for so long."""

    def step(weights: Any) -> Any:
        shape = jax.ShapeDtypeStruct(weights.shape, weights.dtype)
        slept = jax.ffi.ffi_call(target, shape, has_side_effect=True)
        weights = jax.numpy.tanh(slept(weights, us=numpy.int64(ms * 1000)) @ weights)
        return weights, weights.sum()

    return cast("Callable[[Any], Any]", jax.jit(step))


def weights() -> Any:
    return jax.numpy.ones((64, 64), "float32") / 64


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    path = tmp_path_factory.mktemp("device") / "sleeper.so"
    command = [compiler, "-Wall", "-O1", "-shared", "-fPIC", "-I", jax.ffi.include_dir(), "-o", str(path), str(SOURCE)]
    subprocess.run(command, check=True)
    return str(path)


@pytest.fixture(scope="module")
def target(library: str) -> str:
    return load(library)


def ms_a_step(step: Callable[[Any], Any], run: codex_obs.Run | None, host_ms: float) -> float:
    held = weights()
    started = time.perf_counter()
    for number in range(STEPS):
        time.sleep(host_ms / 1000)
        held, loss = step(held)
        if run is not None:
            run.log({"loss": loss}, step=number)
    held.block_until_ready()
    return (time.perf_counter() - started) / STEPS * 1000


def test_a_loop_that_logs_is_as_fast_as_one_that_does_not(tmp_path: Path, target: str) -> None:
    step = program(target)
    step(weights())[1].block_until_ready()
    fastest: dict[str, float] = {}
    for attempt in range(3):
        for way in ("nothing", "deferred", "waiting"):
            if way == "nothing":
                taken = ms_a_step(step, None, 8)
            else:
                with open_run(tmp_path / f"{way}-{attempt}", deferred=way == "deferred") as run:
                    taken = ms_a_step(step, run, 8)
                rows = read_rows(tmp_path / f"{way}-{attempt}")
                assert [row["step"] for row in rows] == list(range(STEPS))
                assert all(isinstance(row["value"], float) for row in rows)
            fastest[way] = min(taken, fastest.get(way, taken))
    assert fastest["waiting"] > 1.4 * fastest["nothing"]
    assert fastest["deferred"] < 1.1 * fastest["nothing"], fastest


def test_values_are_those_that_the_device_computed(tmp_path: Path, target: str) -> None:
    step, held, expected = program(target, 2), weights(), []
    with open_run(tmp_path / "run") as run:
        for number in range(30):
            held, loss = step(held)
            run.log({"loss": loss, "lr": 0.5}, step=number)
            expected.append(loss)
        assert run.stats()["rows_waiting"] > 0
    found = [(row["step"], row["value"]) for row in read_rows(tmp_path / "run") if row["metric"] == "loss"]
    assert found == [(number, float(loss)) for number, loss in enumerate(expected)]


def test_a_buffer_that_was_donated_is_unreadable_and_costs_no_other_row(tmp_path: Path, target: str) -> None:
    step = program(target, 200)
    reused = jax.jit(lambda number: number * 2, donate_argnums=0)
    reused(jax.numpy.array(1.0))
    with open_run(tmp_path / "run") as run:
        loss = step(weights())[1]
        run.log({"loss": loss, "after": loss + 1.0}, step=0)
        doubled = reused(loss)
        assert loss.is_deleted()
        assert run.flush(10.0)
    rows = {row["metric"]: row for row in read_rows(tmp_path / "run")}
    assert (rows["loss"]["value"], "unreadable" in str(rows["loss"]["tags"])) == (None, True)
    assert rows["after"]["value"] == float(doubled) / 2 + 1


def test_an_exception_in_the_computation_is_a_row_that_says_so(tmp_path: Path, target: str) -> None:
    def fail(_: Any) -> Any:
        raise ValueError("in the callback")

    slow = program(target, 50)

    failing = jax.jit(lambda number: jax.pure_callback(fail, jax.ShapeDtypeStruct((), "float32"), number))

    with open_run(tmp_path / "run") as run:
        run.log({"bad": failing(slow(weights())[1]), "good": 1.0}, step=0)
        assert run.flush(10.0)
    rows = {row["metric"]: row for row in read_rows(tmp_path / "run")}
    assert (rows["bad"]["value"], "unreadable" in str(rows["bad"]["tags"])) == (None, True)
    assert rows["good"]["value"] == 1.0


def test_close_holds_its_timeout_while_the_device_works_on(tmp_path: Path, target: str) -> None:
    step = program(target, 3000)
    loss = step(weights())[1]
    run = codex_obs.init(tmp_path / "run")
    run.log({"loss": loss})
    started = time.monotonic()
    assert run.close(0.5)
    assert time.monotonic() - started < 1.5
    assert run.stats()["rows_dropped_deferred"] == 1
    loss.block_until_ready()


def test_a_kill_costs_only_what_the_device_had_not_computed(tmp_path: Path, library: str) -> None:
    directory = tmp_path / "run"
    arguments = [sys.executable, "-c", KILLED, str(directory), library, str(Path(__file__).parent)]
    killed = subprocess.run(arguments, capture_output=True, text=True, timeout=120, env=dict(os.environ), check=False)
    assert killed.returncode == -9, killed.stderr
    assert int(killed.stdout) > 0
    recovered = codex_obs.recover(directory)
    steps = codex_obs.read(directory)["step"].to_list()
    assert recovered["rows_deferred"] > 0
    assert steps == list(range(60 - recovered["rows_deferred"]))
