"""Hydra: a run of each job, in the job's folder, with its configuration and overrides.

hydra:
callbacks:
codex_obs:
_target_: codex_obs.integrations.hydra.CodexObsCallback
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs.integrations._needed import needed
from codex_obs.integrations._target import Target

if TYPE_CHECKING:
    from typing import Any

__all__ = ["CodexObsCallback"]

_callback = needed("hydra.experimental.callback", extra="hydra")


class CodexObsCallback(_callback.Callback):  # type: ignore[misc, name-defined]  # Hydra may not be installed
    """Opens a run before each job and finishes it after it; inside, it is `codex_obs.current_run()`.

    The run lies in Hydra's folder of the job. Its parameters are the job's configuration, its tags the overrides and
    the job's number. A job that raises is a failed run.

    Args:
        **arguments: What `codex_obs.init` takes. ``run_dir`` is below the job's folder; default: the folder itself.
    """

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - what Hydra finds in the configuration
        self._arguments = arguments
        self._target: Target | None = None

    def on_job_start(self, config: Any, **_: Any) -> None:  # noqa: ANN401 - Hydra may not be installed
        """Open the run of a job."""
        from hydra.core.hydra_config import HydraConfig  # noqa: PLC0415 - its state is there only now

        hydra = HydraConfig.get()
        folder = hydra.runtime.output_dir
        arguments: dict[str, Any] = {**self._arguments}
        arguments["run_dir"] = f"{folder}/{arguments['run_dir']}" if arguments.get("run_dir") else folder
        overrides = list(hydra.overrides.task)
        arguments.setdefault("tags", {"overrides": overrides, "job": hydra.job.get("num"), "job_name": hydra.job.name})
        self._target = Target(None, arguments)  # type: ignore[arg-type]  # `init` checks them
        self._target.open(_without_hydra(config))

    def on_job_end(self, config: Any, job_return: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """Finish the run of a job, with its status."""
        if self._target is not None:
            self._target.close("failed" if job_return.status.name == "FAILED" else "finished")
            self._target = None


def _without_hydra(config: Any) -> Any:  # noqa: ANN401 - an OmegaConf object
    from omegaconf import OmegaConf  # noqa: PLC0415 - Hydra has it

    return OmegaConf.masked_copy(config, [name for name in config if name != "hydra"])
