"""Where a run's metrics go beside its files, for the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs import _backend, _config

if TYPE_CHECKING:
    from codex_obs._config import Settings


def mlflow(
    settings: Settings, *, keeps_known: bool = False, new_run: str | None = None
) -> _backend.MlflowExport | None:
    """Give the MLflow server of the settings, or None if nothing is exported. Nothing is sent.

    Args:
        settings: Where it is, and how metrics go there.
        keeps_known: Whether ``run.json`` keeps its current MLflow run, as long as that exists.
        new_run: With a mark, which differs each time, a new MLflow run is made, whatever there is.

    Raises:
        SettingError: If the address, or what the environment says of the way there, cannot be used.
    """
    if settings.mlflow_tracking_uri is None:
        return None
    try:
        return _backend.MlflowExport(
            settings.mlflow_tracking_uri,
            environment=_config.export_environment(),
            run_id=settings.mlflow_run_id,
            keeps_known=keeps_known,
            new_run=new_run,
            experiment_id=settings.mlflow_experiment_id,
            experiment_name=settings.mlflow_experiment_name,
            ranks=settings.export_ranks,
            interval_s=settings.export_interval_s,
            flush_metrics=settings.export_flush_metrics,
            request_metrics=settings.export_request_metrics,
            request_bytes=settings.export_request_bytes,
            timeout_s=settings.export_timeout_s,
        )
    except _backend.CoreError as error:
        raise _backend.public_error(error) from None
