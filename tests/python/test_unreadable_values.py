"""A value that cannot be read is null, and that is said once for each metric and error, with what can be done."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from codex_obs.testing import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Facts = tuple[object, object, object]
END = "; said once for each metric and error; values_unreadable in stats() counts all"


class ConcretizationTypeError(TypeError):
    """JAX's own is called so."""


class Raises:
    """A number of a framework that cannot be had."""

    dtype = "float32"
    shape = ()

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __float__(self) -> float:
        raise self.error

    def item(self) -> float:
        raise self.error


class Placement:
    def __init__(self, *, partial: bool) -> None:
        self.partial = partial

    def is_partial(self) -> bool:
        return self.partial


class Distributed:
    """A tensor of which each rank has a part; `item` gives that part, as PyTorch's does."""

    dtype = "float32"
    shape = ()

    def __init__(self, *, partial: bool) -> None:
        self.partial = partial

    @property
    def placements(self) -> tuple[Placement, ...]:
        return Placement(partial=False), Placement(partial=self.partial)

    def item(self) -> float:
        return 1.5


def facts(run: codex_obs.Run) -> set[Facts]:
    """Give metric, value and the class of the error of each row."""
    rows: list[dict[str, Any]] = read_rows(run.path)
    return {(row["metric"], row["value"], row["tags"].get("unreadable")) for row in rows}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[codex_obs.Run]:
    with codex_obs.init(tmp_path / "run", name="r") as run:
        yield run


# What frameworks say, and what the remedy has to name.
ERRORS: dict[str, tuple[Exception, str]] = {
    "a tracer of JAX": (
        ConcretizationTypeError("Abstract tracer value encountered where concrete value is expected\nmore lines"),
        "jax.debug.callback",
    ),
    "a buffer that is gone": (RuntimeError("Array has been deleted with shape=float32[]."), "a copy of it"),
    "a meta tensor": (RuntimeError("Tensor.item() cannot be called on meta tensors"), "on a real device"),
    "a mapped tensor": (
        RuntimeError("vmap: It looks like you're calling .item() on a Tensor."),
        "outside of it",
    ),
    "an array of another host": (
        RuntimeError("Fetching value for `jax.Array` that spans non-addressable devices is not possible."),
        "gather it first",
    ),
    "anything else": (KeyError("what"), "whose `float()` gives one"),
    "an error without words": (ValueError(), "whose `float()` gives one"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_a_warning_has_the_metric_the_library_s_words_and_the_remedy(
    kind: str, run: codex_obs.Run, caplog: pytest.LogCaptureFixture
) -> None:
    error, remedy = ERRORS[kind]
    with caplog.at_level(logging.WARNING, "codex_obs"):
        for step in range(100):
            run.log({"loss": Raises(error), "lr": 0.1}, step=step)
        run.flush()
    (text,) = [record.getMessage() for record in caplog.records]
    first = str(error).split("\n", maxsplit=1)[0]
    said = f"{type(error).__name__}: {first}" if first else type(error).__name__
    assert text.startswith(f"codex_obs: run r: the metric `loss` could not be read and is null ({said}); ")
    assert remedy in text
    assert text.endswith(END)
    assert run.stats()["values_unreadable"] == 100
    assert facts(run) == {
        ("loss", None, type(error).__name__),
        ("lr", 0.1, None),
    }


def test_each_metric_and_each_error_is_said_once_and_a_hundred_at_most(
    run: codex_obs.Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "codex_obs"):
        for _ in range(3):
            run.log({"a": Raises(ValueError("x")), "b": Raises(ValueError("x"))})
            run.log({"a": Raises(TypeError("x"))})
            run.event("TRAINER", update=1, c=Raises(ValueError("x")))
        said = len(caplog.records)
        for number in range(1000):
            run.log({f"m{number}": Raises(ValueError("x"))})
    assert said == 4
    assert len(caplog.records) == 100


def test_a_part_of_a_distributed_sum_is_no_value(run: codex_obs.Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "codex_obs"):
        run.log({"partial": Distributed(partial=True), "replicated": Distributed(partial=False)})
        run.flush()
    assert facts(run) == {("partial", None, "PartialDTensor"), ("replicated", 1.5, None)}
    (text,) = [record.getMessage() for record in caplog.records]
    assert "this process has only its part of the value" in text
    assert "`value.full_tensor()` on every rank" in text
