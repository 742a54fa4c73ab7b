"""The processes that have the run open, by psutil."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_MEMORY = ("rss", "vms", "shared")


class _Known(NamedTuple):
    """A process as it was at the last sample."""

    process: Any
    cpu_s: float
    at_s: float


class Processes:
    """What is measured of processes.

    Args:
        psutil: The module.
    """

    def __init__(self, psutil: ModuleType) -> None:
        self._psutil = psutil
        self._known: dict[int, _Known] = {}

    def sample(self, writers: Sequence[tuple[str, int]]) -> list[dict[str, object]]:
        """Give what can be had of processes; one that has ended meanwhile is left out.

        Args:
            writers: The stream of each process, and its number.
        """
        streams: dict[int, list[str]] = {}
        for stream, pid in writers:
            streams.setdefault(pid, []).append(stream)
        known, self._known = self._known, {}
        found = []
        for pid, names in sorted(streams.items()):
            with suppress(self._psutil.NoSuchProcess):
                facts = self._one(pid, known.get(pid))
                found.append({"pid": pid, **facts, "streams": names})
        return found

    def _one(self, pid: int, before: _Known | None) -> dict[str, object]:
        # The number may be another process's by now.
        if before is None or not before.process.is_running():
            process, before = self._psutil.Process(pid), None
        else:
            process = before.process
        with process.oneshot():
            cpu_percent = memory = threads = None
            denied = self._psutil.AccessDenied
            with suppress(denied):
                times, now_s = process.cpu_times(), time.monotonic()
                cpu_s = times.user + times.system
                if before is not None and now_s > before.at_s:
                    cpu_percent = round(max(cpu_s - before.cpu_s, 0.0) / (now_s - before.at_s) * 100, 1)
                self._known[pid] = _Known(process, cpu_s, now_s)
            with suppress(denied):
                info = process.memory_info()
                memory = {name: getattr(info, name) for name in _MEMORY if hasattr(info, name)}
            with suppress(denied):
                threads = process.num_threads()
        return {"cpu_percent": cpu_percent, "memory_info": memory, "threads": threads}
