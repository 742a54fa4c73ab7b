"""What becomes of a metric's value: a number, null, a mark, or a line in the manifest."""

from __future__ import annotations

import array
import collections
import enum
import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codex_obs.testing import open_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Log = Callable[[object], "Outcome"]


class Outcome:
    """The row of one value, with the descriptor in the manifest if there is one."""

    def __init__(self, row: dict[str, Any], descriptor: dict[str, Any] | None) -> None:
        self.value = row["value"]
        self.tags = row["tags"]
        self.descriptor = descriptor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcome) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment] # compared, never looked up

    def __repr__(self) -> str:
        return f"Outcome{vars(self)}"


@pytest.fixture
def log(run_dir: Path) -> Iterator[Log]:
    """Give a function that logs one value and reads what was written."""
    with open_run(run_dir, fsync="never") as run:
        rows = (run_dir / "metrics.ndjson").open("rb")
        manifest_file = run_dir / "metrics_manifest.ndjson"
        seen = 0

        def log_one(value: object) -> Outcome:
            nonlocal seen
            run.log({"m": value}, step=0)
            assert run.flush(30)
            (row,) = map(json.loads, rows.read().splitlines())
            lines = manifest_file.read_bytes()[seen:] if manifest_file.exists() else b""
            seen += len(lines)
            if "manifest_id" not in row["tags"]:
                assert lines == b""
                return Outcome(row, None)
            (line,) = map(json.loads, lines.splitlines())
            assert line["manifest_id"] == row["tags"].pop("manifest_id")
            assert line["metric"] == "m"
            return Outcome(row, line["descriptor"])

        with rows:
            yield log_one


def number(value: float | None) -> Outcome:
    return Outcome({"value": value, "tags": {}}, None)


def nonfinite(word: str) -> Outcome:
    return Outcome({"value": None, "tags": {"nonfinite": word}}, None)


def unreadable(class_name: str) -> Outcome:
    return Outcome({"value": None, "tags": {"unreadable": class_name}}, None)


def structured(payload: object, class_name: str, **more: object) -> Outcome:
    descriptor = {"payload": payload, "type": class_name, "version": "v1", **more}
    return Outcome({"value": None, "tags": {}}, descriptor)


class Index:
    def __index__(self) -> int:
        return 7


class HugeIndex:
    def __index__(self) -> int:
        return -(10**400)


class Celsius(float):
    """A float whose `__float__` is of no interest."""

    def __float__(self) -> float:
        raise AssertionError


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.Enum):
    RED = 1


class Words(enum.StrEnum):
    YES = "yes"


class Size(tuple[int, ...]):
    """Looks like `torch.Size`."""

    __slots__ = ()


class FakeTorchTensor:
    """What a torch tensor with `requires_grad` on a GPU lets others do: `item` and `tolist`, but no way to NumPy."""

    def __init__(self, nested: Any, dtype: str = "torch.float32") -> None:
        self._array = np.array(nested)
        self.shape = Size(self._array.shape)
        self.dtype = type("dtype", (), {"__repr__": lambda _: dtype})()

    def size(self) -> Size:
        return self.shape

    def numel(self) -> int:
        return self._array.size

    def item(self) -> object:
        if self.numel() != 1:
            raise RuntimeError("a Tensor with more than one element cannot be converted to Scalar")
        return self._array.item()

    def tolist(self) -> object:
        return self._array.tolist()

    def __float__(self) -> float:
        raise AssertionError("warns that it was called on a tensor that requires grad")

    def __array__(self) -> object:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")

    numpy = __array__


class FakeTensorShape:
    """Looks like `tf.TensorShape`: iterable, but no tuple."""

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self._lengths = lengths

    def __iter__(self) -> Iterator[int]:
        return iter(self._lengths)


class FakeTensorFlowTensor:
    """What an eager tensor of TensorFlow lets others do: `numpy`, but neither `item` nor `tolist`."""

    def __init__(self, nested: Any) -> None:
        self._array = np.array(nested)
        self.shape = FakeTensorShape(self._array.shape)
        self.dtype = object()

    def numpy(self) -> Any:
        return self._array[()]

    def __array__(self) -> object:
        return self._array


