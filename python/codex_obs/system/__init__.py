"""The machine beside the metrics: samples of processor, memory, disk, network, processes, container and GPUs.

    from codex_obs.system import SystemMetricsLogger, read

    with SystemMetricsLogger("system_metrics.jsonl", interval=1.0):
        train()
    print(read("system_metrics.jsonl").select("timestamp", "cpu_percent", "gpu_util_mean"))

The extra ``system`` has what it needs: psutil, and the NVIDIA driver's bindings.
"""

from codex_obs._psutil import announce_missing
from codex_obs.system._log import SampleLog
from codex_obs.system._logger import SystemMetricsLogger
from codex_obs.system._reading import read
from codex_obs.system._sampler import Change, Sampler

__all__ = ["Change", "SampleLog", "Sampler", "SystemMetricsLogger", "announce_missing", "read"]
