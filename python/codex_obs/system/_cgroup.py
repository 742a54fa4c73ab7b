"""Limits of the container that this process is in, and what is used of them: cgroup v2, v1 and hybrid.

Sources: cgroups(7) and the kernel's Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# Controllers are not moved, and a limit is seldom changed: usage is read each time, the rest once a minute.
_LOOK_AGAIN_S: Final = 60.0
# Version 1 says "no limit" as the largest number of whole pages, 9223372036854771712.
_NO_LIMIT: Final = 1 << 60
_MOUNT_FIELDS: Final = 5


class _Mount(NamedTuple):
    """Where a hierarchy is mounted, and which group of it stands there."""

    path: Path
    group: str


class _Memory(NamedTuple):
    """The files of a group that say what it uses."""

    usage: Path
    stat: Path
    reclaimable: str


class Container:
    """The groups that this process is in.

    Args:
        root: Where ``proc`` and ``sys`` are; another one than ``/`` is a tree of a test.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._looked_s: float | None = None
        self._cpu_limit: float | None = None
        self._memory_limit: int | None = None
        self._memory: _Memory | None = None

    def sample(self) -> dict[str, object]:
        """Give the limits and the memory that is used. A limit is that of the tightest group from here up."""
        now_s = time.monotonic()
        if self._looked_s is None or now_s - self._looked_s >= _LOOK_AGAIN_S:
            self._look()
            self._looked_s = now_s
        return {"cpu_limit": self._cpu_limit, "memory_limit": self._memory_limit, "memory_used": self._used()}

    def _used(self) -> int | None:
        if self._memory is None:
            return None
        usage = _number(self._memory.usage)
        if usage is None:
            return None
        # Pages of files that nobody uses just now are given back as soon as memory is short.
        return max(0, usage - _fields(self._memory.stat).get(self._memory.reclaimable, 0))

    def _look(self) -> None:
        groups, mounts = self._groups(), self._mounts()
        unified = _chain(mounts.get(""), groups.get("", "/"))
        if any((path / "memory.current").exists() or (path / "cpu.max").exists() for path in unified):
            self._cpu_limit = _least(_quota(path / "cpu.max") for path in unified)
            self._choose_memory(unified, "memory.max", "memory.current", "inactive_file")
            return
        memory = _chain(mounts.get("memory"), groups.get("memory", "/"))
        self._choose_memory(memory, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        cpu = _chain(mounts.get("cpu"), groups.get("cpu", "/"))
        self._cpu_limit = _least(map(_quota_v1, cpu))

    def _choose_memory(self, chain: Sequence[Path], limit: str, usage: str, reclaimable: str) -> None:
        """Take what is used where the tightest limit is: others may share it."""
        limits = [(value, path) for path in chain if (value := _number(path / limit)) is not None]
        self._memory_limit, path = min(limits, key=lambda found: found[0], default=(None, None))
        if path is None:
            path = next((path for path in chain if (path / usage).exists()), None)
        self._memory = None if path is None else _Memory(path / usage, path / "memory.stat", reclaimable)

    def _groups(self) -> dict[str, str]:
        """Give the process's group by controller; the unified hierarchy has none and is called ``""``."""
        found: dict[str, str] = {}
        for line in _lines(self._root / "proc/self/cgroup"):
            number, _, rest = line.partition(":")
            names, _, group = rest.partition(":")
            if number == "0" and not names:
                found[""] = group
            else:
                found |= dict.fromkeys(names.split(","), group)
        return found

    def _mounts(self) -> dict[str, _Mount]:
        found: dict[str, _Mount] = {}
        for line in _lines(self._root / "proc/self/mountinfo"):
            left, _, right = line.partition(" - ")
            fields, types = left.split(" "), right.split(" ", 2)
            if len(fields) < _MOUNT_FIELDS or not types[0].startswith("cgroup"):
                continue
            mount = _Mount(self._root / _unescaped(fields[4]).lstrip("/"), _unescaped(fields[3]))
            names = [""] if types[0] == "cgroup2" else types[-1].rsplit(" ", 1)[-1].split(",")
            for name in names:
                found.setdefault(name, mount)
        return found


def _chain(mount: _Mount | None, group: str) -> list[Path]:
    """Give the process's group and those above it. One that lies outside of what is mounted is seen as the top."""
    if mount is None:
        return []
    inner = "/" if ".." in group.split("/") else group
    if mount.group != "/":
        below = inner == mount.group or inner.startswith(f"{mount.group}/")
        inner = inner[len(mount.group) :] if below else "/"
    parts = [part for part in inner.split("/") if part]
    chain = [mount.path.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return [path for path in chain if path.is_dir()]


def _quota(path: Path) -> float | None:
    with suppress(OSError, ValueError):
        quota, period = path.read_text().split()
        if quota != "max":
            return int(quota) / int(period)
    return None


def _quota_v1(group: Path) -> float | None:
    quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota / period if quota is not None and period else None


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        number = int(path.read_text())  # "max" is none
        if 0 <= number < _NO_LIMIT:
            return number
    return None


def _fields(path: Path) -> dict[str, int]:
    with suppress(OSError, ValueError):
        return {name: int(value) for name, value in map(str.split, path.read_text().splitlines())}
    return {}


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text(errors="surrogateescape").splitlines()
    return []


def _unescaped(path: str) -> str:
    """Undo how mountinfo writes blanks and their like: a backslash and three octal digits."""
    head, *parts = path.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in parts)


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)
