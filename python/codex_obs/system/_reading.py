"""Samples of the machine as a table."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING

from codex_obs import _backend

if TYPE_CHECKING:
    import polars as pl

    from codex_obs.types import HasPath

_logger = logging.getLogger("codex_obs")


def read(path: str | os.PathLike[str] | HasPath) -> pl.DataFrame:
    """Read the samples of a run, of all machines, oldest first: also what was rotated and packed.

    Args:
        path: A run directory, a `Run`, or a file of samples.

    Returns:
        One row a sample with the fields of its line, structures and lists as they are, and ``timestamp`` (UTC in
        microseconds) and ``stream`` in front. ``plugins`` is JSON text. Columns and types do not depend on the data.

    Raises:
        CodexObsError: If there is nothing at `path`, or it cannot be read.
    """
    import polars as pl  # noqa: PLC0415 - loaded on first use

    place = os.fspath(path if isinstance(path, str | os.PathLike) else path.path)
    schema = _schema()
    frames = []
    skipped = 0
    for shard in _shards(place):
        for stream, lines in _backend.page_lines([shard], "system_metrics"):
            frame, left_out = _frame(lines, schema)
            skipped += left_out
            frames.append(frame.with_columns(pl.lit(stream).alias("stream")))
    if skipped:
        _logger.warning("codex_obs: %s: %d lines that are no samples were left out", place, skipped)
    table = pl.concat(frames) if frames else pl.DataFrame(schema=schema | {"stream": pl.String})
    moment = pl.from_epoch((pl.col("ts") * 1_000_000).round().cast(pl.Int64), time_unit="us").dt.replace_time_zone(
        "UTC"
    )
    return table.select(moment.alias("timestamp"), "stream", *schema).sort("ts", maintain_order=True)


def _frame(lines: bytes, schema: dict[str, pl.DataType]) -> tuple[pl.DataFrame, int]:
    """Parse lines, and count those that are no samples."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    try:
        frame = pl.read_ndjson(lines, schema=schema)
    except pl.exceptions.PolarsError:
        whole = [parsed for line in lines.split(b"\n") if (parsed := _line(line, schema)) is not None]
        frame = pl.concat(whole) if whole else pl.DataFrame(schema=schema)
    frame = frame.filter(pl.col("ts").is_not_null())
    count = sum(bool(line.strip()) for line in lines.split(b"\n"))
    return frame, count - frame.height


def _line(line: bytes, schema: dict[str, pl.DataType]) -> pl.DataFrame | None:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    if not line.strip():
        return None
    try:
        return pl.read_ndjson(line + b"\n", schema=schema)
    except pl.exceptions.PolarsError:
        return None


def _shards(path: str) -> list[str]:
    """Give a file with what rotation has made of it, the oldest first; a directory as it is."""
    folder, name = os.path.split(path)
    if os.path.isdir(path) or not os.path.exists(path):  # noqa: PTH110, PTH112 - text
        return [path]
    rest = re.compile(
        re.escape(name) + r"(?:\.archive-(?P<ordinal>[0-9]{6,})\.zst|(?:\.(?P<number>[1-9][0-9]*))?(?:\.gz|\.zst)?)"
    )
    found = [match for each in os.listdir(folder or ".") if (match := rest.fullmatch(each))]  # noqa: PTH208 - names

    def age(match: re.Match[str]) -> tuple[bool, int]:
        is_archive = match["ordinal"] is not None
        return not is_archive, int(match["ordinal"]) if is_archive else -int(match["number"] or 0)

    return [os.path.join(folder, match[0]) for match in sorted(found, key=age)]  # noqa: PTH118 - text


def _schema() -> dict[str, pl.DataType]:
    """Give the types of a line's fields, in its order."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    integer, real, text = pl.Int64(), pl.Float64(), pl.String()

    def sizes(*names: str) -> pl.Struct:
        return pl.Struct({name: real if name == "percent" else integer for name in names})

    process = pl.Struct(
        {
            "pid": integer,
            "cpu_percent": real,
            "memory_info": sizes("rss", "vms", "shared"),
            "threads": integer,
            "streams": pl.List(text),
        }
    )
    gpu = pl.Struct(
        {
            "index": integer,
            "uuid": text,
            "name": text,
            "util": real,
            "mem_used": integer,
            "mem_total": integer,
            "temp_c": real,
            "power_w": real,
            "processes": pl.List(sizes("pid", "mem_used")),
        }
    )
    return {
        "ts": real,
        "run_id": text,
        "host": text,
        "cpu_percent": real,
        "cpu_count": integer,
        "memory": sizes("total", "available", "percent", "used", "free", "buffers", "cached", "shared"),
        "swap": sizes("total", "used", "free", "percent"),
        "load_avg": pl.List(real),
        "disk": sizes("total", "used", "free", "percent", "read_bytes", "write_bytes"),
        "network": sizes("bytes_recv", "bytes_sent"),
        "processes": pl.List(process),
        "cgroup": pl.Struct({"cpu_limit": real, "memory_limit": integer, "memory_used": integer}),
        "gpu_count": integer,
        "gpus": pl.List(gpu),
        "gpu_util_mean": real,
        "errors": pl.List(text),
        "plugins": text,
    }
