"""Values of a class that was met before are read in a cheaper way, and become the same rows."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from codex_obs.testing import MemoryRun, open_run, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codex_obs import Run

TIMES = 3


@pytest.fixture
def run(run_dir: Path) -> Iterator[Run]:
    with open_run(run_dir, fsync="never") as run:
        yield run


def outcomes(run: Run, *values: object) -> list[tuple[object, object]]:
    """Log each value alone. Gives the value and the tags of each row, of a manifest id whether there is one."""
    for value in values:
        run.log({"m": value}, step=0)
    assert run.flush(30)
    rows: list[dict[str, Any]] = read_rows(run.path)
    return [(row["value"], {**row["tags"], "manifest_id": "manifest_id" in row["tags"]}) for row in rows]


def one_each(make: Callable[[], object], run: Run) -> tuple[object, object]:
    """Require that equal values of one class have equal rows, whether the class was met before or not."""
    first, *others = outcomes(run, *(make() for _ in range(TIMES)))
    assert others == [first] * (TIMES - 1)
    return first


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: np.array(1.5), 1.5),
        (lambda: np.array([[2.5]], "f2"), 2.5),
        (lambda: np.array([3], "u8"), 3.0),
        (lambda: np.array([[True]]), 1),
        (lambda: np.array(None), None),
        (lambda: np.array(2**70), float(2**70)),
        (lambda: np.ma.masked_array([1.5], [False]), 1.5),
        (lambda: np.ma.masked_array([1.5], [True]), None),
        (lambda: np.array(1.5, "longdouble"), 1.5),
    ],
    ids=("f8", "f2", "u8", "bool", "None", "object", "unmasked", "masked", "longdouble"),
)
def test_an_array_of_one_number_is_that_number(make: Callable[[], object], value: object, run: Run) -> None:
    found, tags = one_each(make, run)
    assert (found, type(found)) == (value, type(value))
    assert tags == {"manifest_id": False}


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.array([1.0, 2.0]),
        lambda: np.array([]),
        lambda: np.array("word"),
        lambda: np.array(1 + 2j),
        lambda: np.array([1 + 2j], "clongdouble"),
        lambda: np.array("2026-01-01T00:00:00.000000001", "M8[ns]"),
        lambda: np.array(["NaT"], "M8[us]"),
        lambda: np.array(5, "m8[ns]"),
        lambda: np.array([{"a": 1}], object),
    ],
    ids=("two", "none", "text", "c16", "clongdouble", "ns", "NaT", "duration", "object"),
)
def test_any_other_array_is_a_structured_value(make: Callable[[], object], run: Run) -> None:
    run.log({"m": np.array(0.5)})
    rows = outcomes(run, *(make() for _ in range(TIMES)))[1:]
    assert rows == [(None, {"manifest_id": True})] * TIMES


def tensor_class(module: str) -> Any:
    """Make what stands in for a framework's array; `asked` has what it was asked for."""

    class Tensor:
        dtype = object()
        asked: list[str] = []  # noqa: RUF012 - of the class, for the test

        def __init__(self, *numbers: float) -> None:
            self._numbers = numbers

        @property
        def shape(self) -> tuple[int, ...]:
            self.asked.append("shape")
            return (len(self._numbers),)

        def item(self) -> float:
            self.asked.append("item")
            if len(self._numbers) != 1:
                raise RuntimeError("a Tensor with several elements cannot be converted to Scalar")
            return self._numbers[0]

        def tolist(self) -> list[float]:
            return list(self._numbers)

    Tensor.__module__ = module
    return Tensor


