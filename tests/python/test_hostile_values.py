"""No value makes `log` raise, lose the other rows of the call, or write an invalid line."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codex_obs.testing import open_run, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from codex_obs import Run

HOOKS = [
    "__float__", "__index__", "__str__", "__repr__", "__array__", "__hash__", "__eq__", "__len__", "__iter__",
    "__bool__", "__getattr__", "__getitem__", "__fspath__",
    "items", "keys", "item", "tolist", "numpy", "shape", "dtype", "nbytes",
]  # fmt: skip
ERRORS: list[type[Exception]] = [
    ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, StopIteration, RecursionError,
    MemoryError, UnicodeError, OSError, AssertionError, NotImplementedError, UserWarning, ExceptionGroup,
]  # fmt: skip


def rows(run: Run) -> list[dict[str, Any]]:
    """Read what was written; every line is strict JSON."""

    def refuse(word: str) -> float:
        raise AssertionError(word)

    lines = [line for file in sorted(run.path.glob("metrics*.ndjson")) for line in file.read_bytes().splitlines()]
    parsed = [json.loads(line.decode("ascii"), parse_constant=refuse) for line in lines]
    return [line for line in parsed if "metric" in line and "value" in line]


@pytest.fixture
def run(run_dir: Path) -> Iterator[Run]:
    with open_run(run_dir, fsync="never") as run:
        yield run


def make_error(error: type[BaseException]) -> BaseException:
    return ExceptionGroup("several", [ValueError()]) if error is ExceptionGroup else error("hostile")


def hostile(hooks: set[str], action: Callable[[], object]) -> Any:
    """Make an object whose `hooks` do `action`."""

    def hook(*_: object) -> object:
        return action()

    attributes: dict[str, Any] = {name: hook for name in hooks if name not in ("shape", "dtype", "nbytes")}
    attributes |= {name: property(hook) for name in hooks & {"shape", "dtype", "nbytes"}}
    if "__eq__" in hooks and "__hash__" not in hooks:
        attributes["__hash__"] = object.__hash__
    return type("Hostile", (), attributes)()


@pytest.mark.parametrize("error", ERRORS)
def test_a_conversion_that_raises_is_a_row_with_the_name_of_the_exception(run: Run, error: type[Exception]) -> None:
    def action() -> object:
        raise make_error(error)

    run.log({"before": 1, "m": hostile({"__float__"}, action), "after": 2}, step=0)
    run.flush()
    assert [(row["metric"], row["value"], row["tags"]) for row in rows(run)] == [
        ("before", 1.0, {}),
        ("m", None, {"unreadable": error.__name__}),
        ("after", 2.0, {}),
    ]
    assert run.stats()["values_unreadable"] == 1


@pytest.mark.parametrize("place", ["value", "key", "element", "tag", "tag key", "split", "dataset"])
def test_an_object_of_any_hostility_anywhere_costs_no_other_row(run: Run, place: str) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(hooks=st.sets(st.sampled_from(HOOKS), min_size=1), error=st.sampled_from(ERRORS), number=st.integers())
    def check(hooks: set[str], error: type[Exception], number: int) -> None:
        def action() -> object:
            raise make_error(error)

        def strange() -> object:
            return number

        def itself() -> object:
            return made[-1]

        made: list[object] = []
        for behaviour in (action, strange, itself, lambda: "text", lambda: None, lambda: ("\ud800",)):
            value = hostile(hooks, behaviour)
            made.append(value)
            can_be_key = not hooks & {"__hash__", "__eq__"}
            arguments: dict[str, Any] = {
                "value": {"metrics": {"m": value}},
                "key": {"metrics": {"m": {value if can_be_key else "x": 1}}},
                "element": {"metrics": {"m": [value, {"x": (value,)}]}},
                "tag": {"tags": {"t": value, "u": [value]}},
                "tag key": {"tags": {value: 1} if can_be_key else {}},
                "split": {"split": value},
                "dataset": {"dataset": value},
            }[place]
            metrics = {"before": 1, **arguments.pop("metrics", {}), "after": 2}
            before = run.stats()["rows_logged"]
            run.log(metrics, step=0, **arguments)
            assert run.stats()["rows_logged"] - before == len(metrics)

    check()
    assert run.flush(30)
    assert len(rows(run)) == run.stats()["rows_logged"]
    assert run.stats()["rows_dropped"] == 0


def test_endless_recursion_in_a_conversion_is_a_row(run: Run) -> None:
    class Endless:
        def __float__(self) -> float:
            return float(self)

        def __str__(self) -> str:
            return str(self)

    run.log({"m": Endless(), "list": [Endless()]}, step=0)
    run.flush()
    first, second = rows(run)
    assert first["tags"] == {"unreadable": "RecursionError"}
    assert list(second["tags"]) == ["manifest_id"]
    assert read_rows(run.path, "metrics_manifest")[0]["descriptor"] == {
        "payload": [None],
        "shape": [1],
        "type": "list",
        "version": "v1",
    }


def test_a_conversion_may_log_itself(run: Run) -> None:
    class Talkative:
        def __float__(self) -> float:
            run.log({"inner": 1}, step=1)
            return 0.5

        def __str__(self) -> str:
            run.log({"inner": 2}, step=1)
            return "talkative"

    run.log({"m": Talkative(), "n": [Talkative()]}, step=0, split=Talkative(), tags={"t": Talkative()})
    run.flush()
    assert [(row["metric"], row["value"], row["split"]) for row in rows(run)] == [
        ("inner", 2.0, "train"),
        ("inner", 2.0, "train"),
        ("inner", 1.0, "train"),
        ("inner", 2.0, "train"),
        ("m", 0.5, "talkative"),
        ("n", None, "talkative"),
    ]


def test_a_conversion_that_changes_the_mapping_changes_nothing_in_this_call(run: Run) -> None:
    metrics: dict[str, object] = {}

    class Meddler:
        def __float__(self) -> float:
            metrics.clear()
            metrics.update({f"new{index}": index for index in range(1000)})
            return 0.5

    metrics.update({"a": 1.0, "m": Meddler(), "b": 2.0, "c": Meddler(), "d": 3})
    run.log(metrics, step=0)
    run.flush()
    assert [(row["metric"], row["value"]) for row in rows(run)] == [
        ("a", 1),
        ("m", 0.5),
        ("b", 2),
        ("c", 0.5),
        ("d", 3),
    ]


def test_a_conversion_that_changes_a_nested_container_ends(run: Run) -> None:
    inner: list[object] = []
    mapping: dict[object, object] = {}

    class Growing:
        def __str__(self) -> str:
            inner.append(Growing())
            mapping[len(mapping)] = 0
            return "x" * 1000

    inner.append(Growing())
    mapping.update({"a": Growing(), "b": 1})
    run.log({"mapping": mapping, "list": inner}, step=0)
    run.flush()
    by_name = {line["metric"]: line["descriptor"] for line in read_rows(run.path, "metrics_manifest")}
    assert by_name["mapping"]["payload"] == {"a": "x" * 1000, "b": 1}  # type: ignore[index] # a descriptor is an object
    assert by_name["list"]["payload"] == ["x" * 1000] * 2  # type: ignore[index] # the same


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("place", ["value", "element", "tag", "split"])
def test_an_interrupt_is_raised_once_the_rows_are_written(run: Run, error: type[BaseException], place: str) -> None:
    def action() -> object:
        raise error("now")

    value = hostile({"__float__", "__str__"}, action)
    arguments: dict[str, Any] = {
        "value": {"metrics": {"m": value}},
        "element": {"metrics": {"m": [value]}},
        "tag": {"tags": {"t": value}},
        "split": {"split": value},
    }[place]
    with pytest.raises(error, match="now"):
        run.log({"before": 1, **arguments.pop("metrics", {}), "after": 2}, step=0, **arguments)
    run.log({"next": 3}, step=1)
    run.flush()
    written = rows(run)
    assert [row["metric"] for row in written if row["metric"] != "m"] == ["before", "after", "next"]
    if place == "value":
        assert written[1]["tags"] == {"unreadable": error.__name__}


class Keyed:
    """No mapping by class, but it has keys and values."""

    def __init__(self, content: Mapping[str, object]) -> None:
        self._content = content

    def keys(self) -> list[str]:
        return list(self._content)

    def __getitem__(self, key: str) -> object:
        return self._content[key]


def test_whatever_has_keys_and_values_is_a_mapping(run: Run) -> None:
    run.log(Keyed({"a": 1, "b": 2}), step=0)  # type: ignore[arg-type] # it is none to a type checker
    run.flush()
    assert [(row["metric"], row["value"]) for row in rows(run)] == [("a", 1), ("b", 2)]


class Broken(dict[str, object]):
    def items(self) -> Any:
        raise LookupError("broken")

    keys = __iter__ = items


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (None, "metrics must be a mapping, not NoneType"),
        ([("a", 1)], "metrics must be a mapping, not list"),
        ("abc", 'metrics must be a mapping, not str: write run.log({"abc": 0})'),
        (3, "metrics must be a mapping, not int"),
        (np.zeros(3), "metrics must be a mapping, not ndarray"),
        (dict, "metrics must be a mapping, not type"),
        (Broken(), "metrics must be a mapping, and the items of this Broken cannot be read"),
        ({"a": 1, 3: 2}, "metric names must be text, not int: 3"),
        ({b"a": 2}, "metric names must be text, not bytes: b'a'"),
        ({"a": [1], None: 2}, "metric names must be text, not NoneType: None"),
    ],
)
def test_what_is_no_mapping_of_names_is_a_type_error_and_writes_no_row(run: Run, metrics: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        run.log(metrics, step=0)
    assert str(caught.value) == message
    run.flush()
    assert rows(run) == []
    assert run.stats()["rows_logged"] == 0


def test_tags_that_cannot_be_asked_for_their_keys_cost_themselves_only(run: Run) -> None:
    run.log({"a": 1}, step=0, tags=Broken())
    run.flush()
    assert [(row["value"], row["tags"]) for row in rows(run)] == [(1, {})]
    assert run.stats()["nodes_nulled"] == 1


@pytest.mark.parametrize("tags", ["abc", 3, [("a", 1)]])
def test_tags_that_are_no_mapping_are_a_type_error(run: Run, tags: Any) -> None:
    with pytest.raises(TypeError, match=r"^tags must be a mapping"):
        run.log({"a": 1}, step=0, tags=tags)
    assert run.stats()["rows_logged"] == 0


def test_names_and_texts_over_4_kib_are_cut_at_a_character_and_counted(run: Run) -> None:
    long = "é" * 3000
    cut = "é" * 2048
    run.log(
        {"x" + long: 1},
        step=0,
        split=long,
        dataset="x" * 4097,
        tags={long: "x" * 5000, "fits": "x" * 4096, "nested": [{"k": long}], "bytes": b"x" * 4000},
    )
    run.log({"s": [long]}, step=0)
    run.flush()
    row = rows(run)[0]
    assert row["metric"] == "x" + "é" * 2047
    assert row["split"] == cut
    assert row["dataset"] == "x" * 4096
    assert row["tags"] == {cut: "x" * 4096, "fits": "x" * 4096, "nested": [{"k": cut}], "bytes": "eHh4" * 1024}
    assert run.stats()["texts_cut"] == 7
    assert read_rows(run.path, "metrics_manifest")[0]["descriptor"]["payload"] == [long]  # type: ignore[index] # an object


def test_of_tags_of_more_than_a_mebibyte_the_longest_are_cut_and_counted(run: Run) -> None:
    run.log({"m": 1}, step=0, tags={str(index): "x" * 4096 for index in range(300)} | {"a": 1})
    run.flush()
    tags = rows(run)[0]["tags"]
    assert (len(tags), tags["a"]) == (301, 1)
    whole = sum(value == "x" * 4096 for value in tags.values())
    assert 200 < whole == 300 - run.stats()["payloads_cut"]


@pytest.mark.parametrize("given", [-math.inf, math.nan, 1e300, 253402300800, -62135596801, 10**30, Decimal("Infinity")])
def test_a_timestamp_outside_of_the_calendar_becomes_now_and_is_counted(run: Run, given: Any) -> None:
    run.log({"m": 1}, step=0, timestamp=0)
    run.log({"m": 1}, step=0, timestamp=given)
    run.flush()
    first, second = (row["timestamp"] for row in rows(run))
    assert first == "1970-01-01T00:00:00.000000Z"
    assert second > "2026"
    assert run.stats()["timestamps_replaced"] == 1