class FakeJaxArray:
    """What an array of JAX lets others do."""

    def __init__(self, nested: Any) -> None:
        self._array = np.array(nested)
        self.shape, self.dtype, self.size = self._array.shape, self._array.dtype, self._array.size

    def item(self) -> object:
        return self._array.item()

    def __array__(self) -> object:
        return self._array


class ArrayProtocol:
    """Gives an array and is none."""

    def __init__(self, nested: Any) -> None:
        self._array = np.array(nested)

    def __array__(self) -> object:
        return self._array


class AttributeMapping(collections.UserDict[str, object]):
    """Gives its items as attributes, as configuration objects do."""

    def __getattr__(self, name: str) -> object:
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(name) from None


def ids(cases: Sequence[tuple[object, object]]) -> list[str]:
    return [f"{index}-{type(value).__name__}" for index, (value, _) in enumerate(cases)]


NUMBERS: list[tuple[object, float | None]] = [
    (True, 1), (False, 0), (None, None), (0.5, 0.5), (3, 3.0), (-(2**70), -(2.0**70)), (Level.HIGH, 3.0),
    (Celsius(1.5), 1.5), (Decimal("0.1"), 0.1), (Fraction(1, 4), 0.25), (Index(), 7.0),
    (np.True_, 1), (np.False_, 0), (np.float64(0.1), 0.1), (np.float32(0.1), 0.10000000149011612),
    (np.float16(0.5), 0.5), (np.longdouble(0.25), 0.25), (np.uint64(2**64 - 1), 2.0**64), (np.int8(-3), -3.0),
    (np.array(2.5), 2.5), (np.array([2.5]), 2.5), (np.array([[[2]]]), 2.0), (np.array([[True]]), 1),
    (np.array([2.5], dtype=np.longdouble), 2.5), (np.array([None], dtype=object), None),
    (np.array([Decimal("0.5")], dtype=object), 0.5), (np.array([2**70], dtype=object), 2.0**70),
    (np.ma.masked, None), (np.ma.masked_array([1.0], mask=[True]), None), (np.ma.masked_array([[1.0]]), 1.0),
    (array.array("d", [1.5]), 1.5), (array.array("i", [3]), 3.0),
    (FakeTorchTensor(0.5), 0.5), (FakeTorchTensor([[0.5]]), 0.5), (FakeTorchTensor([True], "torch.bool"), 1),
    (FakeTorchTensor([3], "torch.int64"), 3.0),
    (FakeTensorFlowTensor(0.5), 0.5), (FakeTensorFlowTensor([0.5]), 0.5), (FakeTensorFlowTensor([True]), 1),
    (FakeJaxArray(0.5), 0.5), (FakeJaxArray([[3]]), 3.0), (FakeJaxArray([False]), 0),
    (ArrayProtocol([0.5]), 0.5), (ArrayProtocol([True]), 1),
]  # fmt: skip


@pytest.mark.parametrize(("value", "written"), NUMBERS, ids=ids(NUMBERS))
def test_whatever_holds_one_number_is_that_number(log: Log, value: object, written: float | None) -> None:
    outcome = log(value)
    assert outcome == number(written)
    # A boolean is written as 0 or 1, a number always with a point or an exponent.
    assert type(outcome.value) is type(written)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (10**400, "Infinity"),
        (-(10**4000), "-Infinity"),
        (HugeIndex(), "-Infinity"),
        (Decimal("NaN"), "NaN"),
        (Decimal("-1e999"), "-Infinity"),
        (np.float32("nan"), "NaN"),
        (np.float16("-inf"), "-Infinity"),
        (np.array([np.inf]), "Infinity"),
        (np.array([10**400], dtype=object), "Infinity"),
        (FakeTorchTensor(math.nan), "NaN"),
    ],
)
def test_what_is_not_finite_is_null_and_says_which(log: Log, value: object, word: str) -> None:
    assert log(value) == nonfinite(word)


