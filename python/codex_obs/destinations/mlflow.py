"""An MLflow server: the settings that say where it is and how metrics go there. Nothing is read or sent here."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from codex_obs._settings.entry import Entry, EnvVar
from codex_obs._settings.kinds import Identifier, Integer, Title
from codex_obs._settings.tracking import TrackingUri

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_REQUEST_METRICS = 1000  # MLflow refuses more
_MIN_REQUEST_BYTES = 100_000  # the longest parameter or tag, with every character escaped
_MAX_REQUEST_BYTES = 1_000_000  # MLflow's limit, and below nginx' default
_URI_VARIABLE = "MLFLOW_TRACKING_URI"

SETTINGS: Mapping[str, Entry] = MappingProxyType(
    {
        "mlflow_tracking_uri": Entry(
            ("CODEX_OBS_MLFLOW_TRACKING_URI",),
            TrackingUri(),
            None,
            "Address of the MLflow server that metrics are exported to, such as http://127.0.0.1:5000, or a store on "
            "this machine: a database such as sqlite:///mlflow.db, or a folder such as ./mlruns. Without it nothing is "
            "sent anywhere, whatever MLFLOW_TRACKING_URI says.",
            default_text="no export",
            is_secret=True,
        ),
        "mlflow_run_id": Entry(
            ("CODEX_OBS_MLFLOW_RUN_ID",),
            Identifier("give the identifier of a run, which MLflow shows as 32 hex digits"),
            None,
            "MLflow run to export to.",
            default_text="the one in run.json, else a new one",
        ),
        "mlflow_experiment_id": Entry(
            ("MLFLOW_EXPERIMENT_ID",),
            Identifier("give the identifier of an experiment such as 0 or 12, not its name"),
            "0",
            "MLflow experiment in which a new MLflow run is created.",
            twin="mlflow_experiment_name",
        ),
        "mlflow_experiment_name": Entry(
            ("MLFLOW_EXPERIMENT_NAME",),
            Title("give the name of an experiment, at most 500 characters that can be shown"),
            None,
            "Experiment by name; created if missing. If both variables are set, they must name the same experiment.",
            default_text="none",
            twin="mlflow_experiment_id",
        ),
        "export_request_metrics": Entry(
            ("CODEX_OBS_EXPORT_REQUEST_METRICS",),
            Integer(f"give a number of metrics from 1 to {_MAX_REQUEST_METRICS}", low=1, high=_MAX_REQUEST_METRICS),
            _MAX_REQUEST_METRICS,
            "Largest number of points in one request, reached while an exporter catches up.",
        ),
        "export_request_bytes": Entry(
            ("CODEX_OBS_EXPORT_REQUEST_BYTES",),
            Integer(
                f"give a number of bytes from {_MIN_REQUEST_BYTES} to {_MAX_REQUEST_BYTES}",
                low=_MIN_REQUEST_BYTES,
                high=_MAX_REQUEST_BYTES,
            ),
            _MAX_REQUEST_BYTES,
            "Largest size of one request, in bytes.",
        ),
    }
)

# The server for a delivery that was asked for, which may also be MLflow's own.
ADDRESS = replace(
    SETTINGS["mlflow_tracking_uri"], variables=(*SETTINGS["mlflow_tracking_uri"].variables, _URI_VARIABLE)
)

# What the way to the server needs. None of it sends anything anywhere.
VARIABLES = (
    EnvVar(
        _URI_VARIABLE,
        "none",
        "Default address of `codex-ndjson sync`. It makes no run export anything.",
    ),
    EnvVar(
        "MLFLOW_TRACKING_TOKEN",
        "none",
        "Bearer token for the MLflow server, used where there is no user name with a password.",
    ),
    EnvVar("MLFLOW_TRACKING_USERNAME", "none", "User name for the MLflow server. One in the address wins."),
    EnvVar("MLFLOW_TRACKING_PASSWORD", "none", "Password for the MLflow server."),
    EnvVar(
        "MLFLOW_TRACKING_INSECURE_TLS",
        "false",
        "`true`: the MLflow server's certificate is not looked at, so that anyone between can read and change what is "
        "sent. For tests.",
    ),
    EnvVar(
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
        "the system's list of authorities; where there is none Mozilla's, which is built in",
        "PEM file, or a folder of them, with the authorities that may have signed the MLflow server's certificate.",
    ),
    EnvVar(
        "MLFLOW_TRACKING_CLIENT_CERT_PATH",
        "none",
        "PEM file with a certificate and its unencrypted private key, to show to the MLflow server.",
    ),
)
