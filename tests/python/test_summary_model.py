"""Random runs, summarised by the product and by a plain model of the contract, agree in every cell."""

from __future__ import annotations

import gzip
import json
import math
import random
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

from codex_obs import reading

if TYPE_CHECKING:
    from pathlib import Path

RUNS_A_TEST = 50

SCHEMA = {
    "run_id": pl.String,
    "split": pl.String,
    "metric": pl.String,
    "dataset": pl.String,
    "count": pl.Int64,
    "first_step": pl.Int64,
    "last_step": pl.Int64,
    "first_timestamp": pl.Datetime("us", "UTC"),
    "last_timestamp": pl.Datetime("us", "UTC"),
    "first_value": pl.Float64,
    "last_value": pl.Float64,
    "min_value": pl.Float64,
    "max_value": pl.Float64,
    "mean_value": pl.Float64,
    "first_manifest_id": pl.String,
    "last_manifest_id": pl.String,
    "first_phase": pl.String,
    "last_phase": pl.String,
    "numeric_count": pl.Int64,
    "nonfinite_count": pl.Int64,
}

# --- The model -------------------------------------------------------------------------------------------------------

_SHARD = re.compile(r"metrics(?:\.([a-z0-9-]+))?\.ndjson(?:\.([1-9][0-9]*))?(\.gz|\.zst)?")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Pairs(list[tuple[str, Any]]):
    """An object with repeated keys kept."""


class Number(str):
    """A number's text."""

    __slots__ = ()


class Bare(str):
    """``NaN``, ``Infinity`` or ``-Infinity``."""

    __slots__ = ()


def files_in_order(directory: Path) -> list[bytes]:
    found: dict[tuple[str, int], dict[str, Path]] = {}
    for path in directory.iterdir():
        if match := _SHARD.fullmatch(path.name):
            stream, number, coding = match[1] or "", int(match[2] or 0), match[3] or ""
            found.setdefault((stream, -number), {})[coding] = path
    contents = []
    for _, codings in sorted(found.items()):
        if "" in codings:
            contents.append(codings[""].read_bytes())
        elif ".gz" in codings:
            contents.append(gzip.decompress(codings[".gz"].read_bytes()))
        else:
            contents.append(pa.input_stream(codings[".zst"]).read())
    return contents


def has_bare(value: Any) -> bool:
    if isinstance(value, Pairs):
        return any(has_bare(member) for _, member in value)
    if isinstance(value, list):
        return any(has_bare(item) for item in value)
    return isinstance(value, Bare)


def to_row(line: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(
            line.decode(),
            object_pairs_hook=Pairs,
            parse_int=Number,
            parse_float=Number,
            parse_constant=Bare,
        )
    except ValueError:
        return None
    if not isinstance(parsed, Pairs):
        return None
    if any(has_bare(member) and not (key == "value" and isinstance(member, Bare)) for key, member in parsed):
        return None
    row = dict(parsed)
    return row if text(row.get("metric")) is not None or text(row.get("key")) is not None else None


def text(value: Any) -> str | None:
    if not isinstance(value, str) or isinstance(value, Number | Bare):
        return None
    return re.sub("[\ud800-\udfff]", "\ufffd", value)


def micros(value: Any) -> int | None:
    if isinstance(value, Number):
        number = float(value)
        if not math.isfinite(number):
            return None
        result = round(Fraction(number) * (1_000_000 if abs(number) < 1e11 else 1000))
    else:
        match = _TIME.fullmatch(text(value) or "")
        if match is None:
            return None
        try:
            moment = datetime(*(int(part) for part in match.groups()[:6]), tzinfo=UTC)  # type: ignore[misc, arg-type]  # six ints
        except ValueError:
            return None
        result = (moment - _EPOCH) // timedelta(microseconds=1) + int(((match[7] or "") + "000000")[:6])
        if match[8]:
            ahead = (int(match[9]) * 60 + int(match[10])) * 60_000_000
            result += ahead if match[8] == "-" else -ahead
    try:
        _EPOCH + timedelta(microseconds=result)
    except OverflowError:
        return None
    return result


def int64(value: Any) -> int | None:
    if value is None or isinstance(value, bool | Bare | list):
        return None
    written = value if isinstance(value, Number) else value.strip(" \t\n\r\x0c")
    if not re.fullmatch(r"[+-]?[0-9]+|-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", written):
        return None
    whole = Fraction(written) if abs(int((re.findall("[eE](.*)", written) or ["0"])[0])) < 1000 else Fraction(1, 2)
    return int(whole) if whole.denominator == 1 and -(2**63) <= whole < 2**63 else None


def number(value: Any) -> float | None:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, Number | Bare) or value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return None