STRUCTURED: list[tuple[object, Outcome]] = [
    ("text\n", structured("text\n", "str")),
    ("", structured("", "str")),
    (Words.YES, structured("yes", "Words")),
    (np.str_("é"), structured("é", "str_")),
    (b"\0\xff", structured("AP8=", "bytes")),
    (bytearray(b"ab"), structured("YWI=", "bytearray")),
    (memoryview(b"ab"), structured("YWI=", "memoryview")),
    (np.bytes_(b"ab"), structured("YWI=", "bytes_")),
    (1 + 2j, structured("(1+2j)", "complex")),
    (np.complex64(1j), structured("1j", "complex64", shape=[])),
    (np.array([1j]), structured(["1j"], "ndarray", shape=[1])),
    (Colour.RED, structured("Colour.RED", "Colour")),
    (PurePosixPath("/a/b"), structured("/a/b", "PurePosixPath", path="/a/b")),
    ([], structured([], "list", shape=[0])),
    ([1], structured([1], "list", shape=[1])),
    ((1, "a", None), structured([1, "a", None], "tuple", shape=[3])),
    ([[1, 2, 3], [4, 5, 6]], structured([[1, 2, 3], [4, 5, 6]], "list", shape=[2, 3])),
    ([[], []], structured([[], []], "list", shape=[2, 0])),
    ([[1], [2, 3]], structured([[1], [2, 3]], "list", shape=[2])),
    ([[1], 2], structured([[1], 2], "list", shape=[2])),
    ([[[1]], [[2], [3]]], structured([[[1]], [[2], [3]]], "list", shape=[2])),
    ([np.zeros((2, 3)), np.ones((2, 3))], structured([[[0.0] * 3] * 2, [[1.0] * 3] * 2], "list", shape=[2, 2, 3])),
    ([np.zeros(2), np.zeros(3)], structured([[0.0] * 2, [0.0] * 3], "list", shape=[2])),
    (["ab", "cd"], structured(["ab", "cd"], "list", shape=[2])),
    (range(3), structured([0, 1, 2], "range", shape=[3])),
    (collections.deque([1, 2]), structured([1, 2], "deque", shape=[2])),
    ({3, 1}, structured([1, 3], "set")),
    (frozenset({"b", "a"}), structured(["a", "b"], "frozenset")),
    ({}, structured({}, "dict")),
    ({"b": 1, "a": {"d": 2, "c": 3}}, structured({"a": {"c": 3, "d": 2}, "b": 1}, "dict")),
    ({"path": "img/1.png", "x": 1}, structured({"path": "img/1.png", "x": 1}, "dict", path="img/1.png")),
    ({"path": PurePosixPath("a")}, structured({"path": "a"}, "dict", path="a")),
    ({"path": 3}, structured({"path": 3}, "dict")),
    (MappingProxyType({"a": 1}), structured({"a": 1}, "mappingproxy")),
    (collections.Counter("aab"), structured({"a": 2, "b": 1}, "Counter")),
    (AttributeMapping(shape=[1], item=2), structured({"item": 2, "shape": [1]}, "AttributeMapping")),
    (np.arange(6).reshape(2, 3), structured([[0, 1, 2], [3, 4, 5]], "ndarray", shape=[2, 3])),
    (np.zeros((0, 3)), structured([], "ndarray", shape=[0, 3])),
    (np.array([True, False]), structured([True, False], "ndarray", shape=[2])),
    (np.array([math.nan, math.inf, 1]), structured(["NaN", "Infinity", 1.0], "ndarray", shape=[3])),
    (np.array([0.1, 0.5], dtype=np.float32), structured([0.10000000149011612, 0.5], "ndarray", shape=[2])),
    (np.array(["a", "b"]), structured(["a", "b"], "ndarray", shape=[2])),
    (np.array(["a"]), structured(["a"], "ndarray", shape=[1])),
    (np.array([b"ab"]), structured(["YWI="], "ndarray", shape=[1])),
    (np.array([(1, 0.5)], dtype="i4,f8"), structured([[1, 0.5]], "ndarray", shape=[1])),
    (np.array({"a": 1}), structured({"a": 1}, "ndarray", shape=[])),
    (np.array([{"a": 1}]), structured([{"a": 1}], "ndarray", shape=[1])),
    (np.ma.masked_array([1, 2], mask=[False, True]), structured([1, None], "MaskedArray", shape=[2])),
    (np.datetime64("2026-11-20"), structured("2026-11-20", "datetime64", shape=[])),
    (np.datetime64(1, "ns"), structured("1970-01-01T00:00:00.000000001", "datetime64", shape=[])),
    (np.datetime64("NaT", "ns"), structured("NaT", "datetime64", shape=[])),
    (np.timedelta64(3, "ns"), structured("3 nanoseconds", "timedelta64", shape=[])),
    (np.array(["2026-11-20"], dtype="M8[ns]"), structured(["2026-11-20T00:00:00.000000000"], "ndarray", shape=[1])),
    (array.array("d", [1.0, 2.0]), structured([1.0, 2.0], "array", shape=[2])),
    (FakeTorchTensor([0.5, 1.5]), structured([0.5, 1.5], "FakeTorchTensor", shape=[2])),
    (FakeTorchTensor([[1], [2]]), structured([[1], [2]], "FakeTorchTensor", shape=[2, 1])),
    (FakeTensorFlowTensor([0.5, 1.5]), structured([0.5, 1.5], "FakeTensorFlowTensor", shape=[2])),
    (FakeJaxArray([[1, 2]]), structured([[1, 2]], "FakeJaxArray", shape=[1, 2])),
    (ArrayProtocol([1, 2]), structured([1, 2], "ArrayProtocol", shape=[2])),
    (int, structured("<class 'int'>", "type")),
    (..., structured("Ellipsis", "ellipsis")),
]  # fmt: skip


