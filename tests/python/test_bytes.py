"""Every byte of a row is the one that ``json.dumps`` gives: a million generated rows, written by the real package."""

from __future__ import annotations

import json
import math
import struct
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from codex_obs.testing import open_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 1_000_000
ROWS_PER_CALL = 40
CALLS_PER_CHUNK = 500

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_MICROS = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
LAST_MICROS = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
RESERVED = {"manifest_id", "nonfinite", "unreadable"}
# First and last character of what json escapes, or a decoder or an editor treats, in a way of its own.
ALPHABETS = [
    (0x00, 0x1F), (0x20, 0x7E), (0x22, 0x22), (0x5C, 0x5C), (0x2F, 0x2F), (0x7F, 0x9F), (0xA0, 0xFF), (0x100, 0x7FF),
    (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x2028, 0x2029), (0xFDD0, 0xFDEF), (0xFEFF, 0xFEFF), (0x10000, 0x10FFFF),
    (0x1F300, 0x1FAFF),
]  # fmt: skip
EDGES = [
    0.0, -0.0, 1.0, -1.0, 0.1, 0.3, 1e-4, 9.999999999999999e-05, 1e-5, 1e-7, 1e15, 1e16, 9999999999999998.0, 1e17, 1e21,
    1e22, 1e100, 5e-324, 2.2250738585072014e-308, 2.225073858507201e-308, 1.7976931348623157e308, 4.35, 2.5e-05,
    123456789012345680.0, 2.0**53, 2.0**53 + 2, 2.0**63, 2.0**64, 9007199254740993.0, math.nan, math.inf, -math.inf,
]  # fmt: skip

encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def text(random: Random, longest: int = 24) -> str:
    return "".join(chr(random.randint(*random.choice(ALPHABETS))) for _ in range(random.randint(0, longest)))


def doubles(random: Random, count: int) -> list[float]:
    """Give doubles of every exponent: their bits are random."""
    return list(struct.unpack(f"<{count}d", random.randbytes(8 * count)))


def whole(random: Random) -> int:
    return random.choice([1, -1]) * random.getrandbits(
        random.choice([1, 8, 31, 53, 54, 63, 64, 65, 200, 1030] * 9 + [20_000])
    )


def tag(random: Random, depth: int, floats: Iterator[float]) -> Any:
    kind = random.randrange(9 if depth else 6)
    if kind >= 6:
        inner = [tag(random, depth - 1, floats) for _ in range(random.randrange(4))]
        return inner if kind == 6 else {text(random, 6): value for value in inner}
    return [None, True, False, whole(random), text(random), next(floats)][kind]


