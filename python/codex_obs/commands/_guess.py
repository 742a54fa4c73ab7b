"""What a file without a row, or a folder without a log, looks like: one sentence for a user who expected a run."""

from __future__ import annotations

import gzip
import json
import os
import re
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from codex_obs._backend import Report

_SAMPLE_BYTES = 64 << 10
_SHOWN_KEYS = 6
# As many names of a folder are looked at, which tells what it is and takes no time.
_NAMES = 1000
_ONE_OBJECT = "one JSON object a line is read"
# What is said of whatever another command takes.
_IMPORT = "codex-obs import makes a run of it"

# First bytes of files that are no text, and what such a file is.
_BEGINNINGS = (
    (b"\x1f\x8b", "gzip data; a compressed log has a name that ends in .gz"),
    (b"\x28\xb5\x2f\xfd", "zstd data; a compressed log has a name that ends in .zst"),
    (b"BZh", "bzip2 data: decompress it first"),
    (b"\xfd7zXZ", "xz data: decompress it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"PAR1", "a Parquet file, which is a table already"),
    (b":W&B", f"a W&B run file (.wandb): {_IMPORT}"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
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


def no_log(sentence: str, paths: Sequence[Path]) -> str:
    """Add what the folders look like to the sentence that there is no log."""
    for path in paths:
        words = _of_folder(path)
        if words is not None:
            return f"{sentence.removesuffix('.')}; it looks like {words}: {_IMPORT}."
    return sentence


def _of_folder(folder: Path) -> str | None:
    """Tell which other tool's folder it is, by the names in it."""
    try:
        with os.scandir(folder) as entries:
            names = {entry.name for entry in islice(entries, _NAMES)}
    except OSError:
        return None
    below = {inner.name for name in sorted(names)[:_SHOWN_KEYS] for inner in _entries(folder / name)}
    if any("tfevents" in name for name in names | below):
        return "a TensorBoard log directory"
    if any(name.endswith(".wandb") for name in names | below) or any(
        name.startswith(("offline-run-", "run-")) and (folder / name / "files").is_dir() for name in names
    ):
        return "a W&B directory"
    if "mlflow.db" in names or "meta.yaml" in names | below:
        return "an MLflow store"
    return None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, _NAMES))
    except OSError:
        return []


def _looks_like(file: str, reason: str) -> str:
    try:
        sample = _sample(file)
    except (OSError, EOFError):
        return f"has no line that could be read ({reason})"
    if reason == "the rest of the compressed file is damaged":
        return "is a damaged archive"
    if file.endswith(".zst"):
        return f"is a compressed file whose lines are no rows ({reason}): zstd -dc shows them"
    words = _of_bytes(sample, file)
    if words is not None:
        return f"is {words}"
    try:
        text = sample.decode()
    except UnicodeDecodeError as error:
        # A character may have been cut at the end of the sample.
        if error.start < len(sample) - 4:
            return "is no text in UTF-8"
        text = sample[: error.start].decode()
    return _of_text(text.removeprefix("\ufeff"))


def _sample(file: str) -> bytes:
    with gzip.open(file) if file.endswith(".gz") else open(file, "rb") as opened:  # noqa: PTH123 - as the engine names it
        return opened.read(_SAMPLE_BYTES)


def _of_bytes(sample: bytes, file: str) -> str | None:
    """Tell what a file that is no text is."""
    for beginning, words in _BEGINNINGS:
        if sample.startswith(beginning):
            return words
    if sample.startswith(b"SQLite format 3\x00"):
        return _of_database(file)
    # A record of TFRecord form: length, checksum, then an event that names its version.
    if b"brain.Event:" in sample[:64]:
        return f"a TensorBoard event file: {_IMPORT}"
    # Protocols 2 to 5.
    if sample[:1] == b"\x80" and sample[1:2] in b"\x02\x03\x04\x05":
        return "a pickle"
    return "no text" if b"\x00" in sample else None


def _of_database(file: str) -> str:
    # The text of its tables stands at its beginning.
    with open(file, "rb") as opened:  # noqa: PTH123 - a name as the engine gives it
        tables = opened.read(16 * _SAMPLE_BYTES)
    is_mlflow = b"alembic_version" in tables and b"experiments" in tables and b"runs" in tables
    return f"the database of an MLflow store: {_IMPORT}" if is_mlflow else "an SQLite database"


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
        return f"has one object a step (keys: {shown}), where one object a metric is read: {_IMPORT}"
    return f'has objects without "metric" (keys: {shown})' if shown else "has empty objects"


def _of_other_text(text: str, lines: list[str]) -> str:
    if lines[0].lstrip().startswith(("{", "[")):
        # Python's `print(dict)` is a usual mistake.
        if re.match(r"\{\s*'", lines[0].lstrip()):
            return f"looks like Python dictionaries (single quotes), where {_ONE_OBJECT}"
        return f"looks like one JSON document over several lines, where {_ONE_OBJECT}"
    for looks, words in _TEXTS:
        if looks(lines):
            return f"looks like {words}, where {_ONE_OBJECT}"
    return f"is text that is not JSON, where {_ONE_OBJECT} (it begins with {text.strip()[:40]!r})"


# A metric's line in the text format of Prometheus: name, labels, value, perhaps a time.
_SAMPLE = r"[a-zA-Z_:][\w:]*(\{.*\})?[ \t]+([-+]?(\d[\d.eE+-]*|Inf)|NaN)([ \t]+-?\d+)?(\s*#.*)?"
# A metric's line in MLflow's file store: time in milliseconds, value, step.
_STORED = r"\d{10,} [-+]?(\d[\d.eE+-]*|inf|nan|Infinity|NaN)( -?\d+)?"
# What MLflow's file store keeps beside a run or an experiment.
_STORE_KEYS = ("artifact_uri:", "artifact_location:", "lifecycle_stage:")


def _is_prometheus(lines: list[str]) -> bool:
    samples = [line for line in lines if not line.startswith("#")]
    is_told = any(re.match(r"# (HELP|TYPE|UNIT) ", line) for line in lines)
    has_labels = any(re.fullmatch(r"[a-zA-Z_:][\w:]*\{.*\}.*", line) for line in samples)
    # The last line of a sample may be cut.
    return (is_told or has_labels) and all(re.fullmatch(_SAMPLE, line) for line in samples[:-1] or samples)


def _is_table(separator: str) -> Callable[[list[str]], bool]:
    def is_table(lines: list[str]) -> bool:
        columns = lines[0].count(separator)
        return columns > 0 and all(line.count(separator) == columns for line in lines[1:-1] or lines[1:])

    return is_table


# Which texts look like what, the first that fits.
_TEXTS: tuple[tuple[Callable[[list[str]], bool], str], ...] = (
    (_is_prometheus, "metrics in Prometheus text format"),
    (lambda lines: all(re.fullmatch(_STORED, line) for line in lines), "a metric of an MLflow file store"),
    (
        lambda lines: any(line.startswith(_STORE_KEYS) for line in lines),
        "the meta.yaml of an MLflow store",
    ),
    (_is_table(","), "a CSV table"),
    (_is_table("\t"), "a tab-separated table"),
    (_is_table(";"), "a CSV table (with semicolons)"),
    (lambda lines: re.match(r"[\w.-]+\s*:(\s|$)", lines[0]) is not None, "YAML"),
)