@pytest.mark.parametrize(("value", "outcome"), STRUCTURED, ids=ids(STRUCTURED))
def test_what_is_structured_is_described_in_the_manifest(log: Log, value: object, outcome: Outcome) -> None:
    assert log(value) == outcome


@pytest.mark.parametrize("code", sorted(set("?" + np.typecodes["All"]) - set("VOc")))
def test_every_numpy_dtype_as_scalar_as_array_of_one_and_of_two(log: Log, code: str) -> None:
    scalar = np.ones((), dtype=code)[()] if code not in "Mm" else np.zeros((), dtype=f"{code}8[s]")[()]
    is_number = np.dtype(scalar.dtype).kind in "?biuf"
    for value in (scalar, np.array(scalar), np.array([scalar])):
        assert (log(value) == number(1 if code == "?" else 1.0)) is is_number
        assert (log(value).descriptor is None) is is_number
    assert len(log(np.array([scalar, scalar])).descriptor["payload"]) == 2  # type: ignore[index] # it is structured


def plain_values() -> st.SearchStrategy[Any]:
    text = st.text(st.characters(exclude_categories=["Cs"]))
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=20
    )


def model(value: Any) -> Outcome:
    if value is None or isinstance(value, bool):
        return number(None if value is None else int(value))
    if isinstance(value, int | float):
        try:
            return number(float(value))
        except OverflowError:
            return nonfinite("Infinity" if value > 0 else "-Infinity")
    shape = {"shape": dims(value)} if isinstance(value, list) else {}
    path = {"path": value["path"]} if isinstance(value, dict) and isinstance(value.get("path"), str) else {}
    return structured(value, type(value).__name__, **path, **shape)


def dims(value: list[Any]) -> list[int]:
    lengths = [len(value)]
    level = value
    while level and all(isinstance(inner, list) for inner in level) and len({len(inner) for inner in level}) == 1:
        lengths.append(len(level[0]))
        level = [element for inner in level for element in inner]
    return lengths


def test_any_plain_value_equals_the_model(log: Log) -> None:
    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(plain_values())
    def check(value: Any) -> None:
        assert log(value) == model(value)

    check()
