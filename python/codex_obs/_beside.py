"""Whether a run needs a process beside the trainer, and how that is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs import _export, _psutil
from codex_obs._settings import environment

if TYPE_CHECKING:
    from codex_obs._settings.settings import Settings
    from codex_obs.sidecar.handle import Launch


def launch(directory: str, settings: Settings) -> Launch | None:
    """Return how to start the process beside this one, if the settings need one."""
    # One machine delivers; the others are sampled.
    delivers = not settings.rank
    beside = _export.beside(settings) if delivers else []
    is_first = delivers or environment.is_first_of_a_host()
    samples = is_first and settings.system_metrics is not None
    answers = is_first and settings.prometheus_port is not None
    at_once = bool(beside or samples or answers)
    # Artifacts need it, once there are some.
    if not at_once and not (delivers and _export.artifact_places(settings)):
        return None
    from codex_obs.sidecar import handle  # noqa: PLC0415 - only where there is one

    if samples:
        _psutil.announce_missing()
    return handle.launch(directory, settings, beside, delivers=delivers, at_once=at_once)
