"""Real file systems that can be filled, made read-only and shut down."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOM_IN_MEMORY = 2 << 30
_SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN
_WITHOUT_FLUSHING_THE_LOG = 2


def run(*command: object) -> str:
    """Run a command that must succeed and give what it printed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def require(*tools: str) -> None:
    """Skip the test unless it may mount and has these tools."""
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@contextmanager
def tmpfs(place: Path, size_mib: int) -> Iterator[Path]:
    """Mount a small file system in memory."""
    require("mount")
    place.mkdir()
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", place)
    except AssertionError as error:
        pytest.skip(f"may not mount: {error}")
    try:
        yield place
    finally:
        run("umount", "-l", place)


@contextmanager
def loop(place: Path, kind: str, size_mib: int, *options: str) -> Iterator[Path]:
    """Mount a file system of a kind that lies in a file: in memory, if there is room, where no other load slows it."""
    require("mount", "losetup", f"mkfs.{kind}")
    image = image_of(place)
    with image.open("wb") as file:
        file.truncate(size_mib << 20)
    run(f"mkfs.{kind}", *{"ext4": ["-q", "-m", "0"], "xfs": ["-q"], "btrfs": ["-q"]}[kind], image)
    place.mkdir()
    try:
        run("mount", "-o", ",".join(["loop", *options]), image, place)
    except AssertionError as error:
        pytest.skip(f"may not mount {kind}: {error}")
    try:
        yield place
    finally:
        run("umount", "-l", place)
        image.unlink()


def image_of(place: Path) -> Path:
    """Give the file in which the file system at a place lies."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > ROOM_IN_MEMORY:
        return memory / f"{os.getpid()}-{place.parent.name}-{place.name}.image"
    return place.with_suffix(".image")


def make_read_only(place: Path) -> None:
    """Report an error to an ext4 with `errors=remount-ro`: the only way while files are open for writing."""
    device = run("findmnt", "-n", "-o", "SOURCE", place).strip().rpartition("/")[2]
    trigger = Path("/sys/fs/ext4", device, "trigger_fs_error")
    if not trigger.exists():
        pytest.skip(f"needs {trigger}")
    trigger.write_text("1\n")


def mount_again(place: Path) -> None:
    """Take a file system that was shut down away and bring it back, as a machine does after a power cut."""
    run("umount", place)
    run("mount", "-o", "loop", image_of(place), place)


def fill(folder: Path) -> Path:
    """Take every byte that is free, to the last page."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return filler


def shut_down(folder: Path) -> None:
    """Stop a file system as an I/O error or a power cut does: what is not on the disk now never gets there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING_THE_LOG))
    finally:
        os.close(descriptor)