def faults(row: dict[str, Any]) -> int:
    """Count what of a row cannot be read: wrong fields, and a value that is not there at all."""
    by_key = text(row.get("metric")) is None
    legacy = (by_key or "$schema" in row) and "timestamp" not in row and "run_id" not in row
    wrong = [
        row.get(key) is not None and read(row[key]) is None
        for key, read in (("timestamp", micros), ("step", int64), ("run_id", text), ("split", text), ("dataset", text))
    ]
    value, tags = row.get("value"), row.get("tags")
    structured = isinstance(value, str | list) and not isinstance(value, Number | Bare)
    wrong += [
        by_key and row.get("metric") is not None,
        value is not None and number(value) is None and not (legacy and structured),
        tags is not None and not isinstance(tags, Pairs),
        "value" not in row,
    ]
    return sum(wrong)


def tag(row: dict[str, Any], name: str) -> str | None:
    tags = row.get("tags")
    return text(dict(tags).get(name)) if isinstance(tags, Pairs) else None


def order(value: int | None) -> tuple[bool, int]:
    return (value is not None, value or 0)


def summarize(directory: Path) -> tuple[list[dict[str, Any]], int, int]:
    """Give the table, the number of lines that are no rows and that of what cannot be read in rows."""
    groups: dict[tuple[str, str, str, str], list[tuple[Any, dict[str, Any]]]] = {}
    skipped = faulty = position = 0
    for content in files_in_order(directory):
        for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
            position += 1
            if not line.strip(b" \t\r"):
                continue
            row = to_row(line)
            if row is None:
                skipped += 1
                continue
            faulty += faults(row)
            metric = text(row.get("metric"))
            key = (
                text(row.get("run_id")) or "unknown",
                text(row.get("split")) or "",
                metric if metric is not None else text(row["key"]) or "",
                text(row.get("dataset")) or "",
            )
            moment = (order(micros(row.get("timestamp"))), order(int64(row.get("step"))), position)
            groups.setdefault(key, []).append((moment, row))
    table = [describe(key, sorted(rows, key=lambda pair: pair[0])) for key, rows in groups.items()]
    table.sort(key=lambda line: (order(micros_of(line["first_timestamp"])), *list(line.values())[:4]))
    return table, skipped, faulty


