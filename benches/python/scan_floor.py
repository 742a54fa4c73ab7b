"""Builds the floor of a summary, `scan_floor.cpp`, where there is a C++ compiler, and runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from summaries import COLUMNS, shards

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).with_name("scan_floor.cpp")


def build(folder: Path) -> Callable[[Path], pl.DataFrame] | None:
    """Compile the floor; None without a compiler."""
    compiler = shutil.which("c++")
    if compiler is None:
        return None
    program = folder / "scan_floor"
    command = [compiler, "-O3", "-march=native", "-std=c++17", "-pthread", str(SOURCE), "-o", str(program)]
    subprocess.run(command, check=True)
    return partial(_summarise, program)


def _summarise(program: Path, path: Path) -> pl.DataFrame:
    command = [str(program), str(os.cpu_count()), *map(str, shards(path))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    typed = [(*row[:3], int(row[3]), *map(float, row[4:9]), int(row[9])) for row in rows]
    return pl.DataFrame(typed, schema=COLUMNS, orient="row")
