"""One sample of the machine, with everything that can be had and the reasons for what cannot."""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from codex_obs import _backend
from codex_obs._extra import extra
from codex_obs._psutil import REMEDY
from codex_obs.errors import CodexObsError
from codex_obs.system import _host
from codex_obs.system._amd import Amd
from codex_obs.system._cgroup import Container
from codex_obs.system._gpus import Gpus, mean_util
from codex_obs.system._isolation import GIVE_UP_S, PATIENCE_S, RETRY_S, Isolated
from codex_obs.system._nvml import Nvml
from codex_obs.system._plugins import Plugins
from codex_obs.system._processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from codex_obs.system._log import SampleLog

    T = TypeVar("T")

# What is not there is looked for again after this long: a driver may be loaded, a package installed.
_LOOK_AGAIN_S: Final = 60.0
_MOST_CHARACTERS: Final = 300


class Change(NamedTuple):
    """Something that begins, fails, works again or ends: a record of ``tracking_summary.ndjson``.

    Attributes:
        status: ``enabled``, ``degraded`` or ``disabled``.
        reason: What it is about, as ``system:<part>``.
        extra: The part's trouble, what is available, and how many samples were written and lost.
    """

    status: str
    reason: str
    extra: dict[str, object]


class Sampler:
    """Samples the machine that it runs on. One thread at a time calls it.

    Attributes:
        samples: Samples that `record` has written.
        lost: Samples that it could not write.

    Args:
        run: The run directory whose processes are sampled; None for this process alone.
        run_id: What stands in the samples; None for the run's own.
        root: Where ``proc``, ``sys`` and ``dev`` are.
        patience_s: Longest wait for a driver that does not answer.
        give_up_s: After how long a call of a driver is given up.
        retry_s: After how long what failed is tried again.
    """

    def __init__(
        self,
        run: str | os.PathLike[str] | None = None,
        *,
        run_id: str | None = None,
        root: str | os.PathLike[str] = "/",
        patience_s: float = PATIENCE_S,
        give_up_s: float = GIVE_UP_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._run = None if run is None else os.fspath(run)
        self._run_id = run_id
        self._retry_s = retry_s
        self._hostname = socket.gethostname()
        self._host: _host.Host | None = None
        self._processes: Processes | None = None
        self._looked_s: float | None = None
        self._missing = ""
        place = Path(root)
        self._container = Container(place)
        limits = {"patience_s": patience_s, "give_up_s": give_up_s, "retry_s": retry_s}
        self._kinds: dict[str, Isolated[Gpus | None]] = {
            "nvml": Isolated(lambda: Nvml(place, retry_s), name="codex-obs-nvml", **limits),
            "amd": Isolated(lambda: Amd(place, retry_s), name="codex-obs-amd", **limits),
        }
        self._plugins = Plugins(patience_s)
        self._has_nvml: bool | None = None
        self._has_begun = False
        # Samples in the file, and those that could not be written.
        self.samples = 0
        self.lost = 0
        # What goes wrong, by part: as of the last sample, and as it was put on record.
        self._troubles: dict[str, str] = {}
        self._known: dict[str, str] | None = None
        self._is_closed = False
        self._look()

    @property
    def dependencies(self) -> dict[str, bool | None]:
        """Whether psutil and the NVIDIA driver can be used; None for what was not asked yet."""
        return {"psutil_available": self._host is not None, "nvml_available": self._has_nvml}

    def sample(self) -> dict[str, object]:
        """Take a sample: a line of ``system_metrics.jsonl`` as an object. What cannot be had is None."""
        self._look()
        self._troubles = {} if self._host is not None else {"psutil": self._missing}
        host = self._host
        notes: list[str] = []
        sample: dict[str, object] = {
            "ts": round(time.time(), 6),
            "run_id": self._identity(),
            "host": self._hostname,
            "cpu_percent": host and self._try("cpu", host.cpu_percent),
            "cpu_count": (host and self._try("cpu", host.cpu_count)) or os.cpu_count(),
            "memory": host and self._try("memory", host.memory),
            "swap": host and self._try("swap", host.swap),
            "load_avg": self._try("load_avg", _host.load_avg),
            "disk": host and self._try("disk", host.disk),
            "network": host and self._try("network", host.network),
            "processes": self._try("processes", self._sample_processes),
            "cgroup": self._try("cgroup", self._container.sample),
            **self._sample_gpus(notes),
        }
        values = self._plugins.sample(self._troubles)
        sample["errors"] = [*(f"{part}: {why}"[:_MOST_CHARACTERS] for part, why in self._troubles.items()), *notes]
        if values:
            sample["plugins"] = values
        self._has_begun = True
        return sample

    def record(self, log: SampleLog) -> str | None:
        """Take a sample and write it.

        Returns:
            Why it was not written, which is among the changes too; None if it was.
        """
        try:
            log.write(self.sample())
        except CodexObsError as error:
            self.lost += 1
            self._troubles["write"] = str(error)
            return str(error)
        self.samples += 1
        return None

    def changes(self) -> list[Change]:
        """Give what has begun, failed or recovered since this was last asked, and after `close` that it has ended.

        The first sample tells; before it there is nothing.
        """
        if not self._has_begun:
            return []
        known, found = self._known, []
        if known is None:
            known, found = {}, [self._change("enabled", "started", None)]
        if self._is_closed:
            return [*found, self._change("disabled", "ended", None)]
        found += [self._change("degraded", part, why) for part, why in self._troubles.items() if part not in known]
        found += [self._change("enabled", part, None) for part in known if part not in self._troubles]
        self._known = dict(self._troubles)
        return found

    def close(self) -> None:
        """End the threads that answer. One that hangs in a driver is left behind."""
        self._is_closed = True
        for kind in self._kinds.values():
            kind.close()
        self._plugins.close()

    def _change(self, status: str, part: str, why: str | None) -> Change:
        own = {} if why is None else {"error": why}
        totals = {"samples": self.samples, "samples_lost": self.lost}
        return Change(status, f"system:{part}", extra(own, totals, self.dependencies))

    def _look(self) -> None:
        """Look for psutil, which may be installed while a run is going on."""
        now_s = time.monotonic()
        if self._host is not None or (self._looked_s is not None and now_s < self._looked_s + _LOOK_AGAIN_S):
            return
        self._looked_s = now_s
        importlib.invalidate_caches()
        self._missing = f"psutil is not installed: {REMEDY}"
        if importlib.util.find_spec("psutil") is None:
            return
        try:
            psutil = importlib.import_module("psutil")
            self._host = _host.Host(psutil, self._run or os.getcwd())  # noqa: PTH109 - text
            self._processes = Processes(psutil)
        except Exception as error:  # noqa: BLE001 - an installation that is damaged raises anything
            self._missing = f"psutil cannot be used: {type(error).__name__}: {error}"

    def _try(self, part: str, measure: Callable[[], T]) -> T | None:
        try:
            return measure()
        except Exception as error:  # noqa: BLE001 - /proc may be anything, and psutil raises more than it says
            self._troubles[part] = f"{type(error).__name__}: {error}"
            return None

    def _identity(self) -> str | None:
        if self._run_id is None and self._run is not None:
            try:
                state = _backend.run_state(self._run)
            except CodexObsError:
                return None  # a run whose identity cannot be read now has one later
            self._run_id = None if state is None else state.run_id
        return self._run_id

    def _sample_processes(self) -> list[dict[str, object]] | None:
        if self._processes is None:
            return None
        writers = [("", os.getpid())] if self._run is None else _backend.writers(self._run)
        return self._processes.sample(writers)

    def _sample_gpus(self, notes: list[str]) -> dict[str, object]:
        found: list[dict[str, object]] = []
        is_known = True
        for part, kind in self._kinds.items():
            try:
                gpus = kind.ask()
            except Exception as error:  # noqa: BLE001 - a driver's binding, and what it is called with
                self._troubles[part] = str(error) or type(error).__name__
                is_known = False
            else:
                if part == "nvml":
                    self._has_nvml = gpus is not None
                if gpus is None:
                    continue
                # NVIDIA's own numbers stay, so that they are those of nvidia-smi.
                first = len(found)
                found += [gpu | {"index": first + place} for place, gpu in enumerate(gpus.found)]
                if gpus.errors:
                    self._troubles[part] = "; ".join(gpus.errors)
                notes += [f"{part}: {note}" for note in gpus.notes]
        if "nvml" in self._troubles and not found:
            self._has_nvml = False
        count = len(found) if is_known else None
        return {
            "gpu_count": count,
            "gpus": found if found or is_known else None,
            "gpu_util_mean": mean_util(found),
        }