def micros_of(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def describe(key: tuple[str, str, str, str], pairs: list[tuple[Any, dict[str, Any]]]) -> dict[str, Any]:
    rows = [row for _, row in pairs]
    first, last = rows[0], rows[-1]
    steps = [step for row in rows if (step := int64(row.get("step"))) is not None]
    values = [number(row.get("value")) for row in rows]
    finite = [value for value in values if value is not None and math.isfinite(value)]
    nonfinite = [
        row
        for row, value in zip(rows, values, strict=True)
        if (value is None and tag(row, "nonfinite") is not None) or (value is not None and not math.isfinite(value))
    ]
    ids = [manifest for row in rows if (manifest := tag(row, "manifest_id")) is not None]
    last_step = int64(last.get("step"))

    def moment(row: dict[str, Any]) -> datetime | None:
        since = micros(row.get("timestamp"))
        return None if since is None else _EPOCH + timedelta(microseconds=since)

    def finite_or_none(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    return dict(
        zip(
            SCHEMA,
            (
                *key,
                len(rows),
                min(steps, default=None),
                max(steps, default=None) if last_step is None else last_step,
                moment(first),
                moment(last),
                finite_or_none(values[0]),
                finite_or_none(values[-1]),
                min(finite, default=None),
                max(finite, default=None),
                math.fsum(finite) / len(finite) if finite else None,
                ids[0] if ids else None,
                ids[-1] if ids else None,
                tag(first, "phase") or "",
                tag(last, "phase") or "",
                len(finite),
                len(nonfinite),
            ),
            strict=True,
        )
    )


# --- Random runs -----------------------------------------------------------------------------------------------------

WRONG = ("7", "true", "null", '""', "[]", '{"a":[{}]}', '"text"', "1.5", "-0", "1e400")
TIMES = (
    '"2026-11-20T08:15:30.000125Z"',
    '"2026-11-20T08:15:30.000125+00:00"',
    '"2026-11-20T08:15:30Z"',
    '"2026-11-20T08:15:30.0001259999999999Z"',
    '"2026-11-20T08:15:3\\u0030Z"',
    '"2026-11-20 08:15:30Z"',
    '"2026-11-20 08:15:30"',
    '"2026-11-20t10:15:30.000125+02:00"',
    '"2026-11-19T20:45:30.5-11:30"',
    '"2026-11-20T08:15:30.000126999999"',
    '"2026-11-20T08:15:30+24:00"',
    '"20 November 2026"',
    '"2026-02-30T08:15:30Z"',
    "1795162530",
    "1795162530.0001254",
    "1795162530.5",
    "0.0000005",
    "-0.0000015",
    "-62135596800",
    "253402300800",
    "1795162530000",
    "1795162530000.126",
    "1795162530000126",
    "1e300",
)
WRITTEN_STEPS = ("1.0", "1.5", "1e3", '"5"', '"6.0"', '" 7"', '"seven"', "2.5e1")
STEPS = ("0", "1", "2", "2", "-5", "-0", *WRITTEN_STEPS, str(2**63 - 1), str(2**63), str(-(2**63)))
VALUES = (
    "0.5",
    "-0.0",
    "0",
    "1e16",
    "1",
    "-1e16",
    "1e-05",
    "5e-324",
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "-Infinity",
    "true",
    "false",
    "null",
    '"0.5"',
    '"NaN"',
    '"-Infinity"',
    "[1]",
    "123456789012345678901234567890",
)
TAGS = (
    "{}",
    '{"phase":"eval"}',
    '{"phase":"train","phase":"test"}',
    '{"phase":3}',
    '{"nonfinite":"NaN"}',
    '{"nonfinite":null}',
    '{"manifest_id":"manifest-a"}',
    '{"manifest_id":"manifest-b","phase":"\\u00e9"}',
    '{"manifest_id":"manifest-\\ud800"}',
    '["phase"]',
    '{"deep":[[[{"phase":"no"}]]]}',
)
NAMES = ('"loss"', '"acc"', '"l\\u006fss"', '"naïve"', '"a\\nb"', '"\\ud83d\\ude00"', '""')
HOSTILE = (
    b"{",
    b'{"metric":"loss","value":1',
    b'{"metric":"loss","value":1}}',
    b'{"metric":"loss","value":01}',
    b'{"metric":"loss","value":[NaN]}',
    b'{"metric":"loss","step":NaN}',
    b'{"metric":"loss","value":1.Infinity}',
    b'{"metric":"loss","value":[1,Infinity}',
    b'{"metric":"loss","value":+1}',
    b'{"metric":"lo\xffss","value":1}',
    b'{"metric":"loss\x01","value":1}',
    b'{"metric":"loss","value":1,}',
    b"[1]",
    b"null",
    b"\x00\x00\x00",
    b'{"metric":5}',
    b'{"metric":"loss","metric":5}',
    b"\xef\xbb\xbf{}",
    b"  \t",
    b"\r",
    b'{"metric":"loss",' * 40 + b'"a":1}',
)
CANONICAL = (
    '{{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1",'
    '"timestamp":"{time}","run_id":"{run}","step":{step},"split":"{split}","metric":"{metric}","value":{value},'
    '"dataset":{dataset},"tags":{tags}}}'
)


def canonical_line(rng: random.Random) -> bytes:
    moment = datetime.fromtimestamp(1_795_162_530 + rng.randrange(4), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return CANONICAL.format(
        time=f"{moment}.{rng.randrange(3):06}Z",
        run=rng.choice(["r1", "r2"]),
        step=rng.choice(["0", "1", "2", "-3", "null", "123456789012345678", "1234567890123456789"]),
        split=rng.choice(["train", "eval"]),
        metric=rng.choice(["loss", "acc", "lr", "l\\u00f6ss"]),
        value=rng.choice([repr(rng.gauss(0, 10 ** rng.randrange(-9, 9))), "null", "0", "1", "1e-05"]),
        dataset=rng.choice(["null", "null", '"digits"', '""', '"d\\u00e9"']),
        tags=rng.choice(TAGS),
    ).encode()


def loose_line(rng: random.Random) -> bytes:
    fields = []
    for key, choices in (
        ("timestamp", TIMES),
        ("run_id", ('"r1"', '"r2"', '""')),
        ("step", STEPS),
        ("split", ('"train"', '""')),
        ("metric", NAMES),
        ("key", NAMES),
        ("value", VALUES),
        ("dataset", ('"digits"',)),
        ("tags", TAGS),
        ("\\u0074ags", TAGS),
        ("$schema", WRONG),
        ("other", (*WRONG, *TAGS)),
    ):
        for _ in range(rng.choice((0, 1, 1, 1, 1, 2))):
            value = rng.choice(WRONG) if rng.random() < 0.05 else rng.choice(choices)
            space = rng.choice(("", "", " ", "\t"))
            fields.append(f'{space}"{key}"{space}:{space}{value}{space}')
    rng.shuffle(fields)
    return ("{" + ",".join(fields) + "}").encode() + rng.choice((b"", b"", b"\r", b" "))


def random_line(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.55:
        return canonical_line(rng)
    return loose_line(rng) if kind < 0.9 else rng.choice(HOSTILE)


def write_run(directory: Path, rng: random.Random) -> None:
    for stream in rng.sample(("", ".rank-1", ".rank-10", ".rank-2", ".pid-7-2"), rng.randrange(1, 4)):
        numbers = [0, *rng.sample(range(1, 15), rng.randrange(4))]
        for shard in numbers[rng.randrange(2) :] or [0]:
            lines = [random_line(rng) for _ in range(rng.randrange(25))]
            content = b"".join(line + b"\n" for line in lines)
            if lines and rng.random() < 0.2:
                content = content[: -rng.randrange(1, 30)]
            if rng.random() < 0.1:
                content = b"\xef\xbb\xbf" + content
            path = directory / f"metrics{stream}.ndjson{f'.{shard}' if shard else ''}"
            coding = rng.choice(("", "", "gz", "zst", "both"))
            if coding in ("", "both"):
                path.write_bytes(content)
            if coding in ("gz", "both"):
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(content if coding == "gz" else b"x\n"))
            if coding == "zst":
                half = len(content) // 2
                frames = [pa.compress(part, codec="zstd", asbytes=True) for part in (content[:half], content[half:])]
                path.with_name(path.name + ".zst").write_bytes(b"".join(frames))
    (directory / "metrics_manifest.ndjson").write_bytes(b'{"metric":"loss"}\n')
    (directory / "metrics.ndjson.bak").write_bytes(b'{"metric":"loss"}\n')


@pytest.mark.parametrize("block", range(8))
def test_random_runs_equal_the_model_in_every_cell(tmp_path: Path, block: int) -> None:
    for seed in range(block * RUNS_A_TEST, (block + 1) * RUNS_A_TEST):
        directory = tmp_path / str(seed)
        directory.mkdir()
        write_run(directory, random.Random(seed))
        expected, skipped, faulty = summarize(directory)
        frame, report = reading.summarize_files([directory])
        assert dict(frame.schema) == SCHEMA
        assert frame.to_dicts() == expected, f"seed {seed}"
        assert report.skipped == skipped, f"seed {seed}"
        assert report.faulty_fields + report.valueless_rows == faulty, f"seed {seed}"
        assert report.rows == sum(line["count"] for line in expected), f"seed {seed}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b'{"$schema":"x","schema_version":"v1","step":1,"split":"train","metric":"m","value":{"a":1},"tags":{}}\n',
        b'{"key":"m"}\n{"metric":"n","timestamp":1,"value":1}\n',
    ],
    ids=["empty", "blank", "legacy", "mixed"],
)
def test_columns_and_types_do_not_depend_on_the_data(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.ndjson").write_bytes(content)
    assert dict(reading.summarize(tmp_path).schema) == SCHEMA


def test_a_mean_whose_sum_is_beyond_a_double_is_right(tmp_path: Path) -> None:
    huge = 1.7976931348623157e308
    lines = [f'{{"metric":"m","value":{value}}}\n' for value in (huge, huge, huge, -huge, 1e308)]
    (tmp_path / "metrics.ndjson").write_text("".join(lines))
    exact = (2 * Fraction(huge) + Fraction(1e308)) / 5
    assert reading.summarize(tmp_path)["mean_value"].to_list() == [float(exact)]


def test_threads_share_a_large_shard_without_a_trace(tmp_path: Path) -> None:
    rng = random.Random(1)
    lines = [canonical_line(rng) for _ in range(60_000)]
    lines[40_000] = b"no row"
    lines[50_000] = b'{"metric":"loss","pad":"' + b"x" * (9 << 20) + b'"}'
    (tmp_path / "metrics.ndjson").write_bytes(b"\n".join(lines))
    frame, report = reading.summarize_files([tmp_path])
    expected, _, _ = summarize(tmp_path)
    assert frame.to_dicts() == expected
    assert report.skipped_examples == [(str(tmp_path / "metrics.ndjson"), 40_001, "not JSON")]
