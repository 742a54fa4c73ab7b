"""What the manifest says of a value too large to keep, and what other forms of structured values look like."""

from __future__ import annotations

import base64
import json
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from codex_obs.testing import open_run, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Describe = Callable[[object], dict[str, Any]]

MEBIBYTE = 1 << 20


@pytest.fixture
def describe(run_dir: Path) -> Describe:
    """Give a function that logs one structured value and reads its descriptor."""

    def describe_one(value: object) -> dict[str, Any]:
        with open_run(run_dir, fsync="never") as run:
            run.log({"m": value}, step=0)
        descriptor: Any = read_rows(run_dir, "metrics_manifest")[-1]["descriptor"]
        assert descriptor["version"] == "v1"
        return {key: inner for key, inner in descriptor.items() if key != "version"}

    return describe_one


def test_a_payload_of_exactly_one_mebibyte_is_kept_and_one_byte_more_is_not(describe: Describe) -> None:
    fitting = "x" * (MEBIBYTE - 2)
    assert describe(fitting) == {"payload": fitting, "type": "str"}
    assert describe(fitting + "x") == {"payload": None, "type": "str", "truncated_bytes": MEBIBYTE + 1}


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000_000,
        "é" * 2_000_000,
        ['"'] * 1_000_000,
        {str(number): number / 7 for number in range(200_000)},
        np.arange(500_000) / 3,
        np.arange(600_000).reshape(3, 2, 100_000),
        [[0.5] * 1000] * 1000,
        {"deep": [{"x": "y" * 2_000_000}]},
    ],
    ids=["ascii", "escaped", "list", "mapping", "array", "long rows", "nested", "deep"],
)
def test_a_large_payload_is_measured_but_not_kept(describe: Describe, value: Any) -> None:
    plain = value.tolist() if isinstance(value, np.ndarray) else value
    expected = json.dumps(plain, separators=(",", ":"), sort_keys=True)
    descriptor = describe(value)
    assert descriptor["payload"] is None
    assert descriptor["truncated_bytes"] == len(expected)


@pytest.mark.parametrize("value", [b"x" * 3_000_000, bytearray(3_000_001)])
def test_large_bytes_are_measured_as_base64(describe: Describe, value: bytes) -> None:
    descriptor = describe(value)
    assert descriptor["truncated_bytes"] == len(base64.b64encode(value)) + 2


def test_a_value_larger_than_memory_is_not_expanded(describe: Describe) -> None:
    everywhere = np.broadcast_to(np.float64(0.5), (1_000_000, 1_000_000))
    assert describe(everywhere) == {
        "payload": None,
        "shape": [10**6, 10**6],
        "truncated_bytes": 8 * 10**12,
        "type": "ndarray",
    }
    assert describe(range(10**12)) == {
        "payload": None,
        "shape": [10**12],
        "truncated_bytes": 2 * 10**12,
        "type": "range",
    }


def test_lists_that_share_their_parts_end(describe: Describe) -> None:
    doubling: list[object] = []
    for _ in range(60):
        doubling = [doubling, doubling]
    descriptor = describe(doubling)
    assert descriptor["payload"] is None
    assert descriptor["truncated_bytes"] > MEBIBYTE
    assert descriptor["shape"] == [2] * len(descriptor["shape"])


def test_every_digit_of_an_integer_stays_in_a_payload(run_dir: Path) -> None:
    with open_run(run_dir) as run:
        run.log({"m": [7**20_000, -(2**63), 2**64]}, step=0, tags={"t": -(7**20_000)})
    # `str` refuses so many digits, but that of a Decimal does not.
    digits = str(Decimal(7**20_000))
    assert f'"payload":[{digits},-9223372036854775808,18446744073709551616]' in text(
        run_dir / "metrics_manifest.ndjson"
    )
    assert f'"t":-{digits}}}' in text(run_dir / "metrics.ndjson")


def text(file: Path) -> str:
    return file.read_text("ascii")


def test_legacy_rows_hold_structured_values_themselves(run_dir: Path) -> None:
    with open_run(run_dir, legacy=True) as run:
        run.log({"a": [1, {"b": "é"}], "b": "x" * 2 * MEBIBYTE, "c": 0.5}, step=1)
    rows = [json.loads(line) for line in (run_dir / "metrics.ndjson").read_text("ascii").splitlines()]
    assert [row["value"] for row in rows] == [[1, {"b": "é"}], None, 0.5]
    assert [row["tags"] for row in rows] == [{}, {}, {}]
    assert all(
        list(row) == ["$schema", "schema_version", "step", "split", "metric", "value", "dataset", "tags"]
        for row in rows
    )
    assert not (run_dir / "metrics_manifest.ndjson").exists()
    assert run.stats()["payloads_cut"] == 1


