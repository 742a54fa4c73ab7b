"""Lines of a run's small files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def status_of(run_dir: Path) -> str | None:
    """Give how the last session of the main stream ended, or None if it has not."""
    record = lines_of(run_dir, "run")[-1]
    return record["status"] if record["record"] == "finish" else None


def config_of(run_dir: Path) -> dict[str, Any]:
    """Give all parameters of a run, the last value of each."""
    found: dict[str, Any] = {}
    for line in lines_of(run_dir, "params"):
        found |= line["config"]
    return found


def lines_of(run_dir: Path, kind: str) -> list[dict[str, Any]]:
    """Give the lines of a file of the main stream."""
    return [json.loads(line) for line in (run_dir / f"{kind}.ndjson").read_text().splitlines()]
