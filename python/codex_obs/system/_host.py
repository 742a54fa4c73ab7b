"""The machine's own numbers, by psutil."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

# What psutil counts twice: they are part of `user` and `nice`.
_GUESTS: Final = ("guest", "guest_nice")
_IDLE: Final = ("idle", "iowait")
_MEMORY: Final = ("total", "available", "percent", "used", "free", "buffers", "cached", "shared")


class Host:
    """What is measured of a machine.

    Args:
        psutil: The module.
        folder: What lies on the disk that counts.
    """

    def __init__(self, psutil: ModuleType, folder: str) -> None:
        self._psutil = psutil
        self._folder = folder
        self._busy, self._total = self._times()

    def cpu_percent(self) -> float | None:
        """Give the part of all processors' time that was used since the last call; None if no time has passed."""
        busy, total = self._times()
        busy_s, total_s = busy - self._busy, total - self._total
        if total_s <= 0:
            return None
        self._busy, self._total = busy, total
        return round(min(max(busy_s / total_s, 0.0), 1.0) * 100, 1)

    def cpu_count(self) -> int | None:
        """Give the number of logical processors."""
        count: int | None = self._psutil.cpu_count()
        return count

    def memory(self) -> dict[str, object]:
        """Give the machine's memory in bytes."""
        found = self._psutil.virtual_memory()
        return {name: getattr(found, name) for name in _MEMORY if hasattr(found, name)}

    def swap(self) -> dict[str, object]:
        """Give the swap space in bytes."""
        found = self._psutil.swap_memory()
        percent = found.percent if found.total else None
        return {"total": found.total, "used": found.used, "free": found.free, "percent": percent}

    def disk(self) -> dict[str, object]:
        """Give the space of the file system that counts, and what was read and written by all disks since the start."""
        found = self._psutil.disk_usage(self._folder)
        counters = self._psutil.disk_io_counters()
        return {
            "total": found.total,
            "used": found.used,
            "free": found.free,
            "percent": found.percent,
            "read_bytes": None if counters is None else counters.read_bytes,
            "write_bytes": None if counters is None else counters.write_bytes,
        }

    def network(self) -> dict[str, object]:
        """Give the bytes that all interfaces have received and sent since the start."""
        found = self._psutil.net_io_counters()
        if found is None:
            return {"bytes_recv": None, "bytes_sent": None}
        return {"bytes_recv": found.bytes_recv, "bytes_sent": found.bytes_sent}

    def _times(self) -> tuple[float, float]:
        """Give the seconds that the processors worked, and all. psutil keeps the last ones for whoever asks it."""
        times = self._psutil.cpu_times()._asdict()
        total = sum(seconds for name, seconds in times.items() if name not in _GUESTS)
        return total - sum(times.get(name, 0.0) for name in _IDLE), total


def load_avg() -> list[float]:
    """Give the mean number of runnable processes over 1, 5 and 15 minutes."""
    return [round(load, 2) for load in os.getloadavg()]
