"""`step`, `split`, `dataset` and `timestamp` of `log`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_obs.testing import open_run, read_rows
from labels import label

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from codex_obs import Run


@pytest.fixture
def run(run_dir: Path) -> Iterator[Run]:
    with open_run(run_dir, fsync="never") as run:
        yield run


def written(run: Run, field: str) -> list[object]:
    assert run.flush(30)
    return [row[field] for row in read_rows(run.path)]


class Index:
    def __init__(self, number: int) -> None:
        self._number = number

    def __repr__(self) -> str:
        return f"Index({self._number})"

    def __index__(self) -> int:
        return self._number


class BrokenIndex:
    def __index__(self) -> int:
        raise LookupError


class BooleanTensor:
    """A boolean tensor of torch has an `__index__`."""

    dtype = type("dtype", (), {"__repr__": lambda _: "torch.bool"})()

    def __index__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "step",
    [0, 5, -3, 2**63 - 1, -(2**63), np.int64(7), np.uint8(7), np.array(7), Index(9), Index(2**63 - 1)],
    ids=label,
)
def test_a_step_is_anything_with_index(run: Run, step: Any) -> None:
    run.log({"m": 1}, step=step)
    assert written(run, "step") == [int(step.__index__())]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (True, TypeError), (np.True_, TypeError), (BooleanTensor(), TypeError), (1.0, TypeError), ("1", TypeError),
        (np.float64(1), TypeError), (Decimal(1), TypeError), (np.array([1, 2]), TypeError), (BrokenIndex(), TypeError),
        (2**63, ValueError), (-(2**63) - 1, ValueError), (np.uint64(2**63), ValueError), (Index(10**100), ValueError),
    ],
    ids=label,
)  # fmt: skip
def test_any_other_step_is_an_error_and_writes_no_row(run: Run, step: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^step must "):
        run.log({"m": 1}, step=step)
    assert written(run, "step") == []


@pytest.mark.parametrize("value", [3, 0.5, ("a", 1), b"x", Decimal("1.0"), "text", np.str_("text"), ""], ids=label)
def test_split_and_dataset_that_are_no_text_become_str(run: Run, value: object) -> None:
    run.log({"m": 1}, step=0, split=value, dataset=value)
    assert written(run, "split") == [str(value)]
    assert written(run, "dataset") == [str(value)]


class Silent:
    def __str__(self) -> str:
        raise LookupError


def test_none_is_no_split_left_out_but_a_missing_dataset(run: Run) -> None:
    run.log({"m": 1}, step=0, split=None, dataset=None)
    run.log({"m": 1}, step=1)
    assert written(run, "split") == ["None", "train"]
    assert written(run, "dataset") == [None, None]


def test_a_split_that_cannot_be_shown_is_its_class(run: Run) -> None:
    run.log({"m": 1}, step=0, split=Silent())
    assert written(run, "split") == ["<Silent>"]
    assert run.stats()["nodes_nulled"] == 1


def text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_a_timestamp_in_seconds_is_that_of_datetime(run: Run) -> None:
    expected = []

    @given(st.floats(-62135596800, 253402300799) | st.integers(-62135596800, 253402300799))
    def check(seconds: float) -> None:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            seconds=seconds // 1, microseconds=round(Fraction(seconds) % 1 * 10**6)
        )
        run.log({"m": 1}, step=0, timestamp=seconds)
        expected.append(text(moment))

    check()
    assert written(run, "timestamp") == expected


def test_a_timestamp_as_aware_datetime_is_exact(run: Run) -> None:
    expected = []
    zones = st.timezones() | st.builds(
        lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-14 * 60, 14 * 60)
    )

    @given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones))  # noqa: DTZ001 - bounds are naive
    def check(moment: datetime) -> None:
        run.log({"m": 1}, step=0, timestamp=moment)
        expected.append(text(moment))

    check()
    assert written(run, "timestamp") == expected


@pytest.mark.parametrize(
    "seconds", [1.5, np.float64(1.5), np.float32(1.5), Decimal("1.5"), Fraction(3, 2), np.array(1.5)], ids=label
)
def test_a_timestamp_may_be_any_number(run: Run, seconds: Any) -> None:
    run.log({"m": 1}, step=0, timestamp=seconds)
    assert written(run, "timestamp") == ["1970-01-01T00:00:01.500000Z"]


NAIVE = datetime(2026, 11, 20, tzinfo=UTC).replace(tzinfo=None)


class BrokenZone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        raise LookupError

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        return "broken"


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-20", True, b"1", [1], date(2026, 11, 20), NAIVE, np.datetime64("2026-11-20"),
        np.datetime64(1, "ns"), datetime(2026, 11, 20, tzinfo=BrokenZone()), 1j,
    ],
    ids=label,
)  # fmt: skip
def test_any_other_timestamp_is_a_type_error_and_writes_no_row(run: Run, value: Any) -> None:
    with pytest.raises(TypeError, match=r"^timestamp must be "):
        run.log({"m": 1}, step=0, timestamp=value)
    assert written(run, "timestamp") == []
