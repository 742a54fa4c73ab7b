"""What the manifest says of a value too large to keep, and what other forms of structured values look like."""

from __future__ import annotations

import base64
import json
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


def test_flatten_makes_metrics_of_a_mapping_of_numbers(run_dir: Path) -> None:
    cyclic: dict[str, object] = {"x": 1}
    cyclic["self"] = cyclic
    with open_run(run_dir, flatten=True) as run:
        run.log(
            {
                "loss": {"box": 0.5, "class": {"a": np.float32(1.5), 2: True}, "none": None, "bad": Unreadable()},
                "mixed": {"a": 1, "b": "text"},
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
        ("mixed", None, ["manifest_id"]),
        ("empty", None, ["manifest_id"]),
        ("cyclic", None, ["manifest_id"]),
    ]


class Unreadable:
    def __float__(self) -> float:
        raise LookupError
