"""File systems in user space, mounted for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faults.mounts import require, run
from faults.tally import Tally, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parents[1]
MOUNTED_WITHIN_S = 60.0


class Mounted:
    """A file system that passes everything on to the folder `backing`."""

    def __init__(self, place: Path, backing: Path, control: Tally) -> None:
        self.place = place
        self.backing = backing
        self.control = control


@contextmanager
def fuse(place: Path, **options: object) -> Iterator[Mounted]:
    """Mount a file system that lacks, shows or spoils what the options say (see `faults.fuse_server`)."""
    require("fusermount3", "mount")
    pytest.importorskip("mfusepy", reason="needs mfusepy")
    if not Path("/dev/fuse").exists():
        pytest.skip("needs /dev/fuse")
    backing = place.with_name(f"{place.name}-backing")
    for folder in (place, backing):
        folder.mkdir()
    control = Tally(place.with_name(f"{place.name}-control"))
    command = [sys.executable, "-m", "faults.fuse_server", backing, place, control.path, json.dumps(options)]
    server = subprocess.Popen(
        list(map(str, command)), env={**os.environ, "PYTHONPATH": str(HERE)}, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: os.path.ismount(place) or server.poll() is not None, MOUNTED_WITHIN_S, "it is mounted")
        if server.poll() is not None:
            pytest.skip(f"may not mount: {server.communicate()[1][-200:]}")
        yield Mounted(place, backing, control)
    finally:
        if os.path.ismount(place):
            run("umount", "-l", place)
        server.terminate()
        server.communicate()


@contextmanager
def bindfs(source: Path, place: Path, *options: str) -> Iterator[Path]:
    """Mount a folder once more, with other owners or rights."""
    require("bindfs", "mount")
    source.mkdir(exist_ok=True)
    place.mkdir()
    try:
        run("bindfs", *options, source, place)
    except AssertionError as error:
        pytest.skip(f"may not mount: {error}")
    try:
        yield place
    finally:
        run("umount", "-l", place)