def test_flatten_makes_a_metric_of_each_leaf_of_a_mapping(run_dir: Path) -> None:
    cyclic: dict[str, object] = {"x": 1}
    cyclic["self"] = cyclic
    with open_run(run_dir, flatten=True) as run:
        run.log(
            {
                "loss": {"box": 0.5, "class": {"a": np.float32(1.5), 2: True}, "none": None, "bad": Unreadable()},
                "mixed": {"a": 1, "b": "text", "c": {"d": [1, 2], "e": {}}},
                "empty": {},
                "cyclic": cyclic,
            },
            step=1,
        )
    rows = [json.loads(line) for line in (run_dir / "metrics.ndjson").read_text("ascii").splitlines()]
    found = [(row["metric"], row["value"], list(row["tags"])) for row in rows]
    assert found == [
        ("loss/box", 0.5, []),
        ("loss/class/a", 1.5, []),
        ("loss/class/2", 1, []),
        ("loss/none", None, []),
        ("loss/bad", None, ["unreadable"]),
        ("mixed/a", 1, []),
        ("mixed/b", None, ["manifest_id"]),
        ("mixed/c/d", None, ["manifest_id"]),
        ("mixed/c/e", None, ["manifest_id"]),
        ("empty", None, ["manifest_id"]),
        ("cyclic/x", 1, []),
        ("cyclic/self", None, ["manifest_id"]),
    ]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"a": {"b": 1}, "a/b": 10}, [("a/b", 10)]),
        ({"a/b": 10, "c": 3, "a": {"b": 1}}, [("c", 3), ("a/b", 1)]),
        ({"a": {"b/c": 1, "b": {"c": "text"}}}, [("a/b/c", None)]),
        ({"a": {1: 5, "1": 6}}, [("a/1", 6)]),
    ],
)
def test_of_metrics_that_flatten_to_one_name_the_last_counts_and_it_is_said_once(
    metrics: dict[str, object], expected: list[object], run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "codex_obs"), open_run(run_dir, flatten=True) as run:
        run.log(metrics, step=0)
        run.log(metrics, step=1)
        assert run.stats()["metrics_collided"] == 2
    assert [(row["metric"], row["value"]) for row in read_rows(run_dir)] == expected * 2
    (words,) = caplog.messages
    assert f"`{expected[-1][0]}`" in words  # type: ignore[index] # a pair
    assert words.startswith("codex_obs: run ")


def test_a_missing_value_of_pandas_is_null(run_dir: Path) -> None:
    pd = pytest.importorskip("pandas")
    with open_run(run_dir) as run:
        run.log({"na": pd.NA, "nat": pd.NaT, "list": [pd.NA, {"a": pd.NaT}]}, step=0, tags={"t": pd.NA})
    rows = read_rows(run_dir)
    assert [(row["value"], row["tags"]) for row in rows[:2]] == [(None, {"t": None})] * 2
    (line,) = read_rows(run_dir, "metrics_manifest")
    assert line["descriptor"]["payload"] == [None, {"a": None}]  # type: ignore[index] # an object
    assert run.stats()["nodes_nulled"] == 0


def test_a_scalar_of_arrow_without_a_value_is_null_whatever_came_before(run_dir: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    with open_run(run_dir) as run:
        for scalar in (pa.scalar(2.5), pa.scalar(None, pa.float64()), pa.scalar(3), pa.scalar(None, pa.int64())):
            run.log({"value": scalar}, step=0)
    assert [(row["value"], row["tags"]) for row in read_rows(run_dir)] == [(2.5, {}), (None, {}), (3.0, {}), (None, {})]
    assert run.stats()["values_unreadable"] == 0


def test_a_data_frame_has_the_names_of_its_columns(run_dir: Path) -> None:
    pd = pytest.importorskip("pandas")
    pl = pytest.importorskip("polars")
    frames = {
        "pandas": pd.DataFrame({"b": [1, 2], "a": ["x", None], "c": [0.5, float("nan")]}),
        "index": pd.DataFrame({"b": [1, 2]}, index=["i", "j"]),
        "twice": pd.DataFrame([[1, 2]], columns=["a", "a"]),
        "times": pd.DataFrame({"t": pd.to_datetime(["2026-01-02", None])}),
        "integers": pd.DataFrame({"n": pd.array([1, None], dtype="Int64")}),
        "empty": pd.DataFrame({"a": []}),
        "series": pd.Series([1, 2], name="n"),
        "indexed": pd.Series([1.5, 2.5], index=[7, 8]),
        "polars": pl.DataFrame({"b": [1, None], "a": ["x", "y"]}),
        "polars series": pl.Series("n", [1, None]),
    }
    with open_run(run_dir) as run:
        run.log(frames, step=0)
        assert run.stats()["nodes_nulled"] == 0
    found = {line["metric"]: line["descriptor"] for line in read_rows(run_dir, "metrics_manifest")}
    payloads = {name: descriptor["payload"] for name, descriptor in found.items()}  # type: ignore[index] # objects
    assert payloads == {
        "pandas": {"columns": ["b", "a", "c"], "data": [[1, "x", 0.5], [2, None, "NaN"]]},
        "index": {"columns": ["b"], "data": [[1], [2]], "index": ["i", "j"]},
        "twice": {"columns": ["a", "a"], "data": [[1, 2]]},
        "times": {"columns": ["t"], "data": [["2026-01-02 00:00:00"], [None]]},
        "integers": {"columns": ["n"], "data": [[1], [None]]},
        "empty": {"columns": ["a"], "data": []},
        "series": {"data": [1, 2], "name": "n"},
        "indexed": {"data": [1.5, 2.5], "index": [7, 8], "name": None},
        "polars": {"columns": ["b", "a"], "data": [[1, "x"], [None, "y"]]},
        "polars series": {"data": [1, None], "name": "n"},
    }
    assert pd.DataFrame(**payloads["index"]).equals(frames["index"])
    assert found["pandas"]["shape"] == [2, 3]  # type: ignore[index] # an object


def test_a_large_data_frame_is_written_in_pieces(run_dir: Path) -> None:
    pd = pytest.importorskip("pandas")
    with open_run(run_dir) as run:
        run.log({"m": pd.DataFrame({"a": range(70_000)})}, step=0)
    (line,) = read_rows(run_dir, "metrics_manifest")
    payload = line["descriptor"]["payload"]  # type: ignore[index] # an object
    assert payload == {"columns": ["a"], "data": [[number] for number in range(70_000)]}


class Unreadable:
    def __float__(self) -> float:
        raise LookupError
