"""JAX: arrays of one element are numbers and steps, whatever their dtype."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from codex_obs.testing import open_run, read_rows

if TYPE_CHECKING:
    from pathlib import Path

jax = pytest.importorskip("jax", reason="needs JAX: make frameworks")


def test_an_array_of_one_number_is_that_number_each_time(tmp_path: Path) -> None:
    arrays = {
        "f32": jax.numpy.array(0.5),
        "bf16": jax.numpy.array([0.25], "bfloat16"),
        "i8": jax.numpy.array([[-3]], "int8"),
        "bool": jax.numpy.array([True]),
        "jitted": jax.jit(lambda number: number * 2)(0.75),
    }
    with open_run(tmp_path / "run", fsync="never") as run:
        for _ in range(2):
            run.log({**arrays, "vector": jax.numpy.arange(3)})
    expected = [0.5, 0.25, -3.0, True, 1.5, None]
    assert [row["value"] for row in read_rows(tmp_path / "run")] == expected * 2


def test_a_whole_number_of_one_element_is_a_step_and_no_other_array(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", fsync="never") as run:
        steps: list[Any] = [jax.numpy.array(5), jax.numpy.array([6], "int8")]
        for step in steps:
            run.log({"m": 1.0}, step=step)
        for refused in (jax.numpy.array(5.0), jax.numpy.array([1, 2]), jax.numpy.array([True])):
            with pytest.raises(TypeError, match="step must be an integer"):
                run.log({"m": 1.0}, step=refused)
    assert [row["step"] for row in read_rows(tmp_path / "run")] == [5, 6]


def test_a_value_inside_of_a_compiled_function_is_null_and_the_remedy_is_said_and_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_run(tmp_path / "run") as run:

        def wrong(values: Any) -> Any:
            run.log({"loss": values.sum()})
            return values.sum()

        def right(values: Any) -> Any:
            jax.debug.callback(lambda value: run.log({"remedied": value}), values.sum())
            return values.sum()

        gone = jax.numpy.array(1.0)
        gone.delete()
        with caplog.at_level(logging.WARNING, "codex_obs"):
            for _ in range(3):
                jax.jit(wrong)(jax.numpy.arange(3.0))
                jax.jit(right)(jax.numpy.arange(3.0))
            run.log({"gone": gone})
            jax.effects_barrier()
    rows: list[dict[str, Any]] = read_rows(tmp_path / "run")
    found = {(row["metric"], row["value"], row["tags"].get("unreadable")) for row in rows}
    assert found == {
        ("loss", None, "ConcretizationTypeError"),
        ("gone", None, "RuntimeError"),
        ("remedied", 3.0, None),
    }
    traced, deleted = (record.getMessage() for record in caplog.records)
    assert "`loss` could not be read and is null (ConcretizationTypeError: Abstract tracer value" in traced
    assert "jax.debug.callback" in traced
    assert "`gone` could not be read and is null (RuntimeError: Array has been deleted" in deleted
    assert "a copy of it" in deleted
