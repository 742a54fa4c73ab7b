"""NVIDIA's GPUs, by its driver's library: the module ``pynvml`` of the package nvidia-ml-py.

Source: the NVML API reference; values are those that ``nvidia-smi`` shows.
"""

from __future__ import annotations

import importlib
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from codex_obs._psutil import REMEDY
from codex_obs.system._gpus import FIELDS, GpuError, Gpus
from codex_obs.system._isolation import RETRY_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType
    from typing import Any

# One of these is there where the driver is, also in a container that has it (the third is WSL's).
_NODES: Final = ("dev/nvidiactl", "proc/driver/nvidia/version", "dev/dxg")
_MILLIWATTS: Final = 1000


class Nvml:
    """A session with the driver, which may hang in any call.

    Args:
        root: Where ``dev`` and ``proc`` are.
        retry_s: After how long a driver that did not answer is tried again.
    """

    def __init__(self, root: Path, retry_s: float = RETRY_S) -> None:
        self._root = root
        self._retry_s = retry_s
        self._nvml: ModuleType | None = None
        self._devices: list[_Device] = []
        self._failure: str | None = None
        self._next_s = 0.0

    def __call__(self) -> Gpus | None:
        """Give every GPU; None where there is neither a driver nor a sign of one.

        Raises:
            GpuError: If there is a driver that does not answer as it should.
        """
        if time.monotonic() >= self._next_s:
            self._begin()
        if self._failure is not None:
            raise GpuError(self._failure)
        if self._nvml is None:
            return None
        gpus = Gpus()
        for device in self._devices:
            device.sample(gpus)
        if gpus.errors and self._next_s == float("inf"):
            # A GPU that was lost may come back, with a handle of its own.
            self._next_s = time.monotonic() + self._retry_s
        return gpus

    def _begin(self) -> None:
        """Open the driver, or open it again."""
        was_open, self._nvml, self._devices, self._failure = self._nvml, None, [], None
        self._next_s = time.monotonic() + self._retry_s
        has_node = any((self._root / node).exists() for node in _NODES)
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            self._failure = f"nvidia-ml-py is not installed: {REMEDY}" if has_node else None
            return
        try:
            if was_open is not None:
                nvml.nvmlShutdown()
            nvml.nvmlInit()
            self._devices = [_Device(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError as error:
            is_missing = error.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND
            self._failure = None if is_missing and not has_node else str(error)
            return
        self._nvml = nvml
        self._next_s = float("inf")


class _Device:
    """One GPU.

    Args:
        nvml: The driver's binding.
        index: Its number there.
    """

    def __init__(self, nvml: ModuleType, index: int) -> None:
        self._nvml = nvml
        self._index = index
        # What never changes, once it is known.
        self._facts: dict[str, object] = {}
        self._handle: Any = None
        self._missing: list[str] = []
        self._failed: list[str] = []

    def sample(self, gpus: Gpus) -> None:
        """Ask the driver; what it does not know of this GPU is None."""
        self._missing, self._failed = [], []
        values: dict[str, object] = dict.fromkeys(FIELDS) | {"index": self._index}
        if self._handle is None:
            self._handle = self._ask("handle", lambda: self._nvml.nvmlDeviceGetHandleByIndex(self._index))
        if self._handle is not None:
            values |= self._values(self._handle)
        gpus.found.append(values)
        gpus.errors += [f"gpu {self._index}: {why}" for why in self._failed]
        if self._missing:
            gpus.notes.append(f"gpu {self._index}: not supported: {', '.join(self._missing)}")

    def _values(self, handle: Any) -> dict[str, object]:  # noqa: ANN401 - a pointer
        nvml, ask = self._nvml, self._ask
        for name, question in (("uuid", nvml.nvmlDeviceGetUUID), ("name", nvml.nvmlDeviceGetName)):
            if name not in self._facts and (text := ask(name, partial(question, handle))) is not None:
                self._facts[name] = text
        rates = ask("util", lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        memory = ask("mem_used, mem_total", self._memory)
        temperature = ask("temp_c", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        power = ask("power_w", lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        processes = ask("processes", lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        if processes is not None:
            processes = [{"pid": one.pid, "mem_used": one.usedGpuMemory} for one in processes]
        return self._facts | {
            "util": None if rates is None else rates.gpu,
            "mem_used": None if memory is None else memory.used,
            "mem_total": None if memory is None else memory.total,
            "temp_c": temperature,
            "power_w": None if power is None else power / _MILLIWATTS,
            "processes": processes,
        }

    def _ask(self, names: str, question: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the driver answers
        nvml = self._nvml
        try:
            return question()
        except nvml.NVMLError as error:
            if error.value in {nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND}:
                self._missing.append(names)
            elif str(error) not in self._failed:
                self._failed.append(str(error))
        return None

    def _memory(self) -> Any:  # noqa: ANN401 - a structure of the driver
        """Give the memory as ``nvidia-smi`` does, which older drivers cannot: there what the driver keeps is used."""
        nvml = self._nvml
        try:
            return nvml.nvmlDeviceGetMemoryInfo(self._handle, version=nvml.nvmlMemory_v2)
        except nvml.NVMLError as error:
            if error.value not in {nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH}:
                raise
            return nvml.nvmlDeviceGetMemoryInfo(self._handle)
