"""Environment variables that set no field of `Settings`. Nothing is read here."""

from __future__ import annotations

from dataclasses import dataclass

RUN_DIR_VARIABLE = "CODEX_OBS_RUN_DIR"
RUN_NAME_VARIABLES = ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID")
WORLD_SIZE_VARIABLE = "WORLD_SIZE"
MLFLOW_URI_VARIABLE = "MLFLOW_TRACKING_URI"


@dataclass(frozen=True, slots=True)
class EnvVar:
    """An environment variable that codex_obs reads.

    Attributes:
        name: Name of the variable.
        default: What holds without it, as text.
        meaning: What it is for and what it may be.
        setting: The field of `Settings` that it sets, if it sets one.
    """

    name: str
    default: str
    meaning: str
    setting: str | None = None


GENERAL = (
    EnvVar(RUN_DIR_VARIABLE, "runs/<name>", "Run directory of `init` and input of `codex-ndjson` when none is named."),
    EnvVar(
        RUN_NAME_VARIABLES[0],
        "UTC time and four hex digits",
        "Name of the run when none is given, shared by the processes of a torchrun job. It must be one folder name. "
        "Without `--rdzv-id` torchrun itself sets it to `none`.",
    ),
    EnvVar(
        RUN_NAME_VARIABLES[1],
        "UTC time and four hex digits",
        "Name of the run when none is given and TORCHELASTIC_RUN_ID is not set.",
    ),
    EnvVar(
        WORLD_SIZE_VARIABLE,
        "1 without a rank, else unknown",
        "Number of processes of a distributed job, for the effective batch size in `params.ndjson`.",
    ),
)

# What an exporter is told of the environment. Nothing of it switches one on.
EXPORT = (
    EnvVar(
        MLFLOW_URI_VARIABLE,
        "none",
        "Where `codex-ndjson sync` delivers to when nothing else is named. It makes no run export anything.",
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
        "Mozilla's list of authorities, which is built in",
        "PEM file, or a folder of them, with the authorities that may have signed the MLflow server's certificate.",
    ),
    EnvVar(
        "MLFLOW_TRACKING_CLIENT_CERT_PATH",
        "none",
        "PEM file with a certificate and its unencrypted private key, to show to the MLflow server.",
    ),
    EnvVar("REQUESTS_CA_BUNDLE", "none", "The same as MLFLOW_TRACKING_SERVER_CERT_PATH, if that is not set."),
    EnvVar("CURL_CA_BUNDLE", "none", "The same, if neither of those is set."),
    EnvVar("SSL_CERT_FILE", "none", "The same, if none of those is set."),
    EnvVar(
        "HTTPS_PROXY",
        "none",
        "Proxy for an https address; never used for this machine itself. In lower case it wins, as do the next three.",
    ),
    EnvVar("HTTP_PROXY", "none", "Proxy for an http address."),
    EnvVar("ALL_PROXY", "none", "Proxy for both, where none of its own is set."),
    EnvVar("NO_PROXY", "none", "Hosts that are asked without a proxy, with commas between them."),
)