def canonical(value: Any) -> Any:
    """Bring keys in order and non-finite numbers into words."""
    if isinstance(value, dict):
        return {key: canonical(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [canonical(inner) for inner in value]
    return number_word(value) if isinstance(value, float) and not math.isfinite(value) else value


def number_word(number: float) -> str:
    return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(number, "NaN")


def value_and_tags(value: float | None, tags: dict[str, Any]) -> tuple[float | None, dict[str, Any]]:
    """Give what a row has as value and tags."""
    if value is None or isinstance(value, bool):
        return (None if value is None else int(value)), tags
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    if math.isfinite(number):
        return number, tags
    return None, dict(sorted({**tags, "nonfinite": number_word(number)}.items()))


def calls(seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Generate arguments of `log`: metrics and keywords."""
    random = Random(seed)
    names = [text(random) for _ in range(300)]
    floats = iter(doubles(random, 100_000))
    while True:
        metrics: dict[str, Any] = {}
        for value in doubles(random, ROWS_PER_CALL):
            # One name in ten is new, so that names meet both a cold and a warm cache.
            name = random.choice(names) if random.random() < 0.9 else text(random)
            kind = random.random()
            if kind < 0.7:
                metrics[name] = value
            else:
                metrics[name] = random.choice([random.choice(EDGES), whole(random), random.random() < 0.5, None])
        yield (
            metrics,
            {
                "step": random.choice(
                    [random.randint(0, 10**6), random.randint(-(2**63), 2**63 - 1), -(2**63), 2**63 - 1]
                ),
                "split": random.choice(["train", "eval", "", text(random)]),
                "dataset": random.choice([None, "data/train", "", text(random)]),
                "tags": {text(random, 8): tag(random, 3, floats) for _ in range(random.randrange(4))},
                "timestamp": EPOCH + timedelta(microseconds=random.randint(FIRST_MICROS, LAST_MICROS)),
            },
        )


def lines(run_id: str, metrics: dict[str, Any], keywords: dict[str, Any]) -> Iterator[str]:
    """Give the lines of one call."""
    tags = {key: canonical(value) for key, value in sorted(keywords["tags"].items()) if key not in RESERVED}
    for metric, value in metrics.items():
        number, row_tags = value_and_tags(value, tags)
        yield encode(
            {
                "$schema": "https://codexml.ai/schemas/run_metrics.schema.json",
                "schema_version": "v1",
                "timestamp": keywords["timestamp"].isoformat(timespec="microseconds").replace("+00:00", "Z"),
                "run_id": run_id,
                "step": keywords["step"],
                "split": keywords["split"],
                "metric": metric,
                "value": number,
                "dataset": keywords["dataset"],
                "tags": row_tags,
            }
        )


@pytest.fixture(autouse=True)
def _no_limit_on_digits() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


def test_a_million_rows_equal_json_dumps_byte_for_byte(run_dir: Path) -> None:
    run = open_run(run_dir, max_shard_bytes=None, fsync="never")
    compared = seed = 0
    with run, (run_dir / "metrics.ndjson").open("rb") as written:
        while compared < ROWS:
            seed += 1
            chunk = list(islice(calls(seed), CALLS_PER_CHUNK))
            for metrics, keywords in chunk:
                run.log(metrics, **keywords)
            assert run.flush(60)
            expected = [line for call in chunk for line in lines(run.run_id, *call)]
            found = written.read().decode("ascii").split("\n")
            assert found.pop() == "", f"seed {seed}: a line has no end"
            if found != expected:
                differing = next(pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1])
                pytest.fail(f"seed {seed}: {len(found)} lines for {len(expected)}, first difference: {differing}")
            compared += len(found)
    stats = run.stats()
    assert (stats["rows_logged"], stats["rows_written"], stats["rows_dropped"]) == (compared, compared, 0)


def test_generated_rows_hold_every_kind_of_value() -> None:
    seen = "".join(line for call in islice(calls(1), 100) for line in lines("r", *call))
    for piece in [
        '\\"',
        "\\\\",
        "\\n",
        "\\u0000",
        "\\u2028",
        "\\ud83d\\ude",
        "e-0",
        "e+16",
        "-0.0",
        '"NaN"',
        '"-Infinity"',
    ]:
        assert piece in seen, piece
    assert any(len(digits) > 5000 for digits in seen.replace("-", ",").split(","))


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("\ud800", "\\ufffd"),
        ("a\udfffb\udc80", "a\\ufffdb\\ufffd"),
        ("\udc00\ud800", "\\ufffd\\ufffd"),
        (
            "\ud83d\ude00",
            "\\ud83d\\ude00",
        ),  # a pair is what json.dumps makes of it, and parsers read it as one character
    ],
)
def test_lone_surrogates_become_the_replacement_character_and_are_counted(
    run_dir: Path, given: str, written: str
) -> None:
    with open_run(run_dir) as run:
        run.log({given: 1}, step=0, split=given, dataset=given, tags={given: [given]})
    line = (run_dir / "metrics.ndjson").read_text("ascii")
    assert line.partition(',"step"')[2] == (
        f':0,"split":"{written}","metric":"{written}","value":1.0,"dataset":"{written}","tags":{{"{written}":["{written}"]}}}}\n'
    )
    assert run.stats()["surrogates_replaced"] == 5 * written.count("fffd")