def test_a_tensor_of_a_known_framework_is_asked_for_its_item_alone(run_dir: Path) -> None:
    # In a process of its own: only so many classes are remembered, and other tests have some.
    program = (
        "import sys, codex_obs\n"
        "from test_known_classes import tensor_class\n"
        "tensor = tensor_class('torch')\n"
        "with codex_obs.init(sys.argv[1]) as run:\n"
        "    run.log({'m': tensor(1.5)}, step=0)\n"
        "    run.log({'m': tensor(2.5)}, step=1)\n"
        "assert tensor.asked == ['item', 'item'], tensor.asked\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    subprocess.run([sys.executable, "-c", program, str(run_dir)], env=environment, check=True, timeout=60)
    assert [row["value"] for row in read_rows(run_dir)] == [1.5, 2.5]


def test_a_tensor_of_several_elements_is_a_structured_value(run: Run) -> None:
    tensor = tensor_class("torch")
    assert [tags for _, tags in outcomes(run, tensor(1.5), tensor(1, 2), tensor())] == [
        {"manifest_id": False},
        {"manifest_id": True},
        {"manifest_id": True},
    ]


def test_an_array_of_a_stranger_is_asked_for_its_shape(run: Run) -> None:
    tensor = tensor_class("elsewhere")
    assert [value for value, _ in outcomes(run, tensor(1.5), tensor(2.5))] == [1.5, 2.5]
    assert tensor.asked.count("shape") == 2


class Number:
    """A number of a stranger."""

    def __init__(self, number: float) -> None:
        self.number = number

    def __float__(self) -> float:
        return self.number


class Slotted:
    __slots__ = ("number",)

    def __init__(self, number: float) -> None:
        self.number = number

    def __float__(self) -> float:
        return self.number


class Scores(collections.UserDict[str, float]):
    """A mapping that has a number, too."""

    def __float__(self) -> float:
        return 1.0


class Raising:
    def __float__(self) -> float:
        raise LookupError("no number")


class Stopping:
    def __float__(self) -> float:
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", [Number, Slotted])
def test_an_object_with_a_number_is_that_number(kind: type[Number], run: Run) -> None:
    assert one_each(lambda: kind(0.25), run) == (0.25, {"manifest_id": False})


def test_an_object_that_became_an_array_is_one(run: Run) -> None:
    array = Number(0.5)
    array.shape, array.tolist = (2,), lambda: [1.0, 2.0]  # type: ignore[attr-defined]
    assert [value for value, _ in outcomes(run, Number(0.5), array, Number(0.5))] == [0.5, None, 0.5]


def test_a_mapping_with_a_number_stays_a_mapping(run: Run) -> None:
    assert one_each(lambda: Scores(a=1.0), run) == (None, {"manifest_id": True})


def test_a_number_that_raises_is_named_each_time(run: Run) -> None:
    value, tags = one_each(Raising, run)
    assert value is None
    assert "LookupError" in json.dumps(tags)


def test_an_interrupt_in_a_number_is_raised_each_time_and_the_row_is_kept(run: Run) -> None:
    for _ in range(TIMES):
        with pytest.raises(KeyboardInterrupt):
            run.log({"a": 1.0, "b": Stopping(), "c": 2.0})
    assert run.flush(30)
    assert [row["metric"] for row in read_rows(run.path)] == ["a", "b", "c"] * TIMES


def test_more_classes_than_are_remembered_are_read_all_the_same(run: Run) -> None:
    numbers = [type(f"Number{index}", (Number,), {})(float(index)) for index in range(100)]
    for _ in range(2):
        run.log({f"m{index}": number for index, number in enumerate(numbers)})
    assert run.flush(30)
    assert [row["value"] for row in read_rows(run.path)] == [*range(100), *range(100)]


class Variable:
    """As a framework's variable: a shape, a dtype and a NumPy array."""

    def __init__(self, content: object) -> None:
        self._array = np.array(content)
        self.shape, self.dtype = self._array.shape, str(self._array.dtype)

    def __repr__(self) -> str:
        return f"Variable({self._array!r})"

    def numpy(self) -> object:
        return self._array


@pytest.mark.parametrize(
    "step", [np.array([7]), np.array([[7]], "u1"), Variable(7), Variable([7]), np.array(7)], ids=repr
)
def test_a_whole_number_in_an_array_or_variable_is_a_step(step: Any, run: Run) -> None:
    memory = MemoryRun()
    for each in (run, memory):
        each.log({"m": 1}, step=step)
        each.event("TRAINER", loss=0.5, update=step)
    assert run.flush(30)
    assert [row["step"] for row in read_rows(run.path)] == [7, 7]
    assert ([call.step for call in memory.calls], memory.events[0].step) == ([7], 7)


@pytest.mark.parametrize(
    "step",
    [
        np.array([7.0]), np.array([True]), np.array([1, 2]), np.array([], int), np.array(["7"]), Variable(7.0),
        Variable([True]), Variable([1, 2]), np.array([7], "m8[ns]"), np.array([7], "M8[ns]"), np.array([None]),
    ],
    ids=repr,
)  # fmt: skip
def test_nothing_else_in_an_array_or_variable_is_a_step(step: Any, run: Run) -> None:
    for each in (run, MemoryRun()):
        with pytest.raises(TypeError, match="step must be an integer, not "):
            each.log({"m": 1}, step=step)


@pytest.mark.parametrize(
    "make",
    [lambda: Slotted(0.25), lambda: Fraction(1, 4), lambda: Decimal("0.25")],
    ids=("slots", "Fraction", "Decimal"),
)
def test_an_object_without_attributes_is_its_number(make: Callable[[], object], run: Run) -> None:
    assert one_each(make, run) == (0.25, {"manifest_id": False})
