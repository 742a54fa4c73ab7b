"""The process that launched this one's job, by what no other process ever had."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PROC = Path("/proc")
_MAX_ANCESTORS = 64  # a circle cannot be, but a PID that is used again while it is read can


@dataclass(frozen=True, slots=True)
class Launcher:
    """A launching process: its id, and a text that no other process of any host ever has."""

    pid: int
    text: str


def launching_process(variables: Sequence[str]) -> Launcher:
    """Find the process that started all processes of the job.

    That is the nearest ancestor with other values of the launcher's variables: a shell or a wrapper that a launcher
    started for this rank alone has the same ones.

    Args:
        variables: Names of the variables that launchers set.
    """
    own = _environment(os.getpid()) or {}
    marks = {name: own[name] for name in (os.fsencode(name) for name in variables) if name in own}
    launcher = os.getppid()
    for pid in ancestors():
        launcher = pid
        if not marks or not _has(pid, marks):
            break
    return Launcher(launcher, f"{launcher}@{_start_ticks(launcher)}@{boot_id()}")


def ancestors() -> Iterator[int]:
    """Yield the processes that this one descends from, the parent first, as far as /proc shows them."""
    pid = os.getppid()
    for _ in range(_MAX_ANCESTORS):
        if pid <= 0:
            return
        yield pid
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0


def boot_id() -> str:
    """Return the kernel's random id of this boot, which no other host has."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return os.uname().nodename


def _has(pid: int, marks: dict[bytes, bytes]) -> bool:
    environment = _environment(pid)
    return environment is not None and all(environment.get(name) == value for name, value in marks.items())


def _environment(pid: int) -> dict[bytes, bytes] | None:
    """Return what a process was started with; None for one of another user, which is no wrapper of ours."""
    try:
        text = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    pairs = (entry.partition(b"=") for entry in text.split(b"\0"))
    return {name: value for name, found, value in pairs if found}


def _start_ticks(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if fields else "0"


def _stat(pid: int) -> list[str]:
    """Return the fields behind the name, which may itself hold anything: state, parent, …, start time (the 20th)."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
