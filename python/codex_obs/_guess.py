"""What a file without a row looks like, in one sentence for a user who expected a log."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from codex_obs._backend import Report

_SAMPLE_BYTES = 64 << 10
_SHOWN_KEYS = 6

# First bytes of files that are no text, and what such a file is.
_BEGINNINGS = (
    (b"\x1f\x8b", "gzip data; a compressed log has a name that ends in .gz"),
    (b"\x28\xb5\x2f\xfd", "zstd data; a compressed log has a name that ends in .zst"),
    (b"BZh", "bzip2 data: decompress it first"),
    (b"\xfd7zXZ", "xz data: decompress it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"PAR1", "a Parquet file, which is a table already"),
    (b"SQLite format 3", "an SQLite database"),
    (b"ARROW1", "an Arrow file, which is a table already"),
    (b"\xff\xfe", "text in UTF-16: convert it to UTF-8 first"),
    (b"\xfe\xff", "text in UTF-16: convert it to UTF-8 first"),
)
# What else of ours has lines with a schema.
_OTHER_FILES = {
    "run_metrics_manifest": "descriptors of structured values, not the rows that they belong to",
    "run_params": "the parameters of a run, not its metrics",
    "tracking_component": "a tracking summary, not metrics",
    "telemetry": "telemetry, not metrics",
    "system_metrics": "system samples, not metrics",
}


def no_rows(paths: Sequence[Path], report: Report) -> str:
    """Say that nothing was a row, and what the input looks like.

    Args:
        paths: What was to be read.
        report: What the reader saw: lines, but no row.
    """
    file, _, reason = report.skipped_examples[0] if report.skipped_examples else (str(paths[0]), 0, "")
    lines = "The only line" if report.lines == 1 else f"None of the {report.lines} lines"
    verb = "is no row" if report.lines == 1 else "is a row"
    return f"{lines} of {', '.join(map(str, paths))} {verb}: {file} {_looks_like(file, reason)}."


def _looks_like(file: str, reason: str) -> str:
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - a name as the engine gives it
            sample = opened.read(_SAMPLE_BYTES)
    except OSError:
        return f"has no line that could be read ({reason})"
    if reason == "the rest of the compressed file is damaged":
        return "is a damaged archive"
    for beginning, words in _BEGINNINGS:
        if sample.startswith(beginning):
            return f"is {words}"
    if b"\x00" in sample:
        return "is no text"
    try:
        text = sample.decode()
    except UnicodeDecodeError as error:
        # A character may have been cut at the end of the sample.
        if error.start < len(sample) - 4:
            return "is no text in UTF-8"
        text = sample[: error.start].decode()
    return _of_text(text.removeprefix("\ufeff"))


def _of_text(text: str) -> str:
    lines = list(islice((line for line in text.splitlines() if line.strip()), 20))
    if not lines:
        return "begins with blank lines only"
    try:
        first = json.loads(lines[0])
    except ValueError:
        return _of_other_text(text, lines)
    if isinstance(first, dict):
        return _of_object(first)
    if isinstance(first, list):
        return "is a JSON array: one JSON object a line is read"
    return "holds JSON values that are no objects"


def _of_object(first: dict[str, object]) -> str:
    schema = first.get("$schema")
    if isinstance(schema, str):
        for name, words in _OTHER_FILES.items():
            if schema.endswith(f"/{name}.schema.json"):
                return f"holds {words}"
    numbers = [key for key, value in first.items() if isinstance(value, (int, float))]
    shown = ", ".join([*list(first)[:_SHOWN_KEYS], *(["…"] if len(first) > _SHOWN_KEYS else [])])
    if "metric" in first or "key" in first:
        return 'has no text under "metric" in its objects'
    if numbers:
        return (
            f"has one object a step (keys: {shown}), where one object a metric is read: "
            '{"metric": "loss", "step": 1, "value": 0.5}'
        )
    return f'has objects without "metric" (keys: {shown})' if shown else "has empty objects"


def _of_other_text(text: str, lines: list[str]) -> str:
    if lines[0].lstrip().startswith(("{", "[")):
        return "looks like one JSON document over several lines, where one JSON object a line is read"
    for separator, kind in ((",", "CSV"), ("\t", "tab-separated")):
        columns = lines[0].count(separator)
        if columns and all(line.count(separator) == columns for line in lines[1:-1] or lines[1:]):
            return f"looks like a {kind} table, where one JSON object a line is read"
    if re.match(r"[\w.-]+\s*:(\s|$)", lines[0]):
        return "looks like YAML, where one JSON object a line is read"
    return f"is text that is not JSON, where one JSON object a line is read (it begins with {text.strip()[:40]!r})"
