"""Tags are written out once while the same come again, and anew as soon as anything about them differs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_obs.testing import open_run, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from codex_obs import Run


@pytest.fixture
def run(run_dir: Path) -> Iterator[Run]:
    with open_run(run_dir, fsync="never", max_shard_bytes=None) as run:
        yield run


class Written:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows = 0

    def new(self) -> list[str]:
        """Give the tags of each new row as they stand in the file."""
        assert self._run.flush(30)
        lines = (self._run.path / "metrics.ndjson").read_text("ascii").splitlines()
        new, self._rows = lines[self._rows :], len(lines)
        return [line.split('"tags":', 1)[1][:-1] for line in new]


def oracle(tags: dict[str, Any]) -> str:
    return json.dumps(tags, sort_keys=True, separators=(",", ":"))


keys = st.sampled_from(["a", "b", "phase", "größe", "m", "o", "z"])
# Values that are equal and yet written in another way, beside ones that are not.
values = st.sampled_from([1, 1.0, True, 0, -0.0, 0.0, False, None, "", "warm", "wärm", 10**30, [1], {"x": 1}])


def test_each_call_has_the_tags_it_was_given(run: Run) -> None:
    written = Written(run)

    @given(st.lists(st.dictionaries(keys, values, max_size=5), max_size=6), st.data())
    def all_as_given(calls: list[dict[str, Any]], data: st.DataObject) -> None:
        written.new()  # of an example that was given up half way
        expected = []
        for tags in calls:
            for _ in range(data.draw(st.integers(1, 3))):
                run.log({"m": 1.0}, step=1, tags=tags)
                expected.append(oracle(tags))
            # The same dict with other content, and another dict with the same.
            tags[data.draw(keys)] = data.draw(values)
            run.log({"m": 1.0}, step=1, tags=tags)
            run.log({"m": 1.0}, step=1, tags=dict(tags))
            run.log({"m": 1.0}, step=1, tags=dict(reversed(tags.items())))
            run.log({"m": 1.0}, step=1)
            expected += [oracle(tags)] * 3 + ["{}"]
        assert written.new() == expected

    all_as_given()


def test_a_list_that_grows_inside_tags_is_read_anew(run: Run) -> None:
    tags = {"seen": [1], "host": "a"}
    for number in range(3):
        run.log({"m": 1.0}, step=1, tags=tags)
        tags["seen"] = [*tags["seen"], number]
        run.log({"m": 1.0}, step=1, tags=tags)
    assert run.flush(30)
    lengths = [len(row["tags"]["seen"]) for row in read_rows(run.path)]  # type: ignore[index]  # an object
    assert lengths == [1, 2, 2, 3, 3, 4]


def test_what_is_changed_in_tags_counts_at_every_call(run: Run) -> None:
    tags = {"a": "\ud800", "b": "x" * 5000}
    for calls in range(1, 4):
        run.log({"m": 1.0}, step=1, tags=tags)
        assert (run.stats()["surrogates_replaced"], run.stats()["texts_cut"]) == (calls, calls)


def test_a_call_inside_a_call_keeps_its_own_tags(run: Run) -> None:
    outer, inner = {"level": "outer"}, {"level": "inner"}

    class Logs:
        def __float__(self) -> float:
            run.log({"inner": 1.0}, step=1, tags=inner)
            return 2.0

    for _ in range(3):
        run.log({"outer": Logs()}, step=1, tags=outer)
    assert run.flush(30)
    assert [(row["metric"], row["tags"]) for row in read_rows(run.path)] == [("inner", inner), ("outer", outer)] * 3


def test_numbers_of_numpy_are_the_same_before_and_after_their_class_is_known(run: Run) -> None:
    classes = (np.float16, np.float32, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
    metrics: dict[str, Any] = {}
    for kind in classes:
        limits: Any = np.finfo(kind) if issubclass(kind, np.floating) else np.iinfo(kind)
        metrics |= {f"{kind.__name__}/{index}": kind(n) for index, n in enumerate((limits.min, limits.max, 3))}

    class Doubled(np.float32):
        def __float__(self) -> float:
            return 2 * np.float32.__float__(self)

    metrics["doubled"] = Doubled(1.5)
    for step in range(2):
        run.log(metrics, step=step)
    assert run.flush(30)
    found = [row["value"] for row in read_rows(run.path)]
    assert found == [float(value) for value in metrics.values()] * 2
