"""What is left in a run directory, held against what was accepted."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

import codex_obs
from codex_obs import reading
from packed import logs, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

KEY = ("metric", "step")


@dataclass(frozen=True)
class Judgement:
    """Rows counted by what became of them."""

    accepted: int = 0
    found: int = 0
    lost: int = 0
    doubled: int = 0
    # In the files, though `log` had not returned when its process ended.
    unasked: int = 0
    torn: int = 0
    # Partial lines that were set aside, and frames and journals that could not be read.
    damage: dict[str, int] = field(default_factory=dict)

    def require_perfect(self) -> None:
        """Fail unless every accepted row is there once and every line is whole."""
        assert (self.lost, self.doubled, self.torn) == (0, 0, 0), str(self)


def rows_of(ranges: Mapping[str, Iterable[range]], metrics: Iterable[str], label: str = "stream") -> pl.DataFrame:
    """Give the rows of calls that each logged every one of `metrics` at the steps of some ranges, by stream."""
    columns = pl.concat(
        [
            pl.DataFrame({label: [stream], "metric": [metric]}).join(
                pl.DataFrame({"step": pl.Series(list(steps), dtype=pl.Int64)}), how="cross"
            )
            for stream, all_steps in ranges.items()
            for steps in all_steps
            for metric in metrics
        ]
        or [pl.DataFrame(schema={label: pl.String, "metric": pl.String, "step": pl.Int64})]
    )
    return columns.with_columns(pl.col(label, "metric").cast(pl.String))


def judge(directory: Path, accepted: pl.DataFrame) -> Judgement:
    """Recover a directory, read it, and compare its rows with the accepted ones by the columns of `accepted`."""
    recovered = codex_obs.recover(directory)
    _, report = reading.summarize_files([directory])
    columns = accepted.columns
    names = [column for column in columns if column != "step"]
    rows = codex_obs.read(directory).with_columns(pl.col(names).cast(pl.String)).select(columns)
    counts = rows.group_by(columns).len()
    whole, torn = lines_of(directory)
    return Judgement(
        accepted=accepted.height,
        found=rows.height,
        lost=accepted.join(counts, on=columns, how="anti", nulls_equal=True).height,
        doubled=rows.height - counts.height,
        unasked=counts.join(accepted, on=columns, how="anti", nulls_equal=True).height,
        torn=torn + report.skipped + abs(whole - rows.height),
        damage={
            "tails": len(list((directory / ".codex_obs").glob("torn-*"))),
            "frames": recovered["frames_damaged"],
            "journals": recovered["journals_damaged"],
        },
    )


def lines_of(directory: Path) -> tuple[int, int]:
    """Look at the bytes of every file, without our reader: whole lines of metrics, and torn lines anywhere."""
    whole = torn = 0
    for path in itertools.chain.from_iterable(logs(directory).values()):
        content = unpacked(path)
        torn += content.count(b"\0") + (not content.endswith(b"\n") and content != b"")
        lines = content.splitlines()
        torn += sum(not (line.startswith(b"{") and line.endswith(b"}")) for line in lines)
        if path.name.startswith("metrics.") and not path.name.startswith("metrics_"):
            whole += len(lines)
    return whole, torn


def losses_on_record(directory: Path) -> int:
    """Add up the rows that the tracking summary says were dropped."""
    count = 0
    for log, paths in logs(directory).items():
        for line in b"".join(map(unpacked, paths)).splitlines() if log.startswith("tracking_summary") else ():
            record = json.loads(line)
            is_loss = record["status"] == "degraded" and record["extra"].get("cause") != "retired"
            if is_loss and record["component"] == "ndjson":
                count += record["extra"].get("count", 0)
    return count
